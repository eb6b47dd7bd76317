"""SPANV2 on an NVIDIA GPU: the operator `edgesr::span_attn`, its Triton kernels, and the network in 16 launches.

The kernels need the extra `cuda` (Triton). Without a GPU the same kernel sources run in Triton's interpreter on the
CPU, which proves their arithmetic and says nothing about speed, and are compiled offline for named GPU generations.
"""
