"""Models from outside that can be asked for more than images: latents, steps of styles, moved pictures.

What a model offers follows from its shape, and floats must leave it: images that are rounded already hide the
small steps that these metrics take.

* A function or module of latents has latents: its styles w are z itself (and so a label has no place in w: a
  conditional one must have two halves).
* An object with ``map(z)`` (``map(z, labels)`` if conditional) and ``synthesise(w)`` has styles. A parameter
  ``truncation_psi`` of ``map`` is given the truncation; ``noise_seeds`` of ``synthesise`` int64 seeds
  ``(n,)``, equal ones for images that must share their noise.
* A parameter ``transform`` of the function or of ``synthesise`` is given the inverse transform of the
  picture, float32 ``(3, 3)`` in coordinates that go from -1/2 to 1/2: the picture's place (x, y) shows what
  lies at ``transform @ (x, y, 1)``. The identity, or None, must leave the picture as it is.
* A model with an attribute ``z_shape = (channels, height, width)`` has latents that are grids; without a
  parameter ``transform`` the grid is moved in its place (`evalkit.imaging.moved_grid`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.adapters.external import ExternalModel, Int64Array
from evalkit.adapters.external_readers import Loaded, first_line, takes
from evalkit.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def kind_of(loaded: Loaded, num_classes: int) -> type[ExternalModel]:
    """The class that offers what a model can be asked."""
    if num_classes and loaded.mapping is None:
        return ExternalModel
    if takes(loaded.synthesis or loaded.function, "transform") or loaded.z_shape is not None:
        return MovableModel
    return LatentModel


class LatentModel(ExternalModel):
    """A model from outside behind the capabilities `Samples` and `HasLatents`."""

    def map(
        self,
        z: Tensor,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Styles of latents: what the model's ``map`` gives, or the latents as the model takes them.

        Args:
            z: ``(n, z_dim)``.
            labels: ``(n,)``, for a conditional model.
            truncation_psi: Handed to the model's ``map``; 1 is none.
            truncation_cutoff: None; models from outside know no layers.

        Raises:
            UsageError: Labels do not fit, or truncation is asked for and the model has none.
            CheckpointError: The model fails.
        """
        import torch

        given: list[Any] = [self._shaped(z, self._axes).to(self.device)]
        labels = self._check_labels(np.arange(len(z)), labels)
        if labels is not None:
            given.append(torch.from_numpy(labels.copy()).to(self.device))
        truncation: dict[str, float] = {}
        mapping = self._loaded.mapping
        if truncation_psi != 1 or truncation_cutoff is not None:
            if mapping is None or not takes(mapping, "truncation_psi") or truncation_cutoff is not None:
                raise UsageError(
                    f"{self.name} cannot be truncated so: truncation is for models whose map takes "
                    "truncation_psi, and models from outside take no cutoff; leave --truncation and "
                    "--truncation-cutoff out"
                )
            truncation["truncation_psi"] = truncation_psi
        if mapping is None:
            styles: Tensor = given[0]
            return styles
        return self._tensor(lambda: mapping(*given, **truncation), len(z))

    def synthesise(self, w: Tensor, *, noise_seeds: Int64Array | None = None) -> Tensor:
        """Images of styles, float32 ``(n, c, h, w)`` in about [-1, 1], in batches of one size.

        Args:
            w: What `map` gave.
            noise_seeds: ``(n,)``, handed to a model that takes them.

        Raises:
            CheckpointError: The model fails, or returns something else than images.
        """
        return self._synthesised(w, noise_seeds, {})

    def sample(
        self,
        seeds: Int64Array,
        labels: Int64Array | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Images of seeds: uint8 ``(n, 3, h, w)``, on the CPU; see `ExternalModel.sample` and `map`."""
        if truncation_psi == 1 and truncation_cutoff is None:
            return super().sample(seeds, labels)
        from evalkit.imaging.quantise import to_uint8

        truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
        w = self.map(self.latents(seeds), labels, **truncation)  # type: ignore[arg-type]
        images = to_uint8(self.synthesise(w))
        return images.repeat(1, 3, 1, 1) if images.shape[1] == 1 else images

    def _synthesised(self, w: Tensor, noise_seeds: Int64Array | None, options: dict[str, Any]) -> Tensor:
        import torch

        from evalkit.imaging.exact import exact_float32

        synthesis = self._loaded.synthesis or self._function
        where = f"{self.name} (under a transform)" if "transform" in options else self.name
        noisy = noise_seeds is not None and takes(synthesis, "noise_seeds")
        parts = []
        for start in range(0, len(w), self._batch):
            part = w[start : start + self._batch]
            padded = torch.cat([part, part[-1:].expand(self._batch - len(part), *part.shape[1:])])
            more = dict(options)
            if noisy and noise_seeds is not None:
                own = noise_seeds[start : start + self._batch]
                more["noise_seeds"] = np.concatenate([own, np.repeat(own[-1:], self._batch - len(own))])

            def call(padded: Tensor = padded, more: dict[str, Any] = more) -> Any:  # noqa: ANN401
                with exact_float32():
                    return synthesis(padded.to(self.device), **more)

            made = self._array(call, len(padded), where)
            if made.dtype.kind != "f":
                raise CheckpointError(f"{self.name} returned floats before, and {made.dtype} now")
            parts.append(torch.from_numpy(np.ascontiguousarray(made, np.float32))[: len(part)])
        images = torch.cat(parts) if parts else torch.empty(0, 3, self.resolution, self.resolution)
        return images * 2 - 1 if self.value_range == "unit" else images

    def _tensor(self, call: Callable[[], Any], num: int) -> Tensor:
        import torch

        from evalkit.imaging.exact import exact_float32

        try:
            with exact_float32():
                made = call()
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise CheckpointError(
                f"{self.name}: map raised {type(error).__name__}: {first_line(error)}"
            ) from error
        if not isinstance(made, torch.Tensor):
            raise CheckpointError(
                f"{self.name}: map returned {type(made).__name__}; return a torch tensor, one style a row"
            )
        if made.ndim < 2 or len(made) != num:
            raise CheckpointError(
                f"{self.name}: map returned shape {tuple(made.shape)} for {num} latents; return one style a "
                f"row, ({num}, width)"
            )
        return made


class MovableModel(LatentModel):
    """A model from outside behind the capabilities `Samples`, `HasLatents` and `Transformable`."""

    @property
    def transform_note(self) -> str:
        """What records say of how its input is moved, where evalkit does that."""
        if self._moves_itself:
            return ""
        return (
            "its latents are grids, which were moved in the picture's place: evalkit's own definition, since "
            "they have no coordinates"
        )

    @property
    def _moves_itself(self) -> bool:
        return self._loaded.z_shape is None or takes(self._loaded.synthesis or self._function, "transform")

    def synthesise(
        self, w: Tensor, *, noise_seeds: Int64Array | None = None, transform: Tensor | None = None
    ) -> Tensor:
        """Images of styles, float32 ``(n, c, h, w)`` in about [-1, 1], in batches of one size.

        Args:
            w: What `map` gave.
            noise_seeds: ``(n,)``, handed to a model that takes them.
            transform: Inverse transform of the picture, ``(3, 3)``.

        Raises:
            CheckpointError: The model fails, or returns something else than images.
        """
        if transform is None:
            return self._synthesised(w, noise_seeds, {})
        if self._moves_itself:
            return self._synthesised(w, noise_seeds, {"transform": transform.float().to(self.device)})
        from evalkit.imaging.moved_grid import moved_grid

        return self._synthesised(moved_grid(w, transform), noise_seeds, {})
