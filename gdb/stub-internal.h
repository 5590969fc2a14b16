/* Between gdb/stub.c, which knows what stands still and what runs, and those who look at it:
 * gdb/stub-data.c (registers, memory, breakpoints) and gdb/stub-query.c. */
#ifndef GDB_STUB_INTERNAL_H
#define GDB_STUB_INTERNAL_H

#include "lkvm/gdb/packet.h"
#include "lkvm/gdb/stub.h"

struct gdb_stub {
	const struct gdb_target *target;
	void *ctx;
	struct gdb_stop last;   /* why it stands still */
	unsigned cpu;           /* chosen by Hg: of registers and memory */
	int resume_cpu;         /* by Hc; -1: all */
	bool waits;             /* for gdb_stub_say() */
	bool running, no_acks, physical, over;
	enum { ANSWER, NO_ANSWER, ANSWERED } answer; /* of this packet */
	unsigned next_thread;   /* of qsThreadInfo */
	char ack;               /* to be sent first; 0: none */
	size_t sent;            /* bytes of @out */
	char *said;             /* by a command in words, of which the rest from said_at on is to be sent; NULL: nothing is */
	size_t said_at;
	int said_err;           /* its result, which comes after that */
	struct gdb_reader in;
	struct gdb_writer out;
	uint8_t memory[GDB_PACKET_BYTES];
	struct gdb_action action[]; /* one a CPU */
};

/* Answers: OK, an error, the one or the other */
void gdb_ok(struct gdb_stub *s);
void gdb_error(struct gdb_stub *s, int err);
void gdb_result(struct gdb_stub *s, int err);

/** gdb_begin_answer() - a packet in place of the last one */
void gdb_begin_answer(struct gdb_stub *s);

/** gdb_more_said() - the client has had a packet: the next one of what a command has said, if there is more of it */
void gdb_more_said(struct gdb_stub *s);
void gdb_forget_said(struct gdb_stub *s);

/** gdb_word_range() - "ADDRESS,LENGTH" */
bool gdb_word_range(struct gdb_words *w, uint64_t *ret_at, uint64_t *ret_n);

enum { ANY_THREAD = 0, ALL_THREADS = -1 };
/** gdb_word_thread() - "1f", "-1", "p1.1f"; Return: a thread, ANY_THREAD, ALL_THREADS, or -EINVAL */
int gdb_word_thread(struct gdb_words *w, const struct gdb_stub *s);

/* Packets, behind their names */
void gdb_all_registers(struct gdb_stub *s, struct gdb_words *w);
void gdb_write_all_registers(struct gdb_stub *s, struct gdb_words *w);
void gdb_one_register(struct gdb_stub *s, struct gdb_words *w);
void gdb_write_register(struct gdb_stub *s, struct gdb_words *w);
void gdb_read_memory(struct gdb_stub *s, struct gdb_words *w);
void gdb_write_memory(struct gdb_stub *s, struct gdb_words *w);
void gdb_read_binary(struct gdb_stub *s, struct gdb_words *w);
void gdb_write_binary(struct gdb_stub *s, struct gdb_words *w);
void gdb_set_physical(struct gdb_stub *s, struct gdb_words *w);
void gdb_tell_physical(struct gdb_stub *s, struct gdb_words *w);
void gdb_insert_point(struct gdb_stub *s, struct gdb_words *w);
void gdb_remove_point(struct gdb_stub *s, struct gdb_words *w);
void gdb_supported(struct gdb_stub *s, struct gdb_words *w);
void gdb_transfer(struct gdb_stub *s, struct gdb_words *w);
void gdb_offsets(struct gdb_stub *s, struct gdb_words *w);
void gdb_monitor(struct gdb_stub *s, struct gdb_words *w);
void gdb_is_alive(struct gdb_stub *s, struct gdb_words *w);
void gdb_more_threads(struct gdb_stub *s, struct gdb_words *w);
void gdb_first_threads(struct gdb_stub *s, struct gdb_words *w);
void gdb_thread_info(struct gdb_stub *s, struct gdb_words *w);
void gdb_current_thread(struct gdb_stub *s, struct gdb_words *w);

#endif
