"""Runners for every runtime, and what is measured with them: parity, quality and speed."""
