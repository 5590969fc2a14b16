/*
 * An image with all that it stands on. The headers are followed here, not by qemu-nbd: it is told of
 * each file, in what format to read it, and that there are no others.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk-internal.h"
#include "image.h"
#include "lkvm/file.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/types.h"

#define DEPTH_MAX 32 /* images one on top of the other */

struct walk {
	const struct disk_config *cfg;
	struct image_graph *graph;
	struct json json;
};

static int walk_image(struct walk *w, const char *key, const char *path, const char *format,
		      bool writes, unsigned depth);

static int no_memory(const struct walk *w)
{
	return log_err(-ENOMEM, "disk '%s'", w->cfg->path);
}

/* ---- may it be named? ---- */

static const char *kind_name(enum image_ref_kind kind)
{
	return kind == IMAGE_BACKING ? "backing file" : kind == IMAGE_DATA_FILE ? "data file" :
										  "extent";
}

static int refuse(const struct walk *w, const char *image, const struct image_ref *ref,
		  const char *hint)
{
	const char *top = w->cfg->path;

	if (image == top)
		return log_errx(-EACCES, "disk '%s' names the %s '%.300s'%s", top,
				kind_name(ref->kind), ref->name, hint);
	return log_errx(-EACCES, "disk '%s': image '%.300s' names the %s '%.300s'%s", top, image,
			kind_name(ref->kind), ref->name, hint);
}

static bool in_own_folder(const struct walk *w, const char *path)
{
	char *own = realpath(w->cfg->path, NULL);
	bool in = false;

	if (own) {
		*strrchr(own, '/') = '\0';
		in = file_is_in(path, *own ? own : "/");
	}
	free(own);
	return in;
}

static bool is_allowed(const struct walk *w, const char *path)
{
	bool in = w->cfg->backing_on && in_own_folder(w, path);

	for (unsigned i = 0; !in && i < w->cfg->n_backing; i++) {
		char *allowed = realpath(w->cfg->backing[i], NULL);

		in = allowed && file_is_in(path, allowed);
		free(allowed);
	}
	return in;
}

/* "a:b" is not a file for QEMU, but protocol a, unless there is a slash before. */
static bool is_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

static int check_ref(struct walk *w, const char *image, const struct image_ref *ref, const char *path)
{
	char *real;
	int err = 0;

	if (is_protocol(ref->name))
		return refuse(w, image, ref, ", which is not a file");
	real = realpath(path, NULL);
	if (!w->cfg->backing_on && !w->cfg->n_backing)
		err = refuse(w, image, ref,
			     real && in_own_folder(w, real) ?
				     "; say backing=on if it is meant" :
				     "; say backing=PATH, with this path, if it is meant");
	else if (!real)
		err = log_err(-errno, "disk '%s': %s '%.300s'", w->cfg->path, kind_name(ref->kind),
			      path);
	else if (!is_allowed(w, real))
		err = refuse(w, image, ref, ", which no backing= allows");
	free(real);
	return err;
}

/* As QEMU takes it: relative to the image that has it. Return: heap, or NULL */
static char *path_of(const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');
	char *path;

	if (*name == '/' || !slash)
		return asprintf(&path, "%s%s", *name == '/' ? "" : "./", name) < 0 ? NULL : path;
	return asprintf(&path, "%.*s/%s", (int)(slash - image), image, name) < 0 ? NULL : path;
}

/* ---- what qemu-nbd is told ---- */

/* Its options are JSON, and that is UTF-8. */
static bool can_be_told(const char *path)
{
	size_t left = strlen(path), n;
	uint32_t c;

	for (; left; left -= n, path += n) {
		n = mask_decode(path, left, &c);
		if (!n)
			return false;
	}
	return true;
}

static int add_file(struct walk *w, const char *path, bool writes)
{
	struct image_graph *g = w->graph;
	struct image_file *files = reallocarray(g->files, g->n_files + 1, sizeof(*files));

	if (!files)
		return no_memory(w);
	g->files = files;
	files[g->n_files] = (struct image_file){ strdup(path), writes };
	if (!files[g->n_files].path)
		return no_memory(w);
	g->n_files++;
	return 0;
}

