/*
 * A virtio driver for guest programs: polling, both transports, both ring formats, and nothing in
 * it that keeps its user from breaking a rule. The numbers are those of the virtio 1.2 text.
 *
 * A struct vdev is one device, a struct vring one of its queues. vring_do() is the honest way to
 * have a request served; what a hostile driver needs beside it writes the ring's memory directly.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

enum virtio_id {
	VIRTIO_NET = 1,
	VIRTIO_BLK = 2,
	VIRTIO_CONSOLE = 3,
	VIRTIO_RNG = 4,
	VIRTIO_BALLOON = 5,
	VIRTIO_GPU = 16,
	VIRTIO_INPUT = 18,
	VIRTIO_VSOCK = 19,
	VIRTIO_MEM = 24,
	VIRTIO_PMEM = 27,
};

#define S_ACKNOWLEDGE 0x01
#define S_DRIVER      0x02
#define S_DRIVER_OK   0x04
#define S_FEATURES_OK 0x08
#define S_NEEDS_RESET 0x40
#define S_FAILED      0x80
#define S_LIVE        (S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK)

#define F(n) (1ULL << (n))
#define F_INDIRECT   F(28)
#define F_EVENT_IDX  F(29)
#define F_VERSION_1  F(32)
#define F_PACKED     F(34)
#define F_RING_RESET F(40)

#define D_NEXT     0x0001
#define D_WRITE    0x0002
#define D_INDIRECT 0x0004
#define D_AVAIL    0x0080 /* packed ring */
#define D_USED     0x8000

/* Registers that both transports have, though not at the same place. */
enum vreg {
	R_DEVICE_SELECT,
	R_DEVICE_FEATURES,
	R_DRIVER_SELECT,
	R_DRIVER_FEATURES,
	R_STATUS,
	R_GENERATION,
	R_QUEUE_SELECT,
	R_QUEUE_MAX, /* over PCI the size, which is the largest one after a reset */
	R_QUEUE_SIZE,
	R_QUEUE_READY,
	R_QUEUE_RESET,
	R_DESC,
	R_DESC_HIGH,
	R_AVAIL,
	R_AVAIL_HIGH,
	R_USED,
	R_USED_HIGH,
	N_VREGS
};

/* A descriptor; the packed ring has the last two fields the other way round. */
struct vdesc {
	uint64_t addr;
	uint32_t len;
	union {
		struct {
			uint16_t flags, next;
		};
		struct {
			uint16_t id, packed_flags;
		};
	};
};

struct vavail {
	uint16_t flags, idx, ring[];
};

struct vused {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[];
};

struct vring {
	struct vdev *dev;
	unsigned index;
	uint16_t size;
	bool packed;
	volatile struct vdesc *desc; /* a page each, up to VRING_MOST entries */
	volatile struct vavail *avail;
	volatile struct vused *used;
	uint16_t next; /* split: used entries seen; packed: index of the next descriptor */
	bool wrap;     /* packed */
	/* The last answer */
	uint32_t used_id, used_len;
};

#define VRING_MOST    256
#define VDEV_RINGS    6
#define BALLOON_RINGS 5
#define VDEV_BUF_SIZE 0x8000

struct vdev {
	const char *name;
	enum virtio_id id;
	bool pci;
	uint64_t offered;  /* features */
	uint64_t features; /* negotiated */
	uint64_t reg[N_VREGS]; /* their addresses */
	uint64_t config;
	uint64_t base; /* PCI: of BAR 0 */
	/* PCI */
	uint8_t devfn;
	uint64_t notify, isr, table, pba;
	uint32_t notify_step;
	unsigned cap_msix, cap_window, n_vectors;
	/* Memory */
	struct vring ring[VDEV_RINGS];
	uint8_t *buf;
};

/* One buffer of a request. */
struct vbuf {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* D_WRITE, and what should not be there */
};

/* virtio-driver.c */

/** vdev_scan() - find all devices, on PCI and at the addresses of virtio-mmio; Return: how many */
unsigned vdev_scan(struct vdev *ret, unsigned max);

