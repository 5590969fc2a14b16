/*
 * The file of a snapshot's state; see vm/snapshot.h.
 *
 *	header   magic, version, number of sections, bytes of the file, time, lkvm's version, CRC of all that
 *	section  name, bytes, CRC of name, bytes and records | records ...
 *
 * Little endian, as the host is.
 */
#include "lkvm/vm/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/crc32c.h"
#include "lkvm/file.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/types.h"
#include "lkvm/version.h"
#include "snapshot-internal.h"

#define VERSION      1
#define STATE_MOST   (256 * MIB) /* one of 255 CPUs and 20 disks has 2.5 MB */
#define MAX_SECTIONS 4096

struct header {
	char magic[8];
	uint32_t version;
	uint32_t n;
	uint64_t bytes;
	int64_t seconds; /* since 1970 */
	char lkvm[48];
	uint32_t reserved;
	uint32_t crc;
};

struct section_head {
	char name[SNAPSHOT_NAME_BYTES];
	uint32_t bytes;
	uint32_t crc;
};

struct section {
	const char *name;
	const uint8_t *at;
	size_t bytes;
	bool used;
};

struct snapshot {
	char *path;
	int dir_fd, ram_fd;
	uint8_t *file;
	const struct header *header;
	struct section *section; /* header->n of them */
};

static uint32_t section_crc(const struct section_head *head, const void *records)
{
	return crc32c(crc32c(0, head, offsetof(struct section_head, crc)), records, head->bytes);
}

static uint32_t header_crc(const struct header *header)
{
	return crc32c(0, header, offsetof(struct header, crc));
}

/* ---- write ---- */

static void end_section(struct snapshot_writer *w)
{
	const size_t records = w->section + sizeof(struct section_head);
	struct section_head head;

	if (!w->n)
		return;
	memcpy(&head, w->buf.data + w->section, sizeof(head));
	head.bytes = (uint32_t)(w->buf.len - records);
	head.crc = section_crc(&head, w->buf.data + records);
	memcpy(w->buf.data + w->section, &head, sizeof(head));
}

int snapshot_begin(struct snapshot_writer *w, const char *name)
{
	static const struct header none;
	struct section_head head = { 0 };
	int err = w->buf.len ? 0 : state_buf_add(&w->buf, &none, sizeof(none));

	if (err)
		return err;
	end_section(w);
	w->section = w->buf.len;
	w->n++;
	snprintf(head.name, sizeof(head.name), "%s", name);
	return state_buf_add(&w->buf, &head, sizeof(head));
}

int snapshot_put(struct snapshot_writer *w, const char *section, const struct state_type *type, const void *state)
{
	int err = snapshot_begin(w, section);

	return err ? err : state_pack(&w->buf, type, state);
}

int snapshot_add_file(struct snapshot_writer *w, const char *part, const void *data, uint64_t bytes)
{
	struct snapshot_piece *pieces = realloc(w->pieces, (w->n_pieces + 1) * sizeof(*pieces));

	if (!pieces)
		return -ENOMEM;
	w->pieces = pieces;
	pieces[w->n_pieces] = (struct snapshot_piece){ .data = data, .bytes = bytes };
	snprintf(pieces[w->n_pieces++].part, SNAPSHOT_PART_BYTES, "%s", part);
	return 0;
}

int snapshot_end(struct snapshot_writer *w)
{
	struct header header = {
		.magic = SNAPSHOT_MAGIC, .version = VERSION, .n = w->n, .bytes = w->buf.len, .seconds = time(NULL),
	};

	if (!w->n)
		return -ENOMEM;
	end_section(w);
	snprintf(header.lkvm, sizeof(header.lkvm), "%s", lkvm_version);
	header.crc = header_crc(&header);
	memcpy(w->buf.data, &header, sizeof(header));
	return 0;
}

/* ---- read ---- */

static int damaged(const struct snapshot *snap, const char *what)
{
	return log_errx(-EBADMSG, "snapshot '%s' is damaged: %s", snap->path, what);
}

static int read_state(struct snapshot *snap, int fd, size_t *ret_len)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return log_err(-errno, "snapshot '%s'", snap->path);
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct header) ||
	    st.st_size > (off_t)STATE_MOST)
		return log_errx(-EBADMSG, "'%s' is no snapshot", snap->path);
	*ret_len = (size_t)st.st_size;
	snap->file = malloc(*ret_len);
	if (!snap->file)
		return log_err(-ENOMEM, "snapshot '%s'", snap->path);
	n = file_read(fd, snap->file, *ret_len, 0);
	if (n < 0)
		return log_err((int)n, "read '%s/%s'", snap->path, SNAPSHOT_STATE);
	return (size_t)n == *ret_len ? 0 : damaged(snap, "it is cut short");
}