/* Return: fd, or -errno after one logged line. Nothing that waits when it is opened. */
static int open_image(const struct walk *w, const char *path, bool *ret_device)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), err = 0;
	struct stat st;

	if (fd < 0)
		return log_err(-errno, "disk '%s': open '%.300s'", w->cfg->path, path);
	if (fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
		err = log_errx(-EINVAL, "disk '%s': '%.300s' is neither a file nor a block device",
			       w->cfg->path, path);
	else if (!can_be_told(path))
		err = log_errx(-EILSEQ, "disk '%s': qemu-nbd opens no file whose name is not UTF-8",
			       w->cfg->path);
	if (err) {
		close(fd);
		return err;
	}
	*ret_device = S_ISBLK(st.st_mode);
	return fd;
}

static int put_file(struct walk *w, const char *key, const char *path, bool device, bool writes)
{
	json_object(&w->json, key);
	json_str(&w->json, "driver", device ? "host_device" : "file");
	json_str(&w->json, "filename", path);
	json_end(&w->json);
	return add_file(w, path, writes);
}

static int walk_data_file(struct walk *w, const char *path, bool writes)
{
	bool device;
	int fd = open_image(w, path, &device);

	if (fd < 0)
		return fd;
	close(fd);
	return put_file(w, "data-file", path, device, writes);
}

/* ---- formats ---- */

/*
 * In what format to read a backing file that the image says nothing of. A content that only looks
 * like that of an image can make us refuse here, but not read what is not allowed.
 */
static const char *format_by_content(int fd)
{
	char head[DISK_HEADER_BYTES];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	const char *format = n > 0 ? disk_foreign_header(head, (size_t)n) : NULL;

	if (format && !strcmp(format, "qcow2") && n >= 8 && head[7] == 1)
		return "qcow";
	return format ? format : "raw";
}

static int walk_backing(struct walk *w, const struct image_ref *ref, const char *path, unsigned depth)
{
	bool device;
	int fd, err;
	const char *format = ref->format;

	if (!*format) {
		fd = open_image(w, path, &device);
		if (fd < 0)
			return fd;
		format = format_by_content(fd);
		close(fd);
	}
	if (!disk_format_known(format))
		err = log_errx(-EINVAL, "disk '%s': backing file '%.300s' is of format '%s' (known: %s)",
			       w->cfg->path, path, format, disk_format_names());
	else
		err = walk_image(w, "backing", path, format, false, depth + 1);
	return err;
}

/* ---- the walk ---- */

/* An extent may have a descriptor, and so extents, of its own. */
static int walk_extent(struct walk *w, const char *path, bool raw, bool writes, unsigned depth);

static int walk_ref(struct walk *w, const char *image, const struct image_ref *ref, bool writes,
		    unsigned depth)
{
	char *path = path_of(image, ref->name);
	int err = path ? check_ref(w, image, ref, path) : no_memory(w);

	if (err)
		;
	else if (ref->kind == IMAGE_BACKING)
		err = walk_backing(w, ref, path, depth);
	else if (ref->kind == IMAGE_DATA_FILE)
		err = walk_data_file(w, path, writes);
	else
		err = walk_extent(w, path, ref->kind == IMAGE_EXTENT_RAW, writes, depth + 1);
	free(path);
	return err;
}

static int read_header(struct walk *w, int fd, const char *path, const char *format,
		       struct image_header *ret)
{
	int err = image_read(fd, format, ret);

	if (err == -EINVAL && path == w->cfg->path)
		return log_errx(err, "disk '%s': %s", path, ret->why);
	if (err == -EINVAL)
		return log_errx(err, "disk '%s': '%.300s': %s", w->cfg->path, path, ret->why);
	return err ? no_memory(w) : 0;
}

static int too_deep(const struct walk *w)
{
	return log_errx(-ELOOP, "disk '%s': more than %d images one on top of the other",
			w->cfg->path, DEPTH_MAX);
}

