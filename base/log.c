/*
 * Log lines: formatted on the stack, written with one write(2).
 *
 * Threads: any. The level is the one piece of file-scope state in base/: it is set by main before
 * any thread exists and only read afterwards.
 */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES	  1024
#define LIMIT_INTERVAL_NS 1000000000ull
#define LIMIT_BURST	  5u

static enum log_level log_level = LOG_INFO;

void log_set_level(enum log_level level)
{
	log_level = level;
}

bool log_enabled(enum log_level level)
{
	return level <= log_level;
}

static const char *level_prefix(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error: ";
	case LOG_WARN:
		return "warning: ";
	default:
		return "";
	}
}

void log_vmsg(enum log_level level, const char *who, const char *fmt, va_list ap)
{
	char line[LINE_BYTES];
	int saved = errno;
	size_t len, room = sizeof(line) - 1; /* the newline always fits */
	int n;

	if (!log_enabled(level))
		return;
	n = snprintf(line, room, "xvmm: %s%s%s", who ? who : "", who ? ": " : "",
		     level_prefix(level));
	len = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
	n = vsnprintf(line + len, room - len, fmt, ap);
	if (n > 0)
		len += (size_t)n < room - len ? (size_t)n : room - len - 1;
	line[len++] = '\n';
	/* Nothing sensible can be done if standard error is gone. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = saved;
	errno = saved;
}

void log_msg(enum log_level level, const char *who, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vmsg(level, who, fmt, ap);
	va_end(ap);
}

bool log_allowed(struct log_limit *limit, uint32_t *suppressed)
{
	struct timespec ts;
	uint64_t now, start;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	start = atomic_load(&limit->window_start_ns);
	/* Two threads may both see an old window; one of them opens the new one. */
	if ((!start || now - start >= LIMIT_INTERVAL_NS) &&
	    atomic_compare_exchange_strong(&limit->window_start_ns, &start, now))
		atomic_store(&limit->in_window, 0);
	if (atomic_fetch_add(&limit->in_window, 1) >= LIMIT_BURST) {
		atomic_fetch_add(&limit->suppressed, 1);
		return false;
	}
	*suppressed = atomic_exchange(&limit->suppressed, 0);
	return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *who, const char *fmt,
		 ...)
{
	uint32_t suppressed;
	va_list ap;

	if (!log_enabled(level) || !log_allowed(limit, &suppressed))
		return;
	if (suppressed)
		log_msg(level, who, "%u similar lines were left out", suppressed);
	va_start(ap, fmt);
	log_vmsg(level, who, fmt, ap);
	va_end(ap);
}
