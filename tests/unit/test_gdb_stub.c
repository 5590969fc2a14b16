/* Links: gdb/stub.o gdb/stub-data.o gdb/stub-query.o gdb/packet.o */

/* gdb's protocol on a target without a machine: each packet, and what is wrong with some. */
#include "gdb-target.h"
#include "lkvm/gdb/packet.h"
#include "unit.h"

static struct fake_target fake;
static char got[4 * GDB_PACKET_BYTES];
static size_t n_got;

static void start(void)
{
	ck_assert_ptr_nonnull(fake_target_new(&fake));
}

/* Everything that it has to say goes to got[]. */
static void drain(void)
{
	const void *bytes;
	size_t n;

	while ((bytes = gdb_stub_output(fake.stub, &n))) {
		ck_assert_uint_le(n_got + n, sizeof(got) - 1);
		memcpy(got + n_got, bytes, n);
		n_got += n;
		gdb_stub_sent(fake.stub, n);
	}
	got[n_got] = '\0';
}

static long feed(const char *bytes, size_t n)
{
	size_t at = 0;
	long taken = 0;

	n_got = 0;
	drain();
	while (at < n && taken >= 0) {
		taken = gdb_stub_input(fake.stub, bytes + at, n - at);
		if (taken > 0)
			at += (size_t)taken;
		drain();
	}
	return taken < 0 ? taken : (long)at;
}

static char *framed(const char *contents, size_t n, size_t *ret)
{
	char *text = malloc(n + 5);
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + (uint8_t)contents[i]);
	text[0] = '$';
	memcpy(text + 1, contents, n);
	sprintf(text + 1 + n, "#%02x", sum);
	*ret = n + 4;
	return text;
}

static long send_packet(const char *contents, size_t n)
{
	size_t bytes;
	char *text = framed(contents, n, &bytes);
	long taken = feed(text, bytes);

	free(text);
	return taken;
}

/* "+$answer#xx", and nothing else */
static void check_raw(const char *packet, size_t n, const char *answer)
{
	size_t bytes;
	char *text = framed(answer, strlen(answer), &bytes);

	send_packet(packet, n);
	ck_assert_msg(got[0] == '+' && !strcmp(got + 1, text), "%s: %.300s, not +%.300s", packet, got, text);
	free(text);
}

static void check(const char *packet, const char *answer)
{
	check_raw(packet, strlen(packet), answer);
}

/* An acknowledgement alone */
static void check_silent(const char *packet)
{
	send_packet(packet, strlen(packet));
	ck_assert_str_eq(got, "+");
}

START_TEST(test_frame)
{
	start();
	ck_assert_int_eq(feed("$?#3f", 5), 5);
	ck_assert_str_eq(got, "+$T05thread:1;1:11111111;#05");
	feed("-", 1); /* once more */
	ck_assert_str_eq(got, "$T05thread:1;1:11111111;#05");
	feed("+", 1);
	ck_assert_str_eq(got, "");
	feed("$?#3e", 5);
	ck_assert_str_eq(got, "-");
	feed("$?#zz", 5);
	ck_assert_str_eq(got, "-");
	feed("noise$qC$?#3F", 13); /* a packet that was cut off; capital digits */
	ck_assert_str_eq(got, "+$T05thread:1;1:11111111;#05");
	feed("\3", 1);
	ck_assert_uint_eq(fake.n_interrupts, 0); /* it does not run */
	check("QStartNoAckMode", "OK");
	send_packet("qC", 2);
	ck_assert_str_eq(got, "$QC1#c5");
	feed("$?#00", 5);
	ck_assert_str_eq(got, "");
}
END_TEST

START_TEST(test_unknown)
{
	start();
	check("vMustReplyEmpty", "");
	check("vMustReplyEmptyX", "");
	check("", "");
	check("gg", "");
	check("?x", "");
	check("qXfer:auxv:read::0,100", "");
	check("Z9,1000,1", "");
	check("Z0,1000,1;X1,00", ""); /* conditions */
	check_raw("q\0C", 3, "");
}
END_TEST

START_TEST(test_too_long)
{
	const size_t n = GDB_PACKET_BYTES + 10;
	char *text = malloc(n);

	start();
	memset(text, 'm', n);
	check_raw(text, n, "E07");
	memset(text, '}', n);
	send_packet(text, n);
	ck_assert_str_eq(got, "+$E07#ac");
	check("qC", "QC1");
	free(text);
}
END_TEST

