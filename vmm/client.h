/*
 * The client side of the control socket: xvmm stat, events and swap.
 *
 * lab: the name of a running lab, the path of its socket (anything with a slash), or NULL: the only
 * one that runs. Each writes its answer on `out`, or one line on standard error, and returns 0 or 1
 * (an exit status). No thread of its own; blocks, except for `follow` at most CLIENT_TIMEOUT_S.
 */
#ifndef VMM_CLIENT_H
#define VMM_CLIENT_H

#include <jansson.h>
#include <stdio.h>

#include "base/types.h"

#define CLIENT_TIMEOUT_S 10

int client_stat(const char *lab, bool json, FILE *out);
int client_events(const char *lab, bool follow, bool json, FILE *out);
/* binding: uplink, direct, mapped or auto. */
int client_swap(const char *lab, const char *nic, const char *binding, FILE *out);

/* For people (client_show.c). Members that are missing or of another kind are shown as empty: the
 * other side may be of another version. */
void client_show_stat(const json_t *stat, FILE *out);
void client_show_event(const json_t *event, FILE *out);

#endif
