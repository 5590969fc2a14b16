# shellcheck shell=bash disable=SC2154 # per_guest: job.sh's
# Both ends of connections, for the host and for guests whose root is the host's tree; user-job.sh and net-long-job.sh
# read this file.

# tcp HOST PORT: standard input and output. What comes in ends first.
tcp() { perl -MSocket -e '
	my ($err, @at) = Socket::getaddrinfo($ARGV[0], $ARGV[1], { socktype => SOCK_STREAM });
	die "$ARGV[0]: $err" if $err;
	socket(S, $at[0]{family}, SOCK_STREAM, 0) && connect(S, $at[0]{addr}) || die "connect: $!\n";
	if (!fork) { while (sysread(STDIN, my $b, 65536)) { syswrite(S, $b) } shutdown(S, 1); exit }
	while (sysread(S, my $b, 65536)) { syswrite(STDOUT, $b) }' "$@"; }

# echo_server PORT: by TCP, of IPv4 and IPv6, one connection after the other; and by UDP
echo_server() { perl -MSocket -e '
	socket(T, PF_INET6, SOCK_STREAM, 0) && setsockopt(T, SOL_SOCKET, SO_REUSEADDR, 1) || die;
	bind(T, sockaddr_in6($ARGV[0], Socket::IN6ADDR_ANY)) && listen(T, 5) || die "bind: $!";
	socket(U, PF_INET, SOCK_DGRAM, 0) && bind(U, sockaddr_in($ARGV[0], INADDR_ANY)) || die "bind: $!";
	$SIG{CHLD} = "IGNORE", $| = 1;
	if (!fork) { while (defined(my $from = recv(U, my $b, 2000, 0))) { send(U, $b, 0, $from) } exit }
	print "ready\n";
	while (accept(C, T)) { if (!fork) { while (sysread(C, my $b, 65536)) { syswrite(C, $b) } exit } close(C) }' "$@"; }

udp() { perl -MSocket -e '
	alarm 30;
	socket(S, PF_INET, SOCK_DGRAM, 0) && connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) || die;
	send(S, "packet\n", 0); recv(S, my $b, 2000, 0); print $b' "$@"; }

# What guests run begins with these.
functions() { declare -f tcp udp echo_server; }

serve()
{
	echo_server "$1" >"serve.$1" &
	wait_until "the server at $1" [ -s "serve.$1" ]
}

# detached NAME OPTION... -- COMMAND...: until it takes commands
detached()
{
	local name=$1
	shift
	timeout "$per_guest" lkvm run --detach --name "$name" -k "$CLOUD" -c 1 -m 256 "$@" </dev/null >"$name.out" 2>"$name.err"
	expect "guest $name starts" [ $? = 0 ]
	expect "guest $name is up" booted "$name"
}
