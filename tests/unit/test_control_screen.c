/* Links: vm/control-screen.o display/display.o display/vnc.o display/png.o util/event.o util/json.o util/lib.o util/log.o */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/display.h"
#include "lkvm/json.h"
#include "lkvm/types.h"
#include "lkvm/vm/control.h"
#include "unit.h"

#if __has_include(<png.h>)
#include <png.h>

#include "lkvm/lib.h"
#endif

static const struct display_format own = { .blue = 0, .green = 1, .red = 2 };
static struct control ctl;
static struct ipc_reply reply;
static int fd;

int ipc_take_fd(struct ipc_client *client, unsigned i)
{
	ck_assert_ptr_eq(client, reply.to);
	ck_assert_uint_eq(i, 0);
	return fd < 0 ? fd : dup(fd);
}

static int ask(uint32_t output)
{
	const struct ipc_screen req = { .output = output };

	reply.len = 0;
	return control_screen(&ctl, &req, &reply);
}

static void draw(uint32_t width, uint32_t height)
{
	const struct display_rect all = { 0, 0, width, height };
	uint32_t *pixels = malloc((size_t)width * height * 4);

	for (uint32_t i = 0; i < width * height; i++)
		pixels[i] = i * 77 & 0xffffff;
	display_draw(ctl.display, 0, &all, (uint8_t *)pixels, width * 4, own);
	free(pixels);
}

START_TEST(test_picture)
{
	struct ipc_screen_end end;
	uint32_t *got;

	fd = -1;
	ck_assert_int_eq(ask(0), -ENODEV);
	ck_assert_int_eq(display_new(2, &ctl.display), 0);
	ck_assert_int_eq(ask(2), -ENXIO);
	ck_assert_int_eq(ask(UINT32_MAX), -ENXIO);
	ck_assert_int_eq(ask(0), -EINVAL);
	fd = memfd_create("test", MFD_ALLOW_SEALING);
	ck_assert_int_eq(ask(0), -ENODATA);
	ck_assert_int_eq(display_resize(ctl.display, 0, 50, 40), 0);
	draw(50, 40);
	ck_assert_int_eq(ask(0), 0);
	ck_assert_uint_eq(reply.len, sizeof(end));
	memcpy(&end, reply.body, sizeof(end));
	ck_assert(end.width == 50 && end.height == 40);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 50 * 40 * 4);
	got = mmap(NULL, 50 * 40 * 4, PROT_READ, MAP_SHARED, fd, 0);
	for (uint32_t i = 0; i < 50 * 40; i++)
		ck_assert_uint_eq(got[i], i * 77 & 0xffffff);
	munmap(got, 50 * 40 * 4);
	ck_assert_int_eq(ask(1), -ENODATA);
	/* One that cannot be written, and one that might have to be waited for */
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_int_eq(ask(0), -EPERM);
	close(fd);
	int pipe_fd[2];
	ck_assert_int_eq(pipe(pipe_fd), 0);
	fd = pipe_fd[1];
	ck_assert_int_eq(ask(0), -EINVAL);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	display_free(ctl.display);
	ctl.display = NULL;
}
END_TEST

START_TEST(test_told)
{
	char *text = NULL;
	size_t len;
	struct json json;
	FILE *out;

	ck_assert_int_eq(display_new(2, &ctl.display), 0);
	ck_assert_int_eq(display_resize(ctl.display, 1, 50, 40), 0);
	out = open_memstream(&text, &len);
	control_screen_text(&ctl, out);
	fclose(out);
	ck_assert_str_eq(text, "screen:   output 0 is off\nscreen:   output 1 shows 50x40\n");
	free(text);
	out = open_memstream(&text, &len);
	json_init(&json, out);
	json_object(&json, NULL);
	control_screen_json(&ctl, &json);
	json_end(&json);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "\"width\": 50"));
	free(text);
	display_free(ctl.display);
	ctl.display = NULL;
	out = open_memstream(&text, &len);
	control_screen_text(&ctl, out);
	fclose(out);
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

/* What libpng writes it reads again. */
START_TEST(test_png)
{
#ifdef PNG_IMAGE_VERSION
#define READERS(X) X(png_image_begin_read_from_file) X(png_image_finish_read)
	static const struct lib_symbol symbols[] = { READERS(LIB_SYMBOL){ 0 } };
	static const struct lib libpng = { "libpng16.so.16", "libpng16-16", symbols, false };
	struct {
		READERS(LIB_FIELD)
	} lib;
	uint8_t pixels[3 * 2 * 4], rgb[3 * 2 * 3];
	const struct display_image image = { 3, 2, pixels };
	char path[] = "/tmp/test_png_XXXXXX";
	png_image png = { .version = PNG_IMAGE_VERSION };
	void *handle;
	FILE *out;

	if (!display_png_usable())
		return;
	for (unsigned i = 0; i < sizeof(pixels); i++)
		pixels[i] = (uint8_t)(i * 9);
	out = fdopen(mkstemp(path), "w");
	ck_assert_int_eq(display_png_write(&image, out, path), 0);
	ck_assert_int_eq(fclose(out), 0);
	ck_assert_int_eq(lib_open(&libpng, &lib, &handle), 0);
	ck_assert(lib.png_image_begin_read_from_file(&png, path));
	ck_assert(png.width == 3 && png.height == 2);
	png.format = PNG_FORMAT_RGB;
	ck_assert(lib.png_image_finish_read(&png, NULL, rgb, 0, NULL));
	for (unsigned i = 0; i < 6; i++)
		for (unsigned c = 0; c < 3; c++)
			ck_assert_uint_eq(rgb[i * 3 + c], pixels[i * 4 + 2 - c]);
	lib_close(handle);
	unlink(path);
	out = fopen("/dev/full", "w");
	ck_assert_int_lt(display_png_write(&image, out, "/dev/full"), 0);
	fclose(out);
#endif
}
END_TEST

UNIT_MAIN("control-screen", test_picture, test_told, test_png)
