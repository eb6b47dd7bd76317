"""Folds: exact rewrites of a graph, one file each (docs/writing-a-fold.md)."""
