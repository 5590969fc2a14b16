/* A look into the memory of a guest that has ended badly; see lkvm/vm/look.h. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/json.h"
#include "lkvm/linux/printk.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/vm/backtrace.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/look.h"
#include "lkvm/vm/run.h"

#define SEARCH_NS  (2 * NS_PER_S)
#define MOST_CPUS  64
#define TAIL_LINES 12
#define LEAST_FRAMES 3 /* of each vCPU, however many there are */

struct look {
	const struct linux_symbols *symbols; /* NULL: not known */
	char *log;         /* all of it, as lines; NULL: there is none */
	size_t log_bytes;
	char withheld[80]; /* as struct control has it */
	unsigned n_cpus, n_shown;
	struct backtrace cpu[];
};

/* ---- taking ---- */

static void print_record(FILE *out, struct linux_record *r)
{
	const size_t len = mask_text(r->text, r->len, "\n\t");

	fprintf(out, "[%5" PRIu64 ".%06" PRIu64 "] %.*s\n", (uint64_t)(r->ts_ns / NS_PER_S),
		r->ts_ns / 1000 % 1000000, (int)len, r->text);
}

static void take_log(struct look *look, const struct linux_guest *guest)
{
	struct linux_record record;
	struct linux_log log;
	FILE *out;

	if (linux_log_open(guest, &log))
		return;
	out = open_memstream(&look->log, &look->log_bytes);
	if (!out)
		return;
	while (!linux_log_next(&log, &record))
		print_record(out, &record);
	fclose(out);
}

static void find_kernel(struct look *look, struct control *ctl)
{
	const uint64_t until = now_ns() + SEARCH_NS;
	const struct linux_guest *guest;
	int err;

	do
		err = control_linux(ctl, &guest);
	while (err == -EAGAIN && now_ns() < until);
	if (err)
		return;
	control_symbols(ctl, &look->symbols);
	take_log(look, guest);
}

struct look *look_take(struct control *ctl)
{
	const unsigned n_cpus = ctl->kvm->n_cpus, n = n_cpus < MOST_CPUS ? n_cpus : MOST_CPUS;
	struct look *look = calloc(1, sizeof(*look) + n * sizeof(look->cpu[0]));

	if (!look) {
		log_errx(-ENOMEM, "out of memory");
		return NULL;
	}
	look->n_cpus = n_cpus;
	snprintf(look->withheld, sizeof(look->withheld), "%s", ctl->withheld);
	find_kernel(look, ctl);
	for (unsigned i = 0; i < n; i++)
		if (!backtrace_take(ctl->kvm, i, look->symbols, &look->cpu[look->n_shown])) {
			struct backtrace *b = &look->cpu[look->n_shown++];

			if (ctl->polled)
				snprintf(b->polls, sizeof(b->polls), "%s", ctl->polled[i].text);
		}
	return look;
}

void look_free(struct look *look)
{
	if (look)
		free(look->log);
	free(look);
}

bool look_knows_kernel(const struct look *look)
{
	return look && look->symbols;
}

/* ---- showing ---- */

/* Where the last @n lines of the log begin */
static const char *log_tail(const struct look *look, unsigned n)
{
	const char *at = look->log + look->log_bytes;

	while (at > look->log && n) {
		at--;
		while (at > look->log && at[-1] != '\n')
			at--;
		n--;
	}
	return at;
}

/* Has the console had the log's last line? It shows the time in the same way, if at all. */
static bool is_on_console(const struct look *look, const char *last_lines)
{
	char line[256];
	const char *text;

	snprintf(line, sizeof(line), "%s", log_tail(look, 1));
	text = strstr(line, "] ");
	line[strcspn(line, "\n")] = '\0';
	return text && text[2] && strstr(last_lines, text + 2);
}

/* @out gets what @print prints, masked, at most @most lines of it; Return: how many */
static unsigned print_masked(FILE *out, const struct look *look, unsigned i, unsigned most)
{
	char *text = NULL;
	unsigned lines = 0;
	size_t len = 0;
	FILE *memory = open_memstream(&text, &len);

	if (!memory)
		return 0;
	backtrace_print(memory, &look->cpu[i], look->symbols, most);
	if (fclose(memory) || !text)
		return 0;
	len = mask_text(text, len, "\n");
	fwrite(text, 1, len, out);
	for (size_t k = 0; k < len; k++)
		lines += text[k] == '\n';
	free(text);
	return lines;
}

