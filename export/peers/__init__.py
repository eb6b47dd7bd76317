"""Other converters, each given the same network and the same calibration images as our own files."""
