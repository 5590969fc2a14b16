/*
 * Which key a viewer means. A scancode says which key was pressed, so any layout works. A keysym says what his layout has
 * made of it: then it is the key that gives that on a US keyboard.
 */
#include <linux/input-event-codes.h>

#include "lkvm/key-names.h"
#include "lkvm/types.h"
#include "lkvm/vnc.h"

/* X11's keysyms from 0xff00 on, by their lower byte */
static const uint8_t function_keys[256] = {
	[0x08] = KEY_BACKSPACE, [0x09] = KEY_TAB, [0x0d] = KEY_ENTER, [0x13] = KEY_PAUSE, [0x14] = KEY_SCROLLLOCK,
	[0x15] = KEY_SYSRQ, [0x1b] = KEY_ESC, [0x23] = KEY_HENKAN, [0x22] = KEY_MUHENKAN, [0x27] = KEY_KATAKANAHIRAGANA,
	[0x50] = KEY_HOME, [0x51] = KEY_LEFT, [0x52] = KEY_UP, [0x53] = KEY_RIGHT, [0x54] = KEY_DOWN, [0x55] = KEY_PAGEUP,
	[0x56] = KEY_PAGEDOWN, [0x57] = KEY_END, [0x61] = KEY_SYSRQ, [0x63] = KEY_INSERT, [0x67] = KEY_COMPOSE,
	[0x6b] = KEY_PAUSE, [0x7e] = KEY_RIGHTALT, [0x7f] = KEY_NUMLOCK, [0x80] = KEY_SPACE, [0x89] = KEY_TAB,
	[0x8d] = KEY_KPENTER, [0x95] = KEY_KP7, [0x96] = KEY_KP4, [0x97] = KEY_KP8, [0x98] = KEY_KP6, [0x99] = KEY_KP2,
	[0x9a] = KEY_KP9, [0x9b] = KEY_KP3, [0x9c] = KEY_KP1, [0x9d] = KEY_KP5, [0x9e] = KEY_KP0, [0x9f] = KEY_KPDOT,
	[0xaa] = KEY_KPASTERISK, [0xab] = KEY_KPPLUS, [0xac] = KEY_KPCOMMA, [0xad] = KEY_KPMINUS, [0xae] = KEY_KPDOT,
	[0xaf] = KEY_KPSLASH, [0xb0] = KEY_KP0, [0xb1] = KEY_KP1, [0xb2] = KEY_KP2, [0xb3] = KEY_KP3, [0xb4] = KEY_KP4,
	[0xb5] = KEY_KP5, [0xb6] = KEY_KP6, [0xb7] = KEY_KP7, [0xb8] = KEY_KP8, [0xb9] = KEY_KP9, [0xbd] = KEY_KPEQUAL,
	[0xbe] = KEY_F1, [0xbf] = KEY_F2, [0xc0] = KEY_F3, [0xc1] = KEY_F4, [0xc2] = KEY_F5, [0xc3] = KEY_F6, [0xc4] = KEY_F7,
	[0xc5] = KEY_F8, [0xc6] = KEY_F9, [0xc7] = KEY_F10, [0xc8] = KEY_F11, [0xc9] = KEY_F12, [0xca] = KEY_F13,
	[0xcb] = KEY_F14, [0xcc] = KEY_F15, [0xcd] = KEY_F16, [0xce] = KEY_F17, [0xcf] = KEY_F18, [0xd0] = KEY_F19,
	[0xd1] = KEY_F20, [0xd2] = KEY_F21, [0xd3] = KEY_F22, [0xd4] = KEY_F23, [0xd5] = KEY_F24, [0xe1] = KEY_LEFTSHIFT,
	[0xe2] = KEY_RIGHTSHIFT, [0xe3] = KEY_LEFTCTRL, [0xe4] = KEY_RIGHTCTRL, [0xe5] = KEY_CAPSLOCK, [0xe7] = KEY_LEFTMETA,
	[0xe8] = KEY_RIGHTMETA, [0xe9] = KEY_LEFTALT, [0xea] = KEY_RIGHTALT, [0xeb] = KEY_LEFTMETA, [0xec] = KEY_RIGHTMETA,
	[0xff] = KEY_DELETE,
};

#define SYM_FUNCTIONS    0xff00U
#define SYM_LEVEL3_SHIFT 0xfe03U /* AltGr */
#define SYM_LEFT_TAB     0xfe20U /* shift and tabulator */

unsigned vnc_key_of_sym(uint32_t keysym)
{
	bool shift; /* he presses that himself */

	if (keysym >= SYM_FUNCTIONS && keysym - SYM_FUNCTIONS < ARRAY_SIZE(function_keys))
		return function_keys[keysym - SYM_FUNCTIONS];
	if (keysym == SYM_LEVEL3_SHIFT)
		return KEY_RIGHTALT;
	if (keysym == SYM_LEFT_TAB)
		return KEY_TAB;
	return keysym >= ' ' && keysym < 127 ? key_of_char(keysym, &shift) : 0;
}

/* Up to F12 Linux counts as the XT did. */
static const uint8_t late_keys[128] = {
	[0x59] = KEY_KPEQUAL, [0x5d] = KEY_F13, [0x5e] = KEY_F14, [0x5f] = KEY_F15, [0x70] = KEY_KATAKANAHIRAGANA,
	[0x73] = KEY_RO, [0x79] = KEY_HENKAN, [0x7b] = KEY_MUHENKAN, [0x7d] = KEY_YEN, [0x7e] = KEY_KPCOMMA,
};

static const uint8_t prefixed_keys[128] = {
	[0x1c] = KEY_KPENTER, [0x1d] = KEY_RIGHTCTRL, [0x20] = KEY_MUTE, [0x2e] = KEY_VOLUMEDOWN, [0x30] = KEY_VOLUMEUP,
	[0x35] = KEY_KPSLASH, [0x37] = KEY_SYSRQ, [0x38] = KEY_RIGHTALT, [0x46] = KEY_PAUSE, [0x47] = KEY_HOME,
	[0x48] = KEY_UP, [0x49] = KEY_PAGEUP, [0x4b] = KEY_LEFT, [0x4d] = KEY_RIGHT, [0x4f] = KEY_END, [0x50] = KEY_DOWN,
	[0x51] = KEY_PAGEDOWN, [0x52] = KEY_INSERT, [0x53] = KEY_DELETE, [0x5b] = KEY_LEFTMETA, [0x5c] = KEY_RIGHTMETA,
	[0x5d] = KEY_COMPOSE, [0x5e] = KEY_POWER, [0x5f] = KEY_SLEEP, [0x63] = KEY_WAKEUP,
};

unsigned vnc_key_of_scancode(uint32_t scancode)
{
	if (scancode > 0xff)
		return 0;
	if (scancode & 0x80)
		return prefixed_keys[scancode & 0x7f];
	return scancode <= KEY_F12 && scancode != 84 && scancode != 85 ? scancode : late_keys[scancode];
}
