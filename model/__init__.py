"""edgesr.model."""
