"""StyleGAN: see README.md of this folder."""
