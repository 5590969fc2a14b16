/* Texts of others on their way to a terminal; see mask.h. */
#include "lkvm/mask.h"

#include <string.h>

size_t mask_decode(const char *text, size_t len, uint32_t *ret)
{
	const unsigned char *s = (const unsigned char *)text;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = n > 1 ? s[0] & (0x7fU >> n) : s[0];

	if (!n || n > len || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*ret = c;
	return n;
}

bool mask_acts(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} range[] = {
		{ 0x00, 0x1f },     { 0x7f, 0x9f },     { 0x61c, 0x61c },
		{ 0x200e, 0x200f }, { 0x2028, 0x202e }, { 0x2066, 0x2069 },
	};

	for (size_t i = 0; i < sizeof(range) / sizeof(range[0]); i++)
		if (c >= range[i].first && c <= range[i].last)
			return true;
	return false;
}

size_t mask_text(char *text, size_t len, const char *keep)
{
	size_t to = 0, n;
	uint32_t c = 0;

	for (size_t at = 0; at < len; at += n) {
		n = mask_decode(text + at, len - at, &c);
		if (!n || (mask_acts(c) && !(c && c < 0x20 && strchr(keep, (int)c)))) {
			text[to++] = '?';
			n += !n;
		} else {
			memmove(text + to, text + at, n);
			to += n;
		}
	}
	return to;
}
