/*
 * Keys of a PC keyboard: the names by which users call them, and which of them gives which character where the
 * layout is that of the USA. Codes are those of <linux/input-event-codes.h>.
 */
#ifndef LKVM_KEY_NAMES_H
#define LKVM_KEY_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/**
 * key_by_name() - "esc", "f1", "leftctrl", "ctrl", "a"; capitals do not matter
 * @name: @len bytes of it are the name
 * Return: the key's code; 0: there is none of that name
 */
unsigned key_by_name(const char *name, size_t len);

/**
 * key_of_char() - the key for a character of ASCII; also for line feed, tabulator, backspace and escape
 * Return: the key's code; 0: no key gives it
 */
unsigned key_of_char(unsigned c, bool *ret_shift);

#endif
