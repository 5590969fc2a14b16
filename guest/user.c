/* Who a command runs as: /etc/passwd and /etc/group of the root that was entered, read by its process. */
#include "words.h"

#include <errno.h>

#define GROUPS_MOST 65536 /* as the kernel has it */

/* An entry of passwd(5) or group(5): its fields, as far as one needs them here */
struct entry {
	const char *name;
	char *members;      /* of a group */
	uint32_t id, group; /* group: of a user */
};

/* The next field of a line that ends with a NUL, ended by a NUL; moves @at behind it */
static char *field(char **at, char ends)
{
	char *begin = *at;

	while (**at && **at != ends)
		(*at)++;
	if (**at)
		*(*at)++ = '\0';
	return begin;
}

static bool whole_number(const char *s, uint32_t *ret)
{
	return text_number(&s, ret) && !*s;
}

/* The next line that is well formed; moves @at behind it. False: there is none */
static bool next_entry(char **at, bool groups, struct entry *ret)
{
	while (**at) {
		char *line = field(at, '\n');
		struct entry e = { .name = field(&line, ':') };
		bool good;

		field(&line, ':');
		good = whole_number(field(&line, ':'), &e.id);
		e.members = field(&line, ':');
		if (!good || (!groups && !whole_number(e.members, &e.group)))
			continue;
		*ret = e;
		return true;
	}
	return false;
}

static bool equal(const char *a, const char *b)
{
	a = text_behind(a, b);
	return a && !*a;
}

/* By name or number; a number that has no entry is also that of the user's group. */
static bool find_user(const char *user, struct entry *ret)
{
	uint32_t uid = 0;
	const bool number = whole_number(user, &uid);
	size_t len;
	char *at = read_all("/etc/passwd", &len);

	while (at && next_entry(&at, false, ret))
		if (equal(ret->name, user) || (number && ret->id == uid))
			return true;
	*ret = (struct entry){ .name = "", .id = uid, .group = uid };
	return number;
}

/* Whether @name is among the words between commas */
static bool has_member(char *members, const char *name)
{
	while (*members)
		if (equal(field(&members, ','), name))
			return true;
	return false;
}

/* Return: how many groups @gids has then */
static size_t find_groups(const struct entry *user, uint32_t *gids)
{
	size_t len, n = 0;
	char *at = read_all("/etc/group", &len);
	struct entry e;

	gids[n++] = user->group;
	while (at && n < GROUPS_MOST && next_entry(&at, true, &e))
		if (e.id != user->group && has_member(e.members, user->name))
			gids[n++] = e.id;
	return n;
}

long user_become(const char *user, bool owns_streams)
{
	uint32_t *gids = map_memory(GROUPS_MOST * sizeof(*gids));
	struct entry e;
	long err;

	if (!gids)
		return -ENOMEM;
	if (!find_user(user, &e))
		return -ESRCH;
	/* /dev/stdout is opened anew, by who may open what is behind it. */
	for (long fd = 0; owns_streams && fd < 3; fd++)
		SYS(fchown, fd, e.id, -1);
	err = SYS(setgroups, find_groups(&e, gids), gids);
	if (!err)
		err = SYS(setgid, e.group);
	return err ? err : SYS(setuid, e.id);
}
