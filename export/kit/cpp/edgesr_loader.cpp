// The file in LiteRT, and the way of an image into its tensor and out of it.
#include "edgesr_loader.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "litert_c_api.h"

namespace edgesr {
namespace {

constexpr int kLevels = 255;
constexpr uint8_t kInt8Zero = 0x80;  // a byte XOR this is the same image in int8
constexpr char kCpuOptions[] = "xnnpack";  // the group by which LiteRT's CPU accelerator knows its settings, TOML

bool Fail(std::string *error, const std::string &why) {
    if (error) *error = why;
    return false;
}

std::string Named(int height, int width) { return std::to_string(height) + "x" + std::to_string(width); }

// LiteRT's numbers of element types.
int ElementType(DType dtype) { return dtype == DType::kFloat32 ? 1 : dtype == DType::kUint8 ? 3 : 9; }

size_t ElementSize(DType dtype) { return dtype == DType::kFloat32 ? sizeof(float) : 1; }

int64_t FileSize(const char *path) {
    std::FILE *file = std::fopen(path, "rb");
    if (!file) return -1;
    const long size = std::fseek(file, 0, SEEK_END) ? -1 : std::ftell(file);
    std::fclose(file);
    return size;
}

// How bytes become the file's input.
class Encoder {
  public:
    explicit Encoder(const Contract &contract) : dtype_(contract.dtype) {
        for (int level = 0; level <= kLevels; level++) {
            floats_[level] = static_cast<float>(level * (contract.value_range / kLevels));
        }
    }

    void Encode(const uint8_t *from, size_t count, void *tensor, size_t at) const {
        if (dtype_ == DType::kFloat32) {
            float *to = static_cast<float *>(tensor) + at;
            for (size_t i = 0; i < count; i++) to[i] = floats_[from[i]];
            return;
        }
        uint8_t *to = static_cast<uint8_t *>(tensor) + at;
        const uint8_t flip = dtype_ == DType::kInt8 ? kInt8Zero : 0;
        for (size_t i = 0; i < count; i++) to[i] = from[i] ^ flip;
    }

  private:
    DType dtype_;
    float floats_[kLevels + 1];
};

// How the file's output becomes bytes or floats.
class Decoder {
  public:
    explicit Decoder(const Contract &contract)
        : dtype_(contract.dtype), step_(static_cast<float>(contract.value_range / kLevels)),
          steps_(static_cast<float>(kLevels / contract.value_range)) {}

    void Decode(const void *tensor, size_t at, size_t count, uint8_t *to) const {
        if (dtype_ == DType::kFloat32) {
            const float *from = static_cast<const float *>(tensor) + at;
            for (size_t i = 0; i < count; i++) to[i] = Rounded(from[i] * steps_);
            return;
        }
        const uint8_t *from = static_cast<const uint8_t *>(tensor) + at;
        for (size_t i = 0; i < count; i++) to[i] = from[i] ^ Flip();
    }

    void Decode(const void *tensor, size_t at, size_t count, float *to) const {
        if (dtype_ == DType::kFloat32) {
            std::copy_n(static_cast<const float *>(tensor) + at, count, to);
            return;
        }
        const uint8_t *from = static_cast<const uint8_t *>(tensor) + at;
        for (size_t i = 0; i < count; i++) to[i] = static_cast<float>(from[i] ^ Flip()) * step_;
    }

  private:
    uint8_t Flip() const { return dtype_ == DType::kInt8 ? kInt8Zero : 0; }

    // To the nearest level, halves to the even one (the processor's default); what is no number is 0.
    static uint8_t Rounded(float levels) {
        if (!(levels > 0)) return 0;
        return levels >= kLevels ? kLevels : static_cast<uint8_t>(std::nearbyint(levels));
    }

    DType dtype_;
    float step_, steps_;
};

}  // namespace

// One file in LiteRT: its signature for a size, resized where that is needed, with the buffers of both tensors.
class Upscaler::Network {
  public:
    explicit Network(const Contract &contract) : contract_(contract) {}

    ~Network() {
        FreeBuffers();
        if (compiled_) LiteRtDestroyCompiledModel(compiled_);
        if (options_) LiteRtDestroyOptions(options_);
        if (model_) LiteRtDestroyModel(model_);
        if (environment_) LiteRtDestroyEnvironment(environment_);
    }

