/*
 * Looks at what the host has, opens TAPs, and writes down what remains to be done. Main thread.
 * Theory of operation: hostnet.c.
 */
#include "vmm/hostnet_plan.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/tap.h"

#define TAP_NAME_TRIES 16
#define ALIAS_PREFIX   "xvmm:"
/* Below this, an interface has no IPv6 and no address generation mode to switch off. */
#define IPV6_MIN_MTU_BYTES 1280

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
	p->opened[p->nr_opened++] = r;
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
	struct record_bridge *b = &p->ours[p->nr_ours];

	if (p->nr_ours == RECORD_MAX_BRIDGES) {
		net_error(p, net, "more than %u bridges", RECORD_MAX_BRIDGES);
		return -E2BIG;
	}
	snprintf(b->name, sizeof(b->name), "%s", net->uplink_name);
	memcpy(b->mac, mac, sizeof(b->mac));
	p->nr_ours++;
	return 0;
}

static int plan_new_bridge(struct plan *p, const struct net_config *net)
{
	const char *name = net->uplink_name;
	uint8_t m[6];
	int r;

	for (unsigned i = 0; i < p->nr_ours; i++)
		if (!strcmp(p->ours[i].name, name))
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

static void plan_new_port(struct plan *p, const char *name, const char *bridge, unsigned mtu_bytes)
{
	plan_new_tap(p, name, bridge, mtu_bytes);
	/* Who follows the advice makes the TAP in our stead. */
	fprintf(p->advice, "sudo tc qdisc replace dev %s root noqueue\n", name);
	snprintf(p->new_port[p->nr_new_ports++], IFNAMSIZ, "%s", name);
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
		if (t && t->isolated)
			p->filters[nic->net] = true;
		if (!t)
			plan_new_port(p, name, bridge, l ? l->mtu_bytes : 1500);
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
	if (l && l->vlan_filtering)
		p->filters[net - p->cfg->net] = true;
	if (l && !l->up)
		log_warn(net->name,
			 "bridge %s is down and passes no frames: sudo ip link set dev %s up",
			 l->name, l->name);
	for (unsigned i = 0; i < p->cfg->nr_nics && !r; i++)
		if (&p->cfg->net[p->cfg->nic[i].net] == net)
			r = plan_bridge_tap(p, net, l, &p->cfg->nic[i], &fds[i]);
	return r;
}

bool plan_net_is_used(const struct lab_config *cfg, unsigned net)
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

		if (!plan_net_is_used(p->cfg, i))
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

static int plan_init(struct plan *p)
{
	int r;

	p->new_port = calloc(p->cfg->nr_nics + 1, sizeof(*p->new_port));
	p->batch = open_memstream(&p->batch_text, &p->batch_bytes);
	p->advice = open_memstream(&p->advice_text, &p->advice_bytes);
	if (!p->new_port || !p->batch || !p->advice)
		return -ENOMEM;
	name_user(p->user, sizeof(p->user));
	name_alias(p->alias, sizeof(p->alias), p->cfg->name);
	p->ipv6 = access("/proc/net/if_inet6", F_OK) == 0;
	r = link_table_read(&p->links);
	if (r)
		fprintf(p->err, "xvmm: cannot list network interfaces: %s\n", strerror(-r));
	return r;
}

int plan_make(struct plan *p, const struct lab_config *cfg, FILE *err, int *opened, int *fds,
	      int *net_fds, bool *filters)
{
	int r;

	*p = (struct plan){ .cfg = cfg, .err = err, .opened = opened, .filters = filters };
	r = plan_init(p);
	if (!r)
		r = plan_nets(p, fds, net_fds);
	if (!r && (fflush(p->batch) || fflush(p->advice)))
		r = -ENOMEM;
	return r;
}

void plan_fini(struct plan *p)
{
	if (p->batch)
		fclose(p->batch);
	if (p->advice)
		fclose(p->advice);
	free(p->batch_text);
	free(p->advice_text);
	free(p->new_port);
	link_table_free(&p->links);
}
