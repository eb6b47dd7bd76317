// Runs a file of edgesr in LiteRT on images of any size. C++17; needs LiteRT's C API (libLiteRt.so) and nothing else.
//
// Images larger than a tile are cut into overlapping tiles of one size. Of each tile only what lies farther than the
// network's reach from an inner side is taken, so that the result is the whole image's, without a seam. Sides that are
// no multiple of what the network takes are continued by the last row and column, and the output is cut back.
//
// Nothing here throws, std::bad_alloc apart. An Upscaler may be used by one thread at a time. Do not compile with -ffast-math.
#ifndef EDGESR_LOADER_H
#define EDGESR_LOADER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace edgesr {

enum class DType { kFloat32, kInt8, kUint8 };

struct Size {
    int height;
    int width;
};

// How many input pixels an output pixel may depend on, to each side of the one that it lies in.
struct Reach {
    int above, below, left, right;
};

// What the manifest says of one file. Tensors are NHWC. An integer image holds bytes that stand for
// value_range * byte / 255: value = scale * (stored - zero_point). A float image lies in [0, value_range].
struct Contract {
    const char *file;
    const char *sha256;
    int64_t size_bytes;
    DType dtype;
    float scale;     // 0 for float images
    int zero_point;  // -128 for int8, else 0
    double value_range;
    int channels;
    int upscale;
    int size_multiple;  // the file takes sides that are multiples of it alone
    int host_shuffle;   // above 1: the file ends before its DEPTH_TO_SPACE of that block, which is done here
    const Size *sizes;  // the input sizes that the file was written for, in the order of its signatures
    int size_count;
    bool any_size;  // it also runs at other sizes, after a resize
    bool tiles;     // whether its output can be put together of tiles; the two entries below are 0 where not
    Reach reach;
    Size tile;  // the default tile of a file for any size
};

// Packed rows of `channels` bytes a pixel (RGB for 3), `row_bytes` from one row to the next.
struct ImageView {
    const uint8_t *pixels;
    int height;
    int width;
    ptrdiff_t row_bytes;
};

// A tile along one axis, in input pixels: where it starts, and the pixels keep_start..keep_stop-1 that are taken of it.
struct Segment {
    int start, keep_start, keep_stop;
};

// Every pair of a row and a column segment is a tile of the size `tile`. Where `exact` is false, the file's only sizes
// are larger than the image, which is continued by its last row and column: near its lower and right side the result
// may differ from that of a file for its own size.
struct TilePlan {
    Size tile;
    std::vector<Segment> rows, columns;
    bool exact;
};

enum Accelerators { kCpu = 1, kGpu = 2, kNpu = 4 };

struct Options {
    int threads = 1;
    int accelerators = kCpu;  // a union of Accelerators; edgesr's tests compare the CPU's results, bit for bit
    Size tile = {0, 0};       // another tile than the contract's, for files that take any size
};

// The tiles for an image; false with a reason in `error` where the file cannot run it.
bool PlanTiles(const Contract &contract, Size image, Size tile, TilePlan *plan, std::string *error);

class Upscaler {
  public:
    // Loads the file of a contract; null with a reason in `error` where it cannot be used.
    static std::unique_ptr<Upscaler> Open(const Contract &contract, const char *path, const Options &options,
                                          std::string *error);
    ~Upscaler();
    Upscaler(const Upscaler &) = delete;
    Upscaler &operator=(const Upscaler &) = delete;

    // Writes the output, upscale times as high and wide, as bytes; false with a reason in `error`.
    bool Run(const ImageView &image, uint8_t *output, ptrdiff_t output_row_bytes, std::string *error);
    // The same as floats in [0, value_range], not rounded where the file computes floats.
    bool RunFloat(const ImageView &image, float *output, ptrdiff_t output_row_floats, std::string *error);

  private:
    class Network;
    Upscaler(const Contract &contract, const Options &options, std::unique_ptr<Network> network);
    template <typename T>
    bool RunTo(const ImageView &image, T *output, ptrdiff_t stride, std::string *error);

    Contract contract_;
    Options options_;
    std::unique_ptr<Network> network_;
};

}  // namespace edgesr

#endif
