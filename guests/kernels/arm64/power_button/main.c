/* Waits for the power button, a line of the PL061, then powers off. */
#include "lib/intr.h"

#define GPIO_DIR    0x400
#define GPIO_SENSE  0x404
#define GPIO_BOTH   0x408
#define GPIO_EVENT  0x40c
#define GPIO_ENABLE 0x410
#define GPIO_MASKED 0x418
#define GPIO_CLEAR  0x41c
#define BUTTON	    (1u << GPIO_POWER_LINE)

static volatile unsigned pressed;

static void gpio(void *arg)
{
	CHECK(mmio_read32(GPIO_BASE + GPIO_MASKED) == BUTTON, "interrupt of another line: 0x%x",
	      mmio_read32(GPIO_BASE + GPIO_MASKED));
	mmio_write32(GPIO_BASE + GPIO_CLEAR, BUTTON);
	pressed++;
}

void guest_main(void)
{
	intr_init();
	CHECK(mmio_read32(GPIO_BASE + 0xfe0) == 0x61, "no PL061");
	mmio_write32(GPIO_BASE + GPIO_DIR, 0);
	mmio_write32(GPIO_BASE + GPIO_SENSE, 0);
	mmio_write32(GPIO_BASE + GPIO_BOTH, 0);
	mmio_write32(GPIO_BASE + GPIO_EVENT, BUTTON);
	mmio_write32(GPIO_BASE + GPIO_CLEAR, 0xff);
	mmio_write32(GPIO_BASE + GPIO_ENABLE, BUTTON);
	intr_route(SPI_GPIO, intr_alloc(gpio, NULL), true, cpu_id());
	print("waiting for the power button\n");
	while (!pressed)
		irq_wait();
	CHECK(mmio_read32(GPIO_BASE + (BUTTON << 2)) & BUTTON, "the button is up already");
	print("power button\nSUCCESS\n");
	poweroff();
}
