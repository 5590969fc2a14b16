/* What display/vnc*.c share; nobody else includes this. */
#ifndef DISPLAY_VNC_INTERNAL_H
#define DISPLAY_VNC_INTERNAL_H

#include <stdatomic.h>

#include "lkvm/display.h"
#include "lkvm/loop.h"
#include "lkvm/thread.h"
#include "lkvm/vnc.h"

#define VNC_KEY_WORDS 12 /* of 64 keys */

struct vnc_client {
	struct vnc_client *next;
	const struct vnc_setup *setup;
	const struct vnc_library *lib;
	struct thread *thread;
	int sock;          /* the library's, once it has a client for it */
	int guard;         /* another descriptor of the same connection: the main thread ends it by this one */
	atomic_bool gone;  /* the thread has come to its end */

	/* His thread's */
	struct display_view view;
	struct display_image image;
	int64_t look_ms; /* when he is to look again by himself: at a mirror; 0: he is told */
	uint8_t *black; /* what he sees of an output that is off */
	unsigned width, height;
	uint64_t down[VNC_KEY_WORDS]; /* which he holds */
	unsigned buttons;
	bool raw_keys; /* he sends scancodes, beside keysyms */
	unsigned n_sizes; /* that he has wished for */
};

/** vnc_library_open() - Return: 0 or -errno, logged; then vnc_library_close(), once no viewer is there */
int vnc_library_open(struct vnc_library **ret);
void vnc_library_close(struct vnc_library *lib);

/** vnc_client_serve() - a viewer, until he leaves or his connection is shut down; takes over his sock */
void vnc_client_serve(struct vnc_client *client);

#endif
