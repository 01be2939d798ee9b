/*
 * `xvmm doctor`. Each check tries the thing itself where it can. Main thread; no state.
 */
#include "vmm/doctor.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/types.h"
#include "vmm/hostnet_ip.h"
#include "vmm/rights.h"

#define KVM_API 12
/* Per guest with one CPU and one NIC: memory, VM, vCPU, event and interrupt descriptors, TAP. */
#define FILES_PER_GUEST 48
#define MANY_GUESTS	64
/* Below this, a lab of two small Linux guests does not fit. */
#define LOW_MEMORY_MIB 768

enum verdict { OK, WARN, FAIL };
enum kvm_state { KVM_NONE, KVM_SOFTWARE, KVM_HARDWARE };

struct doctor {
	FILE *out; /* NULL: quiet */
};

/* fix: NULL if there is nothing to do. */
__attribute__((format(printf, 5, 6))) static void
say(const struct doctor *d, enum verdict v, const char *what, const char *fix, const char *fmt, ...)
{
	static const char *const word[] = { "ok", "warn", "FAIL" };
	va_list args;

	if (!d->out)
		return;
	fprintf(d->out, "%-4s  %s: ", word[v], what);
	va_start(args, fmt);
	vfprintf(d->out, fmt, args);
	va_end(args);
	if (fix)
		fprintf(d->out, "   (fix: %s)", fix);
	fputc('\n', d->out);
}

/* ---- /dev/kvm ---- */

static void say_kvm_unopened(const struct doctor *d, int err)
{
	struct stat st;
	const struct group *group;
	char fix[160];

	if (err == EACCES || err == EPERM) {
		group = stat("/dev/kvm", &st) == 0 && (st.st_mode & S_IRWXG) == S_IRWXG - S_IXGRP &&
					st.st_gid != 0
				? getgrgid(st.st_gid)
				: NULL;
		if (group)
			snprintf(fix, sizeof(fix), "sudo usermod -aG %s $USER, then log in again",
				 group->gr_name);
		else
			snprintf(fix, sizeof(fix),
				 "sudo chgrp kvm /dev/kvm && sudo chmod 660 "
				 "/dev/kvm && sudo usermod -aG kvm $USER, "
				 "then log in again");
		say(d, FAIL, "/dev/kvm", fix, "this user may not open it");
	} else if (err == ENOENT) {
		say(d, FAIL, "/dev/kvm",
		    "sudo modprobe kvm_intel || sudo modprobe kvm_amd; in a virtual machine, turn "
		    "nested virtualisation on",
		    "missing");
	} else {
		say(d, FAIL, "/dev/kvm", "enable virtualisation in the firmware", "%s",
		    strerror(err));
	}
}

static enum kvm_state check_kvm(const struct doctor *d)
{
	enum kvm_state state = KVM_NONE;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char what[160];
	int r;

	if (fd < 0) {
		say_kvm_unopened(d, errno);
		return KVM_NONE;
	}
	r = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (r != KVM_API) {
		say(d, FAIL, "/dev/kvm", NULL, "API version %d, not %d", r, KVM_API);
		goto out;
	}
	r = arch_probe_kvm(fd, what, sizeof(what));
	if (r == PROBE_HARDWARE) {
		state = KVM_HARDWARE;
		say(d, OK, "/dev/kvm", NULL, "hardware KVM, runs stock Linux (%s)", what);
	} else if (r == PROBE_SOFTWARE_ONLY) {
		state = KVM_SOFTWARE;
		say(d, WARN, "/dev/kvm", NULL,
		    "software-only KVM: tiny guests only; stock Linux runs in the emulated host "
		    "(%s)",
		    what);
	} else {
		say(d, FAIL, "/dev/kvm", r == -ENOTSUP ? "a kernel of 4.14 or later" : NULL, "%s",
		    what);
	}
out:
	close(fd);
	return state;
}

/* ---- network ---- */

