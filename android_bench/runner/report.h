/* What the runner says: one JSON object a line on stdout, each flushed. An error also goes to stderr in words. */
#ifndef EDGESR_REPORT_H
#define EDGESR_REPORT_H

#include <stddef.h>
#include <stdint.h>

/* Why the program ends, as its exit code. */
enum { EXIT_USAGE = 2, EXIT_LITERT = 3, EXIT_AFFINITY = 4, EXIT_INPUT = 5, EXIT_OUTPUT = 6 };

/* Report an error and exit. `where` names a flag, file or call; `format` says what went wrong. */
_Noreturn void fail(int exit_code, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line of JSON, printed as it stands: for values that need no escaping. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Nanoseconds of runs that are not written yet. */
typedef struct {
    const char *event;
    int64_t *nanoseconds;
    size_t count;
    size_t capacity;
    int64_t last_written;
} Samples;

/* Keep a sample; memory grows here, never while a run is timed. */
void keep_sample(Samples *samples, int64_t nanoseconds);

/* Write what was kept as one line and forget it. */
void write_samples(Samples *samples, int64_t now);

#endif
