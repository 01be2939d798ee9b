/*
 * The host's side of a net, for benches: a network namespace of this process's own with a bridge
 * and TAPs in it, made with `ip` as xvmm makes its own; it is gone with the process.
 */
#ifndef TESTS_BENCH_LANE_HOST_H
#define TESTS_BENCH_LANE_HOST_H

#include "base/types.h"

/* Once. False, with the cause on standard error: no right to a namespace, or no /dev/net/tun. */
bool lane_host_enter(void);
void lane_host_bridge(const char *br);
/* A TAP on that bridge, up. Returns its descriptor. */
int lane_host_tap(const char *ifname, const char *br);
/* A TAP on that bridge that stands for the world outside: `mac` is behind it. Takes every offload.
 */
int lane_host_outside(const char *ifname, const char *br, const char *mac);
/* Queueing discipline of an interface, for the record. */
void lane_host_qdisc(const char *ifname, char *out, size_t len);

/* CPU time of this process, kernel's included; and of all ksoftirqd threads of the machine, where
 * network processing would go that is done neither in the writer's context nor in the reader's. */
uint64_t lane_cpu_ns(void);
uint64_t lane_ksoftirqd_ns(void);

#endif