uint64_t reg_read(const struct vdev *d, enum vreg r);
void reg_write(const struct vdev *d, enum vreg r, uint64_t value);
/** queue_address() - of the selected queue: R_DESC, R_AVAIL or R_USED, in two halves */
void queue_address(const struct vdev *d, enum vreg r, uint64_t addr);

uint8_t status(const struct vdev *d);
void set_status(const struct vdev *d, uint8_t value);
/** vdev_reset() - and wait until it is done */
void vdev_reset(struct vdev *d);
/** queue_is_reset() - wait until the reset of the selected queue is complete; false: it never is */
bool queue_is_reset(const struct vdev *d);
/** vdev_features() - reset, acknowledge, accept exactly @features; Return: status thereafter */
uint8_t vdev_features(struct vdev *d, uint64_t features);
/** vring_setup() - an empty ring at its usual place, not ready yet; @size 0: the largest */
void vring_setup(struct vring *r, uint16_t size);
/**
 * vdev_start() - from reset to DRIVER_OK by the book; Return: does it live?
 * With queue 0; a console or balloon with all that it has, a network device with its first three.
 */
bool vdev_start(struct vdev *d, uint64_t features);

/** kick() - notify */
void kick(const struct vring *r);
void notify(const struct vdev *d, unsigned queue);

/** offer() - split: put @head on the available ring and notify */
void offer(struct vring *r, uint16_t head);
/** put_desc() - split: fill one descriptor */
void put_desc(struct vring *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
	      uint16_t next);
/** put_table() - write an indirect table of chained descriptors for a split ring */
void put_table(struct vdesc *table, const struct vbuf *buf, unsigned n);
/**
 * put_packed() - packed: fill the @ahead-th descriptor from the next one on; its AVAIL and USED
 * flags become those of an available one, exclusive or'ed with what @flags has of them
 */
void put_packed(struct vring *r, unsigned ahead, const struct vbuf *buf, uint16_t id);

/** answered() - wait for the next used buffer; false: none came, or the device needs a reset */
bool answered(struct vring *r);
/** packed_answered() - the same for a packed ring, whose chain had @n descriptors */
bool packed_answered(struct vring *r, unsigned n);
/** used_reaches() - split: wait for the used index without an access to a register */
bool used_reaches(const struct vring *r, uint16_t idx);
/** asleep() - wait until the device looks at its split ring only when it is notified */
bool asleep(const struct vring *r);
/** quiet() - for a while no used buffer comes */
bool quiet(const struct vring *r);
/** vring_add() - make a chain available, honestly, without a notification */
void vring_add(struct vring *r, const struct vbuf *buf, unsigned n);
/** vring_do() - add, notify, wait; Return: answered? */
bool vring_do(struct vring *r, const struct vbuf *buf, unsigned n);
/** needs_reset() - wait until the device says so */
bool needs_reset(const struct vdev *d);

/* Time is counted in cycles, of which every host has 1 to 6 in a nanosecond. */
#define CYCLES_MS 3000000ULL

uint64_t cycles(void);

struct deadline {
	uint64_t start, cycles;
};
/** in_time() - for loops that wait: true until some seconds have passed */
bool in_time(struct deadline *d);
void pause_ms(unsigned ms);

/* PCI configuration, by ports */
#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc
#define ECAM        0xe0000000ULL
uint32_t pci_read(unsigned devfn, unsigned off, unsigned width);
void pci_write(unsigned devfn, unsigned off, unsigned width, uint32_t value);

uint64_t mem_read(uint64_t at, unsigned width);
void mem_write(uint64_t at, unsigned width, uint64_t value);

/* virtio-requests.c: a real request for each kind of device */

/** vdev_works() - on a device that was started: does it do its work? */
bool vdev_works(struct vdev *d);

enum { MEM_PLUG, MEM_UNPLUG, MEM_UNPLUG_ALL, MEM_STATE };
enum { MEM_ACK, MEM_NACK, MEM_BUSY, MEM_ERROR, MEM_NO_ANSWER = 0xff };

