#include "flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "litert_c_api.h"
#include "report.h"

enum { MOST_RUNS = 100000000, MOST_THREADS = 256, LONGEST_DELAY_MS = 3600000, LARGEST_EDGE = 65536 };

static const struct {
    const char *name;
    int bit;
} ACCELERATORS[] = {
    {"cpu", LITERT_ACCELERATOR_CPU},
    {"gpu", LITERT_ACCELERATOR_GPU},
    {"npu", LITERT_ACCELERATOR_NPU},
};

static long whole_number(const char *flag, const char *text, long least, long most) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most) {
        fail(EXIT_USAGE, flag, "'%s' is no whole number from %ld to %ld", text, least, most);
    }
    return value;
}

static double seconds_of(const char *flag, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 86400)) {
        fail(EXIT_USAGE, flag, "'%s' is no number of seconds from 0 to 86400", text);
    }
    return value;
}

static uint64_t core_mask(const char *flag, const char *text) {
    char *end;
    errno = 0;
    uint64_t mask = strtoull(text, &end, 16);
    if (end == text || *end || errno || *text == '-' || !mask) {
        fail(EXIT_USAGE, flag, "'%s' is no hexadecimal mask of cores, as in f0 for cores 4 to 7", text);
    }
    return mask;
}

static void read_size(Flags *flags, const char *flag, const char *text) {
    char *end;
    errno = 0;
    long height = strtol(text, &end, 10);
    int read = end != text && *end == 'x';
    if (!read || errno || height < 1 || height > LARGEST_EDGE) {
        fail(EXIT_USAGE, flag, "'%s' is no size HxW", text);
    }
    flags->height = height;
    flags->width = whole_number(flag, end + 1, 1, LARGEST_EDGE);
}

static void read_flag(Flags *flags, const char *flag, const char *value) {
    if (!strcmp(flag, "--model")) {
        flags->model = value;
    } else if (!strcmp(flag, "--input")) {
        flags->input = value;
    } else if (!strcmp(flag, "--output")) {
        flags->output = value;
    } else if (!strcmp(flag, "--accelerator")) {
        flags->accelerator = value;
    } else if (!strcmp(flag, "--runs")) {
        flags->runs = whole_number(flag, value, 1, MOST_RUNS);
    } else if (!strcmp(flag, "--warmup")) {
        flags->warmup = whole_number(flag, value, 0, MOST_RUNS);
    } else if (!strcmp(flag, "--threads")) {
        flags->threads = whole_number(flag, value, 1, MOST_THREADS);
    } else if (!strcmp(flag, "--delay-ms")) {
        flags->delay_ms = whole_number(flag, value, 0, LONGEST_DELAY_MS);
    } else if (!strcmp(flag, "--seconds")) {
        flags->seconds = seconds_of(flag, value);
    } else if (!strcmp(flag, "--affinity")) {
        flags->affinity = core_mask(flag, value);
    } else if (!strcmp(flag, "--size")) {
        read_size(flags, flag, value);
    } else {
        fail(EXIT_USAGE, flag, "unknown flag; known are --model --input --output --runs --warmup --threads "
                               "--affinity --accelerator --delay-ms --size --seconds");
    }
}

int accelerator_bit(const Flags *flags) {
    for (size_t i = 0; i < sizeof ACCELERATORS / sizeof *ACCELERATORS; i++) {
        if (!strcmp(flags->accelerator, ACCELERATORS[i].name)) {
            return ACCELERATORS[i].bit;
        }
    }
    fail(EXIT_USAGE, "--accelerator", "'%s' is none of cpu, gpu, npu", flags->accelerator);
}

Flags read_flags(int count, char **words) {
    Flags flags = {.accelerator = "cpu", .runs = 50, .warmup = 5, .threads = 1};
    for (int i = 1; i < count; i++) {
        char *equals = strchr(words[i], '=');
        if (!equals || strncmp(words[i], "--", 2)) {
            fail(EXIT_USAGE, words[i], "every argument is --name=value");
        }
        *equals = '\0';
        read_flag(&flags, words[i], equals + 1);
    }
    if (!flags.model || !*flags.model) {
        fail(EXIT_USAGE, "--model", "name a TFLite file: --model=FILE");
    }
    accelerator_bit(&flags);
    return flags;
}
