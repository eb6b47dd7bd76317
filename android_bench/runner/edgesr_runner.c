/* Time a TFLite file on this machine, with LiteRT.
 *
 * edgesr_runner --model=F [--input=RAW] [--output=RAW] [--runs=N] [--warmup=N] [--threads=N] [--affinity=HEXMASK]
 *               [--accelerator=cpu|gpu|npu] [--delay-ms=N] [--size=HxW] [--seconds=S]
 *
 * RAW files are a tensor's bytes (NHWC, in the file's own type). stdout is JSON lines:
 *     start, ready, warmup, runs (repeated), done; or error at any point, with the exit codes of report.h.
 * Samples are written at most four times a second, and never between the two clock reads of a run. The output is that
 * of the last timed run. A system call marks the beginning and the end of each timed run for an emulator's plugin to
 * count instructions between; it fails harmlessly on every kernel. SIGTERM, SIGHUP and a closed stdout end the program
 * at once.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>

#include "flags.h"
#include "network.h"
#include "report.h"

#if defined(__aarch64__)
#define ABI "arm64-v8a"
#elif defined(__x86_64__)
#define ABI "x86_64"
#else
#error "the runner is built for arm64-v8a and x86_64"
#endif

static const char VERSION[] = "0.1.0";
static const int64_t NANOSECONDS = 1000000000;
static const int64_t WRITE_INTERVAL = 250000000;
enum { MARKER = 0x45534d52 };

static int64_t clock_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static void mark(long tag) {
    syscall(SYS_getpriority, MARKER, tag);
}

static void keep_to_cores(uint64_t mask) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int core = 0; core < 64; core++) {
        if (mask >> core & 1) {
            CPU_SET(core, &cores);
        }
    }
    if (sched_setaffinity(0, sizeof cores, &cores)) {
        fail(EXIT_AFFINITY, "--affinity", "cores %" PRIx64 " cannot be had: %s", mask, strerror(errno));
    }
}

static void pause_between_runs(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

static void warm_up(Network *network, long runs) {
    Samples samples = {.event = "warmup"};
    for (long i = 0; i < runs; i++) {
        int64_t start = clock_now();
        run_network(network);
        keep_sample(&samples, clock_now() - start);
    }
    write_samples(&samples, clock_now());
}

/* The timed runs: at least flags->runs, and until flags->seconds have passed. Returns how many. */
static long time_runs(Network *network, const Flags *flags) {
    Samples samples = {.event = "runs"};
    const int64_t begin = clock_now();
    const int64_t least = (int64_t)(flags->seconds * (double)NANOSECONDS);
    long done = 0;
    samples.last_written = begin;
    while (done < flags->runs || clock_now() - begin < least) {
        mark(2 * done);
        int64_t start = clock_now();
        run_network(network);
        int64_t end = clock_now();
        mark(2 * done + 1);
        done++;
        keep_sample(&samples, end - start);
        if (end - samples.last_written >= WRITE_INTERVAL) {
            write_samples(&samples, end);
        }
        if (flags->delay_ms) {
            pause_between_runs(flags->delay_ms);
        }
    }
    if (samples.count) {
        write_samples(&samples, clock_now());
    }
    return done;
}

static double cpu_ms(const struct rusage *usage) {
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e3;
}

static void say_done(long runs, const struct rusage *before, const struct rusage *after, bool output_written) {
    say("{\"event\":\"done\",\"runs\":%ld,\"cpu_ms\":%.3f,\"peak_rss_bytes\":%" PRId64 ",\"minor_faults\":%ld,"
        "\"involuntary_switches\":%ld,\"output_written\":%s}",
        runs, cpu_ms(after) - cpu_ms(before), (int64_t)after->ru_maxrss * 1024, after->ru_minflt - before->ru_minflt,
        after->ru_nivcsw - before->ru_nivcsw, output_written ? "true" : "false");
}

int main(int count, char **words) {
    struct rusage before, after;
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    const Flags flags = read_flags(count, words);
    say("{\"event\":\"start\",\"schema\":1,\"runner\":\"edgesr_runner\",\"version\":\"%s\",\"abi\":\"%s\","
        "\"pid\":%ld}",
        VERSION, ABI, (long)getpid());
    if (flags.affinity) {
        keep_to_cores(flags.affinity);
    }
    int64_t start = clock_now();
    Network network = open_network(&flags);
    double init_ms = (double)(clock_now() - start) / 1e6;
    say("{\"event\":\"ready\",\"init_ms\":%.3f,\"accelerator\":\"%s\",\"fully_accelerated\":%s,\"threads\":%ld,"
        "\"input_bytes\":%zu,\"output_bytes\":%zu}",
        init_ms, flags.accelerator, network.fully_accelerated ? "true" : "false", flags.threads,
        network.input_bytes, network.output_bytes);
    fill_input(&network, flags.input);
    warm_up(&network, flags.warmup);
    getrusage(RUSAGE_SELF, &before);
    long runs = time_runs(&network, &flags);
    getrusage(RUSAGE_SELF, &after);
    if (flags.output) {
        write_output(&network, flags.output);
    }
    say_done(runs, &before, &after, flags.output != NULL);
    /* No tear-down: the process ends here, and LiteRT's own takes time on some accelerators. */
    fflush(stdout);
    _exit(0);
}
