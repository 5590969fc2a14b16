/* Escape keys; see console-keys.h. */
#include "lkvm/console/keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/log.h"

#define CTRL_A 0x01

static uint8_t escape_of(const struct console_keys *keys)
{
	return keys->escape ? keys->escape : CTRL_A;
}

/* The letter on that key: Ctrl-] is 0x1d, ']' is 0x5d. */
static uint8_t letter_of(uint8_t escape)
{
	uint8_t letter = escape ^ 0x40;

	return letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter;
}

int console_keys_parse(struct console_keys *keys, const char *option, const char *text)
{
	const bool off = !strcmp(text, "none");
	char c = text[0] == '^' && text[1] && !text[2] ? text[1] : '\0';

	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	if (!off && (c <= '@' || c > '_'))
		return log_errx(-EINVAL, "option '--%s': '%s' is neither none nor ^ and one of a to z [ \\ ] ^ _",
				option, text);
	keys->off = off;
	keys->escape = off ? 0 : (uint8_t)(c & 0x1f);
	return 0;
}

static enum key_action command(const struct console_keys *keys, uint8_t byte)
{
	switch (byte) {
	case 'b':
		return KEY_BREAK;
	case 'd':
		return keys->can_detach ? KEY_DETACH : KEY_NOTHING;
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
	action = command(keys, byte);
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
	const uint8_t letter = letter_of(escape_of(keys));
	char key[CONSOLE_KEY_NAME];

	console_keys_name(keys, key);
	if (keys->can_detach)
		log_info("%s d  leave the guest's console", key);
	log_info("%s x  end the guest", key);
	if (command(keys, letter) == KEY_NOTHING)
		log_info("%s %c  send %s", key, letter, key);
	else
		log_info("%s %s  send %s", key, key, key);
	log_info("%s b  send a break", key);
	log_info("%s ?  this list", key);
}
