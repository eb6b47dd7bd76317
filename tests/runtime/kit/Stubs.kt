// Stands in for LiteRT on a JVM: tensors go to the test over a pipe, and LiteRT there computes them.
package org.tensorflow.lite

import java.io.DataInputStream
import java.io.DataOutputStream
import java.nio.ByteBuffer

val toTest = DataOutputStream(System.out)
val fromTest = DataInputStream(System.`in`)

class Interpreter(model: ByteBuffer, @Suppress("UNUSED_PARAMETER") options: Options) : AutoCloseable {
    class Options {
        fun setNumThreads(threads: Int): Options = also { require(threads > 0) }
    }

    private var resized: String? = null
    private var isReady = true

    init {
        require(model.isDirect) { "LiteRT takes direct buffers" }
    }

    fun resizeInput(index: Int, shape: IntArray) {
        require(index == 0 && shape.size == 4 && shape[0] == 1)
        resized = "${shape[1]}x${shape[2]}"
        isReady = false
    }

    fun allocateTensors() {
        isReady = true
    }

    fun run(input: Any, output: Any) {
        check(isReady) { "tensors are not allocated" }
        exchange("resize ${resized ?: "-"}", input as ByteBuffer, output as ByteBuffer)
    }

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, key: String) {
        exchange("signature $key", inputs.getValue("image") as ByteBuffer, outputs.getValue("output") as ByteBuffer)
    }

    override fun close() = Unit

    private fun exchange(how: String, input: ByteBuffer, output: ByteBuffer) {
        require(input.position() == 0 && output.position() == 0)
        val bytes = ByteArray(input.remaining())
        input.get(bytes)
        toTest.writeUTF(how)
        toTest.writeInt(bytes.size)
        toTest.write(bytes)
        toTest.flush()
        val result = ByteArray(output.remaining())
        require(fromTest.readInt() == result.size) { "the output has another size" }
        fromTest.readFully(result)
        output.put(result)
    }
}