/* Each vCPU may have as many frames as are left for it. */
static void print_cpus(FILE *out, const struct look *look, unsigned most)
{
	for (unsigned i = 0; i < look->n_shown; i++) {
		const unsigned share = most / (look->n_shown - i), used_by_names = 2; /* its own line, "... more" */
		unsigned lines;

		if (share < LEAST_FRAMES + used_by_names && most < LEAST_FRAMES + used_by_names) {
			fprintf(out, "%u more vCPUs\n", look->n_cpus - i);
			return;
		}
		lines = print_masked(out, look, i,
				     share < LEAST_FRAMES + used_by_names ? LEAST_FRAMES : share - used_by_names);
		most -= lines < most ? lines : most;
	}
}

void look_print(FILE *out, const struct look *look, const char *last_lines, unsigned most)
{
	if (look->log_bytes && !is_on_console(look, last_lines)) {
		const unsigned lines = TAIL_LINES < most / 2 ? TAIL_LINES : most / 2;

		fprintf(out, "lkvm: the last lines of its kernel's log:\n%s", log_tail(look, lines));
		most -= lines + 1;
	}
	if (*look->withheld) {
		fprintf(out, "lkvm: %s\n", look->withheld);
		most--;
	}
	print_cpus(out, look, most - 1);
}

void look_json(struct json *json, const struct look *look)
{
	json_str(json, "kernel_tail", look && look->log_bytes ? log_tail(look, TAIL_LINES) : NULL);
	json_str(json, "withheld", look && *look->withheld ? look->withheld : NULL);
	json_array(json, "backtraces");
	for (unsigned i = 0; look && i < look->n_shown; i++)
		backtrace_json(json, &look->cpu[i], look->symbols);
	json_end(json);
}

/* ---- the folder ---- */

/* Return: a new file of that name, or NULL, logged */
static FILE *open_file(int dir_fd, const char *dir, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (out)
		return out;
	log_err(-errno, "write '%s/%s'", dir, name);
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void write_log(FILE *out, const struct look *look, const struct control *ctl, const struct run_result *result)
{
	(void)ctl, (void)result;
	fwrite(look->log ? look->log : "", 1, look->log_bytes, out);
}

static void write_backtraces(FILE *out, const struct look *look, const struct control *ctl,
			     const struct run_result *result)
{
	(void)ctl, (void)result;
	for (unsigned i = 0; i < look->n_shown; i++)
		print_masked(out, look, i, LINUX_FRAMES);
}

static void write_map(FILE *out, const struct look *look, const struct control *ctl, const struct run_result *result)
{
	(void)look, (void)result;
	control_memmap(ctl, false, out);
}

static void write_console(FILE *out, const struct look *look, const struct control *ctl,
			  const struct run_result *result)
{
	(void)look, (void)ctl;
	fputs(result->last_lines, out);
}

int look_write(const struct look *look, const char *dir, const struct control *ctl, const struct run_result *result)
{
	static const struct {
		const char *name;
		void (*write)(FILE *out, const struct look *look, const struct control *ctl,
			      const struct run_result *result);
	} files[] = {
		{ "dmesg", write_log }, { "backtraces", write_backtraces }, { "memory-map", write_map },
		{ "console", write_console },
	};
	int fd, err = 0;

	if (mkdir(dir, 0777) && errno != EEXIST)
		return log_err(-errno, "make folder '%s'", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return log_err(-errno, "open folder '%s'", dir);
	for (size_t i = 0; !err && i < ARRAY_SIZE(files); i++) {
		FILE *out = open_file(fd, dir, files[i].name);

		if (!out) {
			err = -EIO;
			break;
		}
		files[i].write(out, look, ctl, result);
		if (fclose(out))
			err = log_err(-errno, "write '%s/%s'", dir, files[i].name);
	}
	close(fd);
	return err;
}
