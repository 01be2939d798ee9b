/*
 * Snapshot of the network interfaces, by one RTM_GETLINK dump; an RTM_NEWQDISC request. Any thread;
 * no state, no locks.
 */
#include "vmm/hostnet_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel fills at most 32 KiB per read of a dump. */
#define DUMP_BYTES 32768
/* A dump that another process disturbs is started again this many times. */
#define DUMP_TRIES 8

static void copy_string(char *to, size_t room, const struct rtattr *a)
{
	size_t len = strnlen(RTA_DATA(a), RTA_PAYLOAD(a));

	if (len >= room)
		len = room - 1;
	memcpy(to, RTA_DATA(a), len);
	to[len] = '\0';
}

static uint32_t read_u32(const struct rtattr *a)
{
	uint32_t v = 0;

	if (RTA_PAYLOAD(a) >= sizeof(v))
		memcpy(&v, RTA_DATA(a), sizeof(v));
	return v;
}

static bool string_is(const struct rtattr *a, const char *s)
{
	size_t len = strnlen(RTA_DATA(a), RTA_PAYLOAD(a));

	return len == strlen(s) && !memcmp(RTA_DATA(a), s, len);
}

/* The first attribute of this type in a nest; NULL if there is none. */
static const struct rtattr *find_nested(const struct rtattr *nest, int type)
{
	int len = RTA_PAYLOAD(nest);

	for (const struct rtattr *a = RTA_DATA(nest); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}

static bool nested_u8_is(const struct rtattr *nest, int type, uint8_t value)
{
	const struct rtattr *a = find_nested(nest, type);

	return a && RTA_PAYLOAD(a) >= 1 && *(const uint8_t *)RTA_DATA(a) == value;
}

static void parse_link_info(struct link *l, const struct rtattr *info)
{
	const struct rtattr *kind = find_nested(info, IFLA_INFO_KIND);
	const struct rtattr *data = find_nested(info, IFLA_INFO_DATA);
	const struct rtattr *port_kind = find_nested(info, IFLA_INFO_SLAVE_KIND);
	const struct rtattr *port_data = find_nested(info, IFLA_INFO_SLAVE_DATA);

	if (kind && string_is(kind, "bridge")) {
		l->kind = LINK_BRIDGE;
		l->vlan_filtering = data && nested_u8_is(data, IFLA_BR_VLAN_FILTERING, 1);
	} else if (kind && string_is(kind, "tun") && data &&
		   nested_u8_is(data, IFLA_TUN_TYPE, IFF_TAP)) {
		/* Kind "tun" is both: with Ethernet frames and with IP packets. */
		l->kind = LINK_TAP;
	}
	l->isolated = port_kind && string_is(port_kind, "bridge") && port_data &&
		      nested_u8_is(port_data, IFLA_BRPORT_ISOLATED, 1);
}

static int add_link(struct link_table *t, const struct nlmsghdr *h)
{
	const struct ifinfomsg *msg = NLMSG_DATA(h);
	int len = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*msg));
	struct link l = { 0 };

	if (len < 0)
		return 0;
	l.index = msg->ifi_index;
	l.up = msg->ifi_flags & IFF_UP;
	for (const struct rtattr *a = IFLA_RTA(msg); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		switch (a->rta_type & NLA_TYPE_MASK) {
		case IFLA_IFNAME:
			copy_string(l.name, sizeof(l.name), a);
			break;
		case IFLA_IFALIAS:
			copy_string(l.alias, sizeof(l.alias), a);
			break;
		case IFLA_MASTER:
			l.master = (int)read_u32(a);
			break;
		case IFLA_MTU:
			l.mtu_bytes = read_u32(a);
			break;
		case IFLA_ADDRESS:
			if (RTA_PAYLOAD(a) == sizeof(l.mac))
				memcpy(l.mac, RTA_DATA(a), sizeof(l.mac));
			break;
		case IFLA_LINKINFO:
			parse_link_info(&l, a);
			break;
		}
	}

	if (t->nr == t->room) {
		unsigned room = t->room ? 2 * t->room : 16;
		struct link *bigger = realloc(t->link, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		t->link = bigger;
		t->room = room;
	}
	t->link[t->nr++] = l;
	return 0;
}

