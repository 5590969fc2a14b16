/*
 * One VNC viewer, on a thread of his own. libvncserver has a screen for each, which nobody else uses: it speaks the
 * protocol and makes pixels small, everything else is here.
 */
#include <errno.h>
#include <linux/input-event-codes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/lib.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "vnc-internal.h"

#if __has_include(<rfb/rfb.h>) && !defined(LKVM_STATIC)
#include <rfb/rfb.h>
#define HAVE_VNC
#endif

#ifdef HAVE_VNC

#define OFF_WIDTH   640 /* of what he sees of an output that is off */
#define OFF_HEIGHT  480
#define FRAME_MS    15  /* between updates, at least */
#define MOST_SIZES  10000 /* that a viewer may wish for: of each libvncserver 0.9.14 leaks 24 bytes */
#define PATIENCE_MS 20000 /* with a viewer in the middle of a message */

#define ENCODING_RAW_KEYS (-258) /* QEMU extended key event */
#define MESSAGE_QEMU      255
#define QEMU_KEY          0

#define VNC_FUNCTIONS(X)                                                                                              \
	X(rfbGetScreen) X(rfbScreenCleanup) X(rfbNewClient) X(rfbProcessClientMessage) X(rfbUpdateClient)             \
	X(rfbClientConnectionGone) X(rfbCloseClient) X(rfbReadExact) X(rfbWriteExact) X(rfbNewFramebuffer)            \
	X(rfbMarkRectAsModified) X(rfbSetTranslateFunction) X(rfbSetCursor) X(rfbLogEnable) X(rfbCheckPasswordByList) \
	X(rfbRegisterProtocolExtension) X(rfbUnregisterProtocolExtension)

struct vnc_library {
	struct functions {
		VNC_FUNCTIONS(LIB_FIELD)
	} call;
	void *handle;
	rfbProtocolExtension raw_keys;
};

static const struct lib_symbol symbols[] = { VNC_FUNCTIONS(LIB_SYMBOL){ 0 } };
static const struct lib libvncserver = { "libvncserver.so.1", "libvncserver1", symbols, true };

bool vnc_usable(void)
{
	return lib_usable(&libvncserver);
}

static struct vnc_client *client_of(const rfbClientRec *cl)
{
	return cl->screen->screenData;
}

/* ---- keys and the pointer ---- */

/* What another viewer holds is not his to let go. */
static void key(struct vnc_client *c, unsigned code, bool down)
{
	const uint64_t bit = 1ULL << code % 64;

	if (!code || !(c->down[code / 64] & bit) == !down)
		return;
	c->down[code / 64] ^= bit;
	c->setup->hands->key(c->setup->hands_ctx, code, down);
}

static void release(struct vnc_client *c)
{
	for (unsigned code = 1; code < VNC_KEY_WORDS * 64; code++)
		key(c, code, false);
}

static void got_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
	key(client_of(cl), vnc_key_of_sym(keysym), down);
}

static void got_release(rfbClientPtr cl)
{
	release(client_of(cl));
}

/* Bits of RFB's mask */
static const struct {
	uint16_t button;
	int8_t right, up;
} pointer_bits[] = {
	{ .button = BTN_LEFT }, { .button = BTN_MIDDLE }, { .button = BTN_RIGHT }, { .up = 1 },
	{ .up = -1 },		{ .right = -1 },	  { .right = 1 },	   { .button = BTN_SIDE },
};

static void got_pointer(int mask, int x, int y, rfbClientPtr cl)
{
	struct vnc_client *c = client_of(cl);
	const struct vnc_hands *hands = c->setup->hands;
	const unsigned pressed = (unsigned)mask & ~c->buttons;

	if (x >= 0 && y >= 0 && (unsigned)x < c->width && (unsigned)y < c->height)
		hands->point(c->setup->hands_ctx, (unsigned)x, (unsigned)y, c->width, c->height);
	for (size_t i = 0; i < ARRAY_SIZE(pointer_bits); i++) {
		if (pointer_bits[i].button)
			key(c, pointer_bits[i].button, mask >> i & 1);
		else if (pressed >> i & 1)
			hands->wheel(c->setup->hands_ctx, pointer_bits[i].right, pointer_bits[i].up);
	}
	c->buttons = (unsigned)mask;
}

/* The answer to who can send scancodes: an update of no pixels in that encoding */
static rfbBool enable_raw_keys(rfbClientPtr cl, void **data, int encoding)
{
	static const uint8_t update[] = { 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xfe };
	struct vnc_client *c = client_of(cl);

	(void)data;
	if (encoding != ENCODING_RAW_KEYS)
		return FALSE;
	if (!c->raw_keys)
		c->lib->call.rfbWriteExact(cl, (const char *)update, sizeof(update));
	c->raw_keys = true;
	return TRUE;
}

