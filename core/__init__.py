"""Bring efficient image-restoration networks from PyTorch onto mobile NPUs, with proof."""
