#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"

/* The option group by which LiteRT's CPU accelerator knows its settings; the payload is TOML. */
static const char XNNPACK_OPTIONS[] = "xnnpack";

static const struct {
    LiteRtStatus status;
    const char *name;
} STATUS_NAMES[] = {
    {1, "invalid argument"},      {2, "out of memory"},       {3, "runtime failure"},      {4, "missing input tensor"},
    {5, "unsupported"},           {6, "not found"},           {7, "timeout"},              {8, "wrong version"},
    {9, "unknown"},               {500, "file cannot be read"}, {501, "no valid TFLite file"},
    {502, "library cannot be loaded"}, {503, "serialization"}, {504, "compilation failed"}, {1000, "index out of range"},
};

static const char *name_of(LiteRtStatus status) {
    for (size_t i = 0; i < sizeof STATUS_NAMES / sizeof *STATUS_NAMES; i++) {
        if (STATUS_NAMES[i].status == status) {
            return STATUS_NAMES[i].name;
        }
    }
    return "see LiteRT's status codes";
}

static void check(LiteRtStatus status, const char *call) {
    if (status) {
        fail(EXIT_LITERT, call, "LiteRT status %d (%s)", status, name_of(status));
    }
}

static LiteRtSignature signature_of(const Network *network, size_t index) {
    LiteRtSignature signature;
    check(LiteRtGetModelSignature(network->model, index, &signature), "LiteRtGetModelSignature");
    return signature;
}

static LiteRtRankedTensorType input_type(LiteRtSignature signature) {
    LiteRtTensor tensor;
    LiteRtRankedTensorType type;
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "LiteRtGetSignatureInputTensorByIndex");
    check(LiteRtGetRankedTensorType(tensor, &type), "LiteRtGetRankedTensorType");
    return type;
}

static LiteRtRankedTensorType output_type(LiteRtSignature signature) {
    LiteRtTensor tensor;
    LiteRtRankedTensorType type;
    check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), "LiteRtGetSignatureOutputTensorByIndex");
    check(LiteRtGetRankedTensorType(tensor, &type), "LiteRtGetRankedTensorType");
    return type;
}

static void refuse_other_edges(LiteRtSignature signature) {
    size_t inputs, outputs;
    check(LiteRtGetNumSignatureInputs(signature, &inputs), "LiteRtGetNumSignatureInputs");
    check(LiteRtGetNumSignatureOutputs(signature, &outputs), "LiteRtGetNumSignatureOutputs");
    if (inputs != 1 || outputs != 1) {
        fail(EXIT_LITERT, "signature", "%zu inputs and %zu outputs; the runner takes one image in, one image out",
             inputs, outputs);
    }
}

static bool has_size(const LiteRtLayout *layout, const Flags *flags) {
    return layout->rank == 4 && layout->dimensions[1] == flags->height && layout->dimensions[2] == flags->width;
}

static bool choose_signature(Network *network, const Flags *flags) {
    size_t count;
    network->signature = 0;
    if (!flags->height) {
        return true;
    }
    check(LiteRtGetNumModelSignatures(network->model, &count), "LiteRtGetNumModelSignatures");
    for (size_t i = 0; i < count; i++) {
        LiteRtRankedTensorType type = input_type(signature_of(network, i));
        if (has_size(&type.layout, flags)) {
            network->signature = i;
            return true;
        }
    }
    return false;
}

static void compile(Network *network, const Flags *flags) {
    LiteRtOptions options;
    LiteRtOpaqueOptions threads;
    char *toml = malloc(64);
    if (!toml) {
        fail(EXIT_LITERT, "options", "no memory");
    }
    snprintf(toml, 64, "num_threads = %ld\n", flags->threads);
    check(LiteRtCreateOptions(&options), "LiteRtCreateOptions");
    check(LiteRtSetOptionsHardwareAccelerators(options, accelerator_bit(flags)),
          "LiteRtSetOptionsHardwareAccelerators");
    check(LiteRtCreateOpaqueOptions(XNNPACK_OPTIONS, toml, free, &threads), "LiteRtCreateOpaqueOptions");
    check(LiteRtAddOpaqueOptions(options, threads), "LiteRtAddOpaqueOptions");
    check(LiteRtCreateCompiledModel(network->environment, network->model, options, &network->compiled),
          "LiteRtCreateCompiledModel");
    check(LiteRtCompiledModelIsFullyAccelerated(network->compiled, &network->fully_accelerated),
          "LiteRtCompiledModelIsFullyAccelerated");
}

