/* Names and characters of keys; see key-names.h. */
#include "lkvm/key-names.h"

#include <linux/input-event-codes.h>
#include <string.h>
#include <strings.h>

#include "lkvm/types.h"

/* By code; names are those of Linux. */
static const char *const names[] = {
	[KEY_ESC] = "esc", [KEY_1] = "1", [KEY_2] = "2", [KEY_3] = "3", [KEY_4] = "4", [KEY_5] = "5", [KEY_6] = "6",
	[KEY_7] = "7", [KEY_8] = "8", [KEY_9] = "9", [KEY_0] = "0", [KEY_MINUS] = "minus", [KEY_EQUAL] = "equal",
	[KEY_BACKSPACE] = "backspace", [KEY_TAB] = "tab", [KEY_Q] = "q", [KEY_W] = "w", [KEY_E] = "e", [KEY_R] = "r",
	[KEY_T] = "t", [KEY_Y] = "y", [KEY_U] = "u", [KEY_I] = "i", [KEY_O] = "o", [KEY_P] = "p",
	[KEY_LEFTBRACE] = "leftbrace", [KEY_RIGHTBRACE] = "rightbrace", [KEY_ENTER] = "enter", [KEY_LEFTCTRL] = "leftctrl",
	[KEY_A] = "a", [KEY_S] = "s", [KEY_D] = "d", [KEY_F] = "f", [KEY_G] = "g", [KEY_H] = "h", [KEY_J] = "j",
	[KEY_K] = "k", [KEY_L] = "l", [KEY_SEMICOLON] = "semicolon", [KEY_APOSTROPHE] = "apostrophe", [KEY_GRAVE] = "grave",
	[KEY_LEFTSHIFT] = "leftshift", [KEY_BACKSLASH] = "backslash", [KEY_Z] = "z", [KEY_X] = "x", [KEY_C] = "c",
	[KEY_V] = "v", [KEY_B] = "b", [KEY_N] = "n", [KEY_M] = "m", [KEY_COMMA] = "comma", [KEY_DOT] = "dot",
	[KEY_SLASH] = "slash", [KEY_RIGHTSHIFT] = "rightshift", [KEY_KPASTERISK] = "kpasterisk", [KEY_LEFTALT] = "leftalt",
	[KEY_SPACE] = "space", [KEY_CAPSLOCK] = "capslock", [KEY_F1] = "f1", [KEY_F2] = "f2", [KEY_F3] = "f3",
	[KEY_F4] = "f4", [KEY_F5] = "f5", [KEY_F6] = "f6", [KEY_F7] = "f7", [KEY_F8] = "f8", [KEY_F9] = "f9",
	[KEY_F10] = "f10", [KEY_NUMLOCK] = "numlock", [KEY_SCROLLLOCK] = "scrolllock", [KEY_KP7] = "kp7", [KEY_KP8] = "kp8",
	[KEY_KP9] = "kp9", [KEY_KPMINUS] = "kpminus", [KEY_KP4] = "kp4", [KEY_KP5] = "kp5", [KEY_KP6] = "kp6",
	[KEY_KPPLUS] = "kpplus", [KEY_KP1] = "kp1", [KEY_KP2] = "kp2", [KEY_KP3] = "kp3", [KEY_KP0] = "kp0",
	[KEY_KPDOT] = "kpdot", [KEY_102ND] = "102nd", [KEY_F11] = "f11", [KEY_F12] = "f12", [KEY_RO] = "ro",
	[KEY_HENKAN] = "henkan", [KEY_MUHENKAN] = "muhenkan", [KEY_KPENTER] = "kpenter", [KEY_RIGHTCTRL] = "rightctrl",
	[KEY_KPSLASH] = "kpslash", [KEY_SYSRQ] = "sysrq", [KEY_RIGHTALT] = "rightalt", [KEY_HOME] = "home", [KEY_UP] = "up",
	[KEY_PAGEUP] = "pageup", [KEY_LEFT] = "left", [KEY_RIGHT] = "right", [KEY_END] = "end", [KEY_DOWN] = "down",
	[KEY_PAGEDOWN] = "pagedown", [KEY_INSERT] = "insert", [KEY_DELETE] = "delete", [KEY_MUTE] = "mute",
	[KEY_VOLUMEDOWN] = "volumedown", [KEY_VOLUMEUP] = "volumeup", [KEY_POWER] = "power", [KEY_KPEQUAL] = "kpequal",
	[KEY_PAUSE] = "pause", [KEY_KPCOMMA] = "kpcomma", [KEY_YEN] = "yen", [KEY_LEFTMETA] = "leftmeta",
	[KEY_RIGHTMETA] = "rightmeta", [KEY_COMPOSE] = "compose", [KEY_STOP] = "stop", [KEY_SLEEP] = "sleep",
	[KEY_WAKEUP] = "wakeup", [KEY_F13] = "f13", [KEY_F14] = "f14", [KEY_F15] = "f15", [KEY_F16] = "f16",
	[KEY_F17] = "f17", [KEY_F18] = "f18", [KEY_F19] = "f19", [KEY_F20] = "f20", [KEY_F21] = "f21", [KEY_F22] = "f22",
	[KEY_F23] = "f23", [KEY_F24] = "f24",
};

/* What people also say */
static const struct {
	const char *name;
	unsigned code;
} others[] = {
	{ "ctrl", KEY_LEFTCTRL }, { "control", KEY_LEFTCTRL }, { "alt", KEY_LEFTALT }, { "altgr", KEY_RIGHTALT },
	{ "shift", KEY_LEFTSHIFT }, { "meta", KEY_LEFTMETA }, { "super", KEY_LEFTMETA }, { "win", KEY_LEFTMETA },
	{ "menu", KEY_COMPOSE }, { "escape", KEY_ESC }, { "return", KEY_ENTER }, { "ret", KEY_ENTER }, { "del", KEY_DELETE },
	{ "ins", KEY_INSERT }, { "pgup", KEY_PAGEUP }, { "pgdn", KEY_PAGEDOWN }, { "print", KEY_SYSRQ },
	{ "caps", KEY_CAPSLOCK },
};

static bool is(const char *name, const char *word, size_t len)
{
	return name && strlen(name) == len && !strncasecmp(name, word, len);
}

unsigned key_by_name(const char *name, size_t len)
{
	for (unsigned code = 0; code < ARRAY_SIZE(names); code++)
		if (is(names[code], name, len))
			return code;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (is(others[i].name, name, len))
			return others[i].code;
	return 0;
}

/* Position is code; a blank is a key that gives no character. */
static const char plain[] = "  1234567890-=\b\tqwertyuiop[]\n asdfghjkl;'` \\zxcvbnm,./";
static const char shifted[] = "  !@#$%^&*()_+  QWERTYUIOP{}  ASDFGHJKL:\"~ |ZXCVBNM<>?";

unsigned key_of_char(unsigned c, bool *ret_shift)
{
	const char *at;

	*ret_shift = false;
	if (c == ' ')
		return KEY_SPACE;
	if (c == '\033')
		return KEY_ESC;
	if (c == '\r')
		return KEY_ENTER;
	if (!c || c > 126)
		return 0;
	at = strchr(plain, (int)c);
	if (at)
		return (unsigned)(at - plain);
	at = strchr(shifted, (int)c);
	*ret_shift = at != NULL;
	return at ? (unsigned)(at - shifted) : 0;
}
