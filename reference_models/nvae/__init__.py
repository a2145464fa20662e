"""NVAE: see README.md of this folder."""
