/* A device's option ROM; see vm/option-rom.h. Main thread, before any vCPU runs. */
#include "lkvm/vm/option-rom.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/types.h"

#define UNIT 512

/* In an image */
#define LENGTH	    2    /* in units, one byte; of code for a BIOS the sum of so many bytes is 0 */
#define SUM	    6    /* a byte that may be anything, for that */
#define POINTER	    0x18 /* to the following */
#define PCIR_ID	    4
#define PCIR_LENGTH 0x10 /* in units, of the image, two bytes */
#define PCIR_CODE   0x14
#define PCIR_LAST   0x15
#define PCIR_BYTES  0x18

#define CODE_BIOS 0
#define LAST	  0x80

static int failed(const char *path, int err, const char *why)
{
	return log_errx(err, "could not load option ROM '%s': %s", path, why ? why : strerror(-err));
}

/* Return: the "PCIR" of the image at @image, of which @left bytes are there; NULL: it is none */
static uint8_t *find_pcir(uint8_t *image, uint64_t left)
{
	uint64_t at;

	if (left < UNIT || image[0] != 0x55 || image[1] != 0xaa)
		return NULL;
	at = access_get(image + POINTER, 2);
	if (at > left || left - at < PCIR_BYTES || memcmp(image + at, "PCIR", 4))
		return NULL;
	return image + at;
}

static void make_sum(uint8_t *image, uint64_t bytes)
{
	uint8_t sum = 0;

	for (uint64_t i = 0; i < bytes; i++)
		sum += image[i];
	image[SUM] -= sum;
}

/* Return: false if one of the images is none */
static bool adapt(uint8_t *data, uint64_t bytes, uint32_t id)
{
	uint8_t *pcir;
	uint64_t at = 0, len;

	do {
		pcir = find_pcir(data + at, bytes - at);
		if (!pcir)
			return false;
		len = access_get(pcir + PCIR_LENGTH, 2) * UNIT;
		if (!len || len > bytes - at || data[at + LENGTH] * UNIT > bytes - at)
			return false;
		access_put(pcir + PCIR_ID, 4, id);
		if (pcir[PCIR_CODE] == CODE_BIOS)
			make_sum(data + at, data[at + LENGTH] * UNIT);
		at += len;
	} while (!(pcir[PCIR_LAST] & LAST));
	return true;
}

static int judge(const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return failed(path, -EINVAL, "not a regular file");
	return (uint64_t)st->st_size > PCI_ROM_MAX ? failed(path, -EFBIG, "it is larger than 16 MiB") : 0;
}

static int read_all(const char *path, int fd, uint64_t bytes, struct option_rom *rom)
{
	void *data;
	ssize_t n;

	for (rom->bytes = 4096; rom->bytes < bytes;)
		rom->bytes *= 2;
	data = mmap(NULL, rom->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return failed(path, -errno, NULL);
	rom->data = data;
	memset(data, 0xff, rom->bytes);
	n = file_read(fd, data, bytes, 0);
	return n < 0 ? failed(path, (int)n, NULL) : 0;
}

int option_rom_load(const char *path, uint32_t id, struct option_rom *ret)
{
	struct option_rom rom = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	struct stat st;

	if (fd < 0)
		return failed(path, -errno, NULL);
	err = fstat(fd, &st) ? failed(path, -errno, NULL) : judge(path, &st);
	if (!err)
		err = read_all(path, fd, (uint64_t)st.st_size, &rom);
	close(fd);
	if (!err && !(rom.data && adapt(rom.data, (uint64_t)st.st_size, id)))
		err = failed(path, -EINVAL, "it is no option ROM");
	if (err)
		option_rom_free(&rom);
	else
		*ret = rom;
	return err;
}

void option_rom_free(struct option_rom *rom)
{
	if (rom->data)
		munmap(rom->data, rom->bytes);
}
