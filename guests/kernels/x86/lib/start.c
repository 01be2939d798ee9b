/* From the assembler entry to the guest's own main. */
#include "lib/guest.h"

static const struct pvh_start_info *start_info;

void guest_start(const struct pvh_start_info *info) __attribute__((noreturn));

const struct pvh_start_info *boot_info(void)
{
	return start_info;
}

void guest_start(const struct pvh_start_info *info)
{
	start_info = info;
	CHECK(info->magic == PVH_MAGIC, "start info has the wrong magic 0x%x", info->magic);
	cmdline_set((const char *)(uintptr_t)info->cmdline);
	guest_main();
	success();
}
