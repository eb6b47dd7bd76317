#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_MESSAGE = 1024, FIRST_CAPACITY = 1024 };

static void print_escaped(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            printf("\\%c", *c);
        } else if (*c < 0x20) {
            printf("\\u%04x", *c);
        } else {
            putchar(*c);
        }
    }
}

void fail(int exit_code, const char *where, const char *format, ...) {
    char what[LONGEST_MESSAGE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    fputs("{\"event\":\"error\",\"what\":\"", stdout);
    print_escaped(what);
    fputs("\",\"where\":\"", stdout);
    print_escaped(where);
    fputs("\"}\n", stdout);
    fflush(stdout);
    fprintf(stderr, "edgesr_runner: %s: %s\n", where, what);
    exit(exit_code);
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

void keep_sample(Samples *samples, int64_t nanoseconds) {
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : FIRST_CAPACITY;
        samples->nanoseconds = realloc(samples->nanoseconds, samples->capacity * sizeof *samples->nanoseconds);
        if (!samples->nanoseconds) {
            fail(EXIT_OUTPUT, "samples", "no memory for %zu of them", samples->capacity);
        }
    }
    samples->nanoseconds[samples->count++] = nanoseconds;
}

void write_samples(Samples *samples, int64_t now) {
    printf("{\"event\":\"%s\",\"ns\":[", samples->event);
    for (size_t i = 0; i < samples->count; i++) {
        printf("%s%" PRId64, i ? "," : "", samples->nanoseconds[i]);
    }
    puts("]}");
    fflush(stdout);
    samples->count = 0;
    samples->last_written = now;
}
