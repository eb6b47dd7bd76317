"""Post-training quantization: calibration, equalization, ranges and integer weights."""
