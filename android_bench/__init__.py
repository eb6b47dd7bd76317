"""edgesr.android_bench."""
