/*
 * The vector table: saves struct trap_frame and calls intr_dispatch(kind, frame), kind being the
 * number of the entry. All code runs at EL1 with its own stack pointer.
 */
	.text
	.balign 2048
	.globl isr_vectors
isr_vectors:
	.set kind, 0
	.rept 16
	.balign 128
	sub sp, sp, #272
	stp x0, x1, [sp]
	mov x0, #kind
	b isr_common
	.set kind, kind + 1
	.endr

isr_common:
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, x29, [sp, #224]
	mrs x1, elr_el1
	stp x30, x1, [sp, #240]
	mrs x1, spsr_el1
	mrs x2, esr_el1
	stp x1, x2, [sp, #256]
	mov x1, sp
	bl intr_dispatch
	ldr x1, [sp, #256]
	msr spsr_el1, x1
	ldp x30, x1, [sp, #240]
	msr elr_el1, x1
	ldp x2, x3, [sp, #16]
	ldp x4, x5, [sp, #32]
	ldp x6, x7, [sp, #48]
	ldp x8, x9, [sp, #64]
	ldp x10, x11, [sp, #80]
	ldp x12, x13, [sp, #96]
	ldp x14, x15, [sp, #112]
	ldp x16, x17, [sp, #128]
	ldp x18, x19, [sp, #144]
	ldp x20, x21, [sp, #160]
	ldp x22, x23, [sp, #176]
	ldp x24, x25, [sp, #192]
	ldp x26, x27, [sp, #208]
	ldp x28, x29, [sp, #224]
	ldp x0, x1, [sp]
	add sp, sp, #272
	eret
	.section .note.GNU-stack, "", @progbits
