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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/hostnet_ip.h"
#include "vmm/hostnet_link.h"
#include "vmm/hostnet_plan.h"
#include "vmm/hostnet_record.h"
#include "vmm/rights.h"

struct hostnet {
	struct rundir dir;
	int dir_error; /* why there is none */
	struct record record;
	struct record_bridge ours[RECORD_MAX_BRIDGES]; /* see struct plan */
	unsigned nr_ours;
	bool clears; /* has rights, and bridges of its own to look after */
	int *fds;
	unsigned nr_fds;
	bool *filters; /* by net */
	unsigned nr_nets;
};

static int report_denied(struct plan *p)
{
	fprintf(p->err,
		"xvmm: the rights to set up the host's network are missing. These commands do it "
		"for user %s, until the next reboot:\n%s",
		p->user, p->advice_text);
	return -EPERM;
}

/* A discipline such as fq_codel lets a frame of a new flow overtake those of others. The marker
 * that tells cross-talk that a path has drained must not. */
static void unqueue_ports(const struct plan *p)
{
	for (unsigned i = 0; i < p->nr_new_ports; i++) {
		int r = link_set_noqueue(p->new_port[i]);

		if (!r)
			continue;
		/* The reason is the same for the rest. */
		log_warn(NULL,
			 "cannot take the queueing discipline from TAP %s: %s; frames may overtake "
			 "each other when guests begin to talk directly",
			 p->new_port[i], strerror(-r));
		return;
	}
}

/* Makes what was planned. */
static int run_plan(struct hostnet *h, struct plan *p)
{
	char why[512];
	int r;

	if (p->denied || (p->batch_bytes && !rights_have(CAP_NET_ADMIN)))
		return report_denied(p);
	memcpy(h->ours, p->ours, sizeof(h->ours));
	h->nr_ours = p->nr_ours;
	h->clears = h->nr_ours && rights_have(CAP_NET_ADMIN);
	if (h->clears) {
		/* Without a record all works, but for the clean-up after a kill -9. */
		r = h->dir_error;
		if (!r)
			r = record_create(&h->record, &h->dir, p->alias, h->ours, h->nr_ours);
		if (r)
			log_warn(NULL,
				 "cannot write to the run directory %s: %s; a bridge made "
				 "now would outlive a kill -9",
				 h->dir.path, strerror(-r));
	}
	/* Before they are up, and get the host's default. */
	unqueue_ports(p);
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

	if (!rights_have(CAP_NET_ADMIN))
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

/* Opens and locks the run directory, and sweeps it. It is only made by who may have to record a
 * bridge. */
static void prepare_rundir(struct hostnet *h, const struct lab_config *cfg, FILE *err)
{
	bool needed = false;

	for (unsigned i = 0; i < cfg->nr_nets; i++)
		needed |= plan_net_is_used(cfg, i) && cfg->net[i].uplink == UPLINK_BRIDGE;
	h->dir_error = rundir_open(&h->dir, needed && rights_have(CAP_NET_ADMIN));
	if (h->dir_error)
		return;
	h->dir_error = rundir_lock(&h->dir);
	if (h->dir_error)
		rundir_close(&h->dir);
	else
		sweep_locked(&h->dir, err);
}

int hostnet_open(struct hostnet **out, const struct lab_config *cfg, FILE *err, int *fds,
		 int *net_fds)
{
	struct plan p;
	struct hostnet *h;
	bool used = false;
	int r = 0;

	*out = NULL;
	for (unsigned i = 0; i < cfg->nr_nics; i++)
		fds[i] = -1;
	for (unsigned i = 0; i < cfg->nr_nets; i++) {
		net_fds[i] = -1;
		used |= plan_net_is_used(cfg, i);
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->dir.fd = -1;
	h->record.fd = -1;
	h->fds = calloc(cfg->nr_nics + cfg->nr_nets + 1, sizeof(*h->fds));
	h->filters = calloc(cfg->nr_nets + 1, sizeof(*h->filters));
	h->nr_nets = cfg->nr_nets;
	if (!h->fds || !h->filters) {
		free(h->fds);
		free(h->filters);
		free(h);
		return -ENOMEM;
	}
	prepare_rundir(h, cfg, err);
	if (used) {
		r = plan_make(&p, cfg, err, h->fds, fds, net_fds, h->filters);
		h->nr_fds = p.nr_opened;
		if (!r)
			r = run_plan(h, &p);
		plan_fini(&p);
	}
	if (!r) {
		rundir_unlock(&h->dir);
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

bool hostnet_bridge_filters(const struct hostnet *h, unsigned net)
{
	return net < h->nr_nets && h->filters[net];
}

void hostnet_close(struct hostnet *h)
{
	if (!h)
		return;
	if (h->dir.fd >= 0)
		rundir_lock(&h->dir);
	for (unsigned i = 0; i < h->nr_fds; i++)
		close(h->fds[i]);
	/* If removing fails, the record stays for the next run, which finds it unlocked. */
	if (!h->clears || remove_bridges(h->ours, h->nr_ours, stderr) >= 0)
		record_remove(&h->record, &h->dir);
	if (h->record.fd >= 0)
		close(h->record.fd);
	/* Said aloud: a process forked meanwhile may hold a copy of the descriptor. */
	rundir_unlock(&h->dir);
	rundir_close(&h->dir);
	free(h->filters);
	free(h->fds);
	free(h);
}
