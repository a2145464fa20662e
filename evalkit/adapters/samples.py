"""A model as a source of images: image i is the model's answer to seed i, whatever else is asked for with it.

What a model offers is known by shape (`evalkit.adapters.capabilities`). That an image depends on its seed
(and
class) alone is the model's promise; `GeneratedSource` looks whether it repeats itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evalkit.adapters.capabilities import need
from evalkit.digest import digest
from evalkit.errors import UsageError
from evalkit.sources.base import ImageSource, Int64Array, UInt8Array
from evalkit.sources.generated import CHUNK, GeneratedSource

if TYPE_CHECKING:
    import torch

Labels = int | str | Int64Array | None

_PIXELS = 32 * 128 * 128  # between two reports of progress


def _batch_of(resolution: int) -> int:
    return max(1, min(CHUNK, _PIXELS // resolution**2))


def labels_for(seeds: Int64Array, labels: Labels, num_classes: int, name: str) -> Int64Array | None:
    """The class of every seed, which depends on that seed alone.

    Args:
        seeds: Seeds, ``(n,)``.
        labels: One class; ``uniform``, each class as likely; or the labels of real images, which are drawn
            from.
        num_classes: Classes of the model, 0 where it has none.
        name: The model's name, for messages.

    Raises:
        UsageError: A conditional model got no labels, or one without classes got some, or they do not fit.
    """
    if not num_classes:
        if labels is None or isinstance(labels, np.ndarray):
            return None
        raise UsageError(f"{name} knows no classes, and --labels {labels} was given; leave it out")
    if labels is None:
        raise UsageError(
            f"{name} is conditional ({num_classes} classes) and there are no labels: use --data with labels, "
            "--labels uniform, or --labels CLASS"
        )
    if isinstance(labels, str) and labels != "uniform":
        if not (labels.isascii() and labels.isdigit() and len(labels) < 19):
            raise UsageError(f"--labels {labels}: write uniform, or a class from 0 to {num_classes - 1}")
        labels = int(labels)
    if isinstance(labels, int):
        if not 0 <= labels < num_classes:
            raise UsageError(
                f"{name} has the classes 0 to {num_classes - 1}, and --labels {labels} is none of them"
            )
        return np.full(len(seeds), labels, np.int64)
    if not isinstance(labels, (str, np.ndarray)) or not len(labels):
        raise UsageError(f"labels are {labels!r}; give one class, uniform, or an array of them to draw from")
    pool = np.arange(num_classes, dtype=np.int64) if isinstance(labels, str) else labels
    if pool.min() < 0 or pool.max() >= num_classes:
        raise UsageError(
            f"{name} has the classes 0 to {num_classes - 1}, and the real images are labelled "
            f"{pool.min()} to {pool.max()}; use --labels uniform, or data with the classes it was trained on"
        )
    # A stream of its own for every seed, apart from the one latents come from.
    places = [np.random.default_rng([int(seed), 1]).integers(len(pool)) for seed in seeds]
    return pool[np.asarray(places, dtype=np.int64)]


def sample(
    model: Any,  # noqa: ANN401
    seeds: Int64Array,
    *,
    labels: Labels = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[UInt8Array]:
    """Images of ``seeds``, each uint8 RGB ``(3, h, w)``.

    Raises:
        UsageError: The model draws no images, or labels or truncation do not fit it.
    """
    need(model, "Samples", "sampling")
    chosen = labels_for(seeds, labels, model.num_classes, model.name)
    check_truncation(model, truncation_psi, truncation_cutoff)
    options: dict[str, Any] = {}
    if truncation_psi != 1:
        options["truncation_psi"] = truncation_psi
        if truncation_cutoff is not None:
            options["truncation_cutoff"] = truncation_cutoff
    size = _batch_of(model.resolution)
    images: list[UInt8Array] = []
    for start in range(0, len(seeds), size):
        part = slice(start, start + size)
        made: torch.Tensor = model.sample(seeds[part], None if chosen is None else chosen[part], **options)
        images += list(made.cpu().numpy())
        if progress is not None:
            progress(len(images), len(seeds))
    return images


def with_sampling(model: Any, sampling: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """The model with other settings of sampling.

    Raises:
        UsageError: It has none, or not these.
    """
    if not sampling:
        return model
    if not hasattr(model, "with_sampling"):
        given = " ".join(f"--sampling {name}={value}" for name, value in sampling.items())
        raise UsageError(f"{model.name} has no settings of sampling; leave {given} out")
    return model.with_sampling(**sampling)


def check_truncation(model: Any, psi: float, cutoff: int | None) -> None:  # noqa: ANN401
    """Refuses truncation that cannot be, has no effect, or has no w to act on.

    Raises:
        UsageError: A value cannot be, a cutoff stands alone, or the model does not map z to w.
    """
    if isinstance(psi, bool) or not isinstance(psi, (int, float)) or not math.isfinite(psi):
        raise UsageError(f"truncation psi is {psi!r}; give a finite number, such as 0.7 (1 is none)")
    if cutoff is not None and (isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 0):
        raise UsageError(f"truncation cutoff is {cutoff!r}; give how many layers to truncate, 0 or more")
    if psi != 1:
        need(model, "HasLatents", "truncation")
    elif cutoff is not None:
        raise UsageError(f"--truncation-cutoff {cutoff} truncates nothing without --truncation; give both")


class AnswersOnly(ImageSource):
    """The images of a model that draws none and answers other questions: there are none."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        """Takes the model, for its name and identity."""
        self.spec = model.name
        self.notes = (f"{model.name} draws no images",)
        self._fingerprint = digest(["answers-only", model.name, getattr(model, "identity", None)])

    def __len__(self) -> int:
        return 0

    def load(self, indices: Sequence[int]) -> list[UInt8Array]:
        """No images.

        Raises:
            UsageError: One was asked for.
        """
        if len(indices):
            raise UsageError(f"{self.spec} draws no images")
        return []

    def item_digests(self, indices: Sequence[int]) -> Iterator[bytes]:
        """No digests."""
        return iter(())


class ModelSource(GeneratedSource):
    """The images of consecutive seeds of one model."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        num: int,
        first_seed: int = 0,
        *,
        labels: Labels = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> None:
        """Checks labels and truncation; nothing is generated yet.

        Args:
            model: Offers ``sample``, ``name``, ``resolution``, ``num_classes``
                (`evalkit.adapters.capabilities`).
            num: How many images.
            first_seed: Seed of image 0.
            labels: See `labels_for`.
            truncation_psi: Pull towards the average w; 1 is none.
            truncation_cutoff: How many layers are pulled; None leaves it to the model (mostly all).

        Raises:
            UsageError: Labels, truncation or the count do not fit.
        """
        labels_for(np.array([first_seed], np.int64), labels, model.num_classes, model.name)
        check_truncation(model, truncation_psi, truncation_cutoff)

        def make(seeds: Int64Array) -> npt.NDArray[np.uint8]:
            made = sample(
                model,
                seeds,
                labels=labels,
                truncation_psi=truncation_psi,
                truncation_cutoff=truncation_cutoff,
            )
            return np.stack(made)

        drawn = isinstance(labels, np.ndarray) and model.num_classes > 0
        classes = hashlib.sha256(labels.tobytes()).hexdigest() if isinstance(labels, np.ndarray) else labels
        settings = f"psi={truncation_psi!r}|cutoff={truncation_cutoff}"
        if model.num_classes:
            settings += f"|classes={classes}"
        identity = getattr(model, "identity", None)
        super().__init__(
            make, num, first_seed, model.name,
            identity=None if identity is None else f"{identity}|{settings}",
        )  # fmt: skip
        stated = [f"made by the model {model.name}, one image a seed, from seed {first_seed} on"]
        if truncation_psi != 1:
            layers = "" if truncation_cutoff is None else f" on the first {truncation_cutoff} layers"
            stated.append(f"truncation psi {truncation_psi:g}{layers}")
        if model.num_classes:
            how = "as those of the real images are" if drawn else f"as --labels {labels} says"
            stated.append(f"classes are drawn {how}")
        self.notes = tuple(stated)
        if model.num_classes:
            seeds = np.arange(first_seed, first_seed + num, dtype=np.int64)
            self.labels = labels_for(seeds, labels, model.num_classes, model.name)
