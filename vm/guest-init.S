/* guest/init.c, as it goes into the initramfs of a guest (guest/guest.mk builds it). */
	.section .rodata
	.globl guest_init, guest_init_end
	.hidden guest_init, guest_init_end

guest_init:
	.incbin	"guest/init"
guest_init_end:

	.section .note.GNU-stack, "", @progbits
