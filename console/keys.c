/* Escape keys; see console-keys.h. */
#include "lkvm/console/keys.h"

#include <stdio.h>

#include "lkvm/log.h"

#define CTRL_A 0x01

static uint8_t escape_of(const struct console_keys *keys)
{
	return keys->escape ? keys->escape : CTRL_A;
}

/* The letter on that key: Ctrl-] is 0x1d, ']' is 0x5d. */
static char letter_of(uint8_t escape)
{
	char letter = (char)(escape ^ 0x40);

	return letter >= 'A' && letter <= 'Z' ? (char)(letter | 0x20) : letter;
}

static enum key_action command(uint8_t byte)
{
	switch (byte) {
	case 'b':
		return KEY_BREAK;
	case 'x':
		return KEY_QUIT;
	case '?':
	case 'h':
		return KEY_HELP;
	default:
		return KEY_NOTHING;
	}
}

enum key_action console_keys_feed(struct console_keys *keys, uint8_t byte, uint8_t *ret_byte)
{
	const uint8_t escape = escape_of(keys);
	enum key_action action;

	*ret_byte = byte;
	if (keys->off)
		return KEY_SEND;
	if (!keys->escaped) {
		keys->escaped = byte == escape;
		return keys->escaped ? KEY_NOTHING : KEY_SEND;
	}
	keys->escaped = false;
	action = command(byte);
	if (byte != escape && (action != KEY_NOTHING || byte != letter_of(escape)))
		return action;
	*ret_byte = escape;
	return KEY_SEND;
}

void console_keys_name(const struct console_keys *keys, char ret[CONSOLE_KEY_NAME])
{
	snprintf(ret, CONSOLE_KEY_NAME, "Ctrl-%c", letter_of(escape_of(keys)));
}

void console_keys_help(const struct console_keys *keys)
{
	const char letter = letter_of(escape_of(keys));
	char key[CONSOLE_KEY_NAME];

	console_keys_name(keys, key);
	log_info("%s x  end the guest", key);
	if (command((uint8_t)letter) == KEY_NOTHING)
		log_info("%s %c  send %s", key, letter, key);
	else
		log_info("%s %s  send %s", key, key, key);
	log_info("%s b  send a break", key);
	log_info("%s ?  this list", key);
}
