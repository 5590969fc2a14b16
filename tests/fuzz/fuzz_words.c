/* Links: vm/session-words.o */

/* What a client of `lkvm exec` sends as the words of a command: what is taken is the same once more. */
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/session.h"
#include "lkvm/vm/session-words.h"

static void check_same(char *const *a, char *const *b)
{
	for (; *a && *b; a++, b++)
		check(!strcmp(*a, *b));
	check(!*a && !*b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size);
	struct session_words words, again;
	void *joined;
	size_t len;

	check(text);
	memcpy(text, data, size);
	if (!session_words_parse(text, size, &words)) {
		check(!session_words_join(&words, "", 0, &joined, &len));
		check(len <= size && !session_words_parse(joined, len, &again));
		check_same(words.argv, again.argv);
		check_same(words.envp, again.envp);
		session_words_free(&again);
		session_words_free(&words);
		free(joined);
	}
	free(text);
	return 0;
}