/* 255, what; then of a key: whether it is down (2 bytes), keysym (4), scancode (4) */
static rfbBool got_raw_key(rfbClientPtr cl, void *data, const rfbClientToServerMsg *message)
{
	struct vnc_client *c = client_of(cl);
	uint8_t rest[11];
	unsigned code;

	(void)data;
	if (message->type != MESSAGE_QEMU)
		return FALSE;
	if (c->lib->call.rfbReadExact(cl, (char *)rest, sizeof(rest)) <= 0 || rest[0] != QEMU_KEY) {
		c->lib->call.rfbCloseClient(cl);
		return TRUE;
	}
	code = rest[7] | rest[8] | rest[9] ? 0 : vnc_key_of_scancode(rest[10]);
	if (!code)
		code = vnc_key_of_sym((uint32_t)rest[3] << 24 | (uint32_t)rest[4] << 16 | (uint32_t)rest[5] << 8 | rest[6]);
	key(c, code, rest[1] | rest[2]);
	return TRUE;
}

static int got_size(int width, int height, int n, struct rfbExtDesktopScreen *screens, rfbClientPtr cl)
{
	struct vnc_client *c = client_of(cl);

	(void)screens;
	c->n_sizes++;
	if (n != 1 || width <= 0 || height <= 0)
		return rfbExtDesktopSize_InvalidScreenLayout;
	c->setup->hands->resize(c->setup->hands_ctx, (unsigned)width, (unsigned)height);
	return rfbExtDesktopSize_Success;
}

/* ---- the screen ---- */

/* The library thinks of red as the lowest byte. */
static void set_colours(rfbScreenInfoPtr screen)
{
	screen->serverFormat.redShift = 16;
	screen->serverFormat.greenShift = 8;
	screen->serverFormat.blueShift = 0;
}

static uint8_t *pixels_of(const struct vnc_client *c)
{
	return c->image.pixels ? c->image.pixels : c->black;
}

static void look(struct vnc_client *c)
{
	c->width = c->image.pixels ? c->image.width : OFF_WIDTH;
	c->height = c->image.pixels ? c->image.height : OFF_HEIGHT;
}

static void resize(struct vnc_client *c, rfbClientPtr cl)
{
	look(c);
	c->lib->call.rfbNewFramebuffer(cl->screen, (char *)pixels_of(c), (int)c->width, (int)c->height, 8, 3, 4);
	set_colours(cl->screen);
	c->lib->call.rfbSetTranslateFunction(cl);
}

/* The library frees it. Return: NULL: out of memory */
static rfbCursorPtr cursor_of(const struct display_cursor *from)
{
	const size_t n = (size_t)DISPLAY_CURSOR_SIZE * DISPLAY_CURSOR_SIZE;
	rfbCursorPtr ret = calloc(1, sizeof(*ret));

	if (!ret)
		return NULL;
	ret->cleanup = ret->cleanupRichSource = ret->cleanupMask = TRUE;
	ret->width = ret->height = DISPLAY_CURSOR_SIZE;
	ret->xhot = (unsigned short)from->hot_x;
	ret->yhot = (unsigned short)from->hot_y;
	ret->richSource = calloc(n, 4);
	ret->mask = calloc(n / 8, 1);
	if (!ret->richSource || !ret->mask) {
		free(ret->richSource);
		free(ret->mask);
		free(ret);
		return NULL;
	}
	if (!from->visible)
		return ret;
	memcpy(ret->richSource, from->pixels, n * 4);
	for (size_t i = 0; i < n; i++)
		if (from->pixels[i * 4 + 3] >= 128)
			ret->mask[i / 8] = (unsigned char)(ret->mask[i / 8] | 0x80 >> i % 8);
	return ret;
}

/* What is new since the last time, for the library. Return: 0 or -errno */
static int take(struct vnc_client *c, rfbClientPtr cl)
{
	struct display_cursor cursor;
	struct display_update up;
	rfbCursorPtr shape;
	int err = display_view_take(&c->view, &c->image, &cursor, &up);

	c->look_ms = !err && up.mirror ? now_ms() + DISPLAY_MIRROR_MS : 0;
	if (!err && up.resized)
		resize(c, cl);
	for (unsigned i = 0; !err && i < up.n; i++)
		c->lib->call.rfbMarkRectAsModified(cl->screen, (int)up.rect[i].x, (int)up.rect[i].y,
						   (int)(up.rect[i].x + up.rect[i].width),
						   (int)(up.rect[i].y + up.rect[i].height));
	shape = !err && up.cursor_changed ? cursor_of(&cursor) : NULL;
	if (shape)
		c->lib->call.rfbSetCursor(cl->screen, shape);
	return err;
}

/* Return: NULL: out of memory */
static rfbScreenInfoPtr new_screen(struct vnc_client *c, char *passwords[2])
{
	rfbScreenInfoPtr screen = c->lib->call.rfbGetScreen(NULL, NULL, (int)c->width, (int)c->height, 8, 3, 4);

	if (!screen)
		return NULL;
	screen->screenData = c;
	screen->frameBuffer = (char *)pixels_of(c);
	screen->desktopName = c->setup->title;
	screen->alwaysShared = TRUE;
	screen->maxClientWait = PATIENCE_MS;
	screen->deferUpdateTime = 0; /* serve() waits */
	screen->cursor = NULL;
	screen->kbdAddEvent = got_key;
	screen->kbdReleaseAllKeys = got_release;
	screen->ptrAddEvent = got_pointer;
	screen->setDesktopSizeHook = got_size;
	if (*passwords[0]) {
		screen->authPasswdData = passwords;
		screen->passwordCheck = c->lib->call.rfbCheckPasswordByList;
	}
	set_colours(screen);
	return screen;
}