static bool check_tun(const struct doctor *d, bool net_admin)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	bool usable;

	if (fd < 0) {
		bool rights = errno == EACCES || errno == EPERM;

		say(d, WARN, "/dev/net/tun",
		    rights ? "sudo chmod 0666 /dev/net/tun" : "sudo modprobe tun",
		    "%s; only nets with uplink = none work", strerror(errno));
		return false;
	}
	/* The kernel picks the name, and the interface is gone with the descriptor. */
	usable = ioctl(fd, TUNSETIFF, &ifr) == 0;
	if (usable) {
		say(d, OK, "/dev/net/tun", NULL, "a TAP was made and removed");
	} else if (errno == EPERM && !net_admin) {
		usable = true;
		say(d, OK, "/dev/net/tun", NULL, "opens; this user can use TAPs made for it");
	} else {
		say(d, WARN, "/dev/net/tun", "sudo modprobe tun", "cannot make a TAP: %s",
		    strerror(errno));
	}
	close(fd);
	return usable;
}

static void check_network(const struct doctor *d, bool net_admin)
{
	char version[128];

	if (net_admin)
		say(d, OK, "bridge rights", NULL, "CAP_NET_ADMIN");
	else
		say(d, WARN, "bridge rights",
		    "run as root, or let xvmm run print the lines that prepare TAPs for you",
		    "none: cannot make TAPs and bridges");
	if (ip_version(version, sizeof(version)) == 0)
		say(d, OK, "ip", NULL, "%s", version);
	else
		say(d, WARN, "ip", "scripts/setup run", "%s", version);
}

/* ---- memory and limits ---- */

static uint64_t read_number(const char *path)
{
	unsigned long long v = 0;
	FILE *f = fopen(path, "re");

	if (f) {
		if (fscanf(f, "%llu", &v) != 1)
			v = 0;
		fclose(f);
	}
	return v;
}

static void check_hugepages(const struct doctor *d)
{
	static const char base[] = "/sys/kernel/mm/hugepages";
	DIR *dir = opendir(base);
	struct dirent *e;

	if (!dir) {
		say(d, WARN, "hugepages", NULL, "this kernel has none; hugepages = no works");
		return;
	}
	while ((e = readdir(dir))) {
		char path[512], what[40], fix[600];
		unsigned long kib;
		uint64_t total, unused;

		if (sscanf(e->d_name, "hugepages-%lukB", &kib) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/nr_hugepages", base, e->d_name);
		total = read_number(path);
		snprintf(fix, sizeof(fix), "for hugepages = …: echo N | sudo tee %s", path);
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", base, e->d_name);
		unused = read_number(path);
		snprintf(what, sizeof(what), "hugepages %lu%c", kib < 1024 ? kib : kib / 1024,
			 kib < 1024 ? 'K' : 'M');
		say(d, unused ? OK : WARN, what, unused ? NULL : fix, "%llu free of %llu",
		    (unsigned long long)unused, (unsigned long long)total);
	}
	closedir(dir);
}

static void check_memory(const struct doctor *d)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	say(d, kib / 1024 >= LOW_MEMORY_MIB ? OK : WARN, "memory", NULL, "%llu MiB available",
	    kib / 1024);
}

static void check_limits(const struct doctor *d)
{
	const rlim_t need = MANY_GUESTS * FILES_PER_GUEST;
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0)
		say(d, l.rlim_max >= need ? OK : WARN, "open files",
		    l.rlim_max >= need ? NULL : "raise nofile in /etc/security/limits.conf",
		    "%llu (up to %llu); %d guests need about %llu", (unsigned long long)l.rlim_cur,
		    (unsigned long long)l.rlim_max, MANY_GUESTS, (unsigned long long)need);
	if (getrlimit(RLIMIT_MEMLOCK, &l) < 0)
		return;
	if (l.rlim_max == RLIM_INFINITY || rights_have(CAP_IPC_LOCK))
		say(d, OK, "locked memory", NULL, "unlimited");
	else
		say(d, OK, "locked memory", NULL, "%llu KiB",
		    (unsigned long long)l.rlim_max / 1024);
}

