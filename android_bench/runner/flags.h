/* The runner's command line. Every flag is --name=value; an unknown one or a bad value ends the program (exit 2). */
#ifndef EDGESR_FLAGS_H
#define EDGESR_FLAGS_H

#include <stdint.h>

typedef struct {
    const char *model;       /* the TFLite file */
    const char *input;       /* the input tensor's bytes; zeros where not given */
    const char *output;      /* where the output tensor's bytes go; nowhere where not given */
    const char *accelerator; /* cpu, gpu or npu */
    long runs;               /* timed runs, at least */
    long warmup;             /* runs before them */
    long threads;            /* of XNNPACK */
    long delay_ms;           /* pause after each timed run */
    long height, width;      /* of the input image; 0: as the file says */
    double seconds;          /* go on with timed runs until this much time has passed */
    uint64_t affinity;       /* bit i: may run on core i; 0: as started */
} Flags;

Flags read_flags(int count, char **words);

/* The LITERT_ACCELERATOR_ bit of flags->accelerator. */
int accelerator_bit(const Flags *flags);

#endif