/* 0: whole dump read. 1: it was disturbed. -errno. */
static int read_dump(int fd, void *buf, struct link_table *t)
{
	bool disturbed = false;

	for (;;) {
		ssize_t got = recv(fd, buf, DUMP_BYTES, MSG_TRUNC);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0 || got > DUMP_BYTES)
			return -EMSGSIZE;
		for (struct nlmsghdr *h = buf; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			int r;

			if (h->nlmsg_flags & NLM_F_DUMP_INTR)
				disturbed = true;
			if (h->nlmsg_type == NLMSG_DONE)
				return disturbed;
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = NLMSG_DATA(h);

				return e->error ? e->error : -EIO;
			}
			if (h->nlmsg_type != RTM_NEWLINK)
				continue;
			r = add_link(t, h);
			if (r)
				return r;
		}
	}
}

static int request_dump(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg msg;
		struct rtattr mask;
		uint32_t mask_value;
	} req = {
		.h = { .nlmsg_len = sizeof(req),
		       .nlmsg_type = RTM_GETLINK,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.msg = { .ifi_family = AF_UNSPEC },
		.mask = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = IFLA_EXT_MASK },
		.mask_value = RTEXT_FILTER_SKIP_STATS,
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (sendto(fd, &req, sizeof(req), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

int link_table_read(struct link_table *t)
{
	void *buf;
	int r = 1;

	*t = (struct link_table){ 0 };
	buf = malloc(DUMP_BYTES);
	if (!buf)
		return -ENOMEM;
	for (int i = 0; r == 1 && i < DUMP_TRIES; i++) {
		int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

		if (fd < 0) {
			r = -errno;
			break;
		}
		t->nr = 0;
		r = request_dump(fd);
		if (!r)
			r = read_dump(fd, buf, t);
		close(fd);
	}
	free(buf);
	return r == 1 ? -EAGAIN : r;
}

void link_table_free(struct link_table *t)
{
	free(t->link);
	*t = (struct link_table){ 0 };
}

const struct link *link_find(const struct link_table *t, const char *name)
{
	for (unsigned i = 0; i < t->nr; i++)
		if (!strcmp(t->link[i].name, name))
			return &t->link[i];
	return NULL;
}

unsigned link_count_ports(const struct link_table *t, int index)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->nr; i++)
		n += t->link[i].master == index;
	return n;
}

static int read_ack(int fd)
{
	union {
		struct nlmsghdr h;
		char room[1024];
	} reply;
	const struct nlmsgerr *e;
	ssize_t got;

	do
		got = recv(fd, &reply, sizeof(reply), 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	if (!NLMSG_OK(&reply.h, got) || reply.h.nlmsg_type != NLMSG_ERROR ||
	    reply.h.nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
		return -EIO;
	e = NLMSG_DATA(&reply.h);
	return e->error;
}

int link_set_noqueue(const char *name)
{
	struct {
		struct nlmsghdr h;
		struct tcmsg msg;
		struct rtattr kind;
		char kind_value[8];
	} req = {
		.h = { .nlmsg_len = sizeof(req),
		       .nlmsg_type = RTM_NEWQDISC,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE },
		.msg = { .tcm_family = AF_UNSPEC, .tcm_parent = TC_H_ROOT },
		.kind = { .rta_len = RTA_LENGTH(sizeof(req.kind_value)), .rta_type = TCA_KIND },
		.kind_value = "noqueue",
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd, r;

	req.msg.tcm_ifindex = (int)if_nametoindex(name);
	if (!req.msg.tcm_ifindex)
		return -ENODEV;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	if (sendto(fd, &req, sizeof(req), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		r = -errno;
	else
		r = read_ack(fd);
	close(fd);
	return r;
}

bool link_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= IFNAMSIZ || name[0] == '-' || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return false;
	/* The kernel takes nearly anything, but '%' is a template to it, and quotes, blanks and '$'
	 * mean something to ip and to the shell that a printed line is pasted into. */
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    "._-+@=,") == len;
}
