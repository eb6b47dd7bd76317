// Runs a file of edgesr in LiteRT on images of any size, by tiles that leave no seam (EdgesrTiles.kt).
//
// LiteRT's Interpreter is used, because it resizes a file's input; it runs on the CPU. An image is a ByteArray of
// packed rows, `channels` bytes a pixel (red, green, blue for 3).
package edgesr

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

private const val LEVELS = 255
private const val INT8_ZERO = 0x80
private const val INPUT = "image"
private const val OUTPUT = "output"

/**
 * The file of a contract, ready to run; one thread at a time. `model` is the whole file, direct or mapped, for example
 * an uncompressed asset. Throws IllegalArgumentException for another file than the contract's.
 */
class Upscaler(
    val contract: Contract,
    model: ByteBuffer,
    threads: Int = 1,
    private val tile: Size? = null
) : Closeable {
    private val interpreter: Interpreter
    private val encoder = Encoder(contract)
    private val decoder = Decoder(contract)
    private var size = contract.sizes[0]
    private var input = buffer(size, contract.channels)
    private var output = buffer(grown(size), contract.channels)

    init {
        require(model.remaining().toLong() == contract.sizeBytes) {
            "the model has ${model.remaining()} bytes, ${contract.file} has ${contract.sizeBytes}; " +
                "use the kit that was written for this file"
        }
        interpreter = Interpreter(model, Interpreter.Options().setNumThreads(threads))
    }

    /** The output, upscale times as high and wide. */
    fun upscale(image: ByteArray, height: Int, width: Int): ByteArray {
        val plan = planTiles(contract, Size(height, width), tile)
        require(image.size == height * width * contract.channels) {
            "an image of ${height}x$width has ${height * width * contract.channels} bytes, these are ${image.size}"
        }
        prepare(plan.tile)
        val result = ByteArray(Math.multiplyExact(image.size, contract.upscale * contract.upscale))
        for (rows in plan.rows) {
            for (columns in plan.columns) {
                fill(image, height, width, rows.start, columns.start)
                invoke()
                take(rows, columns, result, width * contract.upscale * contract.channels)
            }
        }
        return result
    }

    override fun close() = interpreter.close()

    private fun grown(size: Size) = Size(size.height * contract.upscale, size.width * contract.upscale)

    private fun buffer(size: Size, channels: Int): ByteBuffer =
        ByteBuffer.allocateDirect(size.height * size.width * channels * contract.dtype.bytes)
            .order(ByteOrder.nativeOrder())

    /** Sizes beside the first that the file was written for have signatures of their own; others are resized to. */
    private fun prepare(wanted: Size) {
        if (wanted == size) return
        if (!isFurtherSize(wanted)) {
            interpreter.resizeInput(0, intArrayOf(1, wanted.height, wanted.width, contract.channels))
            interpreter.allocateTensors()
        }
        size = wanted
        input = buffer(wanted, contract.channels)
        output = buffer(grown(wanted), contract.channels)
    }

    private fun isFurtherSize(size: Size) = contract.sizes.indexOf(size) > 0

    private fun invoke() {
        input.rewind()
        output.rewind()
        if (isFurtherSize(size)) {
            interpreter.runSignature(mapOf(INPUT to input), mapOf(OUTPUT to output), size.toString())
        } else {
            interpreter.run(input, output)
        }
    }

    /** A tile of the image, continued by its last row and column where it reaches beyond them. */
    private fun fill(image: ByteArray, height: Int, width: Int, top: Int, left: Int) {
        input.rewind()
        val channels = contract.channels
        for (y in 0 until size.height) {
            val row = minOf(top + y, height - 1) * width
            for (x in 0 until size.width) {
                val pixel = (row + minOf(left + x, width - 1)) * channels
                for (c in 0 until channels) encoder.put(image[pixel + c], input)
            }
        }
    }

    /**
     * The part of a tile's output that is taken, to its place in the whole output. With a shuffle of block s, the
     * pixels s*x .. s*x + s - 1 of row s*y + i are the channels i*s*C .. (i + 1)*s*C - 1 of the tensor's pixel (y, x).
     */
    private fun take(rows: Segment, columns: Segment, result: ByteArray, stride: Int) {
        val scale = contract.upscale
        val s = contract.hostShuffle
        val run = s * contract.channels
        val width = size.width * scale / s
        for (y in rows.keepStart * scale until rows.keepStop * scale) {
            val own = y - rows.start * scale
            var to = y * stride + columns.keepStart * scale * contract.channels
            for (x in (columns.keepStart - columns.start) * scale until (columns.keepStop - columns.start) * scale step s) {
                val from = ((own / s) * width + x / s) * run * s + (own % s) * run
                for (i in 0 until run) result[to++] = decoder.get(output, from + i)
            }
        }
    }
}

/** How bytes become the file's input. */
internal class Encoder(contract: Contract) {
    private val dtype = contract.dtype
    private val floats = FloatArray(LEVELS + 1) { (it * (contract.valueRange / LEVELS)).toFloat() }

    fun put(level: Byte, tensor: ByteBuffer) {
        when (dtype) {
            DType.FLOAT32 -> tensor.putFloat(floats[level.toInt() and 0xFF])
            DType.INT8 -> tensor.put((level.toInt() xor INT8_ZERO).toByte())
            DType.UINT8 -> tensor.put(level)
        }
    }
}

/** How the file's output becomes bytes: floats to the nearest level, halves to the even one; no number is 0. */
internal class Decoder(contract: Contract) {
    private val dtype = contract.dtype
    private val steps = (LEVELS / contract.valueRange).toFloat()

    fun get(tensor: ByteBuffer, index: Int): Byte =
        when (dtype) {
            DType.FLOAT32 -> rounded(tensor.getFloat(4 * index) * steps)
            DType.INT8 -> (tensor.get(index).toInt() xor INT8_ZERO).toByte()
            DType.UINT8 -> tensor.get(index)
        }

    private fun rounded(levels: Float): Byte =
        if (levels > 0) Math.rint(minOf(levels, LEVELS.toFloat()).toDouble()).toInt().toByte() else 0
}
