"""VAEs with a noise contrastive prior (Aneja et al. 2021, arXiv:2010.02917); see README.md."""
