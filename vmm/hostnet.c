/*
 * Host side of the nets: opens TAPs, makes bridges, removes what was made. Main thread.
 *
 * Theory of operation
 *
 * TAPs are made through /dev/net/tun and are not persistent: the kernel removes them when their
 * descriptor closes, whatever ends the process. Everything else that has to change on the host is
 * collected as lines for `ip -batch`, run in one go. The same lines, with `sudo ip` before them and
 * TAPs made persistent for the user instead, are what a user without rights is told; so the names
 * of a bridge's TAPs must come out the same in the next run: they are derived from the names of
 * bridge, lab and NIC, and a number that counts up while a name is taken.
 *
 * An interface that was there before is used as it is found. A bridge that xvmm made carries the
 * alias "xvmm:LAB:PID". Several labs may share it: the last one to leave, that is the one that
 * finds no port left on it after closing its own TAPs, removes it. A bridge of ours that the user
 * has given a port of his own is his from then on.
 *
 * From looking at what is there until all is made, and while removing, the run directory's lock is
 * held (hostnet_record.h), so that nobody removes a bridge that another lab is about to use.
 */
#include "vmm/hostnet.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/hostnet_ip.h"
#include "vmm/hostnet_link.h"
#include "vmm/hostnet_record.h"
#include "vmm/tap.h"

#define TAP_NAME_TRIES 16
#define ALIAS_PREFIX   "xvmm:"
/* Below this, an interface has no IPv6 and no address generation mode to switch off. */
#define IPV6_MIN_MTU_BYTES 1280

struct hostnet {
	struct rundir dir;
	struct record record;
	struct record_bridge ours[RECORD_MAX_BRIDGES]; /* bridges of xvmm's making, in use here */
	unsigned nr_ours;
	int *fds;
	unsigned nr_fds;
};

/* hostnet_open() under way. */
struct plan {
	struct hostnet *h;
	const struct lab_config *cfg;
	FILE *err;
	struct link_table links;
	FILE *batch, *advice;
	char *batch_text, *advice_text;
	size_t batch_bytes, advice_bytes;
	bool denied;
	bool ipv6;
	char user[40];
	char alias[64];
};

/* Which of the two lists a line goes to. */
enum { TO_BATCH = 1, TO_ADVICE = 2, TO_BOTH = 3 };

__attribute__((format(printf, 3, 4))) static void plan_line(struct plan *p, int to, const char *fmt,
							    ...)
{
	FILE *f[2] = { to & TO_BATCH ? p->batch : NULL, to & TO_ADVICE ? p->advice : NULL };
	va_list args;

	for (int i = 0; i < 2; i++) {
		if (!f[i])
			continue;
		if (f[i] == p->advice)
			fputs("sudo ip ", f[i]);
		va_start(args, fmt);
		vfprintf(f[i], fmt, args);
		va_end(args);
		fputc('\n', f[i]);
	}
}

__attribute__((format(printf, 3, 4))) static void
net_error(const struct plan *p, const struct net_config *net, const char *fmt, ...)
{
	va_list args;

	fprintf(p->err, "%s:%u: [net %s]: ", p->cfg->path, net->line, net->name);
	va_start(args, fmt);
	vfprintf(p->err, fmt, args);
	va_end(args);
	fputc('\n', p->err);
}

static bool can_admin(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &h, data) < 0)
		return false;
	return data[CAP_TO_INDEX(CAP_NET_ADMIN)].effective & CAP_TO_MASK(CAP_NET_ADMIN);
}

static void name_user(char *out, size_t bytes)
{
	struct passwd *pw = getpwuid(getuid());

	/* The number does for a name that the shell might read as something else. */
	if (pw && link_name_valid(pw->pw_name))
		snprintf(out, bytes, "%s", pw->pw_name);
	else
		snprintf(out, bytes, "%u", (unsigned)getuid());
}

/* "xvmm:LAB:PID" out of nothing but harmless characters: a lab's name may be any file name. */
static void name_alias(char *out, size_t bytes, const char *lab)
{
	char safe[32];
	size_t n = 0;

	for (; lab[n] && n < sizeof(safe) - 1; n++) {
		char c = lab[n];

		safe[n] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
					  (c >= '0' && c <= '9') || c == '-' || c == '.'
				  ? c
				  : '_';
	}
	safe[n] = '\0';
	snprintf(out, bytes, ALIAS_PREFIX "%s:%d", safe, (int)getpid());
}

