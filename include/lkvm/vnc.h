/*
 * The guest's screen for VNC viewers, by libvncserver, which is opened when one is asked for. Protocol: RFC 6143, with
 * QEMU's extended key event and the extended desktop size of the RFB community's text.
 *
 * Each viewer has a thread, a struct display_view and an image of his own, so a slow or hostile one holds up neither
 * the guest nor another viewer, and can make lkvm keep no more than that image. All viewers share the screen.
 */
#ifndef LKVM_VNC_H
#define LKVM_VNC_H

#include <stdbool.h>
#include <stdint.h>

#include "lkvm/keys.h"

#define VNC_PORT           5900 /* of display 0 */
#define VNC_MAX_CLIENTS    16
#define VNC_PASSWORD_BYTES 8 /* the protocol looks at no more */

struct display;
struct loop;
struct vnc;

struct vnc_options {
	bool wanted;
	bool any_port;      /* the first free one from VNC_PORT on */
	unsigned port;
	char address[64];   /* of TCP; "": there is a path */
	char path[108];     /* of a UNIX socket */
	char password[VNC_PASSWORD_BYTES + 1]; /* "": everybody may look */
};

extern const struct opt_key vnc_keys[];

/** vnc_parse() - "[ADDR]:N[,KEY...]" or "unix:PATH[,KEY...]"; Return: 0; -EINVAL, -ENOMEM, logged with @option's name */
int vnc_parse(struct vnc_options *ret, const char *option, const char *arg);

/* What viewers do; called on their threads. Codes are those of <linux/input-event-codes.h>. */
struct vnc_hands {
	void (*key)(void *ctx, unsigned code, bool down); /* a key, or a button */
	void (*point)(void *ctx, unsigned x, unsigned y, unsigned width, unsigned height); /* pixel x, y of so many */
	void (*wheel)(void *ctx, int right, int up); /* steps */
	void (*resize)(void *ctx, unsigned width, unsigned height); /* he wants the screen in that size */
};

struct vnc_setup {
	const struct vnc_options *options;
	const char *title;       /* of a viewer's window; these all live longer than the server */
	struct display *display; /* whose output 0 is shown */
	struct loop *loop;
	const struct vnc_hands *hands;
	void *hands_ctx;
};

/** vnc_new() - listen; main thread. Return: 0 or -errno, logged: the library is missing, the place is taken */
int vnc_new(const struct vnc_setup *setup, struct vnc **ret);
/** vnc_free() - all viewers are sent away; takes NULL */
void vnc_free(struct vnc *vnc);
/** vnc_where() - "127.0.0.1:5901", "unix:PATH" */
const char *vnc_where(const struct vnc *vnc);
/** vnc_viewers() - how many look on; main thread */
unsigned vnc_viewers(struct vnc *vnc);
/** vnc_unlink_now() - lkvm ends without vnc_free(): the socket's file goes */
void vnc_unlink_now(const struct vnc *vnc);

/** vnc_usable() - is the library on this host, and lkvm built for it? */
bool vnc_usable(void);

/** vnc_key_of_sym() - the key with this keysym on a US keyboard; 0: there is none */
unsigned vnc_key_of_sym(uint32_t keysym);
/** vnc_key_of_scancode() - the key with this XT scancode (its upper bit is the prefix 0xe0); 0: there is none */
unsigned vnc_key_of_scancode(uint32_t scancode);

#endif
