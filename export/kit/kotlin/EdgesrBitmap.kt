// Android's bitmaps and assets around the loader; the image's transparency is not kept.
package edgesr

import android.content.res.AssetManager
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

/** A model in the app's assets, mapped; it must be stored uncompressed (noCompress += "tflite"). */
fun mapAsset(assets: AssetManager, name: String): ByteBuffer =
    assets.openFd(name).use { asset ->
        FileInputStream(asset.fileDescriptor).use {
            it.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
        }
    }

/** The bitmap, upscale times as large; for files of three channels. */
fun Upscaler.upscale(bitmap: Bitmap): Bitmap {
    require(contract.channels == 3) { "${contract.file} takes ${contract.channels} channels, a bitmap has 3" }
    val width = bitmap.width * contract.upscale
    val height = bitmap.height * contract.upscale
    val result = upscale(rgbOf(bitmap), bitmap.height, bitmap.width)
    val colors = IntArray(width * height) {
        val at = 3 * it
        (0xFF shl 24) or (level(result, at) shl 16) or (level(result, at + 1) shl 8) or level(result, at + 2)
    }
    return Bitmap.createBitmap(colors, width, height, Bitmap.Config.ARGB_8888)
}

private fun level(bytes: ByteArray, index: Int) = bytes[index].toInt() and 0xFF

private fun rgbOf(bitmap: Bitmap): ByteArray {
    val colors = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(colors, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return ByteArray(3 * colors.size) { (colors[it / 3] shr (16 - 8 * (it % 3))).toByte() }
}
