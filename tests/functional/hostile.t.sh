#!/usr/bin/env bash
# The hostile-guest suite (tests/guest/hostile*.c): a driver that breaks the rules of the virtio
# text one by one. Each case is a test here. One guest runs as many as it can; where a case hangs,
# or ends lkvm, that case has failed and the next guest goes on behind it.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

T_LIMIT=300
SECTORS=20480

# Each line of 16 bytes says which it is, so each sector does.
make_disk()
{
	seq -f '%015.0f' 0 $((SECTORS * 32 - 1)) >"$1"
}

# report_cases NAME: every case in t_stdout that ended; $ended becomes the number behind the last
report_cases()
{
	local number title result
	while IFS= read -r line; do
		[[ $line =~ ^([0-9]+)\ (.*)\ \.\.\.\ (ok|not ok: .*)$ ]] || continue
		number=${BASH_REMATCH[1]} title=${BASH_REMATCH[2]} result=${BASH_REMATCH[3]}
		[ "$result" = ok ]
		t_report $? "$title ($1)" "$result"
		ended=$((number + 1))
	done < <(t_stdout)
}

# suite NAME SUITES [OPTION]...: run all cases of these suites on a machine with these options
suite()
{
	local name=$1 suites=$2 ended=0 before=-1 total='' unfinished
	shift 2
	while [ -z "$total" ] && [ "$ended" -gt "$before" ]; do
		before=$ended
		t_run "$LKVM" run --debug-exit -c 1 -m 128 -k "$GUESTS/hostile.mb" "$@" \
			-p "first=$ended $suites"
		report_cases "$name"
		total=$(sed -n 's/^\([0-9]*\) cases$/\1/p' <<<"$(t_stdout)")
		unfinished=$(t_stdout | sed -n '$s/^[0-9]* \(.*\) \.\.\. .*$/\1/p')
		if [ -z "$total" ] && [ -n "$unfinished" ]; then
			t_report 1 "$unfinished ($name)" "the guest did not get past it
status $t_rc, standard error: $(t_stderr)"
			ended=$((ended + 1))
		fi
	done
	t_is "$name: the last guest ends well after all cases" "$t_rc $ended" "1 ${total:-unknown}"
	t_unlike "$name: lkvm complains of nothing but drivers" \
		"$(t_stderr | grep -vE "the driver broke it and must reset it|bytes of output dropped|hvc1 is")" .
}

for disk in disk packed ro; do
	make_disk "$T_TMP/$disk"
done
cp "$T_TMP/disk" "$T_TMP/good"

suite 'PCI' 'status queue split rng blk read-only blk-pci pci msix pci-config' \
	-d "$T_TMP/disk" -d "$T_TMP/ro,ro"
suite 'MMIO' 'status queue split rng blk read-only mmio' \
	-d "$T_TMP/disk" -d "$T_TMP/ro,ro" --virtio-transport mmio
suite 'PCI' 'balloon'
suite 'MMIO' 'balloon-packed' --balloon=packed --virtio-transport mmio
for transport in pci mmio; do
	# The guest waits until it is asked to have more.
	until_true "$LKVM" mem --no-wait "hostile-mem-$$" max >/dev/null 2>&1 &
	suite "${transport^^}" mem --virtio-transport $transport --name "hostile-mem-$$" --mem-max 144M
	wait $!
done
# A whole number of pages, and not of 2 MB
for transport in pci mmio; do
	for pmem in pmem pmem-ro; do
		head -c 3M "$T_TMP/good" >"$T_TMP/$pmem"
	done
	suite "${transport^^}" pmem --virtio-transport $transport --pmem "$T_TMP/pmem"
	t_is "what was written is in the file ($transport)" "$(od -An -tx8 -j 819200 -N 8 "$T_TMP/pmem")" ' 5a5a5a5a12345678'
	t_is "which is as long as it was ($transport)" "$(stat -c %s "$T_TMP/pmem")" $((3 << 20))
	suite "${transport^^}" pmem-ro --virtio-transport $transport --pmem "$T_TMP/pmem-ro,ro"
	t_ok "no write has reached a file that is only read ($transport)" cmp -n $((3 << 20)) "$T_TMP/pmem-ro" "$T_TMP/good"
done
suite 'PCI' 'gpu' --gpu=outputs=2
suite 'MMIO' 'gpu-packed' --gpu=outputs=2,packed --virtio-transport mmio
for transport in pci mmio; do
	rm -f "$T_TMP/typed"
	until [ -e "$T_TMP/typed" ]; do
		"$LKVM" key --timeout 1 "hostile-input-$$" a >/dev/null 2>&1
	done &
	suite "${transport^^}" input --virtio-transport $transport --name "hostile-input-$$" --gpu
	: >"$T_TMP/typed"
	wait $!
done
suite 'PCI' 'packed' -d "$T_TMP/packed,packed=on"
suite 'MMIO' 'packed' -d "$T_TMP/packed,packed=on" --virtio-transport mmio
qemu-img convert -f raw -O qcow2 "$T_TMP/good" "$T_TMP/disk.qcow2"
suite 'qcow2' 'blk blk-pci' -d "$T_TMP/disk.qcow2"
suite 'direct' 'blk blk-pci' -d "$T_TMP/disk,direct,queues=4"

# The second device sends what the first one is to receive.
for transport in pci mmio; do
	suite "${transport^^}" net --virtio-transport $transport -n switch=hostile-$$ -n switch=hostile-$$
	suite "${transport^^}" net-rss --virtio-transport $transport -n switch=hostile-$$,rss -n switch=hostile-$$
done

# Somebody types all the time; nobody reads what the second port prints.
for packed in '' packed; do
	for transport in pci mmio; do
		suite "${transport^^}" "console${packed:+-packed}" --virtio-transport $transport \
			--console "virtio${packed:+,packed}" --tty 1 < <(yes)
	done
done

# Somebody listens on port 1 of the host.
for transport in pci mmio; do
	python3 "${0%/*}/../testbed/vsock.py" host "$T_TMP/vsock_1" &
	listener=$!
	until_true test -S "$T_TMP/vsock_1"
	suite "${transport^^}" vsock --virtio-transport $transport "--vsock=path=$T_TMP/vsock" -d "$T_TMP/ro,ro"
	kill $listener
	rm "$T_TMP/vsock_1"
done

t_ok "no refused write has reached the disk (qcow2)" \
	qemu-img compare -q -f qcow2 -F raw "$T_TMP/disk.qcow2" "$T_TMP/good"
for disk in disk packed ro; do
	t_ok "no refused write has reached the disk ($disk)" cmp "$T_TMP/$disk" "$T_TMP/good"
done
t_done
