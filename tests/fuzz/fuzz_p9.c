/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/p9.o fs/p9-session.o fs/p9-fid.o fs/p9-names.o fs/p9-attr.o fs/p9-xattr.o fs/p9-file.o fs/p9-lock.o util/log.o */

/*
 * A guest's 9P requests over a real folder: any type, any body, any buffers. Whatever it does, nothing
 * outside the folder changes, no reply is longer than its buffers, and a reset leaves nothing.
 * Each request: type, how its body is made, room for the reply, how it is cut; then the body: as the type
 * has it, with fids that are known and names that are there, or bytes.
 */
#include <errno.h>

#include "folder-input.h"
#include "lkvm/fs.h"

#define MOST_REQUESTS 64
#define FIDS          8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What Linux sends, as fs/p9.c names the parts of bodies */
static const struct {
	uint8_t type;
	const char *body;
} types[] = {
	{ 8, "d" }, { 12, "dd" }, { 14, "dsddd" }, { 16, "dssd" }, { 18, "dsdddd" }, { 20, "dds" },
	{ 22, "d" }, { 24, "dq" }, { 26, "dddddqqqqq" }, { 30, "dds" }, { 32, "dsqd" }, { 40, "dqd" },
	{ 50, "dd" }, { 52, "dbdqqds" }, { 54, "dbqqds" }, { 70, "dds" }, { 72, "dsdd" }, { 74, "dsds" },
	{ 76, "dsd" }, { 100, "ds" }, { 102, "dssd" }, { 104, "ddssd" }, { 108, "w" }, { 110, "ddwss" },
	{ 116, "dqd" }, { 118, "dqds" }, { 120, "d" }, { 122, "d" },
};

static struct p9 *p9;
static struct file_worker *worker;

static void begin(void)
{
	const struct fs_config cfg = { .path = folder, .tag = "tag", .max_fds = 24 };
	static bool begun;

	if (begun)
		return;
	begun = true;
	folder_begin();
	worker = file_worker_new();
	check(worker && !p9_new(&cfg, &p9));
}

static size_t put_number(struct input *in, uint8_t *to, unsigned bytes)
{
	uint8_t how = input_byte(in);

	/* Most are small, as fids, tags and flags are. */
	memset(to, how == 255 ? 255 : 0, bytes);
	to[0] = how < 128 ? how % FIDS : how;
	for (unsigned i = 0; i < bytes && how > 240; i++)
		to[i] = input_byte(in);
	return bytes;
}

static size_t put_string(struct input *in, uint8_t *to)
{
	size_t len = put_name(in, to + 2);

	if (len && !to[2 + len - 1])
		len--;
	to[0] = (uint8_t)len;
	to[1] = 0;
	return 2 + len;
}

static size_t put_body(struct input *in, uint8_t *to, const char *body)
{
	size_t len = 0;

	for (; *body; body++)
		len += *body == 's' ? put_string(in, to + len) :
				      put_number(in, to + len, *body == 'b' ? 1 : *body == 'w' ? 2 :
							       *body == 'd' ? 4 : 8);
	return len;
}

static void serve(struct buffers *b, size_t bytes, size_t room, unsigned shape)
{
	buffers_begin(b, bytes, room, shape);
	p9_begin(p9, &b->req);
	p9_serve(p9, worker, &b->req);
}

static void request(struct input *in, unsigned number)
{
	static const uint16_t rooms[] = { 0, 7, 11, 12, 40, 160, 512, 8000 };
	struct buffers *b = calloc(1, sizeof(*b));
	unsigned which = input_byte(in), shape = input_byte(in);
	size_t bytes = 7, room = rooms[shape & 7 ? 7 : input_byte(in) & 7];
	uint32_t size;

	check(b);
	memset(b->in_bytes, 0xee, sizeof(b->in_bytes));
	b->out_bytes[4] = types[which % (sizeof(types) / sizeof(types[0]))].type;
	b->out_bytes[5] = (uint8_t)(number % FIDS); /* tags are used again */
	if (which < 240)
		bytes += put_body(in, b->out_bytes + 7, types[which % (sizeof(types) / sizeof(types[0]))].body);
	for (unsigned n = which < 240 ? 0 : which & 15; n; n--)
		b->out_bytes[bytes++] = input_byte(in);
	size = shape & 8 && shape & 16 ? input_byte(in) : (uint32_t)bytes;
	memcpy(b->out_bytes, &size, 4);
	serve(b, bytes, room, shape);
	if (buffers_served(b, room))
		free(b);
}

static void first_request(const void *bytes, size_t len)
{
	static struct buffers b;

	memcpy(b.out_bytes, bytes, len);
	serve(&b, len, sizeof(b.in_bytes) - 1, 0);
	check(b.done && b.written > 11);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct p9_counts left;

	begin();
	folder_fill();
	first_request("\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\0" "9P2000.L", 21);
	first_request("\x17\0\0\0\x68\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 23);
	for (unsigned i = 0; i < MOST_REQUESTS && in.at < in.end; i++) {
		request(&in, i);
		if (p9_server(p9)->ops->has_chores(p9_server(p9)))
			p9_server(p9)->ops->chores(p9_server(p9));
	}
	p9_reset(p9);
	buffers_end();
	left = p9_count(p9);
	check(left.nodes == 1 && left.fds == 1 && !left.fids && !left.waiters && !left.xattrs && !left.begun);
	folder_check_all();
	return 0;
}
