/*
 * Firmware of 128 KiB for tests: where the reset vector leads it copies PAYLOAD, a flat program, to RAM and starts that.
 * Its first half is filled with ROM_FILL.
 */
#include "rom.h"

	.code16
	.globl	_start
_start:
	.fill	0x10000, 1, ROM_FILL
payload:
	.incbin	PAYLOAD
	.org	0x10000 + ROM_COPY
	cli				/* cs is f000, but its base is 64 KiB below 4 GB */
	cld
	movw	$0x1000, %ax
	movw	%ax, %es
	xorw	%si, %si
	xorw	%di, %di
	movw	$ROM_COPY, %cx
	rep movsb %cs:(%si), %es:(%di)
	ljmp	$0x1000, $0
	.org	0x10000 + ROM_WORD
	.long	ROM_MAGIC
	.org	0x1fff0
	jmp	payload + ROM_COPY
	.org	0x20000
