/* One TFLite file, compiled by LiteRT for one input size: one image in, one image out. */
#ifndef EDGESR_NETWORK_H
#define EDGESR_NETWORK_H

#include "flags.h"
#include "litert_c_api.h"

typedef struct {
    LiteRtEnvironment environment;
    LiteRtModel model;
    LiteRtCompiledModel compiled;
    size_t signature;
    LiteRtTensorBuffer input, output;
    size_t input_bytes, output_bytes;
    bool fully_accelerated;
} Network;

/* Load, compile and allocate as the flags say; any failure ends the program (exit 3, naming call and status). */
Network open_network(const Flags *flags);

/* Fill the input from a file of exactly its bytes, or with zeros where `path` is NULL (exit 5 where it does not fit). */
void fill_input(const Network *network, const char *path);

/* Run once, synchronously. */
void run_network(Network *network);

/* Write the output's bytes to a file (exit 6 where that fails). */
void write_output(const Network *network, const char *path);

#endif
