"""Benchmarks on Android phones and emulated devices over adb."""
