"""`python -m edgesr.cli`."""

from edgesr.cli import main

main()