/* FNV-1a, 64 bit, over a string and its terminating zero. */
static uint64_t hash_string(uint64_t h, const char *s)
{
	do {
		h ^= (uint8_t)*s;
		h *= UINT64_C(0x100000001b3);
	} while (*s++);
	return h;
}

static void name_bridge_tap(char name[IFNAMSIZ], const struct plan *p, const char *bridge,
			    const struct nic_config *nic, unsigned attempt)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	char number[12];

	snprintf(number, sizeof(number), "%u", attempt);
	h = hash_string(h, bridge);
	h = hash_string(h, p->cfg->name);
	h = hash_string(h, nic->full_name);
	h = hash_string(h, number);
	h ^= h >> 32;
	snprintf(name, IFNAMSIZ, "xv%010llx", (unsigned long long)(h & UINT64_C(0xffffffffff)));
}

static const char *kind_name(const struct link *l)
{
	switch (l->kind) {
	case LINK_BRIDGE:
		return "a bridge";
	case LINK_TAP:
		return "a TAP";
	default:
		return "neither a bridge nor a TAP";
	}
}

/* Lines that make a TAP of ours quiet, and bring it up on the bridge, if any. */
static void plan_new_tap(struct plan *p, const char *name, const char *bridge, unsigned mtu_bytes)
{
	plan_line(p, TO_ADVICE, "tuntap add dev %s mode tap user %s vnet_hdr", name, p->user);
	plan_line(p, TO_BATCH, "link set dev %s alias %s", name, p->alias);
	if (mtu_bytes != 1500)
		plan_line(p, TO_BOTH, "link set dev %s mtu %u", name, mtu_bytes);
	/* The host speaks through the bridge; from a port it would only make noise. */
	if (p->ipv6 && mtu_bytes >= IPV6_MIN_MTU_BYTES)
		plan_line(p, TO_BATCH, "link set dev %s addrgenmode none", name);
	if (bridge)
		plan_line(p, TO_BOTH, "link set dev %s master %s up", name, bridge);
	else
		plan_line(p, TO_BOTH, "link set dev %s up", name);
}

/* 0: fd open, or rights missing and p->denied set (*fd is -1). Else -errno, not yet reported. */
static int plan_open_tap(struct plan *p, const char *name, bool exists, int *fd)
{
	bool created;
	int r = tap_open(name, &created);

	if (r == -EACCES || (r == -EPERM && !exists)) {
		if (r == -EACCES && !p->denied)
			fputs("sudo chmod 0666 /dev/net/tun\n", p->advice);
		p->denied = true;
		return 0;
	}
	if (r < 0)
		return r;
	*fd = r;
	p->h->fds[p->h->nr_fds++] = r;
	/* A persistent TAP may come with what its last user could take. */
	return tap_set_offload(r, 0);
}

static int report_tap_error(struct plan *p, const struct net_config *net, const char *name, int r)
{
	switch (r) {
	case -EBUSY:
		net_error(p, net, "%s is in use by another program", name);
		break;
	case -EPERM:
		net_error(p, net,
			  "TAP %s belongs to another user; give it to %s: "
			  "sudo ip tuntap del dev %s mode tap && "
			  "sudo ip tuntap add dev %s mode tap user %s vnet_hdr",
			  name, p->user, name, name, p->user);
		return -EACCES;
	case -EINVAL:
		net_error(p, net, "%s exists but is not a TAP with a single queue", name);
		break;
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		net_error(p, net, "/dev/net/tun is missing or has no driver: sudo modprobe tun");
		break;
	default:
		net_error(p, net, "cannot open TAP %s: %s", name, strerror(-r));
	}
	return r;
}

static int plan_tap_net(struct plan *p, const struct net_config *net, int *fd)
{
	const char *name = net->uplink_name;
	const struct link *l = link_find(&p->links, name);
	int r;

	if (l && l->kind != LINK_TAP) {
		net_error(p, net, "uplink tap:%s: %s is %s", name, name, kind_name(l));
		return -EINVAL;
	}
	r = plan_open_tap(p, name, l, fd);
	if (r)
		return report_tap_error(p, net, name, r);
	if (!l)
		plan_new_tap(p, name, NULL, 1500);
	else if (!l->up)
		plan_line(p, TO_BOTH, "link set dev %s up", name);
	return 0;
}

