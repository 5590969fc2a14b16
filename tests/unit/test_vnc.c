/* Links: display/vnc.o */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input-event-codes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/display.h"
#include "lkvm/log.h"
#include "lkvm/loop.h"
#include "lkvm/types.h"
#include "lkvm/vnc.h"
#include "own-folder.h"
#include "unit.h"

static struct vnc_options options;

static int parse(const char *arg)
{
	return vnc_parse(&options, "vnc", arg);
}

START_TEST(test_parse)
{
	static const char *const bad[] = { "", "1", "x:y", ":", ":-1", ":59636", "localhost:", "unix:", "127.0.0.1", ":1,", ":1,x",
					   ":1,password-file=/nowhere", ":1,password-file=/dev/null", ":1,password-file" };

	log_set_patience(0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(parse(bad[i]) == -EINVAL || !strcmp(bad[i], ":1,"), "'%s'", bad[i]);
	ck_assert_int_eq(parse(":1"), 0);
	ck_assert(options.wanted && !options.any_port && options.port == 5901);
	ck_assert_str_eq(options.address, "127.0.0.1");
	ck_assert_str_eq(options.path, "");
	ck_assert_int_eq(parse("0.0.0.0:59635"), 0);
	ck_assert_uint_eq(options.port, 65535);
	ck_assert_str_eq(options.address, "0.0.0.0");
	ck_assert_int_eq(parse("[::1]:2"), 0);
	ck_assert_str_eq(options.address, "::1");
	ck_assert_int_eq(parse("::1:2"), 0);
	ck_assert_str_eq(options.address, "::1");
	ck_assert_int_eq(parse(":auto"), 0);
	ck_assert(options.any_port && options.port == 5900);
	ck_assert_int_eq(parse("unix:/a/b"), 0);
	ck_assert_str_eq(options.path, "/a/b");
	ck_assert_str_eq(options.address, "");
}
END_TEST

START_TEST(test_password)
{
	char arg[64] = ":1,password-file=password";
	enter_own_folder();
	log_set_patience(0);
	put_text("password", "geheimnis\nsecond\n");
	ck_assert_int_eq(parse(arg), 0);
	ck_assert_str_eq(options.password, "geheimni");
	put_text("password", "\nsecond\n");
	ck_assert_int_eq(parse(arg), -EINVAL);
	leave_own_folder();
}
END_TEST

START_TEST(test_keysyms)
{
	static const struct {
		uint32_t sym;
		unsigned code;
	} table[] = {
		{ 'a', KEY_A },	      { 'A', KEY_A },	       { '!', KEY_1 },	     { ' ', KEY_SPACE },	 { 0xff0d, KEY_ENTER },
		{ 0xffe1, KEY_LEFTSHIFT }, { 0xffea, KEY_RIGHTALT }, { 0xfe03, KEY_RIGHTALT }, { 0xffbe, KEY_F1 }, { 0xffc9, KEY_F12 },
		{ 0xffff, KEY_DELETE }, { 0xff8d, KEY_KPENTER }, { 0xffb5, KEY_KP5 }, { 0xfe20, KEY_TAB },	 { 0xe4, 0 },
		{ 0, 0 },	      { '\n', 0 },	       { 127, 0 },	     { 0x10000, 0 },		 { UINT32_MAX, 0 },
		{ 0xff00, 0 },	      { 0xffbd, KEY_KPEQUAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(vnc_key_of_sym(table[i].sym) == table[i].code, "0x%x", table[i].sym);
}
END_TEST

START_TEST(test_scancodes)
{
	static const struct {
		uint32_t scancode;
		unsigned code;
	} table[] = {
		{ 0x1e, KEY_A }, { 0x01, KEY_ESC }, { 0x39, KEY_SPACE }, { 0x56, KEY_102ND }, { 0x58, KEY_F12 }, { 0x54, 0 },
		{ 0x73, KEY_RO }, { 0x7d, KEY_YEN }, { 0x9c, KEY_KPENTER }, { 0xb8, KEY_RIGHTALT }, { 0xd3, KEY_DELETE },
		{ 0xdb, KEY_LEFTMETA }, { 0x00, 0 }, { 0x80, 0 }, { 0xff, 0 }, { 0x100, 0 }, { UINT32_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(vnc_key_of_scancode(table[i].scancode) == table[i].code, "0x%x", table[i].scancode);
	for (uint32_t scancode = 0; scancode < 256; scancode++) /* what a viewer can send is a key that the keyboard has */
		ck_assert_uint_le(vnc_key_of_scancode(scancode), KEY_MICMUTE);
}
END_TEST

/* ---- a server, with the library ---- */

static struct loop loop;
static struct display *display;
static struct vnc *vnc;
static unsigned keys[8][2], n_keys, points;
static unsigned point_at[4];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void got_key(void *ctx, unsigned code, bool down)
{
	ck_assert_ptr_eq(ctx, &loop);
	pthread_mutex_lock(&lock);
	if (n_keys < ARRAY_SIZE(keys)) {
		keys[n_keys][0] = code;
		keys[n_keys++][1] = down;
	}
	pthread_mutex_unlock(&lock);
}

static void got_point(void *ctx, unsigned x, unsigned y, unsigned width, unsigned height)
{
	(void)ctx;
	pthread_mutex_lock(&lock);
	point_at[0] = x;
	point_at[1] = y;
	point_at[2] = width;
	point_at[3] = height;
	points++;
	pthread_mutex_unlock(&lock);
}

static void got_wheel(void *ctx, int right, int up)
{
	(void)ctx, (void)right, (void)up;
}

static void got_size(void *ctx, unsigned width, unsigned height)
{
	(void)ctx, (void)width, (void)height;
}

static const struct vnc_hands hands = { got_key, got_point, got_wheel, got_size };

static int start(const char *arg)
{
	const struct vnc_setup setup = { .options = &options, .title = "test", .display = display, .loop = &loop, .hands = &hands,
					 .hands_ctx = &loop };

	ck_assert_int_eq(parse(arg), 0);
	return vnc_new(&setup, &vnc);
}

static void setup(void)
{
	ck_assert_msg(vnc_usable(), "libvncserver is missing");
	enter_own_folder();
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(display_new(1, &display), 0);
	n_keys = points = 0;
}

static void teardown(void)
{
	vnc_free(vnc);
	vnc = NULL;
	display_free(display);
	loop_fini(&loop);
	leave_own_folder();
}

static int join(void)
{
	const struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "vnc" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(loop_once(&loop, 10000), 1);
	return fd;
}

static void hear(int fd, void *ret, size_t n)
{
	ck_assert_int_eq(recv(fd, ret, n, MSG_WAITALL), (ssize_t)n);
}

static void say(int fd, const void *data, size_t n)
{
	ck_assert_int_eq(send(fd, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Up to ServerInit, without a password; Return: fd */
static int meet(unsigned width, unsigned height)
{
	uint8_t hello[32], init[24];
	int fd = join();

	hear(fd, hello, 12);
	ck_assert_int_eq(memcmp(hello, "RFB 003.008\n", 12), 0);
	say(fd, "RFB 003.008\n", 12);
	hear(fd, hello, 2);
	ck_assert(hello[0] == 1 && hello[1] == 1);
	say(fd, "\1", 1);
	hear(fd, hello, 4);
	ck_assert_int_eq(memcmp(hello, "\0\0\0\0", 4), 0);
	say(fd, "\1", 1);
	hear(fd, init, 24);
	ck_assert_uint_eq(init[0] * 256U + init[1], width);
	ck_assert_uint_eq(init[2] * 256U + init[3], height);
	hear(fd, hello, 4);
	ck_assert_int_eq(memcmp(hello, "test", 4), 0);
	return fd;
}

static void update(int fd, bool incremental, unsigned width, unsigned height)
{
	const uint8_t request[] = { 3, incremental, 0, 0, 0, 0, (uint8_t)(width >> 8), (uint8_t)width, (uint8_t)(height >> 8),
				    (uint8_t)height };

	say(fd, request, sizeof(request));
}

/* A rectangle of raw pixels */
static void get_raw(int fd, unsigned x, unsigned y, unsigned width, unsigned height, uint32_t *ret)
{
	uint8_t head[16];

	hear(fd, head, sizeof(head));
	ck_assert_int_eq(memcmp(head, "\0\0\0\1", 2), 0);
	ck_assert_uint_eq(head[3], 1);
	ck_assert_uint_eq(head[4] * 256U + head[5], x);
	ck_assert_uint_eq(head[6] * 256U + head[7], y);
	ck_assert_uint_eq(head[8] * 256U + head[9], width);
	ck_assert_uint_eq(head[10] * 256U + head[11], height);
	hear(fd, ret, (size_t)width * height * 4);
}

static void fill(unsigned x, unsigned y, unsigned width, unsigned height, uint32_t colour)
{
	const struct display_rect to = { x, y, width, height };
	uint32_t *pixels = malloc((size_t)width * height * 4);

	for (unsigned i = 0; i < width * height; i++)
		pixels[i] = colour;
	display_draw(display, 0, &to, (const uint8_t *)pixels, width * 4, (struct display_format){ .blue = 0, .green = 1, .red = 2 });
	free(pixels);
}

/* All of it, then what has changed and nothing else; two viewers, of whom one is not interested. */
START_TEST(test_pixels)
{
	static uint32_t pixels[640 * 480];
	struct pollfd quiet;
	int fd, idle;

	setup();
	ck_assert_int_eq(start("unix:vnc"), 0);
	ck_assert_str_eq(vnc_where(vnc), "unix:vnc");
	fd = meet(640, 480);
	update(fd, false, 640, 480);
	get_raw(fd, 0, 0, 640, 480, pixels);
	ck_assert_uint_eq(pixels[640 * 480 - 1], 0);
	close(fd);
	ck_assert_int_eq(display_resize(display, 0, 64, 48), 0);
	fill(0, 0, 64, 48, 0x123456);
	idle = meet(64, 48);
	fd = meet(64, 48);
	update(fd, false, 64, 48);
	get_raw(fd, 0, 0, 64, 48, pixels);
	for (unsigned i = 0; i < 64 * 48; i++)
		ck_assert_uint_eq(pixels[i], 0x123456);
	update(fd, true, 64, 48);
	quiet = (struct pollfd){ .fd = fd, .events = POLLIN };
	ck_assert_int_eq(poll(&quiet, 1, 50), 0);
	fill(10, 20, 3, 4, 0xabcdef);
	get_raw(fd, 10, 20, 3, 4, pixels);
	ck_assert_uint_eq(pixels[11], 0xabcdef);
	ck_assert_uint_eq(vnc_viewers(vnc), 2);
	close(fd);
	vnc_free(vnc);
	vnc = NULL;
	ck_assert_int_ne(access("vnc", F_OK), 0);
	teardown();
	ck_assert_int_le(recv(idle, pixels, 1, 0), 0); /* he was sent away */
	close(idle);
}
END_TEST

static void wait_keys(unsigned n)
{
	const int64_t end = now_ms() + 10000;
	unsigned have;

	do {
		pthread_mutex_lock(&lock);
		have = n_keys;
		pthread_mutex_unlock(&lock);
		ck_assert_int_lt(now_ms(), end);
	} while (have < n && !poll(NULL, 0, 1));
}

/* Keysyms and scancodes; what he holds comes up when he leaves, and only that. */
START_TEST(test_hands)
{
	static const uint8_t encodings[] = { 2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xfe };
	static const uint8_t a_down[] = { 4, 1, 0, 0, 0, 0, 0, 'a' };
	static const uint8_t y_down[] = { 255, 0, 0, 1, 0, 0, 0, 'z', 0, 0, 0, 0x15 }; /* a German's z */
	static const uint8_t right[] = { 5, 4, 0, 7, 0, 9 };
	static const unsigned want[][2] = { { KEY_A, 1 }, { KEY_Y, 1 }, { BTN_RIGHT, 1 }, { KEY_Y, 0 }, { KEY_A, 0 } };
	uint8_t ack[16];
	int fd;

	setup();
	ck_assert_int_eq(display_resize(display, 0, 64, 48), 0);
	ck_assert_int_eq(start("unix:vnc"), 0);
	fd = meet(64, 48);
	say(fd, encodings, sizeof(encodings));
	hear(fd, ack, sizeof(ack));
	ck_assert_int_eq(memcmp(ack, "\0\0\0\1\0\0\0\0\0\0\0\0\xff\xff\xfe\xfe", 16), 0);
	say(fd, a_down, sizeof(a_down));
	say(fd, a_down, sizeof(a_down));
	say(fd, y_down, sizeof(y_down));
	say(fd, right, sizeof(right));
	wait_keys(3);
	close(fd);
	wait_keys(6);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(keys[i][0] == want[i][0] && keys[i][1] == want[i][1]);
	ck_assert(keys[3][0] == KEY_Y && !keys[3][1]);
	ck_assert(keys[4][0] == KEY_A && !keys[4][1]);
	ck_assert(keys[5][0] == BTN_RIGHT && !keys[5][1]);
	ck_assert(point_at[0] == 7 && point_at[1] == 9 && point_at[2] == 64 && point_at[3] == 48);
	teardown();
}
END_TEST

/* Whoever says nothing, or half of something, is no matter when it ends. */
START_TEST(test_silent)
{
	int fd[VNC_MAX_CLIENTS + 1];
	char byte;

	setup();
	ck_assert_int_eq(start("unix:vnc"), 0);
	for (int i = 0; i <= VNC_MAX_CLIENTS; i++)
		fd[i] = join();
	ck_assert_uint_eq(vnc_viewers(vnc), VNC_MAX_CLIENTS);
	ck_assert_int_le(recv(fd[VNC_MAX_CLIENTS], &byte, 1, 0), 0); /* one too many */
	say(fd[0], "RFB 0", 5);
	teardown();
	for (int i = 0; i <= VNC_MAX_CLIENTS; i++)
		close(fd[i]);
}
END_TEST

START_TEST(test_places)
{
	struct vnc *first;
	int dead;
	const struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "vnc" };
	char arg[32];

	setup();
	log_set_patience(0);
	/* A file that a killed one has left is no obstacle, one in use is. */
	dead = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(dead, (const struct sockaddr *)&at, sizeof(at)), 0);
	close(dead);
	ck_assert_int_eq(start("unix:vnc"), 0);
	first = vnc;
	ck_assert_int_eq(start("unix:vnc"), -EADDRINUSE);
	ck_assert_int_eq(access("vnc", F_OK), 0);
	vnc_free(first);
	ck_assert_int_eq(start(":auto"), 0);
	first = vnc;
	ck_assert_int_eq(start(":auto"), 0);
	ck_assert_str_ne(vnc_where(first), vnc_where(vnc));
	snprintf(arg, sizeof(arg), ":%d", atoi(strrchr(vnc_where(vnc), ':') + 1) - VNC_PORT);
	vnc_free(first);
	first = vnc;
	ck_assert_int_eq(start(arg), -EADDRINUSE);
	vnc = first;
	teardown();
}
END_TEST

UNIT_MAIN("vnc", test_parse, test_password, test_keysyms, test_scancodes, test_pixels,
	     test_hands, test_silent, test_places)
