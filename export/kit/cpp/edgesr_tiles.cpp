// Plans that cut an image into tiles of one size whose outputs, put together, are the whole image's.
//
// Along one axis an image of n pixels is continued to N, the next multiple of m. A tile of T pixels that starts at s
// gives the whole's values for [s + a, s + T - b), with the reach a before and b behind; from 0 where s is 0, and up to
// N where it ends there. Tiles follow each other by floor((T - a - b) / m) * m, the last one is moved back to end at N.
#include <algorithm>

#include "edgesr_loader.h"

namespace edgesr {
namespace {

int RoundUp(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

Size RoundUp(Size size, int multiple) { return {RoundUp(size.height, multiple), RoundUp(size.width, multiple)}; }

bool Same(Size a, Size b) { return a.height == b.height && a.width == b.width; }

std::string Named(Size size) { return std::to_string(size.height) + "x" + std::to_string(size.width); }

bool Fail(std::string *error, const std::string &why) {
    if (error) *error = why;
    return false;
}

// The tiles along one axis of n pixels, continued to `to`.
std::vector<Segment> Segments(int n, int to, int tile, int before, int behind, int multiple) {
    std::vector<int> starts;
    if (to > tile) {
        const int step = (tile - before - behind) / multiple * multiple;
        for (int start = 0; start < to - tile; start += step) starts.push_back(start);
        starts.push_back(to - tile);
    } else {
        starts.push_back(0);
    }
    std::vector<Segment> segments;
    int taken = 0;
    for (size_t i = 0; i < starts.size(); i++) {
        const int stop = i + 1 < starts.size() ? std::min(n, starts[i] + tile - behind) : n;
        if (taken < stop) segments.push_back({starts[i], taken, stop});
        taken = stop;
    }
    return segments;
}

bool TooSmall(int tile, int side, int reach, int multiple) {
    return tile < side && tile < RoundUp(reach + multiple, multiple);
}

bool PlanFor(const Contract &contract, Size image, Size tile, bool fixed, TilePlan *plan, std::string *error) {
    const int m = contract.size_multiple;
    const Reach &reach = contract.reach;
    if (tile.height < 1 || tile.width < 1 || tile.height % m || tile.width % m) {
        return Fail(error, "a tile of " + Named(tile) + " does not fit this file; its sides must be multiples of " +
                               std::to_string(m));
    }
    const Size padded = RoundUp(image, m);
    if (!fixed) tile = {std::min(tile.height, padded.height), std::min(tile.width, padded.width)};
    const int rows = reach.above + reach.below, columns = reach.left + reach.right;
    if (TooSmall(tile.height, padded.height, rows, m) || TooSmall(tile.width, padded.width, columns, m)) {
        return Fail(error, "a tile of " + Named(tile) + " is too small for this network; tiles need at least " +
                               Named(RoundUp(Size{rows + m, columns + m}, m)));
    }
    plan->tile = tile;
    plan->rows = Segments(image.height, std::max(padded.height, tile.height), tile.height, reach.above, reach.below, m);
    plan->columns = Segments(image.width, std::max(padded.width, tile.width), tile.width, reach.left, reach.right, m);
    plan->exact = tile.height <= padded.height && tile.width <= padded.width;
    return true;
}

int64_t Work(const TilePlan &plan) {
    return static_cast<int64_t>(plan.rows.size()) * static_cast<int64_t>(plan.columns.size()) * plan.tile.height *
           plan.tile.width;
}

bool Better(const TilePlan &plan, const TilePlan &than) {
    return plan.exact != than.exact ? plan.exact : Work(plan) < Work(than);
}

bool TakesWhole(const Contract &contract, Size padded) {
    if (contract.any_size) return true;
    for (int i = 0; i < contract.size_count; i++) {
        if (Same(contract.sizes[i], padded)) return true;
    }
    return false;
}

}  // namespace

bool PlanTiles(const Contract &contract, Size image, Size tile, TilePlan *plan, std::string *error) {
    constexpr int kMostPixels = 1 << 24;  // along a side: far beyond any image, and its output still counts in an int
    if (image.height < 1 || image.width < 1 || image.height > kMostPixels || image.width > kMostPixels) {
        return Fail(error, "an image of " + Named(image) + " cannot be run; give one with pixels in it");
    }
    if (!contract.tiles) {
        const Size padded = RoundUp(image, contract.size_multiple);
        if (!TakesWhole(contract, padded)) {
            return Fail(error, "an image of " + Named(image) + " is no size of " + contract.file +
                                   ", which cannot run in tiles; export it for this size");
        }
        *plan = {padded, {{0, 0, image.height}}, {{0, 0, image.width}}, true};
        return true;
    }
    if (contract.any_size) {
        const Size chosen = tile.height || tile.width ? tile : contract.tile;
        return PlanFor(contract, image, chosen, false, plan, error);
    }
    bool found = false;
    for (int i = 0; i < contract.size_count; i++) {
        TilePlan other;
        if (!PlanFor(contract, image, contract.sizes[i], true, &other, error)) continue;
        if (!found || Better(other, *plan)) *plan = std::move(other);
        found = true;
    }
    return found;
}

}  // namespace edgesr