static int draw_mac(uint8_t mac[6])
{
	if (getrandom(mac, 6, 0) != 6)
		return -EIO;
	mac[0] = (mac[0] & 0xfc) | 0x02; /* unicast, locally administered */
	return 0;
}

static int plan_add_ours(struct plan *p, const struct net_config *net, const uint8_t mac[6])
{
	struct hostnet *h = p->h;
	struct record_bridge *b = &h->ours[h->nr_ours];

	if (h->nr_ours == RECORD_MAX_BRIDGES) {
		net_error(p, net, "more than %u bridges", RECORD_MAX_BRIDGES);
		return -E2BIG;
	}
	snprintf(b->name, sizeof(b->name), "%s", net->uplink_name);
	memcpy(b->mac, mac, sizeof(b->mac));
	h->nr_ours++;
	return 0;
}

static int plan_new_bridge(struct plan *p, const struct net_config *net)
{
	const char *name = net->uplink_name;
	uint8_t m[6];
	int r;

	for (unsigned i = 0; i < p->h->nr_ours; i++)
		if (!strcmp(p->h->ours[i].name, name))
			return 0; /* another net of this lab is on it */
	r = draw_mac(m);
	if (!r)
		r = plan_add_ours(p, net, m);
	if (r)
		return r;
	plan_line(p, TO_BATCH,
		  "link add name %s address %02x:%02x:%02x:%02x:%02x:%02x type bridge stp_state 0 "
		  "forward_delay 0",
		  name, m[0], m[1], m[2], m[3], m[4], m[5]);
	plan_line(p, TO_ADVICE, "link add name %s type bridge stp_state 0 forward_delay 0", name);
	plan_line(p, TO_BATCH, "link set dev %s alias %s", name, p->alias);
	if (p->ipv6)
		plan_line(p, TO_BATCH, "link set dev %s addrgenmode none", name);
	plan_line(p, TO_BOTH, "link set dev %s up", name);
	return 0;
}

/* l: the bridge, NULL if it is to be made. */
static int plan_bridge_tap(struct plan *p, const struct net_config *net, const struct link *l,
			   const struct nic_config *nic, int *fd)
{
	const char *bridge = net->uplink_name;
	char name[IFNAMSIZ];
	int r = -EBUSY;

	for (unsigned attempt = 0; attempt < TAP_NAME_TRIES; attempt++) {
		const struct link *t;

		name_bridge_tap(name, p, bridge, nic, attempt);
		t = link_find(&p->links, name);
		if (t && (t->kind != LINK_TAP || (t->master && (!l || t->master != l->index))))
			continue; /* something else has this name */
		r = plan_open_tap(p, name, t, fd);
		/* Taken: by a lab of the same name that runs now, or by another user's. */
		if (r == -EBUSY || r == -EINVAL || (r == -EPERM && t))
			continue;
		if (r)
			return report_tap_error(p, net, name, r);
		if (!t)
			plan_new_tap(p, name, bridge, l ? l->mtu_bytes : 1500);
		else if (!t->master)
			plan_line(p, TO_BOTH, "link set dev %s master %s up", name, bridge);
		else if (!t->up)
			plan_line(p, TO_BOTH, "link set dev %s up", name);
		return 0;
	}
	return report_tap_error(p, net, name, r);
}

static int plan_bridge_net(struct plan *p, const struct net_config *net, int *fds)
{
	const struct link *l = link_find(&p->links, net->uplink_name);
	int r = 0;

	if (l && l->kind != LINK_BRIDGE) {
		net_error(p, net, "uplink bridge:%s: %s is %s", l->name, l->name, kind_name(l));
		return -EINVAL;
	}
	if (!l)
		r = plan_new_bridge(p, net);
	else if (!strncmp(l->alias, ALIAS_PREFIX, strlen(ALIAS_PREFIX)))
		r = plan_add_ours(p, net, l->mac);
	if (r)
		return r;
	if (l && !l->up)
		log_warn(net->name,
			 "bridge %s is down and passes no frames: sudo ip link set dev %s up",
			 l->name, l->name);
	for (unsigned i = 0; i < p->cfg->nr_nics && !r; i++)
		if (&p->cfg->net[p->cfg->nic[i].net] == net)
			r = plan_bridge_tap(p, net, l, &p->cfg->nic[i], &fds[i]);
	return r;
}

