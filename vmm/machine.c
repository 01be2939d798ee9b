/*
 * One virtual machine: see machine.h. One thread at a time; the vCPUs' and loops' threads live
 * inside.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/devices.h"
#include "vmm/platform_kvm.h"
#include "vmm/vcpu.h"

struct machine {
	struct machine_params p;
	const struct guest_config *cfg;
	int vm_fd;
	struct gmem mem;
	struct bus mmio, pio;
	struct platform_kvm *plat_kvm;
	struct platform *plat;
	struct pci_host pci;
	bool pci_ready;
	struct arch_devices *arch_devices;
	struct devices *devices; /* virtio */
	struct arch_entry entry;
	struct vcpu *vcpu;
	unsigned nr_vcpus; /* created */
	struct vcpu_gate gate;
	_Atomic bool leave; /* the vCPUs' */
	bool started;
	char mem_name[CONFIG_NAME_MAX + 8];
};

static int fail(char *why, size_t bytes, int rc, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(why, bytes, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < bytes)
		snprintf(why + n, bytes - (size_t)n, ": %s", strerror(-rc));
	return rc;
}

/* From a vCPU or a device: the vCPUs leave guest code at their next exit; the owner kicks them. */
static void on_event(void *arg, enum machine_event ev, int status)
{
	struct machine *m = arg;

	atomic_store(&m->leave, true);
	m->p.event(m->p.arg, ev, status);
}

/* -- What the remapper may do to the guest: see struct port_memory. Any thread. -- */

static void on_hold(void *arg)
{
	vcpu_gate_hold(&((struct machine *)arg)->gate);
}

static void on_release(void *arg)
{
	vcpu_gate_release(&((struct machine *)arg)->gate);
}

static void on_lost(void *arg)
{
	struct machine *m = arg;

	log_error(m->cfg->name, "its memory cannot be put back as it was");
	on_event(m, MACHINE_HOST_FAULT, ENOMEM);
	vcpu_gate_wake(&m->gate);
}

void machine_memory(struct machine *m, struct port_memory *out)
{
	*out = (struct port_memory){
		.mem = &m->mem,
		.domain = m->cfg->domain,
		.hold = on_hold,
		.release = on_release,
		.lost = on_lost,
		.arg = m,
	};
}

static bool on_write_refused(void *arg)
{
	return devices_write_refused(((struct machine *)arg)->devices);
}

/* Whether vCPUs may be refused writes that xvmm's devices make. */
static bool needs_vcpu_view(const struct machine *m)
{
	const struct lab_config *lab = m->p.cfg;

	for (unsigned i = 0; i < lab->nr_nics; i++) {
		const struct nic_config *nic = &lab->nic[i];

		if (nic->guest == m->p.guest && nic->receive_readonly && nic->slots != SLOTS_FRESH)
			return true;
	}
	return false;
}

static int create_memory(struct machine *m, char *why, size_t bytes)
{
	struct gmem_layout layout[GMEM_MAX_REGIONS];
	unsigned flags = m->cfg->prealloc ? GMEM_PREALLOC : 0;
	int n, rc;

	if (m->cfg->hugepages == HUGEPAGES_2M)
		flags |= GMEM_HUGE_2M;
	else if (m->cfg->hugepages == HUGEPAGES_1G)
		flags |= GMEM_HUGE_1G;
	if (m->cfg->hugepages == HUGEPAGES_NO && needs_vcpu_view(m))
		flags |= GMEM_VCPU_VIEW;
	n = arch_mem_layout(m->cfg->memory_bytes, layout);
	if (n < 0)
		return fail(why, bytes, n, "memory of %llu MiB",
			    (unsigned long long)(m->cfg->memory_bytes >> 20));
	snprintf(m->mem_name, sizeof(m->mem_name), "guest-%s", m->cfg->name);
	rc = gmem_create(&m->mem, m->mem_name, layout, (unsigned)n, flags);
	if (rc == -ENOMEM && flags & (GMEM_HUGE_2M | GMEM_HUGE_1G))
		return fail(why, bytes, rc,
			    "not enough free hugepages (see /sys/kernel/mm/hugepages; "
			    "sysctl vm.nr_hugepages)");
	if (rc)
		return fail(why, bytes, rc, "guest memory");
	return 0;
}

