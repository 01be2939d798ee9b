/*
 * Where the bytes of a guest's console devices go: the terminal, a file, a pty, a UNIX socket.
 *
 * The terminal is shared: console_terminal holds what the guests with `console = stdio` have in
 * common. With one such guest and a terminal on standard input it is interactive: raw mode, every
 * key goes to the guest, Ctrl-A x ends xvmm (as SIGTERM would), Ctrl-A a sends Ctrl-A, Ctrl-A ?
 * lists these. With several, each line of output is prefixed with the guest's name ("alpha| ").
 * The terminal's settings are restored by console_terminal_fini(), and by
 * console_terminal_restore(), which is async-signal-safe, on every way out.
 *
 * Threads: write() of the chardevs from any thread (vCPUs, I/O threads); input arrives on the loop
 * that the chardev was created with.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "base/chardev.h"
#include "base/loop.h"
#include "vmm/config.h"

struct console_terminal;

/* out_fd, in_fd: usually 1 and 0. nr_users: how many chardevs will use it. end: called (on the loop
 * of the interactive chardev) when the user types Ctrl-A x. Errors: -ENOMEM, errno of termios. */
int console_terminal_create(struct console_terminal **out, int in_fd, int out_fd, unsigned nr_users,
			    void (*end)(void *arg), void *arg);
void console_terminal_destroy(struct console_terminal *t);
/* Puts the terminal back as it was; async-signal-safe; idempotent. */
void console_terminal_restore(struct console_terminal *t);

/* Makes the chardev that `cfg` asks for. guest: its name, for prefixes and log lines. A pty's path
 * is logged. A file is created or truncated. A UNIX socket is listened on, for one client at a
 * time, and its path removed at the end; a stale one (nobody listens) is replaced, a live one is
 * -EADDRINUSE. CONSOLE_NONE gives a chardev that drops output. The chardev outlives machine resets.
 * Errors: errno of open, openpty, bind. */
int console_open(struct chardev **out, const struct console_config *cfg, const char *guest,
		 struct console_terminal *term, struct loop *loop);
void console_close(struct chardev *chr); /* the loop has stopped; flushes a partial line */

#endif