static void resize(Network *network, const Flags *flags) {
    const LiteRtRankedTensorType type = input_type(signature_of(network, network->signature));
    LiteRtLayout output;
    if (type.layout.rank != 4) {
        fail(EXIT_LITERT, "--size", "the input has %u dimensions, an image has 4", type.layout.rank);
    }
    const int wanted[] = {1, (int)flags->height, (int)flags->width, type.layout.dimensions[3]};
    LiteRtStatus status =
        LiteRtCompiledModelResizeInputTensorNonStrict(network->compiled, network->signature, 0, wanted, 4);
    if (!status) {
        status = LiteRtGetCompiledModelOutputTensorLayouts(network->compiled, network->signature, 1, &output, true);
    }
    if (status) {
        fail(EXIT_LITERT, "--size", "no signature for %ldx%ld, and LiteRT cannot resize the one for %dx%d "
                                    "(status %d, %s)",
             flags->height, flags->width, type.layout.dimensions[1], type.layout.dimensions[2], status,
             name_of(status));
    }
}

static void allocate(Network *network) {
    LiteRtSignature signature = signature_of(network, network->signature);
    LiteRtRankedTensorType in = input_type(signature), out = output_type(signature);
    LiteRtTensorBufferRequirements needs;
    check(LiteRtGetCompiledModelInputTensorLayout(network->compiled, network->signature, 0, &in.layout),
          "LiteRtGetCompiledModelInputTensorLayout");
    check(LiteRtGetCompiledModelOutputTensorLayouts(network->compiled, network->signature, 1, &out.layout, false),
          "LiteRtGetCompiledModelOutputTensorLayouts");
    check(LiteRtGetCompiledModelInputBufferRequirements(network->compiled, network->signature, 0, &needs),
          "LiteRtGetCompiledModelInputBufferRequirements");
    check(LiteRtCreateManagedTensorBufferFromRequirements(network->environment, &in, needs, &network->input),
          "LiteRtCreateManagedTensorBufferFromRequirements");
    check(LiteRtGetCompiledModelOutputBufferRequirements(network->compiled, network->signature, 0, &needs),
          "LiteRtGetCompiledModelOutputBufferRequirements");
    check(LiteRtCreateManagedTensorBufferFromRequirements(network->environment, &out, needs, &network->output),
          "LiteRtCreateManagedTensorBufferFromRequirements");
    check(LiteRtGetTensorBufferPackedSize(network->input, &network->input_bytes), "LiteRtGetTensorBufferPackedSize");
    check(LiteRtGetTensorBufferPackedSize(network->output, &network->output_bytes),
          "LiteRtGetTensorBufferPackedSize");
}

Network open_network(const Flags *flags) {
    Network network = {0};
    struct stat file;
    if (stat(flags->model, &file)) {
        fail(EXIT_LITERT, flags->model, "cannot be read: %s", strerror(errno));
    }
    check(LiteRtCreateEnvironment(0, NULL, &network.environment), "LiteRtCreateEnvironment");
    check(LiteRtCreateModelFromFile(network.environment, flags->model, &network.model), "LiteRtCreateModelFromFile");
    bool written_for_size = choose_signature(&network, flags);
    refuse_other_edges(signature_of(&network, network.signature));
    compile(&network, flags);
    if (!written_for_size) {
        resize(&network, flags);
    }
    allocate(&network);
    return network;
}

void fill_input(const Network *network, const char *path) {
    void *address;
    FILE *file = NULL;
    if (path) {
        struct stat found;
        file = fopen(path, "rb");
        if (!file || fstat(fileno(file), &found)) {
            fail(EXIT_INPUT, path, "cannot be read: %s", strerror(errno));
        }
        if ((size_t)found.st_size != network->input_bytes) {
            fail(EXIT_INPUT, path, "needs %zu bytes, has %lld", network->input_bytes, (long long)found.st_size);
        }
    }
    check(LiteRtLockTensorBuffer(network->input, &address, LITERT_LOCK_WRITE), "LiteRtLockTensorBuffer");
    if (!file) {
        memset(address, 0, network->input_bytes);
    } else if (fread(address, 1, network->input_bytes, file) != network->input_bytes) {
        fail(EXIT_INPUT, path, "cannot be read whole: %s", strerror(errno));
    }
    check(LiteRtUnlockTensorBuffer(network->input), "LiteRtUnlockTensorBuffer");
    if (file) {
        fclose(file);
    }
}

void run_network(Network *network) {
    LiteRtStatus status = LiteRtRunCompiledModel(network->compiled, network->signature, 1, &network->input, 1,
                                                 &network->output);
    check(status, "LiteRtRunCompiledModel");
}

void write_output(const Network *network, const char *path) {
    void *address;
    FILE *file = fopen(path, "wb");
    if (!file) {
        fail(EXIT_OUTPUT, path, "cannot be written: %s", strerror(errno));
    }
    check(LiteRtLockTensorBuffer(network->output, &address, LITERT_LOCK_READ), "LiteRtLockTensorBuffer");
    size_t written = fwrite(address, 1, network->output_bytes, file);
    check(LiteRtUnlockTensorBuffer(network->output), "LiteRtUnlockTensorBuffer");
    if (written != network->output_bytes || fclose(file)) {
        fail(EXIT_OUTPUT, path, "cannot be written whole: %s", strerror(errno));
    }
}
