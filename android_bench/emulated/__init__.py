"""An arm64 device on this machine: our own adbd behind the real adb, and Debian's arm64 programs under qemu-user."""
