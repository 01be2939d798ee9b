/*
 * The platform on KVM: see platform_kvm.h.
 *
 * A vector's GSI is given out at its first use and kept until msi_clear(), so that the many times a
 * driver masks and unmasks a vector cost one KVM_SET_GSI_ROUTING only where the message changed.
 */
#include "vmm/platform_kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arch.h"

#define MAX_WIRED 64
#define MAX_MSI	  512

struct platform_kvm {
	struct platform base;
	int vm_fd;
	bool msi_devid; /* the interrupt controller wants to know who sends (GIC ITS) */
	pthread_mutex_t lock;
	unsigned nr_wired;
	struct kvm_irq_routing_entry wired[MAX_WIRED];
	struct kvm_irq_routing_entry msi[MAX_MSI]; /* index: GSI - arch_msi_gsi_base() */
	bool msi_used[MAX_MSI];
};

/* Under the lock. */
static int commit_routes(struct platform_kvm *p)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[MAX_WIRED + MAX_MSI];
	} table = { .head.nr = 0 };

	for (unsigned i = 0; i < p->nr_wired; i++)
		table.entry[table.head.nr++] = p->wired[i];
	for (unsigned i = 0; i < MAX_MSI; i++) {
		if (p->msi_used[i])
			table.entry[table.head.nr++] = p->msi[i];
	}
	if (ioctl(p->vm_fd, KVM_SET_GSI_ROUTING, &table))
		return -errno;
	return 0;
}

static int irqfd(struct platform_kvm *p, int efd, unsigned gsi, bool on)
{
	struct kvm_irqfd fd = { .fd = (uint32_t)efd, .gsi = gsi };

	if (!on)
		fd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	if (ioctl(p->vm_fd, KVM_IRQFD, &fd))
		return -errno;
	return 0;
}

static int line_set(struct platform *base, unsigned gsi, bool level)
{
	struct platform_kvm *p = container_of(base, struct platform_kvm, base);
	struct kvm_irq_level irq = { .irq = arch_irq_line(gsi), .level = level };

	if (ioctl(p->vm_fd, KVM_IRQ_LINE, &irq))
		return -errno;
	return 0;
}

static int line_irqfd(struct platform *base, unsigned gsi, int efd, bool on)
{
	return irqfd(container_of(base, struct platform_kvm, base), efd, gsi, on);
}

static bool same_message(const struct kvm_irq_routing_entry *a,
			 const struct kvm_irq_routing_entry *b)
{
	return a->u.msi.address_lo == b->u.msi.address_lo &&
	       a->u.msi.address_hi == b->u.msi.address_hi && a->u.msi.data == b->u.msi.data;
}

static int msi_set(struct platform *base, struct msi_route *r)
{
	struct platform_kvm *p = container_of(base, struct platform_kvm, base);
	struct kvm_irq_routing_entry e = {
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = (uint32_t)r->address,
			   .address_hi = (uint32_t)(r->address >> 32),
			   .data = r->data },
	}, old;
	unsigned slot = 0;
	bool fresh = r->gsi < 0;
	int rc = 0;

	if (p->msi_devid) {
		e.flags = KVM_MSI_VALID_DEVID;
		e.u.msi.devid = r->devid;
	}
	pthread_mutex_lock(&p->lock);
	if (fresh) {
		while (slot < MAX_MSI && p->msi_used[slot])
			slot++;
		if (slot == MAX_MSI) {
			rc = -ENOSPC;
			goto out;
		}
	} else {
		slot = (unsigned)r->gsi - arch_msi_gsi_base();
		if (same_message(&p->msi[slot], &e))
			goto out;
	}
	e.gsi = arch_msi_gsi_base() + slot;
	old = p->msi[slot];
	p->msi[slot] = e;
	p->msi_used[slot] = true;
	rc = commit_routes(p);
	if (!rc && fresh)
		rc = irqfd(p, r->efd, e.gsi, true);
	if (rc) {
		/* The guest can write any address and data; what KVM refuses stays as it was. */
		p->msi[slot] = old;
		p->msi_used[slot] = !fresh;
		commit_routes(p);
		goto out;
	}
	r->gsi = (int)e.gsi;
out:
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static void msi_clear(struct platform *base, struct msi_route *r)
{
	struct platform_kvm *p = container_of(base, struct platform_kvm, base);

	if (r->gsi < 0)
		return;
	pthread_mutex_lock(&p->lock);
	irqfd(p, r->efd, (unsigned)r->gsi, false);
	p->msi_used[(unsigned)r->gsi - arch_msi_gsi_base()] = false;
	commit_routes(p);
	r->gsi = -1;
	pthread_mutex_unlock(&p->lock);
}

static int doorbell(struct platform *base, gpa_t gpa, unsigned len, int efd, uint32_t flags)
{
	struct platform_kvm *p = container_of(base, struct platform_kvm, base);
	struct kvm_ioeventfd io = { .addr = gpa, .len = len, .fd = efd, .flags = flags };

	if (ioctl(p->vm_fd, KVM_IOEVENTFD, &io))
		return -errno;
	return 0;
}

static int doorbell_add(struct platform *base, gpa_t gpa, unsigned len, int efd)
{
	return doorbell(base, gpa, len, efd, 0);
}

static void doorbell_del(struct platform *base, gpa_t gpa, unsigned len, int efd)
{
	doorbell(base, gpa, len, efd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static const struct platform_ops ops = {
	.line_set = line_set,
	.line_irqfd = line_irqfd,
	.msi_set = msi_set,
	.msi_clear = msi_clear,
	.doorbell_add = doorbell_add,
	.doorbell_del = doorbell_del,
};

int platform_kvm_create(struct platform_kvm **out, const char *name, int vm_fd)
{
	struct platform_kvm *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->base.ops = &ops;
	p->base.name = name;
	p->vm_fd = vm_fd;
	p->msi_devid = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MSI_DEVID) > 0;
	pthread_mutex_init(&p->lock, NULL);
	p->nr_wired = arch_irq_routes(p->wired, MAX_WIRED);
	rc = commit_routes(p);
	if (rc) {
		platform_kvm_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void platform_kvm_destroy(struct platform_kvm *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct platform *platform_kvm_base(struct platform_kvm *p)
{
	return &p->base;
}
