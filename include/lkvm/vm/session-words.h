/*
 * A command of a session as records KEY=VALUE with a NUL behind each: those of SESSION_EXEC in
 * lkvm/session.h. `lkvm exec` hands them to the lkvm of a guest, which judges them and hands them on, and
 * has a struct session_end for an answer.
 */
#ifndef LKVM_VM_SESSION_WORDS_H
#define LKVM_VM_SESSION_WORDS_H

#include <stddef.h>

#include "lkvm/session.h"

struct session_end {
	struct session_exit exit;
	uint32_t output_err; /* errno of what could not be written of its output, or 0 */
	uint32_t zero;
};

struct session_words {
	char *const *argv; /* NULL at the end */
	char *const *envp; /* likewise; NULL: empty */
	const char *cwd, *user; /* NULL: not said */
};

/**
 * session_words_join() - @head (@head_len bytes), then the records
 * Return: 0; -ENOMEM; -E2BIG: more than SESSION_EXEC_MOST; free(*ret)
 */
int session_words_join(const struct session_words *words, const void *head, size_t head_len, void **ret,
		       size_t *ret_len);

/**
 * session_words_parse() - judge records, of @len bytes, by whoever
 * @ret: leads into @text; session_words_free() gives the lists back
 * Return: 0; -EINVAL: an unknown key, no NUL at the end, no argument; -ENOMEM
 */
int session_words_parse(char *text, size_t len, struct session_words *ret);
void session_words_free(struct session_words *words);

#endif
