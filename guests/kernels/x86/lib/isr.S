/*
 * Entry points of exceptions and interrupts, 16 bytes each from vector 0 on, and the common part:
 * saves struct trap_frame and calls intr_dispatch().
 */
#define NR_VECTORS 96

	.text
	.balign 16
	.globl isr_stubs
isr_stubs:
	.set vec, 0
	.rept NR_VECTORS
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
	pushq $0
	.endif
	pushq $vec
	jmp isr_common
	.set vec, vec + 1
	.endr

isr_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	movq %rsp, %rbx
	andq $-16, %rsp
	call intr_dispatch
	movq %rbx, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq

/*
 * uint64_t user_enter(fn, arg, user_stack_top): runs fn(arg) in ring 3 with IOPL 3. fn returns to
 * user_done, whose ud2 brings us back to ring 0; the trap hook then calls user_leave(value), which
 * returns from user_enter().
 */
	.globl user_enter, user_leave, user_done
user_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, user_saved_rsp(%rip)
	movq %rdi, %rax
	movq %rsi, %rdi
	leaq -8(%rdx), %rdx
	movq $user_done, (%rdx)
	pushq $0x1b			/* ss */
	pushq %rdx
	pushq $0x3202			/* IOPL 3, IF */
	pushq $0x23			/* cs */
	pushq %rax
	iretq

user_done:
	movq %rax, %rdi
	ud2

user_leave:
	movq %rdi, %rax
	movq user_saved_rsp(%rip), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.bss
	.balign 8
user_saved_rsp:
	.skip 8
	.section .note.GNU-stack, "", @progbits
