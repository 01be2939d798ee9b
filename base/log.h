/*
 * Log lines on standard error: "xvmm: WHO: text". One write(2) per line, so that lines of several
 * threads never mix. Any thread may call; nothing here allocates.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are not written. Call before any thread starts. Default LOG_INFO. */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* who: the guest, net or part that speaks ("alpha", "lan0"), or NULL for xvmm itself. */
void log_msg(enum log_level level, const char *who, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void log_vmsg(enum log_level level, const char *who, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

#define log_error(who, ...) log_msg(LOG_ERROR, who, __VA_ARGS__)
#define log_warn(who, ...)  log_msg(LOG_WARN, who, __VA_ARGS__)
#define log_info(who, ...)  log_msg(LOG_INFO, who, __VA_ARGS__)
#define log_debug(who, ...)                                   \
	do {                                                  \
		if (log_enabled(LOG_DEBUG))                   \
			log_msg(LOG_DEBUG, who, __VA_ARGS__); \
	} while (0)

/*
 * A limit for what a guest can provoke: at most `burst` lines per `interval_ms`; the rest is
 * counted, and the count is logged with the next line that passes. Zero-initialise for the default
 * of 5 lines per second. Belongs to the device or guest whose lines it limits; any thread may use
 * it.
 */
struct log_limit {
	_Atomic uint64_t window_start_ns;
	_Atomic uint32_t in_window;
	_Atomic uint32_t suppressed;
};

/* True if a line may be written now. */
bool log_allowed(struct log_limit *limit, uint32_t *suppressed);

void log_limited(struct log_limit *limit, enum log_level level, const char *who, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));

#endif