static int check_header(struct snapshot *snap, size_t len)
{
	const struct header *h = (const struct header *)snap->file;

	if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof(h->magic)))
		return log_errx(-EBADMSG, "'%s' is no snapshot", snap->path);
	if (h->crc != header_crc(h))
		return damaged(snap, "its header");
	if (h->version > VERSION)
		return log_errx(-ENOTSUP, "snapshot '%s' is from a newer lkvm (%.*s)", snap->path,
				(int)sizeof(h->lkvm), h->lkvm);
	if (h->version != VERSION || !h->n || h->n > MAX_SECTIONS || h->lkvm[sizeof(h->lkvm) - 1])
		return damaged(snap, "its header");
	if (h->bytes != len)
		return damaged(snap, "it is cut short, or something is behind it");
	snap->header = h;
	return 0;
}

/* It is shown to people. */
static bool is_section_name(const char *name, size_t bytes)
{
	const size_t len = strnlen(name, bytes);

	return len && len < bytes && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == len;
}

static int check_sections(struct snapshot *snap)
{
	size_t off = sizeof(struct header), len = snap->header->bytes;

	snap->section = calloc(snap->header->n, sizeof(*snap->section));
	if (!snap->section)
		return log_err(-ENOMEM, "snapshot '%s'", snap->path);
	for (uint32_t i = 0; i < snap->header->n; i++) {
		const char *name = (const char *)snap->file + off;
		struct section_head head; /* where it is in the file need not be aligned */

		if (len - off < sizeof(head))
			return damaged(snap, "a section is missing");
		memcpy(&head, name, sizeof(head));
		off += sizeof(head);
		if (head.bytes > len - off || !is_section_name(head.name, sizeof(head.name)) ||
		    head.crc != section_crc(&head, snap->file + off))
			return damaged(snap, "a section");
		snap->section[i] = (struct section){ name, snap->file + off, head.bytes, false };
		off += head.bytes;
	}
	return off == len ? 0 : damaged(snap, "there is something behind the last section");
}

