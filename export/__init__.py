"""Capture of a network as a graph, folds, and the emitters of ONNX and TFLite files."""
