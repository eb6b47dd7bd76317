"""edgesr.quant."""