static int open_parts(struct snapshot *snap)
{
	size_t len = 0;
	int fd, err;

	snap->dir_fd = open(snap->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (snap->dir_fd < 0)
		return log_err(-errno, "open snapshot '%s'", snap->path);
	fd = openat(snap->dir_fd, SNAPSHOT_STATE, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? log_errx(-EBADMSG, "'%s' is no snapshot", snap->path) :
					 log_err(-errno, "open '%s/%s'", snap->path, SNAPSHOT_STATE);
	err = read_state(snap, fd, &len);
	close(fd);
	if (err)
		return err;
	snap->ram_fd = openat(snap->dir_fd, SNAPSHOT_RAM, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (snap->ram_fd < 0)
		return log_err(-errno, "open '%s/%s'", snap->path, SNAPSHOT_RAM);
	err = check_header(snap, len);
	return err ? err : check_sections(snap);
}

int snapshot_open(const char *path, struct snapshot **ret)
{
	struct snapshot *snap = calloc(1, sizeof(*snap));
	int err;

	if (!snap)
		return log_err(-ENOMEM, "snapshot '%s'", path);
	snap->dir_fd = snap->ram_fd = -1;
	snap->path = strdup(path);
	err = snap->path ? open_parts(snap) : log_err(-ENOMEM, "snapshot '%s'", path);
	if (err)
		snapshot_close(snap);
	else
		*ret = snap;
	return err;
}

void snapshot_close(struct snapshot *snap)
{
	if (!snap)
		return;
	if (snap->dir_fd >= 0)
		close(snap->dir_fd);
	if (snap->ram_fd >= 0)
		close(snap->ram_fd);
	free(snap->section);
	free(snap->file);
	free(snap->path);
	free(snap);
}

const char *snapshot_path(const struct snapshot *snap)
{
	return snap->path;
}

int snapshot_folder(const struct snapshot *snap)
{
	return snap->dir_fd;
}

int snapshot_ram(const struct snapshot *snap)
{
	return snap->ram_fd;
}

static struct state_reader reader_of(const struct section *s)
{
	return (struct state_reader){ .at = s->at, .end = s->at + s->bytes };
}

int snapshot_find(struct snapshot *snap, const char *name, struct state_reader *ret)
{
	for (uint32_t i = 0; i < snap->header->n; i++) {
		struct section *s = &snap->section[i];

		if (s->used || strcmp(s->name, name))
			continue;
		s->used = true;
		*ret = reader_of(s);
		return 0;
	}
	return -ENOENT;
}

const char *snapshot_unused(const struct snapshot *snap)
{
	for (uint32_t i = 0; i < snap->header->n; i++)
		if (!snap->section[i].used)
			return snap->section[i].name;
	return NULL;
}

int snapshot_bad(const struct snapshot *snap, const char *section, const struct state_reader *in, int err)
{
	if (err == -ENOMEM)
		return log_err(err, "snapshot '%s'", snap->path);
	if (err == -ESTALE) /* what it is of is not there any more */
		return log_errx(err, "snapshot '%s': %s", snap->path, in->why);
	if (err == -ENODEV)
		return log_errx(err, "snapshot '%s': this machine's %s is not what it was", snap->path, section);
	if (err == -ENOTSUP)
		return log_errx(err, "snapshot '%s': this lkvm or this host cannot take %s: %s", snap->path,
				section, *in->why ? in->why : strerror(-err));
	return log_errx(err, "snapshot '%s' is damaged: %s: %s", snap->path, section,
			*in->why ? in->why : strerror(-err));
}

int snapshot_check_part(const struct snapshot *snap, const char *part, uint64_t bytes, const char *like)
{
	struct stat is;

	if (fstatat(snap->dir_fd, part, &is, AT_SYMLINK_NOFOLLOW))
		return log_err(-errno, "'%s/%s'", snap->path, part);
	if (!S_ISREG(is.st_mode) || (uint64_t)is.st_size != bytes)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: '%s' is not as long as %s", snap->path, part, like);
	return 0;
}

int snapshot_note_path(char *path, uint8_t *ret, size_t cap, uint32_t *ret_n)
{
	const size_t n = path ? strlen(path) + 1 : 0;
	int err = path ? 0 : -errno;

	if (n > cap)
		err = -ENAMETOOLONG;
	if (!err) {
		memcpy(ret, path, n);
		*ret_n = (uint32_t)n;
	}
	free(path);
	return err;
}

int snapshot_take_any(struct snapshot *snap, const char *section, const struct state_type *type, void *ret_state)
{
	struct state_reader in;
	int err = snapshot_find(snap, section, &in);

	if (err)
		return err;
	err = state_unpack(&in, type, ret_state);
	if (err)
		return snapshot_bad(snap, section, &in, err);
	return in.at == in.end ? 0 : damaged(snap, section);
}

int snapshot_take(struct snapshot *snap, const char *section, const struct state_type *type, void *ret_state)
{
	const int err = snapshot_take_any(snap, section, type, ret_state);

	return err != -ENOENT ? err : log_errx(-EBADMSG, "snapshot '%s' is damaged: it has no '%s'", snap->path, section);
}

/* ---- for people ---- */

int snapshot_print(struct snapshot *snap, FILE *out)
{
	char version[sizeof(snap->header->lkvm)];

	memcpy(version, snap->header->lkvm, sizeof(version));
	fprintf(out, "# lkvm %.*s\n", (int)mask_text(version, strlen(version), ""), version);
	for (uint32_t i = 0; i < snap->header->n; i++) {
		const struct section *s = &snap->section[i];
		struct state_reader in = reader_of(s);

		fprintf(out, "\n[%s]\n", s->name);
		while (in.at < in.end)
			if (state_print(&in, out))
				return snapshot_bad(snap, s->name, &in, -EBADMSG);
	}
	return 0;
}

int snapshot_json(struct snapshot *snap, struct json *json)
{
	json_object(json, NULL);
	json_str(json, "lkvm", snap->header->lkvm);
	json_i64(json, "seconds", snap->header->seconds);
	json_array(json, "sections");
	for (uint32_t i = 0; i < snap->header->n; i++) {
		const struct section *s = &snap->section[i];
		struct state_reader in = reader_of(s);

		json_object(json, NULL);
		json_str(json, "name", s->name);
		json_array(json, "records");
		while (in.at < in.end)
			if (state_json(&in, json))
				return snapshot_bad(snap, s->name, &in, -EBADMSG);
		json_end(json);
		json_end(json);
	}
	json_end(json);
	json_end(json);
	return 0;
}