static int load_kernel(struct machine *m, char *why, size_t bytes)
{
	const struct lab_config *lab = m->p.cfg;
	struct arch_boot boot = {
		.kernel = m->cfg->kernel,
		.initrd = m->cfg->initrd,
		.cmdline = m->cfg->cmdline ? m->cfg->cmdline : "",
		.nr_modules = m->cfg->nr_modules,
		.cpus = m->cfg->cpus,
		.irqchip = m->p.kvm->irqchip,
	};

	for (unsigned i = 0; i < m->cfg->nr_modules; i++) {
		boot.module[i].path = m->cfg->module[i].path;
		boot.module[i].args = m->cfg->module[i].args;
	}
	if (m->cfg->transport == TRANSPORT_MMIO)
		boot.nr_virtio_mmio = devices_count(lab, m->p.guest);
	return arch_load_kernel(&m->mem, &boot, &m->entry, why, bytes);
}

static int create_vm(struct machine *m, char *why, size_t bytes)
{
	int rc;

	do {
		m->vm_fd = ioctl(m->p.kvm->fd, KVM_CREATE_VM,
				 (unsigned long)arch_vm_type(m->p.kvm->fd));
	} while (m->vm_fd < 0 && errno == EINTR);
	if (m->vm_fd < 0)
		return fail(why, bytes, -errno, "KVM_CREATE_VM");
	/* Before there is anything on KVM's buses: adding a device leaves an ordinary SRCU grace
	 * period under way (Linux 6.18), and a memory slot would have to wait for its end, 5 ms. */
	for (unsigned i = 0; i < m->mem.nr_regions; i++) {
		const struct gmem_region *r = &m->mem.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->base,
			.memory_size = r->size_bytes,
			.userspace_addr = (uintptr_t)m->mem.vcpu_map + r->file_offset,
		};

		if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
			return fail(why, bytes, -errno, "KVM_SET_USER_MEMORY_REGION");
	}
	rc = arch_vm_init(m->p.kvm->fd, m->vm_fd);
	if (rc)
		return fail(why, bytes, rc, "interrupt controllers");
	return 0;
}

static int create_platform(struct machine *m, char *why, size_t bytes)
{
	struct pci_layout layout;
	int rc;

	rc = platform_kvm_create(&m->plat_kvm, m->cfg->name, m->vm_fd);
	if (rc)
		return fail(why, bytes, rc, "interrupt routing");
	m->plat = platform_kvm_base(m->plat_kvm);
	m->plat->mem = &m->mem;
	m->plat->mmio = &m->mmio;
	m->plat->pio = &m->pio;
	for (unsigned i = 0; i < m->nr_vcpus; i++)
		m->vcpu[i].plat = m->plat;
	arch_pci_layout(&layout);
	rc = pci_host_init(&m->pci, m->plat, &layout);
	if (rc)
		return fail(why, bytes, rc, "PCI host bridge");
	m->pci_ready = true;
	return 0;
}

static int create_devices(struct machine *m, char *why, size_t bytes)
{
	struct arch_devices_params ap = {
		.plat = m->plat,
		.loop = m->p.loop,
		.console = m->p.console,
		.cpus = m->cfg->cpus,
		.pci = &m->pci,
		.event = on_event,
		.arg = m,
	};
	struct devices_params dp = {
		.cfg = m->p.cfg,
		.guest = m->p.guest,
		.nics = m->p.nics,
		.loop = m->p.loop,
		.virtio_console = m->p.virtio_console,
		.plat = m->plat,
		.pci = &m->pci,
	};
	int rc;

	machine_memory(m, &dp.memory);
	rc = arch_devices_create(&m->arch_devices, &ap);
	if (rc)
		return fail(why, bytes, rc, "platform devices");
	return devices_create(&m->devices, &dp, why, bytes);
}

