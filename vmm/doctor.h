/*
 * `xvmm doctor`: what on this machine is in the way of running guests, found out by trying, with
 * the command that mends it.
 *
 * Main thread, before any guest exists.
 */
#ifndef VMM_DOCTOR_H
#define VMM_DOCTOR_H

#include <stdbool.h>
#include <stdio.h>

/*
 * One line per item, "ok|warn|FAIL  what: finding   (fix: command)", and a last line for scripts:
 *   doctor: kvm=hardware|software|none tun=yes|no net-admin=yes|no
 * kvm=software: only tiny guests run here, stock Linux does not. quiet: only that last line.
 * Returns the exit status: 0 if xvmm can run guests of some kind, else 1.
 */
int doctor_run(FILE *out, bool quiet);

#endif
