/* What -d PATH,key,key=value may say of a disk: the keys of struct disk_config. */
#include <errno.h>
#include <string.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"

static int set_serial(void *config, const char *option, const char *value)
{
	struct disk_config *disk = config;

	if (strlen(value) > DISK_SERIAL_BYTES)
		return log_errx(-EINVAL, "option '--%s': serial '%s' is longer than %d characters",
				option, value, DISK_SERIAL_BYTES);
	disk->serial = value;
	return 0;
}

static int set_format(void *config, const char *option, const char *value)
{
	struct disk_config *disk = config;

	disk->format = value;
	if (disk_format_known(value))
		return 0;
	return log_errx(-EINVAL, "option '--%s': unknown format '%s' (known: %s)", option, value,
			disk_format_names());
}

/* `backing`, `backing=on`: what is in the image's folder; a file of that name is `./on`. */
static int set_backing(void *config, const char *option, const char *value)
{
	struct disk_config *disk = config;

	if (!value || !strcmp(value, "on") || !strcmp(value, "off")) {
		disk->backing_on = !value || !strcmp(value, "on");
		return 0;
	}
	if (disk->n_backing == DISK_MAX_BACKING)
		return log_errx(-EINVAL, "option '--%s': more than %d times backing=PATH", option,
				DISK_MAX_BACKING);
	disk->backing[disk->n_backing++] = value;
	return 0;
}

#define FIELD(member) .offset = offsetof(struct disk_config, member)

const struct opt_key disk_keys[] = {
	{ "ro", .kind = KEY_FLAG, FIELD(read_only),
	  .help = "The guest cannot write.\n"
		  "Several guests may share an image that all of them only read; otherwise an image belongs "
		  "to one guest." },
	{ "direct", .kind = KEY_FLAG, FIELD(direct),
	  .help = "Go around the host's page cache.\n"
		  "Buffers of the guest that are not aligned are copied." },
	{ "ephemeral", .kind = KEY_FLAG, FIELD(ephemeral),
	  .help = "What the guest writes is gone at the end; the image is only read.\n"
		  "It goes to a file without a name in TMPDIR, or else /var/tmp. If TMPDIR is set, that "
		  "folder must be there." },
	{ "serial", "S", .kind = KEY_PARSE, .parse = set_serial,
	  .help = "Serial number, up to 20 characters.\n"
		  "A Linux guest shows it in /sys/block/vda/serial." },
	{ "format", "F", .kind = KEY_PARSE, .parse = set_format,
	  .help = "Format of the image, by default what PATH ends with: raw, qcow2, qcow, qed, vmdk, vhdx, "
		  "vdi or vpc." },
	{ "queues", "N", .kind = KEY_UNSIGNED, FIELD(queues), .min = 1, .max = DISK_MAX_QUEUES,
	  .help = "Number of request queues, 1 to 16 (1).\n"
		  "One thread serves all of them." },
	{ "packed", .kind = KEY_FLAG, FIELD(packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	{ "backing", "on|PATH", .kind = KEY_PARSE, .parse = set_backing, .alone = true,
	  .help = "The image may name other files: those in its own folder, or PATH.\n"
		  "With on, or without a value, those in its own folder and below; with PATH this file, or "
		  "those in this folder and below. May be given several times. See Images of strangers." },
	{ "key-file", "FILE", .kind = KEY_STRING, FIELD(key_file),
	  .help = "The key of an encrypted qcow2 or qcow image.\n"
		  "Byte by byte: an end of line belongs to it. Images behind it have the same key, if they "
		  "are encrypted." },
	KEYS_END,
};
