/*
 * Entry by Linux' arm64 boot protocol (Documentation/arm64/booting.rst): EL1, MMU and interrupts
 * off, x0 points at the device tree. Turns the MMU on, with everything mapped one to one: the first
 * GiB as device memory, all above as RAM; calls guest_start(), which does not return.
 */
	.section .text.start, "ax"
	.globl image_start, ap_start
image_start:
	b 1f
	.long 0
	.quad 0				/* text offset: linked for the start of RAM */
	.quad image_end - image_start
	.quad 0xa			/* 4 KiB pages, anywhere */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

1:	mov x19, x0
	bl mmu_on
	adrp x1, boot_stack_end
	add sp, x1, :lo12:boot_stack_end
	mov x29, xzr
	mov x0, x19
	bl guest_start
2:	wfi
	b 2b

/* A CPU that PSCI has turned on; x0 points at the top of its stack, where its index is. */
ap_start:
	mov x19, x0
	bl mmu_on
	ldr x0, [x19]
	mov sp, x19
	mov x29, xzr
	bl smp_ap_entry
3:	wfi
	b 3b

mmu_on:
	ldr x1, =0xff00			/* attribute 0: device nGnRnE; 1: normal, write-back */
	msr mair_el1, x1
	ldr x1, =0x200803519		/* 39 bits, 4 KiB, write-back, inner shareable, no TTBR1 */
	msr tcr_el1, x1
	adrp x1, boot_page_table
	add x1, x1, :lo12:boot_page_table
	msr ttbr0_el1, x1
	isb
	tlbi vmalle1
	ic iallu
	dsb nsh
	isb
	ldr x1, =0x30d0180d		/* RES1 bits, MMU, data and instruction caches, stack alignment */
	msr sctlr_el1, x1
	isb
	ret

	/* 512 blocks of 1 GiB. */
	.section .data.start, "aw"
	.balign 4096
boot_page_table:
	.quad 0x0060000000000401	/* block, accessed, attribute 0, never executed */
	.set gpa, 0x40000000
	.rept 511
	.quad gpa + 0x705		/* block, accessed, inner shareable, attribute 1 */
	.set gpa, gpa + 0x40000000
	.endr

	.section .bss
	.balign 16
	.skip 32768
	.globl boot_stack_end
boot_stack_end:
	.section .note.GNU-stack, "", @progbits
