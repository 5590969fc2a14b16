/* `lkvm version`: which lkvm this is, and what it can do on this host. */
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/builtin.h"
#include "lkvm/disk.h"
#include "lkvm/display.h"
#include "lkvm/vnc.h"
#include "lkvm/json.h"
#include "lkvm/net.h"
#include "lkvm/version.h"
#include "lkvm/x86/boot.h"

/* The commit is known only where lkvm was built from a git repository. */
#ifdef LKVM_GIT
#define COMMIT     LKVM_GIT
#define IN_VERSION " (git " LKVM_GIT ")"
#else
#define COMMIT     NULL
#define IN_VERSION ""
#endif

#ifdef LKVM_STATIC
#define IS_STATIC true
#else
#define IS_STATIC false
#endif

const char lkvm_version[] = LKVM_VERSION IN_VERSION;

struct version_config {
	bool json;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .name = "json", .offset = offsetof(struct version_config, json),
	  .help = "Print it as JSON, with what this lkvm can do on this host." },
	OPT_END,
};

static void print_json(void)
{
	struct json json;
	const char *name;
	bool usable;

	json_init(&json, stdout);
	json_object(&json, NULL);
	json_str(&json, "version", LKVM_VERSION);
	json_str(&json, "git", COMMIT);
	json_bool(&json, "static", IS_STATIC);
	json_object(&json, "features");
	for (unsigned i = 0; (name = boot_compression(i, &usable)); i++)
		json_bool(&json, name, usable);
	json_bool(&json, "nbd", disk_nbd_usable());
	json_bool(&json, "images", disk_images_usable());
	json_bool(&json, "slirp", net_user_usable());
	json_bool(&json, "png", display_png_usable());
	json_bool(&json, "vnc", vnc_usable());
	json_end(&json);
	json_end(&json);
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct version_config cfg = { 0 };
	enum options_result result;
	int operands;

	result = options_parse(cmd, &cfg, argc, argv, &operands, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (cfg.json)
		print_json();
	else
		printf("lkvm %s\n", lkvm_version);
	return EXIT_SUCCESS;
}

const struct command version_command = {
	.name = "version",
	.summary = "Show the version",
	.operands = "",
	.description = "Shows the version, and the commit if lkvm was built from a git repository.",
	.opts = options,
	.run = run,
};
