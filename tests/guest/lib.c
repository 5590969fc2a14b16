/* The C guests' library: output, failed checks, the end. */
#include "guest.h"

static void put(char c)
{
	while (!(in8(COM_LSR) & LSR_READY))
		;
	out8(COM_DATA, (uint8_t)c);
}

void print(const char *text)
{
	for (; *text; text++)
		put(*text);
}

uint8_t read_char(void)
{
	while (!(in8(COM_LSR) & LSR_DATA))
		asm volatile("pause");
	return in8(COM_DATA);
}

void print_hex(uint64_t value)
{
	int shift = 60;

	print("0x");
	while (shift > 0 && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

void print_decimal(uint64_t value)
{
	char text[21], *at = text + sizeof(text) - 1;

	*at = '\0';
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	print(at);
}

_Noreturn void guest_exit(uint8_t value)
{
	out8(PORT_DEBUG_EXIT, value);
	for (;;)
		asm volatile("hlt");
}

void print_difference(const char *where, const char *what, uint64_t got, uint64_t want)
{
	print(where);
	print(": ");
	print(what);
	print(" is ");
	print_hex(got);
	print(", not ");
	print_hex(want);
	print("\n");
}

_Noreturn void check_failed(const char *where, const char *what, uint64_t got, uint64_t want)
{
	print_difference(where, what, got, want);
	guest_exit(1);
}

bool str_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* The text after @prefix if @text starts with it, else NULL. */
static const char *after(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return NULL;
	return text;
}

uint64_t param(const char *cmdline, const char *name)
{
	uint64_t value = 0;

	for (const char *at = cmdline; *at; at++) {
		const char *digits = after(at, name);

		if ((at != cmdline && at[-1] != ' ') || !digits || *digits++ != '=')
			continue;
		while (*digits >= '0' && *digits <= '9')
			value = value * 10 + (uint64_t)(*digits++ - '0');
		return value;
	}
	print("no parameter ");
	print(name);
	print(" in: ");
	print(cmdline);
	print("\n");
	guest_exit(2);
}

bool param_word(const char *cmdline, const char *word)
{
	for (const char *at = cmdline; *at; at++) {
		const char *end = after(at, word);

		if ((at == cmdline || at[-1] == ' ') && end && (!*end || *end == ' '))
			return true;
	}
	return false;
}

/* gcc may call these for plain C. */
void *memset(void *to, int value, size_t n);
void *memset(void *to, int value, size_t n)
{
	void *at = to;

	asm volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *at = to;

	asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}
