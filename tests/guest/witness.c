/*
 * Remembers what it has done and looks whether it is so: in RAM, on every disk, in registers of chips and
 * of PCI, in interrupt state. For tests that save it and let it go on elsewhere: what was lost or is older
 * or newer than the rest ends it with the line that saw it.
 *
 * A byte on the serial port: 'q' ends well; any other prints how many rounds it has made. "packed": rings.
 * A new generation ID is printed, and has come with its interrupt.
 * "disks=N": so many. "fpu": x87 and SSE registers too, which not each KVM can run.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST      8
#define PATIENCE  1000000 /* looks at a register, before what has not come is lost */
#define BLOCK     4096
#define BLOCKS    16 /* of each disk */
#define SCRATCH   512 /* words */
#define PIC_MASK  0xa5
#define CMOS_BYTE 0x40 /* of the clock's battery-backed memory */
#define VECTOR    0x40
#define SVR       0x0f0
#define LVT_TIMER 0x320
#define TIMER_MASKED (1 << 16)
#define IRR       0x200
#define COM2      0x2f8
#define COM2_FCR  (COM2 + 2)
#define COM2_MCR  (COM2 + 4)
#define COM2_LSR  (COM2 + 5)
#define I8042_WRITE_OUTPUT 0xd2
#define ALARM_SECOND 1
#define ALARM_HOUR   5
#define VECTOR_VMGENID 0x70
#define PIN_VMGENID    13

static struct vdev devices[MOST];
static volatile uint64_t scratch[SCRATCH];
static volatile uint64_t stamp[MOST][BLOCKS]; /* the round in which each block was written last; 0: never */

