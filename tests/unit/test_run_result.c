/* Links: vm/ktap.o vm/junit.o vm/result.o vm/result-file.o util/json.o util/log.o util/mask.o util/stream.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/json.h"
#include "lkvm/types.h"
#include "lkvm/vm/look.h"
#include "lkvm/vm/run.h"

const char lkvm_version[] = "1.2-test";

/* What vm/look.c adds is no concern of this test's. */
void look_json(struct json *json, const struct look *look)
{
	ck_assert_ptr_null(look);
	json_str(json, "look", NULL);
}

static char folder[32];

static void make_folder(void)
{
	strcpy(folder, "/tmp/test_run_result.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
	static const char *const names[] = { "out", "link", "fifo", "other" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(names[i]);
	/* Fails if a temporary file was left. */
	ck_assert_int_eq(rmdir(folder), 0);
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

static const char *get(const char *name)
{
	static char text[4096];
	FILE *f = fopen(name, "r");
	size_t n;

	if (!f)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

/* ---- the verdict ---- */

#define PANIC "Kernel panic - not syncing: x"

START_TEST(test_verdict)
{
	static const struct {
		struct run_result r;
		unsigned reset_status;
		int status;
		const char *reason;
	} cases[] = {
		{ { .cause = STOP_NONE }, 0, 125, "error" },
		{ { .cause = STOP_HOST_ERROR, .value = EIO }, 0, 125, "error" },
		{ { .cause = STOP_HOST_ERROR, .value = EIO, .panic = PANIC }, 0, 125, "error" },
		{ { .cause = STOP_POWEROFF }, 0, 0, "poweroff" },
		{ { .cause = STOP_POWEROFF }, 9, 0, "poweroff" },
		{ { .cause = STOP_HALT }, 9, 0, "halt" },
		{ { .cause = STOP_HALT, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_REQUEST }, 0, 0, "stop" },
		{ { .cause = STOP_FAULT }, 0, 121, "fault" },
		{ { .cause = STOP_TIMEOUT }, 0, 124, "timeout" },
		{ { .cause = STOP_SIGNAL, .value = 15 }, 0, 143, "signal" },
		{ { .cause = STOP_DEBUG_EXIT, .value = 3 }, 0, 7, "debug-exit" },
		{ { .cause = STOP_DEBUG_EXIT, .value = 0x180 }, 0, 1, "debug-exit" },

		{ { .cause = STOP_RESET }, 0, 0, "reset" },
		{ { .cause = STOP_RESET, .rebooted = true }, 0, 0, "reboot" },
		{ { .cause = STOP_RESET }, 77, 77, "reset" },
		{ { .cause = STOP_RESET, .rebooted = true }, 77, 0, "reboot" },
		{ { .cause = STOP_RESET, .panic = PANIC }, 77, 120, "panic" },

		/* A panic stays one, whatever comes after it. */
		{ { .cause = STOP_PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_RESET, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_RESET, .panic = PANIC, .rebooted = true }, 0, 120, "panic" },
		{ { .cause = STOP_POWEROFF, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_POWEROFF, .panicked = true }, 0, 120, "panic" },
		{ { .cause = STOP_FAULT, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_REQUEST, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_TIMEOUT, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_DEBUG_EXIT, .panic = PANIC }, 0, 120, "panic" },
		{ { .cause = STOP_SIGNAL, .value = 2, .panic = PANIC }, 0, 130, "signal" },

		/* Lost output: only if nothing else was wrong. */
		{ { .cause = STOP_POWEROFF, .output_failed = true }, 0, 125, "error" },
		{ { .cause = STOP_RESET, .output_failed = true }, 77, 77, "reset" },
		{ { .cause = STOP_TIMEOUT, .output_failed = true }, 0, 124, "timeout" },
		{ { .cause = STOP_PANIC, .output_failed = true }, 0, 120, "panic" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct vm_config cfg = { .reset_status = cases[i].reset_status };
		struct run_result r = cases[i].r;

		run_judge(&r, &cfg);
		ck_assert_msg(r.status == cases[i].status, "case %zu: %d", i, r.status);
		ck_assert_msg(!strcmp(r.reason, cases[i].reason), "case %zu: %s", i, r.reason);
		ck_assert_msg(r.panicked == (r.status == 120), "case %zu", i);
		if (r.panicked) /* ... has a text, by whomever */
			ck_assert_ptr_nonnull(r.panic);
	}
}
END_TEST

/* What --fail-on forbids counts more than how the guest itself ended, less than how it was ended. */
START_TEST(test_splats)
{
	static struct kernel_log log = { .n_splats = 2, .splat = { "WARNING: at a", "BUG: b" } };
	static const struct {
		struct run_result r;
		int status;
		const char *reason;
	} cases[] = {
		{ { .cause = STOP_POWEROFF }, 123, "poweroff" },
		{ { .cause = STOP_HALT }, 123, "halt" },
		{ { .cause = STOP_RESET }, 123, "reset" },
		{ { .cause = STOP_REQUEST }, 123, "stop" },
		{ { .cause = STOP_DEBUG_EXIT, .value = 3 }, 123, "debug-exit" },
		{ { .cause = STOP_COMMAND, .has_command = true, .command_ended = true }, 123, "command" },
		{ { .cause = STOP_COMMAND, .has_command = true, .command_ended = true, .command.code = 7 }, 123,
		  "command" },
		{ { .cause = STOP_POWEROFF, .has_command = true }, 123, "poweroff" },
		{ { .cause = STOP_POWEROFF, .output_failed = true }, 123, "poweroff" },
		{ { .cause = STOP_POWEROFF, .panic = PANIC }, 120, "panic" },
		{ { .cause = STOP_FAULT }, 121, "fault" },
		{ { .cause = STOP_TIMEOUT }, 124, "timeout" },
		{ { .cause = STOP_HOST_ERROR, .value = EIO }, 125, "error" },
		{ { .cause = STOP_SIGNAL, .value = 15 }, 143, "signal" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct vm_config cfg = { .reset_status = 9 };
		struct run_result r = cases[i].r;

		r.kernel_log = &log;
		run_judge(&r, &cfg);
		ck_assert_msg(r.status == cases[i].status, "case %zu: %d", i, r.status);
		ck_assert_msg(!strcmp(r.reason, cases[i].reason), "case %zu: %s", i, r.reason);
	}
}
END_TEST

/* A test that failed, or a plan that was not kept, makes 1 of 0. */
START_TEST(test_tests)
{
	static const struct {
		const char *text;
		struct run_result r;
		int status;
	} cases[] = {
		{ "TAP version 13\n1..1\nok 1 a\n", { .cause = STOP_POWEROFF }, 0 },
		{ "TAP version 13\n1..1\nnot ok 1 a # TODO\n", { .cause = STOP_POWEROFF }, 0 },
		{ "TAP version 13\n1..1\nnot ok 1 a\n", { .cause = STOP_POWEROFF }, 1 },
		{ "TAP version 13\n1..2\nok 1 a\n", { .cause = STOP_POWEROFF }, 1 },
		{ "TAP version 13\nnot ok 1 a\n", { .cause = STOP_TIMEOUT }, 124 },
		{ "TAP version 13\nnot ok 1 a\n", { .cause = STOP_COMMAND, .command_ended = true }, 1 },
		{ "TAP version 13\nnot ok 1 a\n",
		  { .cause = STOP_COMMAND, .command_ended = true, .command.code = 7 }, 7 },
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const struct vm_config cfg = { .ktap = true };
		struct run_result r = cases[i / 2].r;
		struct ktap *k;

		ck_assert_int_eq(ktap_new(false, &k), 0);
		ktap_feed(k, cases[i / 2].text, strlen(cases[i / 2].text));
		ktap_end(k);
		r.ktap[i % 2] = k;
		run_judge(&r, &cfg);
		ck_assert_msg(r.status == cases[i / 2].status, "case %zu: %d", i / 2, r.status);
		ktap_free(k);
	}
}
END_TEST

/* ---- the file ---- */

START_TEST(test_replace)
{
	struct run_file file;
	struct stat st;

	make_folder();
	umask(027);
	put("out", "old");
	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	ck_assert_ptr_null(get("out")); /* killed now, a run leaves nothing */
	ck_assert_int_eq(run_file_write(&file, "new", 3), 0);
	ck_assert_str_eq(get("out"), "new");
	ck_assert_int_eq(stat("out", &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);

	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	run_file_close(&file);
	ck_assert_ptr_null(get("out"));
	remove_folder();
}
END_TEST

START_TEST(test_link)
{
	struct run_file file;
	char target[16] = "";

	make_folder();
	put("other", "old");
	ck_assert_int_eq(symlink("other", "link"), 0);
	ck_assert_int_eq(run_file_open(&file, "link"), 0);
	ck_assert_ptr_null(get("other"));
	ck_assert_int_eq(run_file_write(&file, "new", 3), 0);
	ck_assert_int_eq(readlink("link", target, sizeof(target) - 1), 5);
	ck_assert_str_eq(target, "other");
	ck_assert_str_eq(get("other"), "new");
	remove_folder();
}
END_TEST

/* What is no file is neither removed nor replaced. */
START_TEST(test_as_it_is)
{
	struct run_file file;
	char text[8] = "";
	struct stat st;
	int fifo;

	make_folder();
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	fifo = open("fifo", O_RDWR | O_NONBLOCK);
	ck_assert_int_eq(run_file_open(&file, "fifo"), 0);
	ck_assert_int_eq(run_file_write(&file, "new", 3), 0);
	ck_assert_int_eq(read(fifo, text, sizeof(text)), 3);
	ck_assert_str_eq(text, "new");
	ck_assert(!stat("fifo", &st) && S_ISFIFO(st.st_mode));
	close(fifo);

	/* Not everything below /dev is a device. */
	ck_assert_int_eq(run_file_open(&file, "/dev/shm/lkvm-test-result"), 0);
	ck_assert_int_eq(run_file_write(&file, "shm", 3), 0);
	ck_assert_int_eq(unlink("/dev/shm/lkvm-test-result"), 0);

	put("out", "");
	ck_assert_int_eq(dup2(open("out", O_WRONLY), STDOUT_FILENO), STDOUT_FILENO);
	ck_assert_int_eq(run_file_open(&file, "-"), 0);
	ck_assert_int_eq(run_file_write(&file, "one", 3), 0);
	ck_assert_str_eq(get("out"), "one");
	ck_assert_int_eq(run_file_open(&file, "/dev/stdout"), 0);
	ck_assert_int_eq(run_file_write(&file, "two", 3), 0);
	ck_assert_int_eq(strncmp(get("out"), "two", 3), 0);
	ck_assert(write(STDOUT_FILENO, "", 0) == 0); /* still open */

	ck_assert_int_eq(run_file_open(&file, "/dev/full"), 0);
	ck_assert_int_eq(run_file_write(&file, "new", 3), -ENOSPC);
	ck_assert(!stat("/dev/full", &st) && S_ISCHR(st.st_mode));
	remove_folder();
}
END_TEST

START_TEST(test_impossible)
{
	static const struct {
		const char *name;
		int err;
	} cases[] = {
		{ "no/such/out", -ENOENT }, { ".", -EISDIR },	    { "out/x", -ENOTDIR },
		{ "", -ENOENT },	    { "/proc/x", -ENOENT }, { "/dev/no/x", -ENOENT },
	};
	struct run_file file;

	make_folder();
	put("out", "old");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int err = run_file_open(&file, cases[i].name);

		ck_assert_msg(err == cases[i].err, "'%s': %d", cases[i].name, err);
		run_file_close(&file);
	}
	ck_assert_int_eq(run_file_open(&file, NULL), 0);
	ck_assert_int_eq(run_file_write(&file, "new", 3), 0);
	ck_assert_str_eq(get("out"), "old");
	/* The folder went away meanwhile. */
	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(run_file_write(&file, "new", 3), -ENOENT);
}
END_TEST

START_TEST(test_json)
{
	char run[] = "run", option[] = "-m", *argv[] = { run, option, NULL };
	struct vm_config cfg = { .kernel = "bzImage", .name = "x" };
	struct run_result r = {
		.cause = STOP_NONE, .start_ns = 5, .end_ns = 7, .argv = argv, .error = "no \"kernel\""
	};
	struct run_file file;

	make_folder();
	run_judge(&r, &cfg);
	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	ck_assert_int_eq(run_result_write(&file, &cfg, &r), 0);
	ck_assert_str_eq(get("out"), "{\n"
			 "  \"schema\": 1,\n"
			 "  \"status\": 125,\n"
			 "  \"reason\": \"error\",\n"
			 "  \"error\": \"no \\\"kernel\\\"\",\n"
			 "  \"command_status\": null,\n"
			 "  \"command_signal\": null,\n"
			 "  \"panic\": null,\n"
			 "  \"fault\": null,\n"
			 "  \"splats\": [],\n"
			 "  \"version\": \"1.2-test\",\n"
			 "  \"arguments\": [\"lkvm\", \"run\", \"-m\"],\n"
			 "  \"name\": \"x\",\n"
			 "  \"kernel\": \"bzImage\",\n"
			 "  \"kernel_release\": null,\n"
			 "  \"cmdline\": null,\n"
			 "  \"ram_bytes\": null,\n"
			 "  \"cpus\": null,\n"
			 "  \"setup_ns\": 0,\n"
			 "  \"guest_ns\": 0,\n"
			 "  \"total_ns\": 2,\n"
			 "  \"start\": null,\n"
			 "  \"boot_ns\": null,\n"
			 "  \"command_ns\": null,\n"
			 "  \"console_tail\": null,\n"
			 "  \"look\": null\n"
			 "}\n");
	remove_folder();
}
END_TEST

/* As many as are kept, not as many as there were */
/* It took commands before it went on. */
START_TEST(test_json_restored)
{
	struct vm_config cfg = { .name = "x", .restore = "dir", .session.wanted = true };
	struct run_result r = { .cause = STOP_NONE, .start_ns = 5, .hello_ns = 6, .boot_ns = 7, .end_ns = 9 };
	struct run_file file;

	make_folder();
	run_judge(&r, &cfg);
	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	ck_assert_int_eq(run_result_write(&file, &cfg, &r), 0);
	ck_assert_ptr_nonnull(strstr(get("out"), "\"start\": \"restored\",\n  \"boot_ns\": null,"));
	remove_folder();
}
END_TEST

START_TEST(test_json_splats)
{
	static struct kernel_log log = { .n_splats = KERNEL_LOG_SPLATS + 1 };
	struct vm_config cfg = { .kernel = "bzImage", .name = "x" };
	struct run_result r = { .cause = STOP_POWEROFF, .kernel_log = &log };
	const char *text;
	struct run_file file;
	unsigned n = 0;

	for (unsigned i = 0; i < KERNEL_LOG_SPLATS; i++)
		strcpy(log.splat[i], "BUG: \"x\"");
	make_folder();
	run_judge(&r, &cfg);
	ck_assert_int_eq(run_file_open(&file, "out"), 0);
	ck_assert_int_eq(run_result_write(&file, &cfg, &r), 0);
	text = strstr(get("out"), "  \"splats\": [\"BUG: \\\"x\\\"\", ");
	ck_assert_ptr_nonnull(text);
	while ((text = strstr(text, "BUG: "))) {
		text++;
		n++;
	}
	ck_assert_uint_eq(n, KERNEL_LOG_SPLATS);
	remove_folder();
}
END_TEST

UNIT_MAIN("run_result", test_verdict, test_splats, test_tests, test_json_splats, test_json_restored, test_replace, test_link, test_as_it_is, test_impossible, test_json)