    bool Open(const char *path, const Options &options, std::string *error) {
        const int64_t size = FileSize(path);
        if (size < 0) return Fail(error, std::string(path) + " cannot be read; give the path of " + contract_.file);
        if (size != contract_.size_bytes) {
            return Fail(error, std::string(path) + " has " + std::to_string(size) + " bytes, " + contract_.file +
                                   " has " + std::to_string(contract_.size_bytes) +
                                   "; use the kit that was written for this file");
        }
        return Check(LiteRtCreateEnvironment(0, nullptr, &environment_), "create an environment", error) &&
               Check(LiteRtCreateModelFromFile(environment_, path, &model_), "load the file", error) &&
               CheckSignatures(error) && Compile(options, error);
    }

    // Make ready for tiles of a size.
    bool Prepare(Size size, std::string *error) {
        if (input_ && size.height == size_.height && size.width == size_.width) return true;
        FreeBuffers();
        signature_ = 0;
        for (int i = 0; i < contract_.size_count; i++) {
            if (contract_.sizes[i].height == size.height && contract_.sizes[i].width == size.width) signature_ = i;
        }
        const Size now = signature_ ? size : first_;  // the first signature's size is what it was resized to last
        if ((now.height != size.height || now.width != size.width) && !Resize(size, error)) return false;
        size_ = size;
        return Allocate(error);
    }

    // The tensors' memory while the file does not run.
    bool LockInput(void **address, std::string *error) {
        return Check(LiteRtLockTensorBuffer(input_, address, LITERT_LOCK_WRITE), "lock the input", error);
    }
    bool UnlockInput(std::string *error) {
        return Check(LiteRtUnlockTensorBuffer(input_), "unlock the input", error);
    }
    bool LockOutput(void **address, std::string *error) {
        return Check(LiteRtLockTensorBuffer(output_, address, LITERT_LOCK_READ), "lock the output", error);
    }
    bool UnlockOutput(std::string *error) {
        return Check(LiteRtUnlockTensorBuffer(output_), "unlock the output", error);
    }

    bool Invoke(std::string *error) {
        return Check(LiteRtRunCompiledModel(compiled_, signature_, 1, &input_, 1, &output_), "run the file", error);
    }

  private:
    bool Check(LiteRtStatus status, const char *what, std::string *error) const {
        return !status || Fail(error, std::string(contract_.file) + ": LiteRT cannot " + what + " (status " +
                                          std::to_string(status) + "); check its log");
    }

    bool CheckSignatures(std::string *error) const {
        size_t count = 0;
        if (!Check(LiteRtGetNumModelSignatures(model_, &count), "count signatures", error)) return false;
        if (count != static_cast<size_t>(contract_.size_count)) return Foreign(error, "number of sizes");
        for (size_t i = 0; i < count; i++) {
            LiteRtRankedTensorType in, out;
            if (!Types(i, &in, &out, error)) return false;
            const Size size = contract_.sizes[i];
            const int grown = contract_.upscale / contract_.host_shuffle;
            const int channels = contract_.channels * contract_.host_shuffle * contract_.host_shuffle;
            if (!Holds(in, size.height, size.width, contract_.channels)) return Foreign(error, "input");
            if (!Holds(out, size.height * grown, size.width * grown, channels)) return Foreign(error, "output");
        }
        return true;
    }

    bool Holds(const LiteRtRankedTensorType &type, int height, int width, int channels) const {
        const int32_t *found = type.layout.dimensions;
        return type.element_type == ElementType(contract_.dtype) && type.layout.rank == 4 && found[0] == 1 &&
               found[1] == height && found[2] == width && found[3] == channels;
    }

    bool Foreign(std::string *error, const char *what) const {
        return Fail(error, std::string("the file's ") + what + " is not that of " + contract_.file +
                               "; use the kit that was written for this file");
    }

    bool Types(size_t signature, LiteRtRankedTensorType *in, LiteRtRankedTensorType *out, std::string *error) const {
        LiteRtSignature found;
        LiteRtTensor tensor;
        size_t inputs = 0, outputs = 0;
        if (!Check(LiteRtGetModelSignature(model_, signature, &found), "read a signature", error) ||
            !Check(LiteRtGetNumSignatureInputs(found, &inputs), "count inputs", error) ||
            !Check(LiteRtGetNumSignatureOutputs(found, &outputs), "count outputs", error)) {
            return false;
        }
        if (inputs != 1 || outputs != 1) return Foreign(error, "number of inputs or outputs");
        return Check(LiteRtGetSignatureInputTensorByIndex(found, 0, &tensor), "find the input", error) &&
               Check(LiteRtGetRankedTensorType(tensor, in), "read the input's type", error) &&
               Check(LiteRtGetSignatureOutputTensorByIndex(found, 0, &tensor), "find the output", error) &&
               Check(LiteRtGetRankedTensorType(tensor, out), "read the output's type", error);
    }

