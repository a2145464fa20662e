"""VDVAE, a very deep variational autoencoder (Child 2021); see README.md."""
