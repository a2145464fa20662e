"""The network: a VAE, and for each group of its latents a classifier that reweights the prior of the group.

Paper: Aneja et al. 2021 (arXiv:2010.02917), section 3: ``p(z_k | z_<k)`` becomes ``r_k(z_k, z_<k)
p(z_k | z_<k) / Z_k(z_<k)``. There is no official code; parameters are named here, those of the VAE as it
names them. Differs: nothing.
"""

from __future__ import annotations

from torch import Tensor, nn

from reference_models.layers.draws import Draws
from reference_models.ncp_vae.classifier import Classifier
from reference_models.ncp_vae.config import FlatVaeConfig, NetworkConfig
from reference_models.ncp_vae.flat_vae import FlatVae
from reference_models.nvae.model import Inference
from reference_models.nvae.model import Network as Nvae


class Network(nn.Module):
    """A VAE with a noise contrastive prior.

    Attributes:
        config: Its sizes.
        vae: The VAE.
        classifiers: One a group, from the top down.
        latent_shapes: Channels, height and width of every group.
        img_resolution: Side of the images.
        img_channels: Their channels.
        c_dim: 0: it learns no labels.
    """

    c_dim = 0
    vae: FlatVae | Nvae

    def __init__(self, config: NetworkConfig) -> None:
        """Draws random weights; of the classifiers so that the prior is the VAE's own."""
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.vae = FlatVae(config.vae) if isinstance(config.vae, FlatVaeConfig) else Nvae(config.vae)
        self.latent_shapes = self.vae.latent_shapes
        self.classifiers = nn.ModuleList(
            Classifier(shape, channels, config.classifier)
            for shape, channels in zip(self.latent_shapes, context_channels(config), strict=True)
        )

    def log_r(self, group: int, z: Tensor, context: Tensor) -> Tensor:
        """``ln r`` of latents of a group, the logit of its classifier.

        Args:
            group: Counted from the top.
            z: ``(n, c, h, w)``.
            context: Of the group.

        Returns:
            ``(n,)`` nats.
        """
        found: Tensor = self.classifiers[group](z, context)
        return found

    def infer(self, images: Tensor, draws: Draws) -> Inference:
        """What the VAE alone says of images ``(n, c, h, w)`` in [0, 1]."""
        return self.vae.infer(images, draws)


def context_channels(config: NetworkConfig) -> tuple[int, ...]:
    """Channels of the contexts of all groups, from the top down; an empty one has 0."""
    vae = config.vae
    if isinstance(vae, FlatVaeConfig):
        return (0,)
    # Widths double wherever the side halves, from that of the images on.
    return tuple(vae.num_channels_dec * vae.img_resolution // side for _, side, _ in vae.latent_shapes)