static uint64_t mix(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* ---- memory ---- */

static void change_memory(uint64_t round)
{
	for (unsigned i = 0; i < SCRATCH; i++)
		scratch[i] = mix(round + i);
}

static void check_memory(uint64_t round)
{
	for (unsigned i = 0; i < SCRATCH; i++)
		CHECK_EQ(scratch[i], mix(round + i));
}

/* ---- disks: the first and last word of a block tell its place and round ---- */

static void write_block(struct vdev *d, unsigned disk, unsigned block, uint64_t round)
{
	volatile uint64_t *data = mem64(BLK_DATA(d));

	for (unsigned i = 0; i < BLOCK / 8; i++)
		data[i] = mix(round * BLOCKS + block + i);
	/* In RAM first: who is saved in between finds either of both on the disk. */
	stamp[disk][block] = round;
	CHECK_EQ(blk_do(&d->ring[0], BLK_OUT, block * (BLOCK / SECTOR), BLOCK), BLK_OK);
}

static void check_block(struct vdev *d, unsigned disk, unsigned block)
{
	const uint64_t round = stamp[disk][block];
	volatile uint64_t *data = mem64(BLK_DATA(d));

	if (!round)
		return;
	CHECK_EQ(blk_do(&d->ring[0], BLK_IN, block * (BLOCK / SECTOR), BLOCK), BLK_OK);
	for (unsigned i = 0; i < BLOCK / 8; i++)
		CHECK_EQ(data[i], mix(round * BLOCKS + block + i));
}

/* ---- x87 and SSE: what is in registers stays there from round to round ---- */

#define FPU_STACK 3
#define FPU_XMM   4

static bool has_fpu;

static void start_fpu(void)
{
	asm volatile("mov %%cr0, %%rax; and $~0x0c, %%eax; or $0x22, %%eax; mov %%rax, %%cr0;" /* EM, TS; MP, NE */
		     "mov %%cr4, %%rax; or $0x600, %%eax; mov %%rax, %%cr4" /* OSFXSR, OSXMMEXCPT */
		     : : : "rax");
}

/* Rounding and masks of exceptions */
static uint16_t x87_control(uint64_t round)
{
	return (uint16_t)(0x037f | round % 4 << 10);
}

static uint32_t sse_control(uint64_t round)
{
	return (uint32_t)(0x1f80 | round % 4 << 13);
}

static void change_fpu(uint64_t round)
{
	const uint16_t control = x87_control(round);
	const uint32_t mxcsr = sse_control(round);
	uint64_t value[FPU_STACK + FPU_XMM];

	for (unsigned i = 0; i < FPU_STACK + FPU_XMM; i++)
		value[i] = mix(round + i) >> 1;
	asm volatile("fninit; fldcw %0; ldmxcsr %1" : : "m"(control), "m"(mxcsr));
	asm volatile("fildll %0; fildll %1; fildll %2" : : "m"(value[0]), "m"(value[1]), "m"(value[2]));
	asm volatile("movq %0, %%xmm0; movq %1, %%xmm5; movq %2, %%xmm10; movq %3, %%xmm15"
		     : : "m"(value[3]), "m"(value[4]), "m"(value[5]), "m"(value[6]));
}

static void check_fpu(uint64_t round)
{
	uint64_t value[FPU_STACK + FPU_XMM];
	uint16_t control, status;
	uint32_t mxcsr;

	asm volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
	CHECK_EQ(control, x87_control(round));
	CHECK_EQ(mxcsr, sse_control(round));
	asm volatile("fistpll %0; fistpll %1; fistpll %2; fnstsw %3"
		     : "=m"(value[2]), "=m"(value[1]), "=m"(value[0]), "=m"(status));
	CHECK_EQ(status & 0x3801, 0); /* the stack is empty, and no operation was invalid */
	asm volatile("movq %%xmm0, %0; movq %%xmm5, %1; movq %%xmm10, %2; movq %%xmm15, %3"
		     : "=m"(value[3]), "=m"(value[4]), "=m"(value[5]), "=m"(value[6]));
	for (unsigned i = 0; i < FPU_STACK + FPU_XMM; i++)
		CHECK_EQ(value[i], mix(round + i) >> 1);
}

/* ---- the second serial port: in a loop, its receiver half full for ever ---- */

#define FIFO_DEPTH 7

static void start_fifo(void)
{
	out8(COM2_FCR, 0x07);
	out8(COM2_MCR, 0x10);
	for (unsigned i = 0; i < FIFO_DEPTH; i++)
		out8(COM2, (uint8_t)mix(i));
}

/* The oldest byte is the one that went in so many rounds ago. */
static void turn_fifo(uint64_t round)
{
	CHECK_EQ(in8(COM2_LSR) & LSR_DATA, LSR_DATA);
	CHECK_EQ(in8(COM2), (uint8_t)mix(round - 1));
	out8(COM2, (uint8_t)mix(round - 1 + FIFO_DEPTH));
}

/* ---- chips: what was written in the round before is there, some of it half-way ---- */

static void cmos_write(uint8_t reg, uint8_t value)
{
	out8(0x70, reg);
	out8(0x71, value);
}

static uint8_t cmos_read(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

/* Of what is never read */
static uint32_t pci_address(uint64_t round)
{
	return (uint32_t)(0x80000000 | (round % 32) << 11);
}

static void change_chips(uint64_t round)
{
	out8(COM_SCR, (uint8_t)round);
	out8(COM_MCR, (uint8_t)(round % 2 ? 0x0b : 0x08));
	cmos_write(CMOS_BYTE, (uint8_t)mix(round));
	out8(0x21, (uint8_t)(PIC_MASK ^ round));
	out32(PCI_ADDRESS, pci_address(round));
	*mem32(LAPIC + LVT_TIMER) = (uint32_t)(TIMER_MASKED | (VECTOR + round % 16));
	/* Of an alarm two registers of three */
	cmos_write(ALARM_SECOND, (uint8_t)(round % 10));
	cmos_write(ALARM_HOUR, (uint8_t)(round / 10 % 10));
	out8(PORT_I8042, I8042_WRITE_OUTPUT); /* the command alone: its byte follows in the next round */
	out8(0x70, CMOS_BYTE); /* the address alone */
}

static void check_chips(uint64_t round)
{
	CHECK_EQ(in8(0x71), (uint8_t)mix(round));
	CHECK_EQ(cmos_read(ALARM_SECOND), round % 10);
	CHECK_EQ(cmos_read(ALARM_HOUR), round / 10 % 10);
	out8(0x60, (uint8_t)~mix(round));
	CHECK_EQ(in8(PORT_I8042) & 1, 1); /* there is output */
	CHECK_EQ(in8(0x60), (uint8_t)~mix(round));
	CHECK_EQ(in8(COM_SCR), (uint8_t)round);
	CHECK_EQ(in8(COM_MCR), round % 2 ? 0x0b : 0x08);
	CHECK_EQ(in8(0x21), (uint8_t)(PIC_MASK ^ round));
	if (devices[0].pci)
		CHECK_EQ(in32(PCI_ADDRESS), pci_address(round));
	CHECK_EQ(*mem32(LAPIC + LVT_TIMER), TIMER_MASKED | (VECTOR + round % 16));
}

/* ---- PCI: message interrupts that are routed, masked and pending ---- */

static volatile uint64_t changed[MOST]; /* the round in which a device's was changed last; 0: never */

static bool is_pending(uint8_t vector)
{
	return *mem32(LAPIC + IRR + vector / 32 * 0x10) >> vector % 32 & 1;
}

static void route(struct vdev *d, unsigned i)
{
	if (!d->pci)
		return;
	pci_write(d->devfn, d->cap_msix + 2, 2, 0x8000);
	for (unsigned v = 0; v < 2; v++) {
		mem_write(d->table + v * 16, 8, LAPIC);
		mem_write(d->table + v * 16 + 8, 4, VECTOR + 0x20 + i);
		mem_write(d->table + v * 16 + 12, 4, 0);
	}
	reg_write(d, R_QUEUE_SELECT, 0);
	mem_write(d->reg[R_DEVICE_SELECT] + 26, 2, 1);
}

static uint32_t spare_data(uint64_t round, unsigned i)
{
	return (uint32_t)(VECTOR + 0x20 + i + round % 8 * 0x100);
}

/* Of the vector that no queue has: data, and whether it is masked */
static void change_route(struct vdev *d, unsigned i, uint64_t round)
{
	if (!d->pci)
		return;
	mem_write(d->table + 8, 4, spare_data(round, i));
	mem_write(d->table + 12, 4, round & 1);
	reg_write(d, R_DEVICE_SELECT, round & 1); /* what it selects is never read */
	changed[i] = round;
}

static void check_route(struct vdev *d, unsigned i)
{
	if (!d->pci)
		return;
	for (unsigned v = 0; v < 2; v++)
		CHECK_EQ(mem_read(d->table + v * 16, 8), LAPIC);
	CHECK_EQ(mem_read(d->table + 16 + 8, 4), VECTOR + 0x20 + i);
	CHECK_EQ(pci_read(d->devfn, d->cap_msix + 2, 2) & 0x8000, 0x8000);
	if (!changed[i])
		return;
	CHECK_EQ(mem_read(d->table + 8, 4), spare_data(changed[i], i));
	CHECK_EQ(mem_read(d->table + 12, 4), changed[i] & 1);
	CHECK_EQ(reg_read(d, R_DEVICE_SELECT), changed[i] & 1);
}

/* The answer is seen in memory before the interrupt has come. */
static void wait_pending(uint8_t vector)
{
	for (unsigned i = 0; i < PATIENCE && !is_pending(vector); i++)
		;
	CHECK(is_pending(vector));
}

/* ---- the generation ID: another one in each copy ---- */

static uint64_t generation[2];
static bool is_copy;

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*mem32(IOAPIC) = reg;
	*mem32(IOAPIC + 0x10) = value;
}

static void read_generation(void)
{
	generation[0] = *mem64(VMGENID);
	generation[1] = *mem64(VMGENID + 8);
}

static void start_generation(void)
{
	read_generation();
	ioapic_write(0x10 + 2 * PIN_VMGENID + 1, 0);
	ioapic_write(0x10 + 2 * PIN_VMGENID, VECTOR_VMGENID); /* edge */
}

/* It may be saved between any two looks: the interrupt may come behind the first, and what is new stays. */
static void check_generation(void)
{
	const bool was_pending = is_pending(VECTOR_VMGENID);

	if (*mem64(VMGENID) != generation[0] || *mem64(VMGENID + 8) != generation[1]) {
		is_copy = true;
		read_generation();
		print("generation ");
		print_hex(generation[0]);
		print(" ");
		print_hex(generation[1]);
		print("\n");
	}
	CHECK(!was_pending || is_copy);
	CHECK(!is_copy || is_pending(VECTOR_VMGENID)); /* for ever: none is taken here */
}

/* ---- */

/* Return: shall it end? */
static bool is_told_to_end(uint64_t round)
{
	if (!(in8(COM_LSR) & LSR_DATA))
		return false;
	if (in8(COM_DATA) == 'q')
		return true;
	print_decimal(round);
	print("\n");
	return false;
}

static void start(struct vdev *d, unsigned i, bool packed)
{
	CHECK(vdev_start(d, packed ? d->offered : d->offered & ~F_PACKED));
	route(d, i);
}

void guest_main(void)
{
	const bool packed = param_word(mb_cmdline(), "packed");
	const unsigned disks = (unsigned)param(mb_cmdline(), "disks"), n = vdev_scan(devices, MOST);

	*mem32(LAPIC + SVR) = 0x1ff;
	CHECK(n >= disks && disks);
	for (unsigned i = 0; i < disks; i++)
		start(&devices[i], i, packed);
	has_fpu = param_word(mb_cmdline(), "fpu");
	if (has_fpu) {
		start_fpu();
		change_fpu(0);
	}
	change_memory(0);
	change_chips(0);
	start_fifo();
	start_generation();
	print("ready\n");
	for (uint64_t round = 1; !is_told_to_end(round); round++) {
		const unsigned disk = (unsigned)(round % disks);
		struct vdev *d = &devices[disk];

		check_generation();
		check_memory(round - 1);
		check_chips(round - 1);
		if (has_fpu)
			check_fpu(round - 1);
		check_route(d, disk);
		check_block(d, disk, (unsigned)(mix(round) % BLOCKS));
		change_memory(round);
		write_block(d, disk, (unsigned)(round % BLOCKS), round);
		if (d->pci)
			wait_pending((uint8_t)(VECTOR + 0x20 + disk));
		change_route(d, disk, round);
		change_chips(round);
		turn_fifo(round);
		if (has_fpu)
			change_fpu(round);
	}
	for (unsigned i = 0; i < disks; i++)
		for (unsigned block = 0; block < BLOCKS; block++)
			check_block(&devices[i], i, block);
}
