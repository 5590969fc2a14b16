/* `lkvm run -- CMD`: what a session is, from the command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/vm/run.h"

extern char **environ;

/* What a command gets of the caller's environment, by itself; a '*' at the end stands for the rest. */
static const char *const kept[] = { "PATH", "TERM", "LANG", "LANGUAGE", "LC_*", "TZ", "COLORTERM", "NO_COLOR" };

static int add_word(char ***list, unsigned *n, char *word)
{
	char **more = word ? reallocarray(*list, *n + 2, sizeof(**list)) : NULL;

	if (!more) {
		free(word);
		return log_err(-ENOMEM, "command line");
	}
	*list = more;
	more[(*n)++] = word;
	more[*n] = NULL;
	return 0;
}

static void free_words(char **list)
{
	for (char **word = list; word && *word; word++)
		free(*word);
	free(list);
}

/* ---- folders ---- */

static int folder_of(const struct opt *opt, const char *name, char **ret)
{
	struct stat st;
	char *path = realpath(name, NULL);

	if (!path || stat(path, &st)) {
		int err = log_err(-errno, "option '--%s': '%s'", opt->name, name);

		free(path);
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		free(path);
		return log_err(-ENOTDIR, "option '--%s': '%s'", opt->name, name);
	}
	*ret = path;
	return 0;
}

/* Is @arg no folder, and what stands in front of its keys a URI or a file? */
static bool is_image(const char *arg)
{
	char *copy = strdup(arg), *rest = copy;
	const char *path = copy ? keys_word(&rest) : NULL;
	struct stat st;
	bool is = path && (stat(arg, &st) || !S_ISDIR(st.st_mode)) &&
		  (strstr(path, "://") || (!stat(path, &st) && !S_ISDIR(st.st_mode)));

	free(copy);
	return is;
}

int run_parse_root(void *config, const struct opt *opt, const char *arg)
{
	struct session_config *s = &((struct vm_config *)config)->session;
	char *path;
	int err;

	if (s->root_disk)
		return log_errx(-EINVAL, "option '--%s': '%s' comes behind an image", opt->name, arg);
	if (is_image(arg)) {
		free(s->root);
		s->root = NULL;
		return run_add_root_disk(config, opt, arg);
	}
	err = folder_of(opt, arg, &path);
	if (err)
		return err;
	free(s->root);
	s->root = path;
	s->wanted = true;
	return 0;
}

/* DIR[:AT]; a folder whose name has a colon in it is taken as a whole if it exists. */
int run_parse_share(void *config, const struct opt *opt, const char *arg)
{
	struct session_config *s = &((struct vm_config *)config)->session;
	struct session_share *shares = reallocarray(s->shares, s->n_shares + 1, sizeof(*shares));
	struct session_share *share;
	const char *colon = access(arg, F_OK) ? strrchr(arg, ':') : NULL;
	char *name = colon ? strndup(arg, (size_t)(colon - arg)) : strdup(arg), *path = NULL, *at;
	int err;

	if (shares)
		s->shares = shares;
	err = shares && name ? folder_of(opt, name, &path) : log_err(-ENOMEM, "option '--%s'", opt->name);
	free(name);
	if (err)
		return err;
	at = strdup(colon ? colon + 1 : path);
	if (!at || *at != '/') {
		err = at ? log_errx(-EINVAL, "option '--%s': '%s' is no path from the root on", opt->name, at) :
			   log_err(-ENOMEM, "option '--%s'", opt->name);
		free(at);
		free(path);
		return err;
	}
	share = &shares[s->n_shares++];
	share->path = path;
	share->at = at;
	share->read_only = !strcmp(opt->name, "ro");
	return 0;
}

int run_parse_hide(void *config, const struct opt *opt, const char *arg)
{
	struct session_config *s = &((struct vm_config *)config)->session;
	size_t len = strlen(arg);

	if (*arg != '/')
		return log_errx(-EINVAL, "option '--%s': '%s' is no path from the root on", opt->name, arg);
	while (len > 1 && arg[len - 1] == '/')
		len--;
	return add_word(&s->hide, &s->n_hide, strndup(arg, len));
}

int run_parse_overlay(void *config, const struct opt *opt, const char *arg)
{
	struct session_config *s = &((struct vm_config *)config)->session;
	uint64_t bytes;
	enum ram_size_error why = ram_parse_size(arg, &bytes);

	if (why != RAM_SIZE_OK && why != RAM_SIZE_SMALL)
		return log_errx(-EINVAL, "option '--%s': '%s' is no size (512M, 2G)", opt->name, arg);
	free(s->overlay);
	if (asprintf(&s->overlay, "%lluk", (unsigned long long)(bytes / KIB)) < 0)
		s->overlay = NULL;
	return s->overlay ? 0 : log_err(-ENOMEM, "option '--%s'", opt->name);
}

