// As much of Android as the kit touches, for the compiler.
package android.graphics

class Bitmap private constructor(private val colors: IntArray, val width: Int, val height: Int) {
    enum class Config { ARGB_8888 }

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        for (row in 0 until height) {
            for (column in 0 until width) {
                pixels[offset + row * stride + column] = colors[(y + row) * this.width + x + column]
            }
        }
    }

    companion object {
        fun createBitmap(colors: IntArray, width: Int, height: Int, @Suppress("UNUSED_PARAMETER") config: Config) =
            Bitmap(colors, width, height)
    }
}