    bool Compile(const Options &options, std::string *error) {
        if (options.threads < 1) return Fail(error, "threads must be at least 1; leave them at their default");
        first_ = contract_.sizes[0];
        LiteRtOpaqueOptions cpu;
        char *toml = static_cast<char *>(std::malloc(64));  // LiteRT frees it
        if (!toml) return Fail(error, "out of memory; close other programs");
        std::snprintf(toml, 64, "num_threads = %d\n", options.threads);
        return Check(LiteRtCreateOptions(&options_), "create options", error) &&
               Check(LiteRtSetOptionsHardwareAccelerators(options_, options.accelerators), "choose accelerators",
                     error) &&
               Check(LiteRtCreateOpaqueOptions(kCpuOptions, toml, std::free, &cpu), "create CPU options", error) &&
               Check(LiteRtAddOpaqueOptions(options_, cpu), "set CPU options", error) &&
               Check(LiteRtCreateCompiledModel(environment_, model_, options_, &compiled_), "compile the file", error);
    }

    bool Resize(Size size, std::string *error) {
        const int shape[] = {1, size.height, size.width, contract_.channels};
        LiteRtLayout output;
        first_ = {0, 0};  // unknown, should it fail half way
        if (!Check(LiteRtCompiledModelResizeInputTensorNonStrict(compiled_, signature_, 0, shape, 4), "resize", error) ||
            !Check(LiteRtGetCompiledModelOutputTensorLayouts(compiled_, signature_, 1, &output, true), "resize",
                   error)) {
            return false;
        }
        first_ = size;
        return true;
    }

    bool Allocate(std::string *error) {
        LiteRtRankedTensorType in, out;
        LiteRtTensorBufferRequirements needs;
        if (!Types(signature_, &in, &out, error) ||
            !Check(LiteRtGetCompiledModelInputTensorLayout(compiled_, signature_, 0, &in.layout), "lay out", error) ||
            !Check(LiteRtGetCompiledModelOutputTensorLayouts(compiled_, signature_, 1, &out.layout, false), "lay out",
                   error) ||
            !Check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, signature_, 0, &needs), "lay out", error) ||
            !Check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, &in, needs, &input_),
                   "allocate the input", error) ||
            !Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, signature_, 0, &needs), "lay out",
                   error) ||
            !Check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, &out, needs, &output_),
                   "allocate the output", error)) {
            FreeBuffers();
            return false;
        }
        return CheckBytes(error);
    }

    // What is read and written lies within the buffers.
    bool CheckBytes(std::string *error) {
        const size_t pixels = static_cast<size_t>(size_.height) * size_.width * contract_.channels;
        const size_t wanted = pixels * ElementSize(contract_.dtype);
        size_t in = 0, out = 0;
        if (Check(LiteRtGetTensorBufferPackedSize(input_, &in), "measure the input", error) &&
            Check(LiteRtGetTensorBufferPackedSize(output_, &out), "measure the output", error)) {
            if (in == wanted && out == wanted * contract_.upscale * contract_.upscale) return true;
            Foreign(error, "size after a resize");
        }
        FreeBuffers();
        return false;
    }

    void FreeBuffers() {
        if (input_) LiteRtDestroyTensorBuffer(input_);
        if (output_) LiteRtDestroyTensorBuffer(output_);
        input_ = output_ = nullptr;
    }

    Contract contract_;
    LiteRtEnvironment environment_ = nullptr;
    LiteRtModel model_ = nullptr;
    LiteRtOptions options_ = nullptr;
    LiteRtCompiledModel compiled_ = nullptr;
    LiteRtTensorBuffer input_ = nullptr, output_ = nullptr;
    size_t signature_ = 0;
    Size size_ = {0, 0}, first_ = {0, 0};
};

