"""Path lengths of a model: the distances of pairs of its images, a row a pair.

Each pair has seeds of its own for its latents, its class and its place between them; eight consecutive pairs
share their noise, both images of every one of them, as the official code shares it over a minibatch. So the
row of a pair depends on its index and on the run's seed alone. A protocol of torch-fidelity's kind draws all
latents from one NumPy stream instead, in the official order, and leaves noise as the model stores it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import need
from evalkit.digest import digest
from evalkit.engine.probes import Subject, device_types, draw_seeds, draw_uniform
from evalkit.errors import UsageError
from evalkit.metrics.latent.ppl import path_distances
from evalkit.protocols.spec import PathLengthOptions, ProtocolSpec

if TYPE_CHECKING:
    from torch import Tensor

    from evalkit.features.lpips import PerceptualDistance

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

NOISE_GROUP = 8  # consecutive pairs that share their noise
_PIXELS = NOISE_GROUP * 256 * 256  # of the first images of the pairs that are made at once


class _Draws(NamedTuple):
    z0: Tensor
    z1: Tensor
    t: Tensor
    classes: Int64Array | None
    noise: int | None  # None leaves the model's own


class PathLengthProbe:
    """Distances over the squared step; an `evalkit.engine.probes.Probe`.

    Attributes:
        name: The distance in use, for progress.
        layers: One, ``distance``, of width 1.
        group: Pairs that are computed together, and share their noise.
        settings: Digest of options, seed, labels and truncation.
        weights_sha256: Digest of the distance's weights.
        passes: Images made per row.
        device_type: Where the distance runs.
    """

    layers: Mapping[str, int]
    group: int
    passes: int

    def __init__(
        self, subject: Subject, spec: ProtocolSpec, distance: PerceptualDistance, *, num: int
    ) -> None:
        """Checks what the model can be asked; nothing is drawn yet.

        Args:
            subject: The model and how to ask it. Both images of a pair are of the same class; in a protocol
                of one stream, no labels and ``uniform`` mean the classes that the stream draws.
            spec: A protocol with `PathLengthOptions`.
            distance: The distance that ``spec`` names.
            num: How many pairs there will be; decides the draws of one stream.

        Raises:
            UsageError: The model has no latents, or labels or the seed do not fit.
        """
        need(subject.model, "HasLatents", spec.name)
        assert isinstance(spec.options, PathLengthOptions)
        assert spec.extractor == distance.name
        self._subject, self._options, self._distance, self._num = subject, spec.options, distance, num
        self._ends: tuple[Tensor, Tensor, Int64Array | None] | None = None
        one_stream = spec.options.draws == "stream"
        if one_stream:
            assert spec.options.sampling == "end"
            if not 0 <= subject.seed < 2**32:
                raise UsageError(
                    f"{spec.name} draws all latents from one NumPy state, whose seed cannot be "
                    f"{subject.seed}; give a seed from 0 to {2**32 - 1}"
                )
        unsaid = subject.labels is None or (isinstance(subject.labels, str) and subject.labels == "uniform")
        self._stream_draws_classes = one_stream and unsaid and subject.num_classes > 0
        if not self._stream_draws_classes:
            subject.classes(np.zeros(1, np.int64))

        self.name = distance.name
        self.layers = {"distance": 1}
        self.group = NOISE_GROUP
        self.passes = 2
        self.device_type = device_types(subject.device, distance.device)
        self.weights_sha256 = distance.sha256
        self.settings = digest(
            {
                # Which rows count is decided afterwards.
                "options": dataclasses.replace(spec.options, lower=0.0, upper=100.0),
                "num": num if one_stream else None,
                **subject.facts(),
            }
        )

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """Distances over the squared step of the pairs of one group, ``(len(indices), 1)``."""
        import torch

        step = max(1, min(len(indices), _PIXELS // int(self._subject.model.resolution) ** 2))
        with torch.no_grad():
            rows = [self._distances(indices[start : start + step]) for start in range(0, len(indices), step)]
        return {"distance": np.concatenate(rows)[:, None]}

    def _distances(self, indices: range) -> Float32Array:
        drawn = self._from_stream(indices) if self._options.draws == "stream" else self._from_seeds(indices)

        def synthesise(w: Tensor) -> Tensor:
            noise = None if drawn.noise is None else np.full(len(w), drawn.noise, np.int64)
            images: Tensor = self._subject.model.synthesise(w, noise_seeds=noise)
            return images

        found = path_distances(
            synthesise, lambda z: self._subject.styles(z, drawn.classes), self._distance,
            drawn.z0, drawn.z1, drawn.t, self._options,
        )  # fmt: skip
        return found.float().cpu().numpy()

    def _from_seeds(self, indices: range) -> _Draws:
        import torch

        subject = self._subject
        seeds = [draw_seeds(subject.seed, stream, indices) for stream in ("z0", "z1")]
        z0, z1 = (subject.model.latents(own) for own in seeds)
        places = np.zeros(len(indices))
        if self._options.sampling == "full":
            places = draw_uniform(subject.seed, "t", indices, 1)[:, 0]
        group = indices.start // NOISE_GROUP
        noise = draw_seeds(subject.seed, "noise", range(group, group + 1))
        t = torch.from_numpy(places).to(z0.device)
        return _Draws(z0, z1, t, subject.classes(seeds[0]), int(noise[0]))

    def _from_stream(self, indices: range) -> _Draws:
        # toshas/torch-fidelity@5e211a9 metric_ppl.py: all first latents, all second ones, then all classes.
        import torch

        subject = self._subject
        if self._ends is None:
            like = subject.model.latents(np.zeros(1, np.int64))
            state = np.random.RandomState(subject.seed)
            first, second = (
                torch.from_numpy(state.randn(self._num, like.shape[1])).to(like.device, like.dtype)
                for _ in range(2)
            )
            every = state.randint(0, subject.num_classes, self._num) if self._stream_draws_classes else None
            self._ends = first, second, every
        # The last group may reach beyond the last pair.
        places = np.minimum(np.array(indices, np.int64), self._num - 1)
        z0, z1, drawn = self._ends[0][places], self._ends[1][places], self._ends[2]
        classes = (
            subject.classes(draw_seeds(subject.seed, "classes", indices))
            if drawn is None
            else drawn[places].astype(np.int64)
        )
        return _Draws(z0, z1, torch.zeros(len(z0), device=z0.device), classes, None)