int run_parse_dax(void *config, const struct opt *opt, const char *arg)
{
	struct session_config *s = &((struct vm_config *)config)->session;

	s->dax = !strcmp(arg, "on");
	return s->dax || !strcmp(arg, "off") ?
		       0 : log_errx(-EINVAL, "option '--%s': '%s' is neither on nor off", opt->name, arg);
}

/* ---- the environment ---- */

static size_t name_len(const char *word)
{
	return strcspn(word, "=");
}

/* The variable of the same name as @word's; NULL: there is none */
static char **find_env(const struct session_config *s, const char *word)
{
	for (unsigned i = 0; i < s->n_env; i++)
		if (name_len(s->env[i]) == name_len(word) && !strncmp(s->env[i], word, name_len(word)))
			return &s->env[i];
	return NULL;
}

/* A later one of the same name takes the place of an earlier one. */
static int set_env(struct session_config *s, const char *word)
{
	char **old = find_env(s, word), *copy = strdup(word);

	if (!old || !copy)
		return add_word(&s->env, &s->n_env, copy);
	free(*old);
	*old = copy;
	return 0;
}

/* NAME=VALUE, or NAME alone: as lkvm has it; nothing where it has none */
int run_env_add(struct session_config *s, const struct opt *opt, const char *arg)
{
	const char *value;
	char *word;
	int err;

	if (!name_len(arg))
		return log_errx(-EINVAL, "option '--%s': '%s' is neither NAME=VALUE nor NAME", opt->name, arg);
	if (strchr(arg, '='))
		return set_env(s, arg);
	value = getenv(arg);
	if (!value)
		return 0;
	if (asprintf(&word, "%s=%s", arg, value) < 0)
		return log_err(-ENOMEM, "environment");
	err = set_env(s, word);
	free(word);
	return err;
}

int run_parse_env(void *config, const struct opt *opt, const char *arg)
{
	return run_env_add(&((struct vm_config *)config)->session, opt, arg);
}

static bool is_kept(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		size_t len = strlen(kept[i]);

		if (kept[i][len - 1] == '*' ? !strncmp(word, kept[i], len - 1) :
					      name_len(word) == len && !strncmp(word, kept[i], len))
			return true;
	}
	return false;
}

/* What was given by --env comes before what the caller has, and that before what every command needs. */
int run_env_fill(struct session_config *s)
{
	static const char *const defaults[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb",
	};
	int err = 0;

	for (char **word = environ; !err && word && *word; word++)
		if (is_kept(*word) && !find_env(s, *word))
			err = set_env(s, *word);
	for (size_t i = 0; !err && i < ARRAY_SIZE(defaults); i++)
		if (!find_env(s, defaults[i]))
			err = set_env(s, defaults[i]);
	if (!err && !s->user && !find_env(s, "HOME="))
		err = set_env(s, "HOME=/root");
	return err;
}

void run_env_free(struct session_config *s)
{
	free_words(s->env);
}

/* ---- all together ---- */

static int default_cwd(struct session_config *s)
{
	if (s->cwd)
		return 0;
	/* The caller's folder, where the guest has the caller's tree */
	s->cwd_heap = s->root_disk || (s->root && strcmp(s->root, "/")) ? strdup("/") : getcwd(NULL, 0);
	s->cwd = s->cwd_heap;
	return s->cwd ? 0 : log_err(-errno, "current folder");
}

/* The caller's, where the guest has the caller's tree */
static char *const *shell_of(struct session_config *s)
{
	const char *own = getenv("SHELL");
	const bool usable = !s->root && !s->root_disk && own && *own == '/' && !access(own, X_OK);

	s->shell[0] = (char *)(uintptr_t)(usable ? own : "/bin/sh");
	return s->shell;
}

static int default_setting(struct session_config *s)
{
	int err = default_cwd(s);

	return err ? err : run_env_fill(s);
}

int run_take_shell(struct vm_config *cfg)
{
	struct session_config *s = &cfg->session;

	if (!s->wanted || s->argv || cfg->detach)
		return 0;
	shell_of(s);
	return default_setting(s);
}

int run_take_command(struct vm_config *cfg, char **words, int n)
{
	struct session_config *s = &cfg->session;

	s->has_command = n;
	s->wanted |= n > 0;
	if (!s->wanted)
		return 0;
	s->argv = n ? words : cfg->detach ? NULL : shell_of(s);
	if (cfg->nodefaults)
		return log_errx(-EINVAL, "--nodefaults leaves out what a command needs of the kernel's command line");
	return default_setting(s);
}

void run_free_session(struct vm_config *cfg)
{
	struct session_config *s = &cfg->session;

	for (unsigned i = 0; i < s->n_shares; i++) {
		free(s->shares[i].path);
		free(s->shares[i].at);
	}
	free(s->shares);
	free_words(s->hide);
	run_env_free(s);
	free(s->root);
	free(s->overlay);
	free(s->cwd_heap);
	free(s->lists.modules);
}