namespace {

// A tile of the image, continued by its last row and column where it reaches beyond them.
void Fill(const ImageView &image, size_t channels, int top, int left, Size tile, const Encoder &encoder,
          void *tensor) {
    const size_t inside = std::min(tile.width, image.width - left);
    for (int y = 0; y < tile.height; y++) {
        const uint8_t *row = image.pixels + std::min(top + y, image.height - 1) * image.row_bytes;
        size_t at = static_cast<size_t>(y) * tile.width * channels;
        encoder.Encode(row + left * channels, inside * channels, tensor, at);
        at += inside * channels;
        for (size_t x = inside; x < static_cast<size_t>(tile.width); x++, at += channels) {
            encoder.Encode(row + (image.width - 1) * channels, channels, tensor, at);
        }
    }
}

// The part of a tile's output that is taken, to its place in the whole output. With a shuffle of block s, the pixels
// s*x .. s*x + s - 1 of row s*y + i are the channels i*s*C .. (i + 1)*s*C - 1 of the tensor's pixel (y, x).
template <typename T>
void Take(const void *tensor, const Contract &contract, Size tile, const Segment &row, const Segment &column,
          const Decoder &decoder, T *output, ptrdiff_t stride) {
    const int scale = contract.upscale, s = contract.host_shuffle;
    const size_t run = static_cast<size_t>(s) * contract.channels, pixel = run * s;
    const size_t width = static_cast<size_t>(tile.width) * scale / s;
    const int left = (column.keep_start - column.start) * scale, right = (column.keep_stop - column.start) * scale;
    for (int y = row.keep_start * scale; y < row.keep_stop * scale; y++) {
        const int own = y - row.start * scale;
        const size_t from = (own / s) * width * pixel + (own % s) * run;
        T *to = output + y * stride + static_cast<ptrdiff_t>(column.keep_start) * scale * contract.channels;
        if (s == 1) {
            decoder.Decode(tensor, from + left * pixel, (right - left) * pixel, to);
            continue;
        }
        for (int x = left; x < right; x += s, to += run) decoder.Decode(tensor, from + (x / s) * pixel, run, to);
    }
}

}  // namespace

Upscaler::Upscaler(const Contract &contract, const Options &options, std::unique_ptr<Network> network)
    : contract_(contract), options_(options), network_(std::move(network)) {}

Upscaler::~Upscaler() = default;

std::unique_ptr<Upscaler> Upscaler::Open(const Contract &contract, const char *path, const Options &options,
                                         std::string *error) {
    auto network = std::make_unique<Network>(contract);
    if (!network->Open(path, options, error)) return nullptr;
    return std::unique_ptr<Upscaler>(new Upscaler(contract, options, std::move(network)));
}

template <typename T>
bool Upscaler::RunTo(const ImageView &image, T *output, ptrdiff_t stride, std::string *error) {
    TilePlan plan;
    if (!PlanTiles(contract_, {image.height, image.width}, options_.tile, &plan, error)) return false;
    const ptrdiff_t row = static_cast<ptrdiff_t>(image.width) * contract_.channels;
    if (!image.pixels || !output || image.row_bytes < row || stride < row * contract_.upscale) {
        return Fail(error, "rows of an image of " + Named(image.height, image.width) + " need at least " +
                               std::to_string(row) + " values, and those of its output " +
                               std::to_string(row * contract_.upscale) + "; check pointers and strides");
    }
    if (!network_->Prepare(plan.tile, error)) return false;
    const Encoder encoder(contract_);
    const Decoder decoder(contract_);
    for (const Segment &rows : plan.rows) {
        for (const Segment &columns : plan.columns) {
            void *tensor = nullptr;
            if (!network_->LockInput(&tensor, error)) return false;
            Fill(image, contract_.channels, rows.start, columns.start, plan.tile, encoder, tensor);
            if (!network_->UnlockInput(error) || !network_->Invoke(error) || !network_->LockOutput(&tensor, error)) {
                return false;
            }
            Take(tensor, contract_, plan.tile, rows, columns, decoder, output, stride);
            if (!network_->UnlockOutput(error)) return false;
        }
    }
    return true;
}

bool Upscaler::Run(const ImageView &image, uint8_t *output, ptrdiff_t output_row_bytes, std::string *error) {
    return RunTo(image, output, output_row_bytes, error);
}

bool Upscaler::RunFloat(const ImageView &image, float *output, ptrdiff_t output_row_floats, std::string *error) {
    return RunTo(image, output, output_row_floats, error);
}

}  // namespace edgesr
