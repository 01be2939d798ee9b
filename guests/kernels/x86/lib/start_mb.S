/*
 * Entry by Multiboot 0.6.96: 32-bit protected mode, EAX is the magic, EBX points at the information.
 * Calls mb_main(magic, info), which does not return.
 */
#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x3			/* align modules to pages; memory information */

	.section .multiboot, "a"
	.balign 4
	.long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

	.text
	.globl mb_start
mb_start:
	movl $stack_end, %esp
	pushl $0			/* keeps the arguments' frame aligned to 16 */
	pushl $0
	pushl %ebx
	pushl %eax
	call mb_main
1:	cli
	hlt
	jmp 1b

	.bss
	.balign 16
	.skip 16384
stack_end:
	.section .note.GNU-stack, "", @progbits
