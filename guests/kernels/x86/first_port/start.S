/*
 * The shortest guest there is: its first instruction but one writes to the debug-exit port. The time
 * from exec of the VMM to this write is what `start_ms` measures. Exit status 33.
 */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18			/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start

	.section .text.start, "ax"
	.code32
	.globl pvh_start
pvh_start:
	movb $0x10, %al
	outb %al, $0xf4
1:	hlt
	jmp 1b
	.section .note.GNU-stack, "", @progbits
