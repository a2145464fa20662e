"""StyleGAN3's discriminator is StyleGAN2's, in its resnet architecture.

Paper: Karras et al. 2021 (arXiv:2106.12423). Official: NVlabs/stylegan3@c233a91,
training/networks_stylegan2.py. Deviations: none.
"""

from reference_models.stylegan2.discriminator import Discriminator

__all__ = ["Discriminator"]
