/*
 * The socket device's own: vsock.c is the device, vsock-rx.c gives packets to the guest, vsock-tx.c takes
 * the guest's, vsock-conn.c is one connection and its end on the host, vsock-buffer.c what that has not taken yet,
 * vsock-state.c saves and loads. Worker, where nothing else is said.
 */
#ifndef VSOCK_INTERNAL_H
#define VSOCK_INTERNAL_H

#include <linux/virtio_vsock.h>
#include <sys/queue.h>

#include "lkvm/timer.h"
#include "lkvm/virtio-vsock.h"

#define RX_QUEUE    0
#define TX_QUEUE    1
#define EVENT_QUEUE 2
#define N_QUEUES    3

#define HEADER_BYTES sizeof(struct virtio_vsock_hdr)
#define RX_BATCH     16 /* buffers of the guest that one read(2) may fill */
#define RX_SEGS      64 /* pieces of a buffer that are used */
#define MAX_REPLIES  64 /* resets of what is no connection */
#define BUCKETS      256
#define FIRST_PORT   (1U << 30) /* of the host's ends of connections that the host has begun */

/* To half-close: what the one who says it will not do any more */
#define SHUT_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/*
 *	host: accept -> HELLO -> ASKED -> UP        guest: REQUEST -> UP
 *	UP -> LEFT (the host's end is closed) -> OVER, or UP -> OVER (the guest has closed) -> gone
 * In OVER the guest knows nothing of it any more, or is about to be told; what it has said before still goes to
 * the host.
 */
enum conn_state { CONN_HELLO, CONN_ASKED, CONN_UP, CONN_LEFT, CONN_OVER };

/* Packets that the guest is to be sent: of each kind one at most, in this order. */
enum {
	OWE_RESET = 1 << 0,
	OWE_REQUEST = 1 << 1,
	OWE_RESPONSE = 1 << 2,
	OWE_SHUTDOWN = 1 << 3,
	OWE_CREDIT = 1 << 4,
};

/* Bytes of the guest that the host has not taken */
struct conn_buffer {
	uint8_t *bytes; /* a ring of VSOCK_CONN_BYTES; NULL: nothing was kept yet */
	uint8_t *marks; /* a bit for each: with it a message ends */
	uint32_t at, n;
	uint32_t whole; /* of messages: bytes of those that are complete */
};

struct conn {
	struct loop_source src; /* edge triggered; fd -1: the host's end is closed */
	struct vsock *vs;
	TAILQ_ENTRY(conn) all, turn;
	struct conn *next; /* in its bucket */
	uint32_t guest_port, host_port;
	uint16_t type;
	enum conn_state state;
	uint8_t owes;      /* OWE_* */
	uint8_t told_shut; /* by the host, to be told or told already */
	uint8_t guest_shut; /* by the guest */
	bool known;        /* it is in a bucket: packets find it */
	bool has_turn;
	bool readable, eof, hup; /* the host's end: may be read, was read to its end, is gone, */
	bool last;         /* and behind what it may have nothing will come: nobody tells of it any more */
	bool waits_for_room; /* the host's reader is slow */
	bool deaf;         /* nobody reads there any more: what the guest says is dropped */
	uint32_t need;     /* credit that the next message takes */
	uint32_t rx_cnt, fwd_cnt, fwd_told; /* bytes from the guest, of these taken, of these it knows */
	uint32_t tx_cnt, peer_alloc, peer_fwd; /* bytes to it, how many it has room for, of these taken */
	struct conn_buffer out;
	struct timer patience; /* HELLO */
};

TAILQ_HEAD(conn_list, conn);

/* A buffer of the guest's, taken off the ring and still empty */
struct rx_buffer {
	uint64_t token;
	uint32_t bytes, n;
	struct iovec iov[RX_SEGS];
};

struct vsock {
	struct virtio_dev dev;
	struct vsock_host host;
	bool has_host, cid_fixed;
	struct vsock_state {
		uint64_t guest_cid;
	} st;
	struct listener {
		struct loop_source src;
		struct vsock *vs;
		enum vsock_kind kind;
		bool waiting; /* there may be somebody to accept */
	} listener[VSOCK_KINDS];
	struct conn_list all, turns; /* connections; those that have something for the guest */
	unsigned n_conns;
	struct conn *bucket[BUCKETS];
	uint32_t next_port;
	struct rx_buffer rx[RX_BATCH]; /* a ring */
	unsigned rx_at, rx_n;
	struct {
		struct virtio_vsock_hdr hdr[MAX_REPLIES]; /* a ring */
		unsigned at, n;
	} reply;
	bool tx_waits; /* for room there */
	struct {
		struct conn *conn; /* whose message it is; NULL: none is there */
		uint32_t at, n;
		uint8_t bytes[VSOCK_CONN_BYTES];
	} message; /* of the host, on its way to the guest */
	bool owes_event; /* the driver is to be told of a reset of the transport; written while the worker stands still */
	uint8_t *spare; /* a buffer of a connection that needs none now */
	atomic_ullong connections, opened, to_guest, to_host;
};

static inline struct vsock *vsock_of(struct virtio_dev *dev)
{
	return container_of(dev, struct vsock, dev);
}

extern const struct state_type vsock_state_type;

/* ---- vsock.c ---- */

/** vsock_serve() - after whatever has happened: what that was makes room for, and is for the guest */
void vsock_serve(struct vsock *vs);

/* ---- vsock-conn.c ---- */

/** conn_new() - Return: NULL: there are VSOCK_MAX_CONNS, or no memory; @fd is then closed */
struct conn *conn_new(struct vsock *vs, int fd, enum vsock_kind kind);
/** conn_free() - it has never been, for both sides, but for what the host has read */
void conn_free(struct conn *c);
struct conn *conn_find(struct vsock *vs, uint32_t guest_port, uint32_t host_port);
/** conn_know() - packets find it by these ports */
void conn_know(struct conn *c, uint32_t guest_port, uint32_t host_port);
/** conn_up() - bytes may pass */
void conn_up(struct conn *c);
/** conn_owe() - the guest is to be sent this, too */
void conn_owe(struct conn *c, uint8_t what);
/** conn_reset() - it is broken: both sides are told, and what was kept is dropped */
void conn_reset(struct conn *c);
/** conn_over() - the guest has closed its end: it is told that so have we. May free it. */
void conn_over(struct conn *c);
/** conn_close_host() - the host's end, with what it has not read */
void conn_close_host(struct conn *c);
/** conn_shut() - the host does not do this any more: SHUTDOWN is owed */
void conn_shut(struct conn *c, uint8_t flags);
/** conn_flush() - give the host what was kept. May free it. */
void conn_flush(struct conn *c);
/** conn_forward() - @len bytes of the guest's were taken */
void conn_forward(struct conn *c, uint32_t len);
/** conn_want_turn() - it may have something for the guest */
void conn_want_turn(struct conn *c);
/** conn_may_read() - is there something to be read for the guest, and may it have that? */
bool conn_may_read(const struct conn *c);
/** conn_credit() - how many bytes the guest has room for */
uint32_t conn_credit(const struct conn *c);
/** conns_accept() - those who wait, as far as there is room; Return: was there one? */
bool conns_accept(struct vsock *vs);
void conns_free(struct vsock *vs);
/** conns_go_on() - after standing still */
void conns_go_on(struct vsock *vs);

/* ---- vsock-buffer.c ---- */

/** buffer_put() - keep [@off, @off + @len) of @chain's readable bytes, which is no more than there is room for; 0 or -ENOMEM */
int buffer_put(struct conn *c, const struct virtq_chain *chain, uint64_t off, uint32_t len);
/** buffer_mark() - the message ends with what was put last */
void buffer_mark(struct conn *c);
/** buffer_next() - what the host is to be given next, as pieces; Return: bytes, 0: nothing */
uint32_t buffer_next(const struct conn *c, struct iovec ret[2]);
void buffer_took(struct conn *c, uint32_t len);
void buffer_free(struct conn *c);

/* ---- vsock-rx.c ---- */

/** rx_serve() - give the guest what there is, as far as it has room */
void rx_serve(struct vsock *vs);
/** rx_forget() - the buffers are the driver's again */
void rx_forget(struct vsock *vs);
void event_serve(struct vsock *vs);

/* ---- vsock-tx.c ---- */

void tx_serve(struct vsock *vs);

#endif
