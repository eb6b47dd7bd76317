"""The program that times a TFLite file on a device: its C source, how it is built, and where the build is found."""
