"""StyleGAN2 (Karras et al. 2020, with the label conditioning and options of StyleGAN2-ADA); see README.md."""