static int walk_extent(struct walk *w, const char *path, bool raw, bool writes, unsigned depth)
{
	struct image_header h = { 0 };
	bool device;
	int fd, err;

	if (depth > DEPTH_MAX || w->graph->n_files > 4096)
		return too_deep(w);
	fd = open_image(w, path, &device);
	if (fd < 0)
		return fd;
	err = add_file(w, path, writes);
	if (!err && !raw)
		err = read_header(w, fd, path, "vmdk", &h);
	close(fd);
	for (unsigned i = 0; !err && i < h.n_refs; i++)
		if (h.refs[i].kind != IMAGE_BACKING)
			err = walk_ref(w, path, &h.refs[i], writes, depth);
	image_header_free(&h);
	return err;
}

static int check_encryption(struct walk *w, const char *path, const struct image_header *h)
{
	if (!h->encryption)
		return 0;
	w->graph->encrypted = true;
	if (!w->cfg->key_file)
		return log_errx(-ENOKEY, "disk '%s': '%.300s' is encrypted; say key-file=FILE",
				w->cfg->path, path);
	json_object(&w->json, "encrypt");
	json_str(&w->json, "format", h->encryption);
	json_str(&w->json, "key-secret", DISK_KEY_ID);
	json_end(&w->json);
	return 0;
}

/* In the order that is JSON: the image's own file, then the others, one of which may be below it. */
static int walk_refs(struct walk *w, const char *path, const struct image_header *h, bool writes,
		     unsigned depth)
{
	bool has_backing = false;
	int err = 0;

	for (unsigned i = 0; !err && i < h->n_refs; i++) {
		if (h->refs[i].kind == IMAGE_BACKING && has_backing)
			continue;
		has_backing |= h->refs[i].kind == IMAGE_BACKING;
		err = walk_ref(w, path, &h->refs[i], writes, depth);
	}
	if (!err && !has_backing)
		json_str(&w->json, "backing", NULL);
	return err;
}

static int walk_image(struct walk *w, const char *key, const char *path, const char *format,
		      bool writes, unsigned depth)
{
	bool device, raw = !strcmp(format, "raw");
	struct image_header h = { 0 };
	int fd, err;

	if (depth >= DEPTH_MAX)
		return too_deep(w);
	fd = open_image(w, path, &device);
	if (fd < 0)
		return fd;
	json_object(&w->json, key);
	json_str(&w->json, "driver", format);
	err = put_file(w, "file", path, device, writes);
	if (!err && !raw)
		err = read_header(w, fd, path, format, &h);
	close(fd);
	if (!err)
		err = check_encryption(w, path, &h);
	if (!err && !raw)
		err = walk_refs(w, path, &h, writes, depth);
	image_header_free(&h);
	if (!err)
		json_end(&w->json);
	return err;
}

static int check_options(const struct disk_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_backing; i++)
		if (access(cfg->backing[i], F_OK))
			return log_err(-errno, "disk '%s': backing '%s'", cfg->path, cfg->backing[i]);
	return 0;
}

/* Where a line of JSON ends no string stands: there, an end of line is an escape. */
static void in_one_line(char *text)
{
	char *to = text;

	for (char *from = text; *from;) {
		if (*from == '\n')
			from += 1 + strspn(from + 1, " ");
		else
			*to++ = *from++;
	}
	*to = '\0';
}

int image_graph_make(const struct disk_config *cfg, const char *format, struct image_graph *ret)
{
	struct walk w = { .cfg = cfg, .graph = ret };
	FILE *out;
	size_t len;
	int err = check_options(cfg);

	*ret = (struct image_graph){ 0 };
	if (err)
		return err;
	out = open_memstream(&ret->node, &len);
	if (!out)
		return no_memory(&w);
	json_init(&w.json, out);
	fputs("json:", out);
	err = walk_image(&w, NULL, cfg->path, format, !cfg->read_only, 0);
	if (fclose(out) && !err)
		err = no_memory(&w);
	if (ret->node)
		in_one_line(ret->node);
	if (!err && cfg->key_file && !ret->encrypted)
		err = log_errx(-EINVAL, "disk '%s' is not encrypted: it takes no key-file=", cfg->path);
	return err;
}

void image_graph_free(struct image_graph *graph)
{
	for (unsigned i = 0; i < graph->n_files; i++)
		free(graph->files[i].path);
	free(graph->files);
	free(graph->node);
	*graph = (struct image_graph){ 0 };
}
