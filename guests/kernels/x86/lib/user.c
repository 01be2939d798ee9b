/* Ring 3 and back; see user.h. The way back is #UD: `syscall` and `int` do not work everywhere. */
#include "lib/user.h"

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3] __attribute__((packed));
	uint64_t reserved1 __attribute__((packed));
	uint64_t ist[7] __attribute__((packed));
	uint64_t reserved2 __attribute__((packed));
	uint16_t reserved3, iomap;
	/* Every port is allowed here too: emulators of ring 0 have been seen to lose the IOPL. */
	uint8_t ports[65536 / 8 + 1];
} __attribute__((packed));

extern uint64_t gdt[];
extern const char user_done[];
uint64_t user_enter(uint64_t (*fn)(void *arg), void *arg, void *stack_top);
void user_leave(uint64_t value) __attribute__((noreturn));

static struct tss tss __attribute__((aligned(16)));
static uint8_t trap_stack[16384] __attribute__((aligned(16)));
static uint8_t user_stack[32768] __attribute__((aligned(16)));

static bool user_trap(struct trap_frame *f)
{
	/* The ud2 follows a three-byte move. */
	if ((f->cs & 3) != 3 || f->vector != 6 || f->rip != (uintptr_t)user_done + 3)
		return false;
	user_leave(f->rdi);
}

void user_init(void)
{
	uint64_t base = (uintptr_t)&tss;

	tss.rsp[0] = (uintptr_t)trap_stack + sizeof(trap_stack);
	tss.iomap = offsetof(struct tss, ports);
	tss.ports[sizeof(tss.ports) - 1] = 0xff;
	gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
		 (base >> 24 & 0xff) << 56;
	gdt[6] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(0x28));
	intr_set_trap_hook(user_trap);
}

uint64_t user_call(uint64_t (*fn)(void *arg), void *arg)
{
	uint64_t flags, value;

	__asm__ volatile("pushfq; popq %0" : "=r"(flags));
	value = user_enter(fn, arg, user_stack + sizeof(user_stack));
	/* The trap came through an interrupt gate. */
	if (flags & 0x200)
		irq_enable();
	return value;
}