/** mem_block(), mem_start() - the size of a block of a memory device, and where the first one is */
uint64_t mem_block(const struct vdev *d);
uint64_t mem_start(const struct vdev *d);
/** mem_request() - write a request to where d->buf is */
void mem_request(struct vdev *d, unsigned type, uint64_t addr, unsigned n);
/** mem_ask() - and send it; Return: MEM_ACK and the like */
unsigned mem_ask(struct vdev *d, unsigned type, uint64_t addr, unsigned n);
/** mem_state() - what the last answer said of a state */
unsigned mem_state(const struct vdev *d);

#define GPU_OK   0x1100
#define GPU_AREA (40U << 20) /* of pixels, which nobody else uses */

/** gpu_send() - @bytes of request words at d->buf, answer at d->buf + 0x1000; Return: its type, 0: none */
uint32_t gpu_send(struct vdev *d, uint32_t bytes, uint32_t room);
/** gpu_words() - a request of type @type and up to seven words behind its header; Return: as gpu_send() */
uint32_t gpu_words(struct vdev *d, uint32_t type, const uint32_t *word, unsigned n);
/** gpu_show_black() - start the one that there is, found in room for @most, and have output 0 show a black resource; it */
struct vdev *gpu_show_black(struct vdev *devices, unsigned most, uint32_t width, uint32_t height);

#define BALLOON_PAGE (48U << 20) /* which nobody else uses */

#define BLK_IN           0
#define BLK_OUT          1
#define BLK_FLUSH        4
#define BLK_GET_ID       8
#define BLK_DISCARD      11
#define BLK_WRITE_ZEROES 13
#define BLK_OK           0
#define BLK_IOERR        1
#define BLK_UNSUPP       2
#define BLK_NO_ANSWER    0xff
#define SECTOR           512

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

#define VSOCK_HEADER 44

enum {
	VSOCK_REQUEST = 1,
	VSOCK_RESPONSE,
	VSOCK_RST,
	VSOCK_SHUTDOWN,
	VSOCK_RW,
	VSOCK_CREDIT_UPDATE,
	VSOCK_CREDIT_REQUEST,
};

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

/** vsock_packet() - of a stream, from the guest to the host */
struct vsock_header vsock_packet(const struct vdev *d, uint16_t op, uint32_t guest_port, uint32_t host_port);

enum port_event {
	PORT_DEVICE_READY,
	PORT_ADD,
	PORT_REMOVE,
	PORT_READY,
	PORT_CONSOLE,
	PORT_RESIZE,
	PORT_OPEN,
	PORT_NAME,
};

/* Where a console's control message is in its buffer. */
#define PORT_MESSAGE(d) ((uint64_t)(d)->buf + 0x1000)

/** port_message() - make it */
void port_message(struct vdev *d, uint32_t id, uint16_t event, uint16_t value);
/** port_control() - send it; Return: answered? */
bool port_control(struct vdev *d, uint32_t id, uint16_t event, uint16_t value);
/** port_told() - give the device room for a message; Return: is it this one? */
bool port_told(struct vdev *d, uint32_t id, uint16_t event);

/* Where the parts of a block request are in a device's buffer. */
#define BLK_HEADER(d) ((uint64_t)(d)->buf)
#define BLK_STATUS(d) ((uint64_t)(d)->buf + 0x800)
#define BLK_DATA(d)   ((uint64_t)(d)->buf + 0x1000)

void blk_header(struct vdev *d, uint32_t type, uint64_t sector);
/** blk_send() - a chain of any shape with its status at BLK_STATUS(); Return: it, BLK_NO_ANSWER */
uint8_t blk_send(struct vring *r, const struct vbuf *buf, unsigned n);
/** blk_do() - one buffer of @len bytes at BLK_DATA() between header and status; Return: the same */
uint8_t blk_do(struct vring *r, uint32_t type, uint64_t sector, uint32_t len);
/** blk_pattern() - is @data what the test's disks have at @sector? Line n says n, 16 bytes each. */
bool blk_pattern(const uint8_t *data, uint64_t sector);

#endif
