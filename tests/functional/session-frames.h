/*
 * lkvm's end of include/lkvm/session.h for session-peer.c: keeps all that the guest's init sends, and ends
 * the test with a line on standard output where it breaks a rule.
 */
#ifndef SESSION_FRAMES_H
#define SESSION_FRAMES_H

#include <lkvm/session.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RUNS 80

struct bytes {
	uint8_t *at;
	size_t len, most;
};

struct run { /* a command, by its number */
	bool started, exited, eof[3];
	bool hold; /* give no credit */
	uint32_t pid;
	uint64_t exited_ns, begun_ns;
	uint32_t window[3]; /* bytes that may still be sent */
	struct bytes out[3];
	struct session_exit exit;
};

struct peer {
	int fd;
	int pid; /* of init's starter */
	bool closed, asked, hello;
	bool deaf; /* reads nothing */
	struct session_hello greeting;
	struct bytes in, out;
	size_t out_at;
	struct bytes kmsg;
	unsigned kmsg_records, refused; /* refused: there were too many commands */
	struct run run[RUNS];
};

#define CHECK(good) check(good, #good, __func__, __LINE__)
void check(bool good, const char *text, const char *function, int line);

uint64_t now_ns(void);
void bytes_put(struct bytes *b, const void *from, size_t len);

/* Runs the command with its end as descriptor 3. @narrow: little fits in between */
void peer_start(struct peer *p, char **argv, bool narrow);

/* A frame; it leaves in peer_step(). */
void put(struct peer *p, unsigned type, unsigned flags, uint32_t command, unsigned stream, const void *body,
	 size_t len);
void put_number(struct peer *p, unsigned type, uint32_t command, unsigned stream, uint32_t number);

/* Moves what can be moved for at most @ms. False: nothing happened */
bool peer_step(struct peer *p, int ms);
/* Steps until *@what; not longer than 20 seconds */
void peer_until(struct peer *p, const bool *what);

/* An EXEC: a record for each word "KEY=VALUE", in parts if it is long */
void put_exec(struct peer *p, uint32_t command, uint32_t flags, const char *const *records);
#define EXEC(p, command, flags, ...) put_exec(p, command, flags, (const char *const[]){ __VA_ARGS__, NULL })
/* The same of records that are there already, each with its NUL */
void put_exec_bytes(struct peer *p, uint32_t command, uint32_t flags, const void *records, size_t len);

/* As much of it as the window allows. Return: how much */
size_t put_input(struct peer *p, uint32_t command, const uint8_t *from, size_t len);

#endif