START_TEST(test_registers)
{
	start();
	check("g", "1010101010101010" "11111111" "12121212121212121212" "13131313131313131313131313131313");
	check("p0", "1010101010101010");
	check("p2", "12121212121212121212");
	check("p4", "E16");
	check("pffffffffffffffff", "E16");
	check("p11111111111111111", "E16"); /* more than 64 bits */
	check("p", "E16");
	check("P1=04030201", "OK");
	ck_assert_mem_eq(fake.reg[0][1], "\4\3\2\1", 4);
	check("P1=0403020", "E16");
	check("P1=040302", "E16");
	check("P1=0403020100", "E16");
	check("P1=0403zz01", "E16");
	check("P9=00", "E16");
	check("P1", "E16");
	check("Hg2", "OK");
	check("g", "2020202020202020" "21212121" "xxxxxxxxxxxxxxxxxxxx" "23232323232323232323232323232323");
	check("p2", "E16");
	check("G0000000000000000" "21212121" "xxxxxxxxxxxxxxxxxxxx" "00112233445566778899aabbccddeeff", "OK");
	ck_assert_mem_eq(fake.reg[1][0], "\0\0\0\0\0\0\0\0", 8);
	ck_assert_mem_eq(fake.reg[1][3], "\0\x11\x22\x33\x44\x55\x66\x77", 8);
	check("G00", "E16");
	check("G0000000000000000" "21212121" "xx00", "E16");
	check("G", "OK");
	ck_assert_mem_eq(fake.reg[0][0], "\x10\x10\x10", 3);
}
END_TEST

START_TEST(test_memory)
{
	start();
	check("m1000,4", "00010203");
	check("m10fe,8", "feff");
	check("mfff,4", "E0e");
	check("m1000,0", "");
	check("m1000", "E16");
	check("m1000,4x", "E16");
	check("m1000,-4", "E16");
	check("M1001,2:aabb", "OK");
	ck_assert_mem_eq(fake.memory, "\0\xaa\xbb\3", 4);
	check("M1001,2:aa", "E16");
	check("M1001,2:aabbcc", "E16");
	check("M1001,2", "E16");
	check("M10ff,2:aabb", "E0e");
	check("M1000,ffffffffffffffff:00", "E16");
	check_raw("X1004,3:\0}\3z", 12, "OK"); /* }\3 is # */
	ck_assert_mem_eq(fake.memory + 4, "\0#z", 3);
	check("X1004,3:ab", "E16");
	check("X1000,0:", "OK");
	send_packet("x1003,5", 7);
	ck_assert_mem_eq(got, "+$b\3\0}\3z\7#", 9);
	check("x0,5", "E0e");
	check("Hg2", "OK");
	check("m1000,1", "00");
	ck_assert(fake.cpu == 1 && !fake.physical);
	check("Qqemu.PhyMemMode:1", "OK");
	check("qqemu.PhyMemMode", "1");
	check("m1000,1", "00");
	ck_assert(fake.physical);
	check("Qqemu.PhyMemMode:2", "E16");
	check("Qqemu.PhyMemMode:0", "OK");
	check("m1000,1", "00");
	ck_assert(!fake.physical);
}
END_TEST

START_TEST(test_points)
{
	start();
	for (unsigned kind = 0; kind < GDB_POINT_KINDS; kind++) {
		char text[] = "Z0,1234,4";

		text[1] = (char)('0' + kind);
		check(text, "OK");
		ck_assert(fake.point.kind == kind && fake.point.at == 0x1234 && fake.point.n == 4);
		text[0] = 'z';
		check(text, "OK");
	}
	ck_assert_uint_eq(fake.n_points, 0);
	check("Z0,bad,1", "E0e");
	check("z0,bad,1", "E02");
	check("Z0,1234", "E16");
	check("Z,1234,1", "E16");
}
END_TEST

static void check_actions(int first, int second)
{
	ck_assert_int_eq(fake.action[0].what, first);
	ck_assert_int_eq(fake.action[1].what, second);
	feed("\3", 1); /* it stands still again */
	ck_assert_str_eq(got, "$T02thread:1;1:11111111;#02");
}

