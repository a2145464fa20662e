"""How generators answer for their seeds: latents, labels, styles, images as bytes.

The latent of seed s is ``numpy.random.RandomState(s).randn(z_dim)`` in float32, as in the official samplers
(NVlabs/stylegan3@c233a91, gen_images.py). Differs from them: every image is computed so that it depends on
its seed and label alone (`reference_models.layers.batches`), and a conditional model is never given a label
by default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from evalkit.errors import UsageError
from evalkit.imaging.exact import exact_float32
from evalkit.imaging.quantise import to_uint8
from reference_models.layers.batches import batch_size, in_batches
from reference_models.layers.mapping import StyleGenerator

Int64Array = npt.NDArray[np.int64]

# What records say of the equivariance of networks whose input has no coordinates.
MOVED_CONSTANT = (
    "the learned 4x4 constant was read at the moved places, since it has no coordinates: evalkit's own "
    "definition"
)

_M = TypeVar("_M", bound="GeneratorModel")
_SEEDS = 2**32


def draw_latents(seeds: Int64Array, z_dim: int) -> Tensor:
    """The latents of seeds.

    Args:
        seeds: ``(n,)``, each from 0 to 2^32 - 1.
        z_dim: Width of a latent.

    Returns:
        float32 ``(n, z_dim)`` on the CPU.

    Raises:
        UsageError: A seed is out of range, or they have another shape.
    """
    seeds = np.asarray(seeds)
    if seeds.ndim != 1 or not np.issubdtype(seeds.dtype, np.integer):
        raise UsageError(
            f"seeds are whole numbers of shape (n,); given are {seeds.dtype} of shape {seeds.shape}"
        )
    if seeds.size and not (0 <= seeds.min() and seeds.max() < _SEEDS):
        raise UsageError(f"seeds go from 0 to {_SEEDS - 1}; given are {seeds.min()} to {seeds.max()}")
    rows = [np.random.RandomState(int(seed)).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.array(rows, np.float32).reshape(len(seeds), z_dim))


def one_hot(labels: Int64Array | None, num: int, num_classes: int, name: str) -> Tensor | None:
    """Labels as networks take them.

    Args:
        labels: ``(num,)``, each from 0 to num_classes - 1; None for a model without classes.
        num: How many samples there are.
        num_classes: 0 for a model without classes.
        name: How messages name the model.

    Returns:
        float32 ``(num, num_classes)`` on the CPU, or None.

    Raises:
        UsageError: Labels are missing, unasked for, too many or too few, or of no class.
    """
    if num_classes == 0:
        if labels is not None:
            raise UsageError(f"{name} has no classes and was given labels; give none")
        return None
    accepted = f"give labels from 0 to {num_classes - 1}, one a sample"
    if labels is None:
        raise UsageError(
            f"{name} is conditional on {num_classes} classes and was given no labels; {accepted}"
        )
    labels = np.asarray(labels)
    if labels.shape != (num,):
        raise UsageError(f"{name} was given labels of shape {labels.shape} for {num} samples; {accepted}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"{name} was given labels of type {labels.dtype}; {accepted}")
    if num and not (0 <= labels.min() and labels.max() < num_classes):
        raise UsageError(
            f"{name} has {num_classes} classes and was given labels {labels.min()} to {labels.max()}; "
            f"{accepted}"
        )
    return functional.one_hot(torch.from_numpy(labels.astype(np.int64)), num_classes).float()


def to_rgb_bytes(images: Tensor, name: str) -> Tensor:
    """Floats ``(n, 1 or 3, h, w)`` of about [-1, 1] to uint8 ``(n, 3, h, w)``.

    Raises:
        UsageError: Another number of channels.
        SourceError: NaN or infinite values.
    """
    if images.shape[1] not in (1, 3):
        raise UsageError(
            f"{name} makes images of {images.shape[1]} channels; only grey (1) and RGB (3) can be measured"
        )
    made = to_uint8(images, "signed")
    return made if made.shape[1] == 3 else made.repeat(1, 3, 1, 1)


class GeneratorModel(ABC):
    """A generator as evaluations ask it: fits `evalkit.adapters.capabilities` by shape.

    Attributes:
        generator: The network.
        name: How messages and records name it.
        num_classes: 0 for a model without classes.
        resolution: Side of the images that `sample` returns.
        enlarge: Each pixel of the network becomes a square of so many by so many in what `sample` returns;
            not 1 for a network that was trained on enlarged images at their own resolution.
        known_by_answers: Whether something beside `identity` decides its answers; of these nothing does.
        training: Facts of its training for records (``kimg``, ``checkpoint_sha256``); None where unknown.
        fresh_noise: Whether `sample` draws the noise of an image from its seed, or takes what is stored.
    """

    fresh_noise: ClassVar[bool] = False
    known_by_answers: ClassVar[bool] = False

    def __init__(self, generator: Any, *, name: str, enlarge: int = 1) -> None:  # noqa: ANN401 - of any model
        """Takes the network, which stays where it is."""
        self.generator = generator
        self.name = name
        self.num_classes: int = generator.c_dim
        self.enlarge = enlarge
        self.resolution: int = generator.img_resolution * enlarge
        self.training: Mapping[str, float | str] | None = None

    @property
    def network(self) -> Any:  # noqa: ANN401 - of any model
        """The network, under the name that every model has it by."""
        return self.generator

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        found: torch.device = next(self.generator.parameters()).device
        return found

    def to(self: _M, device: torch.device | str) -> _M:
        """Moves the network, and returns this model."""
        self.generator.to(device)
        return self

    @abstractmethod
    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Images of what `map` returned: float32 ``(n, c, h, w)`` in about [-1, 1]."""

    @abstractmethod
    def _map(self, z: Tensor, c: Tensor | None, psi: float, cutoff: int | None) -> Tensor:
        """`map` of one-hot labels."""

    def batch(self) -> int:
        """How many images go through the network at once when seeds are sampled; always as many."""
        return batch_size(self.generator.img_resolution, self.device)

    def latents(self, seeds: Int64Array) -> Tensor:
        """The latents of seeds: float32 ``(n, z_dim)`` on the model's device.

        Raises:
            UsageError: A seed is out of range.
        """
        return draw_latents(seeds, self.generator.z_dim).to(self.device)

    def map(
        self,
        z: Tensor,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Maps latents to what `synthesise` takes.

        Args:
            z: ``(n, z_dim)``.
            labels: ``(n,)``, for a conditional model.
            truncation_psi: 1 truncates nothing.
            truncation_cutoff: Entries of w that are truncated; None is all, or the network's own number.

        Returns:
            w, float32 ``(n, num_ws, w_dim)`` where the model has such.

        Raises:
            UsageError: Latents or labels that do not fit, or truncation without w_avg.
        """
        c = one_hot(labels, len(z), self.num_classes, self.name)
        return self._map(z, c, truncation_psi, truncation_cutoff)

    def sample(
        self,
        seeds: Int64Array,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Images of seeds; each depends on its seed and label alone.

        Args:
            seeds: ``(n,)``, each from 0 to 2^32 - 1.
            labels: ``(n,)``, for a conditional model.
            truncation_psi: 1 truncates nothing.
            truncation_cutoff: Entries of w that are truncated; None is all.

        Returns:
            uint8 ``(n, 3, h, w)`` on the model's device; grey is repeated.

        Raises:
            UsageError: A seed out of range, labels that do not fit, truncation without w_avg, or a model
                whose images have neither 1 nor 3 channels.
            SourceError: The network gave NaN.
        """
        z = self.latents(seeds)
        c = one_hot(labels, len(z), self.num_classes, self.name)
        noise = torch.from_numpy(np.asarray(seeds).astype(np.int64)) if self.fresh_noise else None
        if not len(z):
            side = self.resolution
            return torch.empty(0, 3, side, side, dtype=torch.uint8, device=self.device)

        def images(z: Tensor, c: Tensor | None, noise: Tensor | None) -> Tensor:
            w = self._map(z, c, truncation_psi, truncation_cutoff)
            drawn = None if noise is None else noise.numpy()
            made = to_rgb_bytes(self.synthesise(w, noise_seeds=drawn), self.name)
            return made.repeat_interleave(self.enlarge, dim=2).repeat_interleave(self.enlarge, dim=3)

        return in_batches(images, self.batch(), z, c, noise)


class StyleModel(GeneratorModel):
    """A generator with a mapping network in front of a synthesis."""

    generator: StyleGenerator

    def _map(self, z: Tensor, c: Tensor | None, psi: float, cutoff: int | None) -> Tensor:
        with exact_float32():
            w: Tensor = self.generator.mapping(
                z.to(self.device),
                None if c is None else c.to(self.device),
                truncation_psi=psi,
                truncation_cutoff=cutoff,
            )
        return w
