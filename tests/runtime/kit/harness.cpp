// Runs one of the kit's contracts: NAME FILE INPUT HEIGHT WIDTH OUTPUT u8|f32 TILE_HEIGHT TILE_WIDTH THREADS.
// Input rows have GAP bytes between them and output rows GAP elements, which must stay as they are.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "models.h"

namespace {

constexpr int kGap = 5;
constexpr unsigned char kUntouched = 0xA5;

int Refuse(const std::string &why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    return 1;
}

bool Read(const char *path, std::vector<uint8_t> *bytes) {
    std::FILE *file = std::fopen(path, "rb");
    if (!file) return false;
    const size_t count = std::fread(bytes->data(), 1, bytes->size(), file);
    std::fclose(file);
    return count == bytes->size();
}

template <typename T>
int Write(const char *path, const std::vector<T> &output, int rows, size_t row) {
    std::FILE *file = std::fopen(path, "wb");
    for (int y = 0; y < rows; y++) {
        const T *start = output.data() + y * (row + kGap);
        std::fwrite(start, sizeof(T), row, file);
        for (size_t i = 0; i < kGap * sizeof(T); i++) {
            if (reinterpret_cast<const unsigned char *>(start + row)[i] != kUntouched) {
                return Refuse("something was written between the rows");
            }
        }
    }
    return std::fclose(file) ? Refuse("the output cannot be written") : 0;
}

}  // namespace

int main(int count, char **words) {
    if (count != 11) return Refuse("ten arguments are wanted");
    const edgesr::Contract *contract = nullptr;
    for (const auto &model : kModels) {
        if (!std::strcmp(model.name, words[1])) contract = model.contract;
    }
    if (!contract) return Refuse("no such contract");
    const int height = std::atoi(words[4]), width = std::atoi(words[5]);
    edgesr::Options options;
    options.tile = {std::atoi(words[8]), std::atoi(words[9])};
    options.threads = std::atoi(words[10]);
    std::string error;
    auto upscaler = edgesr::Upscaler::Open(*contract, words[2], options, &error);
    if (!upscaler) return Refuse(error);
    edgesr::TilePlan plan;
    if (!edgesr::PlanTiles(*contract, {height, width}, options.tile, &plan, &error)) return Refuse(error);
    std::printf("%d %d %zu %d\n", plan.tile.height, plan.tile.width, plan.rows.size() * plan.columns.size(), plan.exact);
    const size_t row = static_cast<size_t>(width) * contract->channels, scale = contract->upscale;
    std::vector<uint8_t> packed(row * height), input((row + kGap) * height, kUntouched);
    if (!Read(words[3], &packed)) return Refuse("the input cannot be read");
    for (int y = 0; y < height; y++) std::memcpy(&input[y * (row + kGap)], &packed[y * row], row);
    const edgesr::ImageView image = {input.data(), height, width, static_cast<ptrdiff_t>(row + kGap)};
    const size_t stride = row * scale + kGap;
    for (int again = 0; again < 2; again++) {  // the second run finds everything allocated
        const bool last = again == 1;
        if (!std::strcmp(words[7], "u8")) {
            std::vector<uint8_t> output(stride * height * scale, kUntouched);
            if (!upscaler->Run(image, output.data(), stride, &error)) return Refuse(error);
            if (last) return Write(words[6], output, height * scale, row * scale);
        } else {
            std::vector<float> output(stride * height * scale);
            std::memset(output.data(), kUntouched, output.size() * sizeof(float));
            if (!upscaler->RunFloat(image, output.data(), stride, &error)) return Refuse(error);
            if (last) return Write(words[6], output, height * scale, row * scale);
        }
        // another size in between, so that going back to the first one is seen too
        const size_t wide = scale * contract->channels * 2;
        std::vector<uint8_t> other(wide * scale);
        const edgesr::ImageView two = {input.data(), 1, width > 1 ? 2 : 1, image.row_bytes};
        upscaler->Run(two, other.data(), wide, &error);
    }
    return Refuse("unreachable");
}