START_TEST(test_resume)
{
	start();
	check("vCont?", "vCont;c;C;s;S;r");
	check_silent("c");
	check("g", "E.the guest is running");
	check_actions(GDB_CONTINUE, GDB_CONTINUE);
	check_silent("s");
	check_actions(GDB_STEP, GDB_CONTINUE);
	check("Hc2", "OK");
	check_silent("s");
	check_actions(GDB_STAY, GDB_STEP);
	check_silent("vCont;s:2");
	check_actions(GDB_STAY, GDB_STEP);
	check_silent("vCont;s:1;c");
	check_actions(GDB_STEP, GDB_CONTINUE);
	check_silent("vCont;C05:p1.2;S02:p1.-1");
	check_actions(GDB_STEP, GDB_CONTINUE);
	check_silent("vCont;r1000,1010:1");
	ck_assert_uint_eq(fake.action[0].start, 0x1000);
	ck_assert_uint_eq(fake.action[0].end, 0x1010);
	check_actions(GDB_STEP, GDB_STAY);
	ck_assert_uint_eq(fake.n_interrupts, 7);
	check("vCont", "E16");
	check("vCont;", "E16");
	check("vCont;c:3", "E16");
	check("vCont;x", "E16");
	check("vCont;C", "E16");
	check("vCont;r10", "E16");
	check("vCont;c:1x", "E16");
	fake.resume_err = -EBUSY;
	check("c", "E10");
	check("qC", "QC1"); /* it does not run */
	fake.resume_err = 0;
	fake.stop_at_once = true;
	check("c", "T05thread:2;1:21212121;");
	check("qC", "QC2"); /* that is the one now */
}
END_TEST

START_TEST(test_stops)
{
	static const char *const words[GDB_POINT_KINDS] = {
		"swbreak:;", "hwbreak:;", "watch:1234;", "rwatch:1234;", "awatch:1234;",
	};
	char want[64];

	start();
	for (unsigned kind = 0; kind < GDB_POINT_KINDS; kind++) {
		const struct gdb_stop stop = {
			.cpu = 1, .signal = GDB_TRAP, .by_point = true, .kind = kind, .at = 0x1234,
		};

		check_silent("c");
		gdb_stub_stopped(fake.stub, &stop);
		gdb_stub_stopped(fake.stub, &stop); /* that it hears once */
		snprintf(want, sizeof(want), "$T05thread:2;%s1:21212121;#", words[kind]);
		n_got = 0;
		drain();
		ck_assert_int_eq(strncmp(got, want, strlen(want)), 0);
		ck_assert_uint_eq(n_got, strlen(want) + 2);
	}
	check("?", "T05thread:2;awatch:1234;1:21212121;");
	check_silent("c");
	gdb_stub_exited(fake.stub, 0x178);
	n_got = 0;
	drain();
	ck_assert_str_eq(got, "$W78#c6");
	gdb_stub_exited(fake.stub, 0);
	n_got = 0;
	drain();
	ck_assert_str_eq(got, "");
}
END_TEST

START_TEST(test_threads)
{
	start();
	check("qfThreadInfo", "m1,2");
	check("qsThreadInfo", "l");
	check("qC", "QC1");
	check("T1", "OK");
	check("T2", "OK");
	check("T3", "E16");
	check("T0", "E16");
	check("Tx", "E16");
	check("Hg0", "OK");
	check("Hg-1", "OK");
	check("Hgp1.2", "OK");
	check("qC", "QC2");
	check("Hg3", "E16");
	check("Hx1", "E16");
	check("qThreadExtraInfo,2", "4350552031");
	check("qThreadExtraInfo,9", "E16");
	check("qAttached", "1");
	check("qSymbol::", "OK");
	check("!", "");
}
END_TEST

START_TEST(test_documents)
{
	start();
	send_packet("qSupported:multiprocess+;swbreak+", 33);
	ck_assert_ptr_nonnull(strstr(got, "PacketSize=20000;"));
	ck_assert_ptr_nonnull(strstr(got, "qXfer:memory-map:read+"));
	check("qXfer:features:read:target.xml:0,6", "mtarget");
	check("qXfer:features:read:target.xml:6,100", "l.xml");
	check("qXfer:features:read:target.xml:a,100", "l");
	check("qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff", "l");
	check("qXfer:features:read:target.xml:x", "E16");
	check("qXfer:memory-map:read::0,fff", "lmemory-map");
	check("qOffsets", "");
	fake.has_offset = true;
	check("qOffsets", "Text=12345000;Data=12345000;Bss=12345000");
	check("qRcmd,6661696c", "E05");
	check_silent("qRcmd,6c61746572"); /* later */
	ck_assert_int_eq(gdb_stub_input(fake.stub, "$qC#b4", 6), 0);
	gdb_stub_say(fake.stub, 0, "at last");
	ck_assert_int_eq(gdb_stub_input(fake.stub, "$qC#b4", 6), 0);
	n_got = 0;
	drain();
	ck_assert_str_eq(got, "$O6174206c617374#58");
	gdb_stub_say(fake.stub, 0, "again");
	drain();
	ck_assert_str_eq(got, "$O6174206c617374#58");
	feed("+", 1);
	ck_assert_str_eq(got, "$OK#9a");
	check("qRcmd,6e6f", "OK");
	check("qRcmd,6", "E16");
	check("qRcmd,zz", "E16");
	check("qRcmd,", "OK");
	ck_assert_str_eq(fake.line, "");
}
END_TEST

