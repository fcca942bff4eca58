/* How two processes, of two domains perhaps, keep in step: lines of text, on our standard output and the other's standard input. `pair.sh`
 * connects them. What is said besides is for standard error. */
#ifndef TALK_H
#define TALK_H
#include "check.h"
#include <stdarg.h>

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list a;
	va_start(a, format);
	CHECK(vprintf(format, a) > 0);
	va_end(a);
	CHECK(putchar('\n') == '\n' && fflush(stdout) == 0);
}
/* The next line; empty at the end of the input. */
static char *hear_line(void)
{
	static char line[256];
	if (!fgets(line, sizeof line, stdin))
		return strcpy(line, "");
	line[strcspn(line, "\n")] = 0;
	return line;
}
static void hear(const char *expected)
{
	const char *line = hear_line();
	if (strcmp(line, expected)) {
		dprintf(log_fd, "pid %d: heard \"%s\", not \"%s\"\n", getpid(), line, expected);
		_exit(1);
	}
}
/* A word and numbers after it. */
static void hear_numbers(const char *word, int count, ...)
{
	char *line = hear_line(), *at = line + strlen(word);
	va_list a;
	if (strncmp(line, word, strlen(word))) {
		dprintf(log_fd, "pid %d: heard \"%s\", not \"%s\" and %d numbers\n", getpid(), line, word, count);
		_exit(1);
	}
	va_start(a, count);
	while (count--) {
		char *end;
		*va_arg(a, unsigned *) = strtoul(at, &end, 0);
		CHECK(end != at);
		at = end;
	}
	va_end(a);
}
#endif
