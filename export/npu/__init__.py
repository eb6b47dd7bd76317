"""Mobile NPUs from the desktop: vendor compilers, and where each operator of a file would run."""
