/*
 * Reads the calling thread's capabilities. Any thread; no state.
 */
#include "vmm/rights.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

bool rights_have(unsigned cap)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return syscall(SYS_capget, &h, data) == 0 &&
	       (data[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap));
}
