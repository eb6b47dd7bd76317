// NAME IMAGE HEIGHT WIDTH TILE_HEIGHT TILE_WIDTH bytes|bitmap|plan: the kit's loader on an image; the result goes to
// the test like a tensor, as "result", and a refusal as "refused".
package edgesr

import android.graphics.Bitmap
import java.io.File
import java.nio.ByteBuffer
import org.tensorflow.lite.toTest

fun main(words: Array<String>) {
    val (name, image, height, width, tileHeight) = words
    val contract = MODELS.getValue(name)
    val size = Size(height.toInt(), width.toInt())
    val tile = if (tileHeight == "0") null else Size(tileHeight.toInt(), words[5].toInt())
    try {
        when (words[6]) {
            "plan" -> answer("result", describe(planTiles(contract, size, tile)).toByteArray())
            "bitmap" -> answer("result", throughBitmap(contract, File(image).readBytes(), size))
            else -> answer("result", open(contract, tile).upscale(File(image).readBytes(), size.height, size.width))
        }
    } catch (error: IllegalArgumentException) {
        answer("refused", error.message!!.toByteArray())
    }
}

private fun open(contract: Contract, tile: Size?) =
    Upscaler(contract, ByteBuffer.allocateDirect(contract.sizeBytes.toInt()), 2, tile)

private fun throughBitmap(contract: Contract, rgb: ByteArray, size: Size): ByteArray {
    val colors = IntArray(size.height * size.width) { pixel ->
        (0..2).fold(0x12) { color, c -> (color shl 8) or (rgb[3 * pixel + c].toInt() and 0xFF) }
    }
    val bitmap = Bitmap.createBitmap(colors, size.width, size.height, Bitmap.Config.ARGB_8888)
    val result = open(contract, null).upscale(bitmap)
    val pixels = IntArray(result.width * result.height)
    result.getPixels(pixels, 0, result.width, 0, 0, result.width, result.height)
    check(pixels.all { it ushr 24 == 0xFF })
    return ByteArray(3 * pixels.size) { (pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() }
}

private fun describe(plan: TilePlan): String {
    val axes = listOf(plan.rows, plan.columns).joinToString(";") { segments ->
        segments.joinToString(" ") { "${it.start},${it.keepStart},${it.keepStop}" }
    }
    return "${plan.tile};${plan.exact};$axes"
}

private fun answer(what: String, bytes: ByteArray) {
    toTest.writeUTF(what)
    toTest.writeInt(bytes.size)
    toTest.write(bytes)
    toTest.flush()
}
