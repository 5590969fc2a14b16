/* The records of a command; see lkvm/vm/session-words.h. */
#include "lkvm/vm/session-words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/session.h"

/* ---- to records ---- */

static void put(FILE *out, const char *key, const char *value)
{
	if (value)
		fprintf(out, "%s=%s%c", key, value, '\0');
}

static void put_all(FILE *out, const char *key, char *const *list)
{
	for (; list && *list; list++)
		put(out, key, *list);
}

int session_words_join(const struct session_words *words, const void *head, size_t head_len, void **ret,
		       size_t *ret_len)
{
	char *bytes = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&bytes, &len);
	int err;

	if (!out)
		return -ENOMEM;
	fwrite(head, 1, head_len, out);
	put(out, "cwd", words->cwd);
	put(out, "user", words->user);
	put_all(out, "arg", words->argv);
	put_all(out, "env", words->envp);
	err = ferror(out) ? -ENOMEM : 0;
	if (fclose(out) || err)
		err = -ENOMEM;
	else if (len > SESSION_EXEC_MOST)
		err = -E2BIG;
	if (err) {
		free(bytes);
		return err;
	}
	*ret = bytes;
	*ret_len = len;
	return 0;
}

/* ---- from records ---- */

struct lists {
	char **argv, **envp;
	size_t n_args, n_env;
	const char *cwd, *user;
};

/* Return: what stands behind KEY=, or NULL */
static char *value_of(char *record, const char *key)
{
	size_t len = strlen(key);

	return !strncmp(record, key, len) && record[len] == '=' ? record + len + 1 : NULL;
}

static int take(struct lists *l, char *record)
{
	char *value;

	if ((value = value_of(record, "arg")))
		l->argv[l->n_args++] = value;
	else if ((value = value_of(record, "env")))
		l->envp[l->n_env++] = value;
	else if ((value = value_of(record, "cwd")))
		l->cwd = value;
	else if ((value = value_of(record, "user")))
		l->user = value;
	else
		return -EINVAL;
	return 0;
}

static size_t count(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !text[i];
	return n;
}

int session_words_parse(char *text, size_t len, struct session_words *ret)
{
	struct lists l = { 0 };
	size_t n;
	int err = 0;

	if (!len || text[len - 1])
		return -EINVAL;
	n = count(text, len);
	l.argv = calloc(n + 1, sizeof(*l.argv));
	l.envp = calloc(n + 1, sizeof(*l.envp));
	if (!l.argv || !l.envp)
		err = -ENOMEM;
	for (char *at = text; !err && at < text + len; at += strlen(at) + 1)
		err = take(&l, at);
	if (!err && !l.n_args)
		err = -EINVAL;
	if (err) {
		free(l.argv);
		free(l.envp);
		return err;
	}
	*ret = (struct session_words){ l.argv, l.envp, l.cwd, l.user };
	return 0;
}

void session_words_free(struct session_words *words)
{
	free((void *)(uintptr_t)words->argv);
	free((void *)(uintptr_t)words->envp);
}
