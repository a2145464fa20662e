"""Likelihoods of images: units and offsets, importance weighting, printed numbers, and what cannot be."""
