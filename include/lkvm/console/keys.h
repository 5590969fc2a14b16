/*
 * The escape keys of a terminal that belongs to a guest: Ctrl-a or another control key, then one key.
 * The same keys as QEMU's; like there, a key that means nothing after Ctrl-a goes nowhere.
 */
#ifndef LKVM_CONSOLE_KEYS_H
#define LKVM_CONSOLE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

enum key_action {
	KEY_NOTHING,
	KEY_SEND,  /* *ret_byte goes to the guest */
	KEY_BREAK, /* Ctrl-a b */
	KEY_QUIT,  /* Ctrl-a x */
	KEY_DETACH, /* Ctrl-a d, if that is one */
	KEY_HELP,  /* Ctrl-a ? and Ctrl-a h */
};

struct console_keys {
	uint8_t escape; /* control character, 0: Ctrl-a; zeroed is ready */
	bool off;       /* none: all is for the guest */
	bool can_detach; /* there is something to leave */
	bool escaped;   /* the key before was it */
};

#define CONSOLE_KEY_NAME 8 /* "Ctrl-a" */

/**
 * console_keys_parse() - which key is meant: "none", or "^]" as stty(1) and the like write it
 * @option: for the message
 * Return: 0 or -EINVAL, logged
 */
int console_keys_parse(struct console_keys *keys, const char *option, const char *text);

/** console_keys_feed() - the user has pressed @byte */
enum key_action console_keys_feed(struct console_keys *keys, uint8_t byte, uint8_t *ret_byte);

/** console_keys_name() - what the escape key is called */
void console_keys_name(const struct console_keys *keys, char ret[CONSOLE_KEY_NAME]);
/** console_keys_help() - log the list of keys */
void console_keys_help(const struct console_keys *keys);

#endif