static int create_vcpus(struct machine *m, char *why, size_t bytes)
{
	int rc;

	if ((int)m->cfg->cpus > m->p.kvm->max_cpus)
		return fail(why, bytes, -ERANGE, "cpus = %u: this host's KVM runs at most %d",
			    m->cfg->cpus, m->p.kvm->max_cpus);
	m->vcpu = calloc(m->cfg->cpus, sizeof(*m->vcpu));
	if (!m->vcpu)
		return fail(why, bytes, -ENOMEM, "vCPUs");
	for (unsigned i = 0; i < m->cfg->cpus; i++) {
		struct vcpu *v = &m->vcpu[i];

		v->guest = m->cfg->name;
		v->event = on_event;
		v->write_refused = on_write_refused;
		v->arg = m;
		v->gate = &m->gate;
		rc = vcpu_create(v, m->p.kvm, m->vm_fd, i);
		if (rc)
			return fail(why, bytes, rc, "KVM_CREATE_VCPU %u", i);
		m->nr_vcpus++;
	}
	for (unsigned i = 0; i < m->nr_vcpus; i++) {
		rc = arch_vcpu_init(m->p.kvm->fd, m->vm_fd, m->vcpu[i].fd, i, m->nr_vcpus,
				    &m->entry);
		if (rc)
			return fail(why, bytes, rc, "state of vCPU %u", i);
	}
	rc = arch_vm_ready(m->vm_fd, m->p.kvm->irqchip);
	if (rc)
		return fail(why, bytes, rc, "interrupt controllers");
	return 0;
}

int machine_create(struct machine **out, const struct machine_params *params, char *why,
		   size_t why_bytes)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return fail(why, why_bytes, -ENOMEM, "machine");
	m->p = *params;
	m->cfg = &params->cfg->guest[params->guest];
	m->vm_fd = -1;
	m->mem.fd = -1;
	vcpu_gate_init(&m->gate, &m->leave, VCPU_SIGNAL);
	bus_init(&m->mmio, "mmio");
	bus_init(&m->pio, "pio");
	/* The kernel before KVM: a file that can't be booted costs nothing. */
	rc = create_memory(m, why, why_bytes);
	if (!rc)
		rc = load_kernel(m, why, why_bytes);
	if (!rc)
		rc = create_vm(m, why, why_bytes);
	/* vCPUs before devices: see arch_vm_ready(). */
	if (!rc)
		rc = create_vcpus(m, why, why_bytes);
	if (!rc)
		rc = create_platform(m, why, why_bytes);
	if (!rc)
		rc = create_devices(m, why, why_bytes);
	if (rc) {
		machine_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

int machine_start(struct machine *m)
{
	int rc;

	m->started = true;
	rc = devices_start(m->devices);
	if (!rc)
		rc = loop_start(m->p.loop);
	for (unsigned i = 0; !rc && i < m->nr_vcpus; i++)
		rc = vcpu_start(&m->vcpu[i]);
	if (rc)
		machine_stop(m);
	return rc;
}

void machine_stop(struct machine *m)
{
	if (!m->started)
		return;
	atomic_store(&m->leave, true);
	vcpu_gate_wake(&m->gate);
	for (unsigned i = 0; i < m->nr_vcpus; i++)
		vcpu_join(&m->vcpu[i]);
	/* While the loops still run: a device stops on its own thread, with all its work done. */
	devices_stop(m->devices);
	loop_stop(m->p.loop);
	m->started = false;
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->nr_vcpus; i++)
		vcpu_destroy(&m->vcpu[i]);
	free(m->vcpu);
	devices_destroy(m->devices);
	arch_devices_destroy(m->arch_devices);
	if (m->pci_ready)
		pci_host_fini(&m->pci);
	platform_kvm_destroy(m->plat_kvm);
	if (m->vm_fd >= 0)
		close(m->vm_fd);
	gmem_destroy(&m->mem);
	bus_fini(&m->pio);
	bus_fini(&m->mmio);
	vcpu_gate_fini(&m->gate);
	free(m);
}

void machine_power_button(struct machine *m)
{
	arch_devices_power_button(m->arch_devices);
}

int machine_nic_info(struct machine *m, unsigned nic, struct nic_info *out)
{
	return devices_nic_info(m->devices, nic, out);
}

int machine_nic_swap(struct machine *m, unsigned nic, bool pin, enum binding b)
{
	return devices_nic_swap(m->devices, nic, pin, b);
}

const char *machine_protocol(const struct machine *m)
{
	return m->entry.protocol;
}
