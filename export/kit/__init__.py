"""The deployment kit: loaders of exported files in C++ and Kotlin, with the files' contracts as constants."""
