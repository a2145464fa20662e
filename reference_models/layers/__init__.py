"""Layers that more than one reference model is made of."""
