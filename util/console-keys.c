/* Escape keys; see console-keys.h. */
#include "lkvm/console-keys.h"

#include "lkvm/log.h"

#define CTRL_A 0x01

enum key_action console_keys_feed(struct console_keys *keys, uint8_t byte, uint8_t *ret_byte)
{
	if (!keys->escaped) {
		keys->escaped = byte == CTRL_A;
		*ret_byte = byte;
		return keys->escaped ? KEY_NOTHING : KEY_SEND;
	}
	keys->escaped = false;
	switch (byte) {
	case 'a':
	case CTRL_A:
		*ret_byte = CTRL_A;
		return KEY_SEND;
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

void console_keys_help(void)
{
	log_info("Ctrl-a x  end the guest");
	log_info("Ctrl-a a  send Ctrl-a");
	log_info("Ctrl-a b  send a break");
	log_info("Ctrl-a ?  this list");
}
