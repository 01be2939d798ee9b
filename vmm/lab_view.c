/*
 * How the control socket looks at guests and switches of a running lab: see control.h. Main thread.
 */
#include "vmm/control.h"

static void view_guest(const struct lab_view *v, unsigned guest, enum guest_state *state,
		       unsigned *restarts)
{
	*state = v->guest[guest].state;
	*restarts = v->guest[guest].restarts;
}

static void view_nic(const struct lab_view *v, unsigned nic, struct nic_info *out)
{
	guest_nic_info(&v->guest[v->cfg->nic[nic].guest], nic, out);
}

static const struct netswitch_stats *view_net(const struct lab_view *v, unsigned net)
{
	return v->sw[net] ? netswitch_stats(v->sw[net]) : NULL;
}

static int view_swap(const struct lab_view *v, unsigned nic, bool pin, enum binding b)
{
	return guest_nic_swap(&v->guest[v->cfg->nic[nic].guest], nic, pin, b);
}

const struct lab_view_ops lab_view_ops = {
	.guest = view_guest,
	.nic = view_nic,
	.net = view_net,
	.swap = view_swap,
};
