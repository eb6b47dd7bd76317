"""edgesr.export."""
