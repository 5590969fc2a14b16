/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/log.o */

/*
 * A guest's FUSE requests over a real folder: any opcode, any body, any buffers. Whatever it does,
 * nothing outside the folder changes, no reply is longer than its buffers, and a reset leaves nothing.
 * Each request: opcode, which node, room for the reply, bytes of the fixed part, what is put at its
 * beginning, the part itself, then the names. What maps files into memory has numbers that are likely.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <sys/mman.h>

#include "folder-input.h"
#include "lkvm/fs.h"

#define MOST_REQUESTS 64
#define KNOWN         8
#define WINDOW        (4ULL * FS_WINDOW_UNIT)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fuse *fuse;
static struct file_worker *worker;
static uint64_t nodes[KNOWN], handles[KNOWN]; /* that the guest has been given lately */
static unsigned n_nodes, n_handles;

static void begin(void)
{
	const struct fs_config cfg = { .path = folder, .tag = "tag", .max_fds = 24,
				       .window_bytes = WINDOW };
	static bool begun;

	if (begun)
		return;
	begun = true;
	folder_begin();
	worker = file_worker_new();
	check(worker && !fuse_new(&cfg, &fuse));
}

/* What a guest learns. */
static void learn(uint32_t op, const struct buffers *b)
{
	struct fuse_out_header out;
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	const uint8_t *body = b->in_bytes + sizeof(out);

	memcpy(&out, b->in_bytes, sizeof(out));
	if (b->written < sizeof(out) || out.error)
		return;
	check(out.len == b->written);
	if (op == FUSE_OPEN || op == FUSE_OPENDIR) {
		memcpy(&open, body, sizeof(open));
		handles[n_handles++ % KNOWN] = open.fh;
	}
	if (op != FUSE_LOOKUP && op != FUSE_MKDIR && op != FUSE_MKNOD && op != FUSE_CREATE &&
	    op != FUSE_TMPFILE && op != FUSE_SYMLINK && op != FUSE_LINK)
		return;
	memcpy(&entry, body, sizeof(entry));
	nodes[n_nodes++ % KNOWN] = entry.nodeid;
	if (op == FUSE_CREATE || op == FUSE_TMPFILE) {
		memcpy(&open, body + sizeof(entry), sizeof(open));
		handles[n_handles++ % KNOWN] = open.fh;
	}
}

/* Units, now and then a part of one, and one too many */
static uint64_t place(struct input *in)
{
	unsigned how = input_byte(in);

	return how % 6 * (uint64_t)FS_WINDOW_UNIT + (how > 200 ? how * 64U : 0);
}

static size_t put_mapping(struct input *in, uint8_t *to, uint32_t op)
{
	struct fuse_setupmapping_in map = { .fh = UINT64_MAX };
	struct fuse_removemapping_in remove = { input_byte(in) % 4 };
	struct fuse_removemapping_one one;
	unsigned how;

	if (op == FUSE_SETUPMAPPING) {
		how = input_byte(in);
		map.flags = how % 5;
		if (how & 64)
			map.fh = handles[how % KNOWN];
		map.foffset = place(in);
		map.moffset = place(in);
		map.len = place(in);
		memcpy(to, &map, sizeof(map));
		return sizeof(map);
	}
	memcpy(to, &remove, sizeof(remove));
	to += sizeof(remove);
	for (unsigned i = 0; i < 2; i++, to += sizeof(one)) {
		one = (struct fuse_removemapping_one){ place(in), place(in) };
		memcpy(to, &one, sizeof(one));
	}
	return sizeof(remove) + 2 * sizeof(one);
}

static size_t put_body(struct input *in, uint8_t *to)
{
	size_t fixed = input_byte(in) % 112, len = fixed;
	unsigned how = input_byte(in);

	for (size_t i = 0; i < fixed; i++)
		to[i] = 0;
	for (size_t i = 0; i < fixed && how & 1; i++)
		to[i] = input_byte(in);
	if (how & 2 && fixed >= 8)
		memcpy(to, &handles[(how >> 2) % KNOWN], 8);
	if (how & 32 && fixed >= 8)
		memcpy(to, &nodes[(how >> 2) % KNOWN], 8);
	for (unsigned n = how >> 6; n; n--)
		len += put_name(in, to + len);
	return len;
}

static void request(struct input *in, uint64_t unique)
{
	static const uint32_t rooms[] = { 0, 15, 16, 40, 144, 160, 256, 4096 };
	struct buffers *b = malloc(sizeof(*b));
	struct fuse_in_header head = { .unique = unique };
	unsigned node = input_byte(in), shape;
	size_t bytes, room;

	check(b);
	memset(b->in_bytes, 0xee, sizeof(b->in_bytes));
	head.opcode = input_byte(in) % 64;
	head.nodeid = node < KNOWN ? nodes[node] : node < 200 ? FUSE_ROOT_ID : node;
	shape = input_byte(in);
	room = rooms[shape & 7];
	head.uid = shape & 8 ? 1000 : 0;
	bytes = sizeof(head);
	if ((head.opcode == FUSE_SETUPMAPPING || head.opcode == FUSE_REMOVEMAPPING) && shape & 32)
		bytes += put_mapping(in, b->out_bytes + sizeof(head), head.opcode);
	else
		bytes += put_body(in, b->out_bytes + sizeof(head));
	head.len = shape & 16 ? input_byte(in) : (uint32_t)bytes;
	memcpy(b->out_bytes, &head, sizeof(head));
	buffers_begin(b, bytes, room, shape);
	if (!fuse_quick(fuse, &b->req))
		fuse_serve(fuse, worker, &b->req);
	if (!buffers_served(b, room))
		return;
	learn(head.opcode, b);
	free(b);
}

static void first_requests(void)
{
	static uint8_t in_bytes[256];
	struct {
		struct fuse_in_header head;
		struct fuse_init_in init;
	} out = { { .len = sizeof(out), .opcode = FUSE_INIT }, { .major = 7, .minor = 36, .flags = UINT32_MAX } };
	struct buffers b = { .out = { { &out, sizeof(out) } }, .in = { { in_bytes, sizeof(in_bytes) } } };

	b.req = (struct file_request){ .out = b.out, .in = b.in, .n_out = 1, .n_in = 1, .done = buffers_done };
	n_open++;
	fuse_serve(fuse, worker, &b.req);
	check(b.done && b.written > 16);
	n_nodes = n_handles = 0;
	for (unsigned i = 0; i < KNOWN; i++) {
		nodes[i] = FUSE_ROOT_ID;
		handles[i] = i;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	struct fuse_counts left;

	begin();
	folder_fill();
	first_requests();
	for (unsigned i = 0; i < MOST_REQUESTS && in.at < in.end; i++) {
		request(&in, i);
		if (fuse_has_chores(fuse))
			fuse_chores(fuse);
		if (i % 8 == 7)
			fuse_mend(fuse);
		check(!msync(fuse_memory(fuse), WINDOW, MS_ASYNC)); /* no address is free */
	}
	fuse_reset(fuse);
	buffers_end();
	left = fuse_count(fuse);
	check(left.nodes == 1 && left.fds == 1 && !left.handles && !left.waiters && !left.mapped);
	folder_check_all();
	return 0;
}
