"""ProGAN: see README.md of this folder."""
