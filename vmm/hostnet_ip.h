/*
 * Runs iproute2's `ip`, the only program that xvmm changes the host's network with.
 *
 * Main thread (it waits for the program to end).
 */
#ifndef VMM_HOSTNET_IP_H
#define VMM_HOSTNET_IP_H

#include <stddef.h>

/* Full path of `ip`: from $PATH, then from where it is even if a user's $PATH leaves it out.
 * -ENOENT: not installed. */
int ip_find(char *path, size_t bytes);

/*
 * Runs `commands` (lines as `ip -batch` reads them; an empty string does nothing) in order, up to
 * the first that fails. Errors, with one line in why[]: -EPERM: the rights to change the network
 * are missing; -ENOENT: no `ip`; -EIO: a command failed, why[] says which and how; errno of
 * posix_spawn(3).
 */
int ip_batch(const char *commands, char *why, size_t why_bytes);

/* The version as `ip -V` tells it. Errors as above. */
int ip_version(char *out, size_t bytes);

#endif
