/* Linker script of all guests; BASE is where the boot protocol loads the first byte. */
ENTRY(_start)
PHDRS
{
	load PT_LOAD FLAGS(7);
	note PT_NOTE FLAGS(4);
}
SECTIONS
{
#ifdef START_BZIMAGE
	. = BASE - 0x400;
	.setup : { *(.setup) } :load
#endif
	. = BASE;
	pm_start = .;
	.text : { *(.start) *(.text .text.*) } :load
	.note : { *(.note.pvh) } :load :note
	.data : { *(.rodata .rodata.*) *(.data .data.*) } :load
	pm_paragraphs = (. - pm_start + 15) / 16;
	.bss : { bss_start = .; *(.bss .bss.*) *(COMMON) bss_end = .; } :load
	/DISCARD/ : { *(.comment) *(.eh_frame) *(.note.GNU-stack) *(.note.gnu.property) }
}