static bool net_is_used(const struct lab_config *cfg, unsigned net)
{
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		if (cfg->nic[i].net == net)
			return cfg->net[net].uplink != UPLINK_NONE;
	return false;
}

static int plan_nets(struct plan *p, int *fds, int *net_fds)
{
	int r = 0;

	for (unsigned i = 0; i < p->cfg->nr_nets && !r; i++) {
		const struct net_config *net = &p->cfg->net[i];

		if (!net_is_used(p->cfg, i))
			continue;
		if (!link_name_valid(net->uplink_name)) {
			net_error(p, net, "\"%s\" cannot be the name of a network interface",
				  net->uplink_name);
			r = -EINVAL;
		} else if (net->uplink == UPLINK_TAP) {
			r = plan_tap_net(p, net, &net_fds[i]);
		} else {
			r = plan_bridge_net(p, net, fds);
		}
	}
	return r;
}

static int report_denied(struct plan *p)
{
	fprintf(p->err,
		"xvmm: the rights to set up the host's network are missing. These commands do it "
		"for user %s, until the next reboot:\n%s",
		p->user, p->advice_text);
	return -EPERM;
}

/* Makes what was planned. */
static int plan_run(struct plan *p)
{
	struct hostnet *h = p->h;
	char why[512];
	int r;

	if (fflush(p->batch) || fflush(p->advice))
		return -ENOMEM;
	if (p->denied || (p->batch_bytes && !can_admin()))
		return report_denied(p);
	if (h->nr_ours && can_admin()) {
		r = record_create(&h->record, &h->dir, p->cfg->name, h->ours, h->nr_ours);
		if (r) {
			fprintf(p->err, "xvmm: cannot write to the run directory %s: %s\n",
				h->dir.path, strerror(-r));
			return r;
		}
	}
	r = ip_batch(p->batch_text, why, sizeof(why));
	if (r == -EPERM)
		return report_denied(p);
	if (r)
		fprintf(p->err, "xvmm: cannot set up the host's network: %s\n", why);
	return r;
}

/*
 * Removes those of the bridges that are still what the record says, and that nobody uses. Returns
 * how many, or -errno (said on err). The lock is held.
 */
static int remove_bridges(const struct record_bridge *bridge, unsigned nr, FILE *err)
{
	struct link_table links;
	char batch[64 * RECORD_MAX_BRIDGES], why[512];
	size_t len = 0;
	int removed = 0, r;

	r = link_table_read(&links);
	batch[0] = '\0';
	for (unsigned i = 0; i < nr && !r; i++) {
		const struct link *l = link_find(&links, bridge[i].name);

		if (!l || l->kind != LINK_BRIDGE || memcmp(l->mac, bridge[i].mac, sizeof(l->mac)))
			continue;
		if (link_count_ports(&links, l->index))
			continue;
		len += snprintf(batch + len, sizeof(batch) - len, "link del dev %s\n", l->name);
		removed++;
	}
	link_table_free(&links);
	if (r) {
		fprintf(err, "xvmm: cannot list network interfaces: %s\n", strerror(-r));
		return r;
	}
	r = ip_batch(batch, why, sizeof(why));
	if (r)
		fprintf(err, "xvmm: cannot remove a bridge that xvmm made: %s\n", why);
	return r ? r : removed;
}

struct sweep {
	FILE *err;
	int removed;
	int r;
};

static bool sweep_record(void *arg, const struct record_bridge *bridge, unsigned nr)
{
	struct sweep *s = arg;
	int r = remove_bridges(bridge, nr, s->err);

	if (r < 0)
		s->r = r;
	else
		s->removed += r;
	return r >= 0;
}

/* The lock is held. */
static int sweep_locked(const struct rundir *dir, FILE *err)
{
	struct sweep s = { .err = err };
	int r;

	if (!can_admin())
		return 0; /* what is there to remove waits for one who may */
	r = record_each_dead(dir, sweep_record, &s);
	return r ? r : s.r ? s.r : s.removed;
}

