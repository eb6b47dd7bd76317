"""edgesr.runtime."""
