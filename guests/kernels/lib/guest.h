/*
 * What every tiny guest has: text on the serial port, its command line, and a way to end.
 *
 * A guest says how it went in two ways: the last line on the serial port is "SUCCESS" or "FAIL:
 * reason", and the debug-exit port gets 0x10 (exit status 33) or 0x11 (35). `exit=poweroff` on the
 * command line ends a successful guest by powering off instead.
 */
#ifndef LIB_GUEST_H
#define LIB_GUEST_H

#include "lib/io.h"
#include "lib/machine.h"

#define EXIT_SUCCESS 0x10
#define EXIT_FAILURE 0x11

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Each guest's own; returning from it is success. */
void guest_main(void);

/* print.c. Knows %s %c %d %i %u %x %X %p %%, l and ll, a width and 0-padding. */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print_bytes(const char *s, size_t n);
int uart_getc(void); /* -1: nothing there */

/* cmdline.c: "key=value" words separated by blanks. */
void cmdline_set(const char *text);
const char *cmdline(void);
/* The value of `key`, copied; false if there is none. A word without '=' has the value "". */
bool cmdline_get(const char *key, char *value, size_t bytes);
bool cmdline_has(const char *key);
bool cmdline_is(const char *key, const char *value);
uint64_t cmdline_u64(const char *key, uint64_t fallback); /* decimal, or hexadecimal with 0x */

/* exit.c */
void success(void) __attribute__((noreturn));
void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void debug_exit(uint32_t value) __attribute__((noreturn));
void poweroff(void) __attribute__((noreturn)); /* machine.c */
void stop(void) __attribute__((noreturn));     /* halts for good */
#define CHECK(cond, ...)                   \
	do {                               \
		if (!(cond))               \
			fail(__VA_ARGS__); \
	} while (0)

/* string.c */
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
/* Not cryptographic; eight bytes a step. */
uint64_t hash_bytes(const void *data, size_t n, uint64_t seed);
uint64_t random_next(uint64_t *state);

#endif
