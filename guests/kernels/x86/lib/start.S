/*
 * Entry by PVH (Xen's "x86/HVM direct boot ABI"): 32-bit protected mode, flat segments, paging and
 * interrupts off, EBX points at struct hvm_start_info. Goes to long mode with the low 4 GiB mapped
 * one to one and calls guest_start(), which does not return.
 *
 * The page tables are data, not code: ring 0 may be emulated, so each store avoided starts the
 * guest sooner.
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
	movl $boot_page_tables, %eax
	movl %eax, %cr3
	movl $0x20, %eax		/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER.LME */
	movl $0x100, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80000011, %eax		/* PG, ET, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x08, $1f
	.code64
1:	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $boot_stack_end, %esp
	movl %ebx, %edi
	xorl %ebp, %ebp
	call guest_start
2:	hlt
	jmp 2b

	.section .data.start, "aw"
	.balign 8
	.globl gdt, gdt_pointer
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 0x08 code, ring 0, 64-bit */
	.quad 0x00cf93000000ffff	/* 0x10 data, ring 0 */
	.quad 0x00cff3000000ffff	/* 0x18 data, ring 3 */
	.quad 0x00affb000000ffff	/* 0x20 code, ring 3, 64-bit */
	.quad 0, 0			/* 0x28 task state; filled in by user_init() */
	.quad 0x00cf9b000000ffff	/* 0x38 code, ring 0, 32-bit: for APs on their way up */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	/* Present, writable, user, accessed, dirty. Device space from 3 GiB is uncached. */
	.globl boot_page_tables, boot_pdpt
	.balign 4096
boot_page_tables:
	.quad boot_pdpt + 0x27
	.fill 511, 8, 0
boot_pdpt:
	.quad boot_pd + 0x0027, boot_pd + 0x1027, boot_pd + 0x2027, boot_pd + 0x3027
	.fill 508, 8, 0
boot_pd:
	.set gpa, 0
	.rept 1536
	.quad gpa + 0xe7
	.set gpa, gpa + 0x200000
	.endr
	.rept 512
	.quad gpa + 0xff
	.set gpa, gpa + 0x200000
	.endr

	.section .bss
	.balign 16
	.skip 32768
	.globl boot_stack_end
boot_stack_end:
	.section .note.GNU-stack, "", @progbits
