"""Latents of a model and the attributes of its images: what linear separability is measured on, a row a draw.

Each draw has a seed of its own, which decides its latent z, its class and its noise. The styles w are those
of the last layer. The images are exactly those that the model gives when it is sampled, rounded to uint8;
the official code hands its classifiers the floats before rounding, box-averaged to 256 pixels, where a bundle
resizes to its own side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import need
from evalkit.adapters.samples import check_truncation, sample
from evalkit.digest import digest
from evalkit.engine.probes import Subject, device_types, draw_seeds
from evalkit.protocols.spec import ProtocolSpec, SeparabilityOptions

if TYPE_CHECKING:
    from torch import Tensor

    from evalkit.features.attributes import Attributes

Float32Array = npt.NDArray[np.float32]


class SeparabilityProbe:
    """Latents, styles and logits; an `evalkit.engine.probes.Probe`.

    Attributes:
        name: For progress.
        names: Of the attributes, in the order of the logits.
        layers: The spaces of the protocol (``z``, ``w``) and ``logits``, with their widths.
        group: Draws that are computed together: a batch of the classifiers.
        settings: Digest of seed, labels, truncation and the classifiers' side.
        weights_sha256: Digest of the classifiers' tensors.
        passes: Images made per row.
        device_type: Where the classifiers run.
    """

    name = "separability"
    passes = 1
    names: tuple[str, ...]
    layers: Mapping[str, int]
    group: int
    settings: str
    weights_sha256: str
    device_type: str

    def __init__(self, subject: Subject, spec: ProtocolSpec, attributes: Attributes) -> None:
        """Checks what the model can be asked; one latent is drawn, to learn the widths.

        Args:
            subject: The model and how to ask it; it offers ``Samples`` and ``HasLatents``.
            spec: A protocol with `SeparabilityOptions`.
            attributes: The classifiers.

        Raises:
            UsageError: The model has no latents, or labels or truncation do not fit it.
        """
        for capability in ("Samples", "HasLatents"):
            need(subject.model, capability, spec.name)
        check_truncation(subject.model, subject.truncation_psi, subject.truncation_cutoff)
        assert isinstance(spec.options, SeparabilityOptions)
        self._subject, self._attributes = subject, attributes
        self.names = attributes.names
        self.group = attributes.micro_batch
        self.device_type = device_types(subject.device, attributes.device)
        self.weights_sha256 = attributes.sha256
        self._spaces = spec.options.spaces
        widths = {space: rows.shape[1] for space, rows in self._latents(np.zeros(1, np.int64)).items()}
        self.layers = {**widths, "logits": len(attributes.names)}
        self.settings = digest({"side": attributes.side, **subject.facts()})

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """Rows of one group: for every space the latents, and the logits of every attribute."""
        subject = self._subject
        seeds = draw_seeds(subject.seed, "separability", indices)
        images = sample(
            subject.model, seeds, labels=subject.labels, truncation_psi=subject.truncation_psi,
            truncation_cutoff=subject.truncation_cutoff,
        )  # fmt: skip
        return {**self._latents(seeds), "logits": self._attributes(np.stack(images))}

    def _latents(self, seeds: npt.NDArray[np.int64]) -> dict[str, Float32Array]:
        import torch

        subject = self._subject
        with torch.no_grad():
            z: Tensor = subject.model.latents(seeds)
            found = {"z": z}
            if "w" in self._spaces:
                w = subject.styles(z, subject.classes(seeds))
                found["w"] = w[:, -1] if w.ndim == 3 else w
        return {space: found[space].flatten(1).float().cpu().numpy() for space in self._spaces}