/* ---- until he leaves ---- */

/* Until the earlier of two times that are not 0; Return: for poll() */
static int wait_ms(int64_t a, int64_t b)
{
	const int64_t first = a && (!b || a < b) ? a : b, left = first - now_ms();

	return !first ? -1 : left > 0 ? (int)left : 0;
}

static void serve(struct vnc_client *c, rfbClientPtr cl)
{
	struct pollfd fds[] = { { .fd = c->sock, .events = POLLIN }, { .fd = c->view.fd, .events = POLLIN } };
	int64_t next_ms = 0;

	while (cl->sock >= 0 && c->n_sizes < MOST_SIZES) {
		if (poll(fds, ARRAY_SIZE(fds), wait_ms(next_ms, c->look_ms)) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			c->lib->call.rfbProcessClientMessage(cl);
		if (fds[1].revents)
			event_clear(c->view.fd);
		if ((fds[1].revents || (c->look_ms && now_ms() >= c->look_ms)) && take(c, cl))
			break;
		if (cl->sock < 0 || now_ms() < next_ms)
			continue;
		next_ms = cl->state == RFB_NORMAL && c->lib->call.rfbUpdateClient(cl) ? now_ms() + FRAME_MS : 0;
	}
}

/* The library forgets its own list of the client's extensions. */
static void part(struct vnc_client *c, rfbClientPtr cl)
{
	while (cl->extensions) {
		rfbExtensionData *first = cl->extensions;

		cl->extensions = first->next;
		free(first);
	}
	c->lib->call.rfbClientConnectionGone(cl);
}

/* Return: false: the library has not taken over his sock */
static bool meet(struct vnc_client *c)
{
	char password[VNC_PASSWORD_BYTES + 1], *passwords[2] = { password, NULL };
	struct display_update up;
	rfbScreenInfoPtr screen;
	rfbClientPtr cl;

	memcpy(password, c->setup->options->password, sizeof(password));
	c->black = calloc(OFF_WIDTH * OFF_HEIGHT, DISPLAY_PIXEL_BYTES);
	if (!c->black || display_view_take(&c->view, &c->image, NULL, &up))
		return false;
	look(c);
	screen = new_screen(c, passwords);
	if (!screen)
		return false;
	cl = c->lib->call.rfbNewClient(screen, c->sock);
	c->view.cursor_changed = true; /* nobody has taken it */
	if (cl && !take(c, cl))
		serve(c, cl);
	if (cl)
		part(c, cl);
	screen->frameBuffer = NULL;
	c->lib->call.rfbScreenCleanup(screen);
	return true;
}

void vnc_client_serve(struct vnc_client *c)
{
	const int fd = event_open(0);
	bool taken = false;

	/* The library waits by select(). */
	if (fd >= 0 && c->sock < FD_SETSIZE) {
		display_view_open(c->setup->display, 0, fd, &c->view);
		taken = meet(c);
		display_view_close(&c->view);
	}
	if (!taken) {
		log_warn("VNC: a viewer is sent away: no memory, or no descriptor below %d", FD_SETSIZE);
		close(c->sock);
	}
	release(c);
	display_image_free(&c->image);
	free(c->black);
	if (fd >= 0)
		close(fd);
}

/* ---- the library ---- */

int vnc_library_open(struct vnc_library **ret)
{
	static int encodings[] = { ENCODING_RAW_KEYS, 0 };
	struct vnc_library *lib = calloc(1, sizeof(*lib));
	char why[128];
	int err = lib ? lib_open(&libvncserver, &lib->call, &lib->handle) : -ENOMEM;

	if (err) {
		free(lib);
		lib_why(&libvncserver, err, why, sizeof(why));
		return log_errx(err, "VNC: %s", why);
	}
	lib->call.rfbLogEnable(0);
	lib->raw_keys = (rfbProtocolExtension){
		.pseudoEncodings = encodings,
		.enablePseudoEncoding = enable_raw_keys,
		.handleMessage = got_raw_key,
	};
	lib->call.rfbRegisterProtocolExtension(&lib->raw_keys);
	*ret = lib;
	return 0;
}

void vnc_library_close(struct vnc_library *lib)
{
	if (!lib)
		return;
	lib->call.rfbUnregisterProtocolExtension(&lib->raw_keys);
	lib_close(lib->handle);
	free(lib);
}

#else

bool vnc_usable(void)
{
	return false;
}

int vnc_library_open(struct vnc_library **ret)
{
	(void)ret;
	return log_errx(-ENOSYS, "VNC: this lkvm was built without libvncserver (Debian package libvncserver-dev)");
}

void vnc_library_close(struct vnc_library *lib)
{
	(void)lib;
}

void vnc_client_serve(struct vnc_client *client)
{
	close(client->sock);
}

#endif
