"""Equivariance of a model: squared errors of its images of moved inputs, a row an image.

Each image has a seed of its own for its latent and its class; the images of a group share one shift or one
angle, which is drawn from the group's place in the run, for each operation by itself. Rows hold the move as
well, so that any of them can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import need
from evalkit.digest import digest
from evalkit.engine.probes import Subject, draw_seeds, draw_uniform
from evalkit.protocols.spec import EquivarianceOptions, ProtocolSpec

if TYPE_CHECKING:
    from torch import Tensor

    from evalkit.metrics.equivariance.eq import Compared, Move, Operation

Float32Array = npt.NDArray[np.float32]

# Columns of a row.
COLUMNS = ("squared_error", "counted", "tx", "ty", "angle", "changed")


class Made(NamedTuple):
    """The images of one group under one operation.

    Attributes:
        operation: ``int``, ``frac`` or ``rot``.
        move: How they moved.
        compared: What was made and what was expected.
        changed: Whether the transform changed anything.
    """

    operation: Operation
    move: Move
    compared: Compared
    changed: bool


class EquivarianceProbe:
    """Errors under shifts and rotations; an `evalkit.engine.probes.Probe`.

    Attributes:
        name: For progress.
        layers: One an operation: ``int``, ``frac``, ``rot``; `COLUMNS` wide.
        group: Images that share a move.
        settings: Digest of the largest moves, seed, labels and truncation.
        weights_sha256: None take part.
        passes: Images made per row: the original, and one an operation.
        device_type: Where the model runs.
        notes: What the model says of how it moves its input.
    """

    name = "equivariance"
    weights_sha256 = ""
    layers: Mapping[str, int]
    group: int
    passes: int
    notes: tuple[str, ...]

    def __init__(self, subject: Subject, spec: ProtocolSpec, operations: tuple[Operation, ...]) -> None:
        """Checks what the model can be asked; nothing is drawn yet.

        Args:
            subject: The model and how to ask it.
            spec: A protocol with `EquivarianceOptions`; its operation is one of ``operations``.
            operations: What to measure of the same images.

        Raises:
            UsageError: The model cannot transform its input, or labels do not fit it.
        """
        need(subject.model, "Transformable", spec.name)
        need(subject.model, "HasLatents", spec.name)
        assert isinstance(spec.options, EquivarianceOptions)
        self._subject, self._options = subject, spec.options
        subject.classes(np.zeros(1, np.int64))
        self._operations = operations
        self.layers = dict.fromkeys(operations, len(COLUMNS))
        self.group = spec.options.batch
        self.passes = 1 + len(operations)
        self.device_type = subject.device.type
        told = getattr(subject.model, "transform_note", "")
        self.notes = (str(told),) if told else ()
        largest = [spec.options.translate_max, spec.options.rotate_max]
        self.settings = digest({"largest": largest, "batch": self.group, **subject.facts()})

    def __call__(self, indices: range) -> Mapping[str, Float32Array]:
        """Rows of one group: ``(len(indices), 6)`` for each operation."""
        rows: dict[str, Float32Array] = {}
        for operation, move, found, changed in self.compared(indices):
            sums = found.sums()
            told = np.broadcast_to(np.array([*move, float(changed)]), (len(sums), 4))
            rows[operation] = np.concatenate([sums, told], axis=1).astype(np.float32)
        return rows

    def compared(self, indices: range) -> list[Made]:
        """The images of one group under one move an operation, and what is expected of them."""
        from evalkit.imaging.exact import exact_float32
        from evalkit.metrics.equivariance.eq import compare, draw_move

        subject, options = self._subject, self._options
        group = indices.start // self.group
        found = []
        with exact_float32():
            seeds = draw_seeds(subject.seed, "equivariance", indices)
            w = subject.styles(subject.model.latents(seeds), subject.classes(seeds))
            original: Tensor = subject.model.synthesise(w)
            for operation in self._operations:
                uniform = draw_uniform(subject.seed, f"move {operation}", range(group, group + 1), 2)[0]
                move = draw_move(
                    operation, uniform, translate_max=options.translate_max, rotate_max=options.rotate_max
                )
                seen: list[Tensor] = []

                def synthesis(transform: Tensor, seen: list[Tensor] = seen) -> Tensor:
                    seen.append(subject.model.synthesise(w, transform=transform))
                    return seen[-1]

                made = compare(synthesis, original, operation, move)
                found.append(Made(operation, move, made, not seen[-1].equal(original)))
        return found
