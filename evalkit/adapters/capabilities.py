"""What a metric may ask of a model. Models fit by shape; none of them imports this.

Images are uint8 RGB ``(n, 3, h, w)`` where they leave a model to be measured, and float ``(n, c, h, w)`` in
about [-1, 1] between latents and rounding. Seeds and labels are int64 arrays ``(n,)``. The image of a seed
depends on that seed (and its label) alone.

A model may say more of itself: ``identity``, a digest of all that decides its images; ``known_by_answers``,
False where nothing beside that digest decides its other answers either (rows of any other model are kept
under its first answers too); ``transform_note``, what records should say of how it moves its input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from evalkit.errors import UsageError, lookup

if TYPE_CHECKING:
    from torch import Tensor

Int64Array = npt.NDArray[np.int64]


@runtime_checkable
class Samples(Protocol):
    """Draws images from seeds."""

    name: str
    resolution: int
    num_classes: int

    def sample(self, seeds: Int64Array, labels: Int64Array | None = None) -> Tensor:
        """Images of seeds: uint8 ``(n, 3, h, w)``."""
        ...


@runtime_checkable
class HasLatents(Protocol):
    """Has latents that can be drawn, mapped, truncated and turned into images."""

    def latents(self, seeds: Int64Array) -> Tensor:
        """Latents z of seeds: float32 ``(n, z_dim)``."""
        ...

    def map(
        self,
        z: Tensor,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Styles w of z."""
        ...

    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Images of w: float ``(n, c, h, w)``."""
        ...


@runtime_checkable
class Transformable(Protocol):
    """Makes the image of w under a transform of its input."""

    resolution: int

    def synthesise(
        self, w: Tensor, *, noise_seeds: Int64Array | None = None, transform: Tensor | None = None
    ) -> Tensor:
        """Images of w; ``transform`` is the inverse transform of the picture, float ``(3, 3)``."""
        ...


@runtime_checkable
class HasLikelihood(Protocol):
    """Says how likely images are.

    What it says is declared in ``likelihood`` (`evalkit.adapters.likelihood.Likelihood`, or a mapping of its
    fields). One that can also draw importance weights, ``log_weights(images, seeds=...)`` of the same form,
    can be asked for tighter bounds.
    """

    name: str
    likelihood: Any

    def nats(self, images: Tensor, *, seeds: Int64Array) -> Tensor:
        """-ln p, or a bound on it, of each image ``(n, c, h, w)``: ``(n,)``, by its seed where it draws."""
        ...


@runtime_checkable
class Restores(Protocol):
    """Turns a low-resolution image into one or more high-resolution ones.

    One that also knows how likely an original is offers ``conditional_nats(hr, lr)``: -ln p(hr | lr / 255),
    a density on [0, 1], float64 ``(n,)``, of ``hr`` float64 ``(n, 3, H, W)`` in [0, 1] and ``lr`` uint8
    ``(n, 3, h, w)``; and ``multiple``, where H and W have to be multiples of a number.

    Attributes:
        name: How messages and records name it.
        scale: How many times as high and as wide its images are.
        stochastic: Whether it draws; one that does not ignores seeds.
        temperature: Its usual one; None where it has none, and refuses one (UsageError).
        identity: A digest of all that decides its images but seeds and temperature; None where it is unknown.
    """

    name: str
    scale: int
    stochastic: bool
    temperature: float | None
    identity: str | None

    def restore(self, image: Tensor, *, seeds: Int64Array, temperature: float | None = None) -> Tensor:
        """One image a seed, ``(n, 3, h * scale, w * scale)``: floats in about [0, 1], or uint8.

        The image is uint8 ``(3, h, w)``. Each of its restorations depends on it, its seed and the temperature
        alone.
        """
        ...


@runtime_checkable
class Conditional(Protocol):
    """Draws images by label."""

    num_classes: int


def _takes_transform(model: Any) -> bool:  # noqa: ANN401 - any model
    # A protocol knows names of methods, not their parameters.
    try:
        return "transform" in inspect.signature(model.synthesise).parameters
    except (TypeError, ValueError):
        return False


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "Samples": lambda model: isinstance(model, Samples),
    "HasLatents": lambda model: isinstance(model, HasLatents),
    "Transformable": lambda model: isinstance(model, Transformable) and _takes_transform(model),
    "HasLikelihood": lambda model: isinstance(model, HasLikelihood),
    "Restores": lambda model: isinstance(model, Restores),
    "Conditional": lambda model: isinstance(model, Conditional) and model.num_classes > 0,
}
_PHRASES: Mapping[str, str] = {
    "Samples": "that draws images from seeds",
    "HasLatents": "whose latents can be mapped and synthesised",
    "Transformable": "whose input can be transformed",
    "HasLikelihood": "that says how likely images are",
    "Restores": "that turns low-resolution images into high-resolution ones",
    "Conditional": "whose images are drawn by label",
}


def offers(model: object) -> tuple[str, ...]:
    """Names of the capabilities that a model has."""
    return tuple(name for name, has in _CHECKS.items() if has(model))


def need(model: object, capability: str, metric: str) -> None:
    """Checks that a model can be asked what a metric asks.

    Args:
        model: Any object.
        capability: ``Samples``, ``HasLatents``, ``Transformable``, ``HasLikelihood``, ``Restores`` or
            ``Conditional``.
        metric: How the message names the metric.

    Raises:
        UsageError: The model has no such capability. The message says what it has.
    """
    phrase = lookup(capability, _PHRASES, "capability")
    if capability not in (there := offers(model)):
        name = getattr(model, "name", type(model).__name__)
        raise UsageError(
            f"{metric} needs a model {phrase}; {name} offers: "
            f"{', '.join(there) or 'nothing that evalkit knows'}"
        )
