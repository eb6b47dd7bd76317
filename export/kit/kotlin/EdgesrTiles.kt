// Plans that cut an image into tiles of one size whose outputs, put together, are the whole image's.
//
// Along one axis an image of n pixels is continued to N, the next multiple of m. A tile of T pixels that starts at s
// gives the whole's values for [s + a, s + T - b), with the reach a before and b behind; from 0 where s is 0, and up to
// N where it ends there. Tiles follow each other by floor((T - a - b) / m) * m, the last one is moved back to end at N.
package edgesr

enum class DType(val bytes: Int) { FLOAT32(4), INT8(1), UINT8(1) }

data class Size(val height: Int, val width: Int) {
    override fun toString() = "${height}x$width"
}

/** How many input pixels an output pixel may depend on, to each side of the one that it lies in. */
data class Reach(val above: Int, val below: Int, val left: Int, val right: Int)

/**
 * What the manifest says of one file. Tensors are NHWC. An integer image holds bytes that stand for
 * valueRange * byte / 255: value = scale * (stored - zeroPoint). A float image lies in [0, valueRange].
 *
 * The file takes sides that are multiples of [sizeMultiple] alone. Above 1, [hostShuffle] says that the file ends
 * before its DEPTH_TO_SPACE of that block, which is done here. [sizes] are the input sizes that the file was written
 * for; where [anySize], it also runs at others. [reach] and [tile] are null where its output cannot be made of tiles,
 * and [tile], the default, where the file's sizes are its tiles.
 */
data class Contract(
    val file: String,
    val sha256: String,
    val sizeBytes: Long,
    val dtype: DType,
    val scale: Float,
    val zeroPoint: Int,
    val valueRange: Double,
    val channels: Int,
    val upscale: Int,
    val sizeMultiple: Int,
    val hostShuffle: Int,
    val sizes: List<Size>,
    val anySize: Boolean,
    val reach: Reach?,
    val tile: Size?
)

/** A tile along one axis, in input pixels: where it starts, and the pixels keepStart until keepStop taken of it. */
data class Segment(val start: Int, val keepStart: Int, val keepStop: Int)

/**
 * Every pair of a row and a column segment is a tile. Where not [exact], the file's only sizes are larger than the
 * image, which is continued: near its lower and right side the result may differ from that of a file for its own size.
 */
data class TilePlan(val tile: Size, val rows: List<Segment>, val columns: List<Segment>, val exact: Boolean) {
    val work get() = rows.size.toLong() * columns.size * tile.height * tile.width
}

/** The tiles for an image; throws IllegalArgumentException where the file cannot run it. */
fun planTiles(contract: Contract, image: Size, tile: Size? = null): TilePlan {
    require(image.height >= 1 && image.width >= 1) { "an image of $image cannot be run; give one with pixels in it" }
    val reach = contract.reach ?: return wholePlan(contract, image)
    if (contract.anySize) {
        return planFor(contract, reach, image, tile ?: contract.tile ?: contract.sizes[0], fixed = false)
    }
    var best: TilePlan? = null
    var refusal: IllegalArgumentException? = null
    for (size in contract.sizes) {
        try {
            val plan = planFor(contract, reach, image, size, fixed = true)
            if (best == null || isBetter(plan, best)) best = plan
        } catch (error: IllegalArgumentException) {
            refusal = error
        }
    }
    return best ?: throw refusal ?: IllegalArgumentException("${contract.file} has no size; export it again")
}

private fun isBetter(plan: TilePlan, than: TilePlan) =
    if (plan.exact != than.exact) plan.exact else plan.work < than.work

private fun wholePlan(contract: Contract, image: Size): TilePlan {
    val padded = roundUp(image, contract.sizeMultiple)
    require(contract.anySize || padded in contract.sizes) {
        "an image of $image is no size of ${contract.file}, which cannot run in tiles; export it for this size"
    }
    return TilePlan(padded, listOf(Segment(0, 0, image.height)), listOf(Segment(0, 0, image.width)), true)
}

private fun planFor(contract: Contract, reach: Reach, image: Size, asked: Size, fixed: Boolean): TilePlan {
    val m = contract.sizeMultiple
    require(asked.height >= 1 && asked.width >= 1 && asked.height % m == 0 && asked.width % m == 0) {
        "a tile of $asked does not fit this file; its sides must be multiples of $m"
    }
    val padded = roundUp(image, m)
    val tile = if (fixed) asked else Size(minOf(asked.height, padded.height), minOf(asked.width, padded.width))
    val least = roundUp(Size(reach.above + reach.below + m, reach.left + reach.right + m), m)
    require(!isTooSmall(tile.height, padded.height, least.height) && !isTooSmall(tile.width, padded.width, least.width)) {
        "a tile of $tile is too small for this network; tiles need at least $least"
    }
    return TilePlan(
        tile,
        segments(image.height, maxOf(padded.height, tile.height), tile.height, reach.above, reach.below, m),
        segments(image.width, maxOf(padded.width, tile.width), tile.width, reach.left, reach.right, m),
        tile.height <= padded.height && tile.width <= padded.width
    )
}

private fun isTooSmall(tile: Int, side: Int, least: Int) = tile < side && tile < least

private fun roundUp(n: Int, multiple: Int) = (n + multiple - 1) / multiple * multiple

private fun roundUp(size: Size, multiple: Int) = Size(roundUp(size.height, multiple), roundUp(size.width, multiple))

/** The tiles along one axis of n pixels, continued to [to]. */
private fun segments(n: Int, to: Int, tile: Int, before: Int, behind: Int, multiple: Int): List<Segment> {
    val starts = mutableListOf<Int>()
    if (to > tile) starts += 0 until to - tile step (tile - before - behind) / multiple * multiple
    starts += maxOf(0, to - tile)
    val segments = mutableListOf<Segment>()
    var taken = 0
    for ((index, start) in starts.withIndex()) {
        val stop = if (index < starts.lastIndex) minOf(n, start + tile - behind) else n
        if (taken < stop) segments += Segment(start, taken, stop)
        taken = stop
    }
    return segments
}
