/* An image as a PNG file, by libpng, which is opened when it is needed. Called by who asks a guest for its screen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/display.h"
#include "lkvm/lib.h"
#include "lkvm/log.h"

#if __has_include(<png.h>) && !defined(LKVM_STATIC)
#include <png.h>
#define HAVE_PNG
#endif

#ifdef HAVE_PNG

#define PNG_FUNCTIONS(X) X(png_image_write_to_stdio)

struct png_functions {
	PNG_FUNCTIONS(LIB_FIELD)
};

static const struct lib_symbol symbols[] = { PNG_FUNCTIONS(LIB_SYMBOL){ 0 } };
static const struct lib libpng = { "libpng16.so.16", "libpng16-16", symbols, false };

bool display_png_usable(void)
{
	return lib_usable(&libpng);
}

/* The byte that means nothing would be one of transparency. */
static uint8_t *without_fourth(const struct display_image *image)
{
	const size_t n = (size_t)image->width * image->height;
	uint8_t *rgb = malloc(n * 3);

	for (size_t i = 0; rgb && i < n; i++)
		for (unsigned c = 0; c < 3; c++)
			rgb[i * 3 + c] = image->pixels[i * DISPLAY_PIXEL_BYTES + 2 - c];
	return rgb;
}

static int write_rgb(const struct png_functions *lib, const struct display_image *image, const uint8_t *rgb, FILE *out,
		     const char *name)
{
	png_image png = {
		.version = PNG_IMAGE_VERSION,
		.width = image->width,
		.height = image->height,
		.format = PNG_FORMAT_RGB,
	};

	errno = 0;
	if (lib->png_image_write_to_stdio(&png, out, 0, rgb, 0, NULL) && !fflush(out))
		return 0;
	if (errno)
		return log_err(-errno, "write '%s'", name);
	return log_errx(-EIO, "write '%s': %s", name, png.message);
}

int display_png_write(const struct display_image *image, FILE *out, const char *name)
{
	struct png_functions lib;
	uint8_t *rgb;
	void *handle;
	char why[128];
	int err = lib_open(&libpng, &lib, &handle);

	if (err) {
		lib_why(&libpng, err, why, sizeof(why));
		return log_errx(err, "'%s': %s", name, why);
	}
	rgb = without_fourth(image);
	err = rgb ? write_rgb(&lib, image, rgb, out, name) : log_err(-ENOMEM, "'%s'", name);
	free(rgb);
	lib_close(handle);
	return err;
}

#else

bool display_png_usable(void)
{
	return false;
}

int display_png_write(const struct display_image *image, FILE *out, const char *name)
{
	(void)image, (void)out;
	return log_errx(-ENOSYS, "'%s': this lkvm was built without libpng (Debian package libpng-dev)", name);
}

#endif