/* ---- libraries and tools ---- */

/* The version is the library's own word, or that of its file name. */
static void check_libraries(const struct doctor *d)
{
	static const struct {
		const char *soname, *package, *symbol;
		const char *version; /* name of a function that returns it as a string, if any */
	} libs[] = {
		{ "libinih.so.1", "libinih1", "ini_parse_stream", NULL },
		{ "libseccomp.so.2", "libseccomp2", "seccomp_init", NULL },
		{ "libfdt.so.1", "libfdt1", "fdt_check_header", NULL },
		{ "libcap-ng.so.0", "libcap-ng0", "capng_apply", NULL },
		{ "libjansson.so.4", "libjansson4", "json_object", "jansson_version_str" },
		{ "libz.so.1", "zlib1g", "crc32", "zlibVersion" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(libs); i++) {
		/* Only what this binary was linked with: nothing is loaded for the question. */
		void *lib = dlopen(libs[i].soname, RTLD_LAZY | RTLD_NOLOAD);
		char path[PATH_MAX], *real = NULL, fix[64];
		const char *(*version)(void) = NULL;
		void *symbol;
		Dl_info info;

		if (!lib)
			continue;
		symbol = dlsym(lib, libs[i].symbol);
		if (symbol && dladdr(symbol, &info) && info.dli_fname)
			real = realpath(info.dli_fname, path);
		if (libs[i].version)
			*(void **)&version = dlsym(lib, libs[i].version);
		snprintf(fix, sizeof(fix), "sudo apt-get install --reinstall %s", libs[i].package);
		if (!symbol)
			say(d, FAIL, libs[i].soname, fix, "has no %s()", libs[i].symbol);
		else
			say(d, OK, libs[i].soname, NULL, "%s%s%s", version ? version() : "",
			    version ? ", " : "", real ? real : "found");
		dlclose(lib);
	}
}

static bool find_program(const char *name)
{
	static const char fallback[] = "/usr/local/sbin:/usr/sbin:/sbin";
	const char *lists[] = { getenv("PATH"), fallback };
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (const char *dir = lists[i]; dir;) {
			size_t len = strcspn(dir, ":");

			snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, name);
			if (len && access(path, X_OK) == 0)
				return true;
			dir = dir[len] ? dir + len + 1 : NULL;
		}
	}
	return false;
}

static void check_tools(const struct doctor *d)
{
	static const struct {
		const char *name, *purpose;
	} tools[] = {
		{ "qemu-system-x86_64", "the emulated host" },
		{ "busybox", "Linux guests' initramfs" },
		{ "cpio", "Linux guests' initramfs" },
		{ "iasl", "checking ACPI tables" },
	};
	bool check = access("/usr/include/check.h", R_OK) == 0 ||
		     access("/usr/local/include/check.h", R_OK) == 0;

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		bool found = find_program(tools[i].name);

		say(d, found ? OK : WARN, tools[i].name, found ? NULL : "scripts/setup test",
		    "%s; for make check and make demo: %s", found ? "found" : "missing",
		    tools[i].purpose);
	}
	say(d, check ? OK : WARN, "check.h", check ? NULL : "scripts/setup test",
	    "%s; for make check: unit tests", check ? "found" : "missing");
}

int doctor_run(FILE *out, bool quiet)
{
	static const char *const kvm_word[] = { "none", "software", "hardware" };
	const struct doctor d = { .out = quiet ? NULL : out };
	bool net_admin = rights_have(CAP_NET_ADMIN);
	enum kvm_state kvm = check_kvm(&d);
	bool tun = check_tun(&d, net_admin);

	if (!quiet) {
		check_network(&d, net_admin);
		check_hugepages(&d);
		check_memory(&d);
		check_limits(&d);
		check_libraries(&d);
		check_tools(&d);
	}
	fprintf(out, "doctor: kvm=%s tun=%s net-admin=%s\n", kvm_word[kvm], tun ? "yes" : "no",
		net_admin ? "yes" : "no");
	return kvm == KVM_NONE;
}
