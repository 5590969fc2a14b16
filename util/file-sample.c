/* Some of a file's contents; see lkvm/file.h. */
#include "lkvm/crc32c.h"
#include "lkvm/file.h"

#define SAMPLES      64
#define SAMPLE_BYTES 4096

int file_sample(int fd, uint64_t bytes, uint32_t *ret)
{
	const uint64_t step = bytes / SAMPLES / SAMPLE_BYTES * SAMPLE_BYTES;
	uint8_t buf[SAMPLE_BYTES];

	*ret = 0;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		ssize_t n = file_read(fd, buf, sizeof(buf), i * (step ? step : SAMPLE_BYTES));

		if (n < 0)
			return (int)n;
		*ret = crc32c(*ret, buf, (size_t)n);
	}
	return 0;
}