/* What a command says, then its result; each once the client has had what is before it, or once more. */
START_TEST(test_said)
{
	start();
	check("qRcmd,736179", "O6869");
	ck_assert_str_eq(fake.line, "say");
	feed("-", 1);
	ck_assert_str_eq(got, "$O6869#2c");
	feed("+", 1);
	ck_assert_str_eq(got, "$OK#9a");
	feed("+", 1);
	ck_assert_str_eq(got, "");
	check("qRcmd,736179", "O6869");
	check("qC", "QC1"); /* then the rest is not wanted any more */
	feed("+", 1);
	ck_assert_str_eq(got, "");
}
END_TEST

/* More than there is room for in a packet */
START_TEST(test_much_said)
{
	const char *at = got;
	unsigned n = 0, packets = 0;

	start();
	check("QStartNoAckMode", "OK");
	feed("+", 1);
	send_packet("qRcmd,6d756368", 14);
	for (; !strncmp(at, "$O", 2) && at[2] != 'K'; packets++) {
		for (at += 2; *at != '#'; at += 2, n++) {
			const int c = 'a' + (int)(n % 26);

			ck_assert(at[0] == '0' + c / 16 && at[1] == "0123456789abcdef"[c % 16]);
		}
		at += 3;
	}
	ck_assert_uint_eq(n, FAKE_MUCH);
	ck_assert_uint_eq(packets, 3);
	ck_assert_str_eq(at, "$OK#9a");
}
END_TEST

/* A line that is longer than any command is none. */
START_TEST(test_long_line)
{
	char text[2 * 400 + 7] = "qRcmd,";

	start();
	memset(text + 6, '6', 2 * 400);
	check(text, "E16");
}
END_TEST

static void check_end(const char *packet, const char *answer, enum gdb_end end)
{
	start();
	ck_assert_int_eq(send_packet(packet, strlen(packet)), -ESHUTDOWN);
	ck_assert_str_eq(got, answer);
	ck_assert(fake.n_ends == 1 && fake.end == end);
	ck_assert_int_eq(gdb_stub_input(fake.stub, "$?#3f", 5), -ESHUTDOWN);
	gdb_stub_free(fake.stub);
}

START_TEST(test_end)
{
	check_end("D", "+$OK#9a", GDB_DETACH);
	check_end("D;1", "+$OK#9a", GDB_DETACH);
	check_end("k", "+", GDB_KILL);
	check_end("vKill;1", "+$OK#9a", GDB_KILL);
	check_end("R00", "+", GDB_RESTART);
}
END_TEST

/* An answer that was not sent yet holds up what is read next. */
START_TEST(test_one_at_a_time)
{
	static const char three[] = "$qC#b4$qC#b4$qC#b4";
	size_t n;

	start();
	ck_assert_int_eq(gdb_stub_input(fake.stub, three, sizeof(three) - 1), 6);
	ck_assert_int_eq(gdb_stub_input(fake.stub, three + 6, 12), 0);
	ck_assert_ptr_nonnull(gdb_stub_output(fake.stub, &n));
	ck_assert_uint_eq(n, 1);
	gdb_stub_sent(fake.stub, 1);
	gdb_stub_output(fake.stub, &n);
	ck_assert_uint_eq(n, 7);
	gdb_stub_sent(fake.stub, 3);
	gdb_stub_output(fake.stub, &n);
	ck_assert_uint_eq(n, 4);
	ck_assert_int_eq(gdb_stub_input(fake.stub, three + 6, 12), 0);
}
END_TEST

UNIT_MAIN("gdb_stub", test_frame, test_unknown, test_too_long, test_registers, test_memory, test_points, test_resume,
	  test_stops, test_threads, test_documents, test_said, test_much_said, test_long_line, test_end, test_one_at_a_time)
