"""How networks with a likelihood answer evaluations: samples of seeds, and nats of images.

Fits `evalkit.adapters.capabilities` by shape. Every image is computed so that it, or its likelihood, depends
on its seed and itself alone (`reference_models.layers.draws`, `reference_models.layers.batches`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evalkit.errors import UsageError, nearest
from evalkit.imaging.exact import exact_float32
from reference_models.layers.batches import batch_size, in_batches
from reference_models.layers.draws import Draws, SeedDraws

Int64Array = npt.NDArray[np.int64]

_M = TypeVar("_M", bound="LikelihoodModel")


class LikelihoodModel(ABC):
    """A network as evaluations ask it.

    Attributes:
        network: The network.
        name: How messages and records name it.
        num_classes: 0: these models learn no labels.
        resolution: Side of the images that `sample` returns.
        enlarge: Each pixel of the network becomes a square of so many by so many in what `sample` returns.
        known_by_answers: Whether something beside `identity` decides its answers; of these nothing does.
        identity: What decides its answers: model, config, weights, and settings of sampling that are not the
            default.
        training: Facts of its training for records (``kimg``, ``checkpoint_sha256``); None where unknown.
        settings: Settings of sampling and their defaults.
        sampling: Their values.
    """

    known_by_answers: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, Any]] = {"temperature": 1.0}

    def __init__(self, network: Any, *, name: str, enlarge: int = 1) -> None:  # noqa: ANN401 - of any model
        """Takes the network, which stays where it is."""
        self.network = network
        self.name = name
        self.num_classes = 0
        self.enlarge = enlarge
        self.resolution: int = network.img_resolution * enlarge
        self.identity = ""
        self.training: Mapping[str, float | str] | None = None
        self.sampling: Mapping[str, Any] = dict(self.settings)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        found: torch.device = next(self.network.parameters()).device
        return found

    def to(self: _M, device: torch.device | str) -> _M:
        """Moves the network, and returns this model."""
        self.network.to(device)
        return self

    def batch(self) -> int:
        """How many images go through the network at once; always as many."""
        return batch_size(self.network.img_resolution, self.device)

    def with_sampling(self: _M, **changes: Any) -> _M:  # noqa: ANN401 - values of settings
        """The same network with other settings of sampling; its name and identity say so.

        Raises:
            UsageError: There is no such setting (the nearest are offered), or a value cannot be.
        """
        for name in changes:
            if name not in self.settings:
                raise UsageError(
                    f"{self.name} has no setting {name!r} of sampling (nearest: "
                    f"{nearest(name, self.settings)}); it has {', '.join(self.settings)}"
                )
        other = copy.copy(self)
        other.sampling = {**self.sampling, **changes}
        other.check_sampling(other.sampling)
        unlike = {name: value for name, value in changes.items() if value != self.sampling[name]}
        if unlike:
            said = ",".join(f"{name}={value}" for name, value in unlike.items())
            other.name, other.identity = f"{self.name} ({said})", f"{self.identity}|{said}"
        return other

    def check_sampling(self, sampling: Mapping[str, Any]) -> None:
        """Refuses values that cannot be; a model with settings of its own checks them too.

        Raises:
            UsageError: A value cannot be.
        """
        value = sampling["temperature"]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise UsageError(
                f"the temperature is {value!r}; give a number from 0 up, 1 samples the prior itself"
            )

    @property
    @abstractmethod
    def likelihood(self) -> Mapping[str, Any]:
        """What `nats` returns.

        ``kind`` (``exact``, ``elbo``), ``bits`` (8 or 5), ``floors_itself`` (True: of 5 bits, the network is
        given all 8 and floors what its likelihood is of), ``dequantisation`` (``discrete`` for a probability
        of the levels, ``none`` for a density at them, ``uniform`` for one of levels with noise), ``density``
        (scale of such a density: ``unit``, ``signed``, ``levels``; None for a probability), ``shape``
        (c, h, w), ``vouched`` (True: an untrained network may need more bits than the uniform model).
        """

    @abstractmethod
    def _sample(self, draws: Draws, num: int) -> Tensor:
        """Images uint8 ``(num, c, h, w)`` of the network."""

    @abstractmethod
    def _nats(self, images: Tensor, draws: Draws) -> Tensor:
        """Nats an image, ``(n,)``, of images on the device: uint8, or floats as `nats` says."""

    @abstractmethod
    def _log_weights(self, images: Tensor, draws: Draws) -> Tensor:
        """Differences ln p(x, z) - ln q(z | x) of one draw an image, ``(n,)``."""

    def sample(self, seeds: Int64Array, labels: Int64Array | None = None) -> Tensor:
        """Images of seeds; each depends on its seed alone.

        Args:
            seeds: ``(n,)`` from 0 to 2^63 - 1.
            labels: None; these models have no classes.

        Returns:
            uint8 ``(n, 3, h, w)`` on the model's device; grey is repeated.

        Raises:
            UsageError: A seed is out of range, or labels were given.
        """
        if labels is not None:
            raise UsageError(f"{self.name} has no classes and was given labels; give none")
        SeedDraws(seeds)  # refuses what is no seed, also where there is none
        if not len(seeds):
            return torch.empty(0, 3, self.resolution, self.resolution, dtype=torch.uint8, device=self.device)

        def images(part: Tensor) -> Tensor:
            with torch.no_grad(), exact_float32():
                made = self._sample(SeedDraws(part.numpy(), self.device), len(part))
            made = made if made.shape[1] == 3 else made.repeat(1, 3, 1, 1)
            return made.repeat_interleave(self.enlarge, dim=2).repeat_interleave(self.enlarge, dim=3)

        return in_batches(images, self.batch(), torch.from_numpy(np.asarray(seeds, np.int64)))

    def nats(self, images: Tensor, *, seeds: Int64Array) -> Tensor:
        """How many nats the model needs an image, as `likelihood` says; each by its image and seed alone.

        Args:
            images: ``(n, c, h, w)`` of the network's own shape: uint8, or floats on the scale of its density
                where that is one of levels with noise.
            seeds: ``(n,)``, of the draws that an answer takes.

        Returns:
            float64 ``(n,)`` on the CPU.

        Raises:
            UsageError: Images of another type or shape, or seeds that cannot be.
        """
        return self._answer(self._nats, images, seeds)

    def log_weights(self, images: Tensor, *, seeds: Int64Array) -> Tensor:
        """Logarithms of importance weights, whose mean over seeds is the likelihood of an image.

        Args:
            images: As for `nats`.
            seeds: As for `nats`.

        Returns:
            float64 ``(n,)`` on the CPU.

        Raises:
            UsageError: As for `nats`.
        """
        return self._answer(self._log_weights, images, seeds)

    def _answer(self, answer: Callable[[Tensor, Draws], Tensor], images: Tensor, seeds: Int64Array) -> Tensor:
        shape = tuple(self.likelihood["shape"])
        # A density after dequantisation is one of the noisy images, which whoever asks has made.
        noisy = self.likelihood["dequantisation"] == "uniform"
        typed = images.is_floating_point() if noisy else images.dtype == torch.uint8
        if not typed or tuple(images.shape[1:]) != shape:
            wanted = "floats" if noisy else "uint8"
            told = "levels with noise on the scale of its density" if noisy else "levels, not floats"
            raise UsageError(
                f"{self.name} was given images of type {images.dtype} and shape {tuple(images.shape)}; it "
                f"takes {wanted} of shape (n, {', '.join(map(str, shape))}): {told}"
            )
        if len(seeds) != len(images):
            raise UsageError(f"{len(images)} images were given {len(seeds)} seeds; give one an image")
        SeedDraws(seeds)
        if not len(images):
            return torch.empty(0, dtype=torch.float64)

        def part(some: Tensor, of: Tensor) -> Tensor:
            with torch.no_grad(), exact_float32():
                return answer(some.to(self.device), SeedDraws(of.numpy(), self.device)).double().cpu()

        return in_batches(part, self.batch(), images, torch.from_numpy(np.asarray(seeds, np.int64)))
