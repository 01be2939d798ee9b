/*
 * The way up for an application processor: real mode at AP_TRAMPOLINE (copied there), protected mode,
 * long mode with the first CPU's page tables, then smp_ap_entry() on a stack of its own.
 */
#define AP_TRAMPOLINE 0x8000

	.section .rodata
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl AP_TRAMPOLINE + (ap_gdt_pointer - ap_trampoline)
	movl $1, %eax
	movl %eax, %cr0
	ljmpl $0x38, $ap_protected
	.balign 4
ap_gdt_pointer:
	.word 63
	.long gdt
ap_trampoline_end:

	.text
	.code32
ap_protected:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $boot_page_tables, %eax
	movl %eax, %cr3
	movl $0x20, %eax
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	movl $0x100, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80000011, %eax
	movl %eax, %cr0
	ljmp $0x08, $1f
	.code64
1:	movl $1, %edi
	lock; xaddl %edi, ap_next_index(%rip)
	movl %edi, %eax
	shll $13, %eax			/* 8 KiB of stack each */
	movq ap_stacks(%rip), %rsp
	addq %rax, %rsp
	addq $8192, %rsp
	call smp_ap_entry
2:	cli
	hlt
	jmp 2b

	.data
	.balign 8
	.globl ap_stacks
ap_stacks:
	.quad 0
ap_next_index:
	.long 0
	.section .note.GNU-stack, "", @progbits
