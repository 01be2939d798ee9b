/*
 * /dev/kvm: see kvm.h. Main thread.
 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/types.h"

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt controller" },
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
};

int kvm_open(struct kvm_host *kvm, char *why, size_t why_bytes)
{
	int version, rc;

	kvm->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->fd < 0) {
		rc = -errno;
		if (rc == -EACCES || rc == -EPERM)
			snprintf(why, why_bytes,
				 "/dev/kvm: permission denied; as root: usermod -aG kvm USER, and "
				 "log in again");
		else
			snprintf(why, why_bytes,
				 "/dev/kvm: %s; load kvm_intel or kvm_amd, or turn virtualisation "
				 "on in the firmware",
				 strerror(-rc));
		return rc;
	}
	version = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		snprintf(why, why_bytes, "/dev/kvm: API version %d, need %d", version,
			 KVM_API_VERSION);
		rc = -ENOTSUP;
		goto out_close;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(kvm->fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
			snprintf(why, why_bytes, "/dev/kvm: this kernel's KVM lacks %s",
				 needed[i].name);
			rc = -ENOTSUP;
			goto out_close;
		}
	}
	rc = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (rc < (int)sizeof(struct kvm_run)) {
		snprintf(why, why_bytes, "/dev/kvm: KVM_GET_VCPU_MMAP_SIZE gives %d", rc);
		rc = -ENOTSUP;
		goto out_close;
	}
	kvm->run_bytes = (size_t)rc;
	rc = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	kvm->max_cpus = rc > 0 ? rc : 4; /* the API's own default */
	kvm->irqchip = arch_irqchip(kvm->fd);
	if (kvm->irqchip < 0) {
		rc = kvm->irqchip;
		snprintf(why, why_bytes, "/dev/kvm: no interrupt controller for guests: %s",
			 strerror(-rc));
		goto out_close;
	}
	return 0;

out_close:
	close(kvm->fd);
	kvm->fd = -1;
	return rc;
}

void kvm_close(struct kvm_host *kvm)
{
	if (kvm->fd >= 0)
		close(kvm->fd);
	kvm->fd = -1;
}