int hostnet_sweep(FILE *err)
{
	struct rundir dir;
	int r = rundir_open(&dir, false);

	if (r == -ENOENT)
		return 0;
	if (r)
		return r;
	r = rundir_lock(&dir);
	if (!r)
		r = sweep_locked(&dir, err);
	rundir_close(&dir);
	return r;
}

/* Opens and locks the run directory, and sweeps it. Without rights nothing is ever recorded, and an
 * unusable directory does no harm. */
static int prepare_rundir(struct hostnet *h, const struct lab_config *cfg, FILE *err)
{
	bool needed = false;
	int r;

	for (unsigned i = 0; i < cfg->nr_nets; i++)
		needed |= net_is_used(cfg, i) && cfg->net[i].uplink == UPLINK_BRIDGE;
	needed &= can_admin();
	r = rundir_open(&h->dir, needed);
	if (!r)
		r = rundir_lock(&h->dir);
	if (!r) {
		sweep_locked(&h->dir, err);
		return 0;
	}
	rundir_close(&h->dir);
	if (!needed)
		return 0;
	fprintf(err, "xvmm: no run directory: %s: %s\n", h->dir.path, strerror(-r));
	return r;
}

static int plan_init(struct plan *p)
{
	int r;

	p->batch = open_memstream(&p->batch_text, &p->batch_bytes);
	p->advice = open_memstream(&p->advice_text, &p->advice_bytes);
	if (!p->batch || !p->advice)
		return -ENOMEM;
	name_user(p->user, sizeof(p->user));
	name_alias(p->alias, sizeof(p->alias), p->cfg->name);
	p->ipv6 = access("/proc/net/if_inet6", F_OK) == 0;
	r = link_table_read(&p->links);
	if (r)
		fprintf(p->err, "xvmm: cannot list network interfaces: %s\n", strerror(-r));
	return r;
}

static void plan_fini(struct plan *p)
{
	if (p->batch)
		fclose(p->batch);
	if (p->advice)
		fclose(p->advice);
	free(p->batch_text);
	free(p->advice_text);
	link_table_free(&p->links);
}

int hostnet_open(struct hostnet **out, const struct lab_config *cfg, FILE *err, int *fds,
		 int *net_fds)
{
	struct plan p = { .cfg = cfg, .err = err };
	struct hostnet *h;
	bool used = false;
	int r;

	*out = NULL;
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		fds[i] = -1;
	for (unsigned i = 0; i < cfg->nr_nets; i++) {
		net_fds[i] = -1;
		used |= net_is_used(cfg, i);
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->dir.fd = -1;
	h->record.fd = -1;
	h->fds = calloc(cfg->nr_nics + cfg->nr_nets + 1, sizeof(*h->fds));
	if (!h->fds) {
		free(h);
		return -ENOMEM;
	}
	r = prepare_rundir(h, cfg, err);
	if (!r && used) {
		p.h = h;
		r = plan_init(&p);
		if (!r)
			r = plan_nets(&p, fds, net_fds);
		if (!r)
			r = plan_run(&p);
		plan_fini(&p);
	}
	rundir_unlock(&h->dir);
	if (!r) {
		*out = h;
		return 0;
	}
	if (r == -ENOMEM)
		fputs("xvmm: out of memory\n", err);
	hostnet_close(h);
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		fds[i] = -1;
	for (unsigned i = 0; i < cfg->nr_nets; i++)
		net_fds[i] = -1;
	return r;
}

void hostnet_close(struct hostnet *h)
{
	bool locked;

	if (!h)
		return;
	locked = h->record.fd >= 0 && rundir_lock(&h->dir) == 0;
	for (unsigned i = 0; i < h->nr_fds; i++)
		close(h->fds[i]);
	/* Without a record nothing was made. If removing fails, the record stays for the next run,
	 * which finds it unlocked. */
	if (locked && remove_bridges(h->ours, h->nr_ours, stderr) >= 0)
		record_remove(&h->record, &h->dir);
	if (h->record.fd >= 0)
		close(h->record.fd);
	/* Said aloud: a process forked meanwhile may hold a copy of the descriptor. */
	rundir_unlock(&h->dir);
	rundir_close(&h->dir);
	free(h->fds);
	free(h);
}
