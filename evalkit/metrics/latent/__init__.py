"""Metrics of a model's latents: path lengths, linear separability."""
