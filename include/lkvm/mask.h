/*
 * Texts of others - a guest, an image, a server, the other end of a socket - on their way to the
 * user's terminal: nothing in them may move the cursor, change colours, or turn the direction of
 * what is read.
 */
#ifndef LKVM_MASK_H
#define LKVM_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * mask_text() - put a question mark in the place of each character that a terminal acts upon
 * These are: C0 and DEL; C1, as UTF-8 and as single bytes, like all that is no UTF-8; line and
 * paragraph separators; marks, embeddings, overrides and isolates of bidirectional text.
 * @keep: characters below 0x20 that may stay: "" in one line, "\n\t" in a text of several
 * Return: the new length, at most @len: a character of several bytes becomes one
 */
size_t mask_text(char *text, size_t len, const char *keep);

/* For those who show such a character otherwise: */

/**
 * mask_decode() - the first character of a text
 * @len: at least 1
 * Return: its bytes, or 0 if it is no UTF-8: cut, overlong, a surrogate, or above U+10FFFF
 */
size_t mask_decode(const char *text, size_t len, uint32_t *ret);
/** mask_acts() - does a terminal act upon it? */
bool mask_acts(uint32_t c);

#endif
