"""What every feature extractor is: a network, a resize, and the exact tensors behind both.

An extractor maps uint8 RGB images of any size to float32 rows. The result for an image depends on that image
alone: batches are cut and padded to one fixed shape before they reach the network, so that neither
``--batch-size`` nor the last partial batch can move a bit (docs/adr/0002).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from evalkit.digest import arrays_sha256
from evalkit.errors import WeightsError

if TYPE_CHECKING:
    import torch

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExtractorInfo:
    """What can be known of an extractor without loading it (and without importing torch).

    Attributes:
        name: Name used by protocols and records.
        layers: Width of every layer that can be asked for.
        input_size: Side of the square image the network sees.
        resizes: Names of the resizes it is defined with; the first is its own.
        weights: Names of the entries of the weights catalogue that can feed it, best first.
        gmac: Multiply-accumulate operations of one image through the deepest layer, in units of 1e9.
        source: Where the network was published.
    """

    name: str
    layers: Mapping[str, int]
    input_size: int
    resizes: tuple[str, ...]
    weights: tuple[str, ...]
    gmac: float
    source: str


class Extractor(ABC):
    """A loaded network, ready to turn images into rows of features.

    Attributes:
        info: What the network is.
        layers: The layers it computes, in the order asked for.
        resize: Name of the resize applied before the network.
        precision: ``float32`` or ``bfloat16``: the type of weights and activations.
        device: Where it runs.
        layer_sha256: Digest of the tensors that each asked layer uses, whatever file they came from. It does
            not depend on what else was asked for: FID-192 measured alone and beside FID-2048 is one number.
        weights_file: The file they came from, for records.
        micro_batch: Images per forward pass; the same for every call.
    """

    cpu_micro_batch: ClassVar[int] = 8
    cuda_micro_batch: ClassVar[int] = 64

    info: ExtractorInfo
    layers: tuple[str, ...]
    resize: str
    precision: str
    device: torch.device
    layer_sha256: Mapping[str, str]
    weights_file: str
    micro_batch: int

    def __init__(
        self,
        info: ExtractorInfo,
        tensors: Mapping[str, torch.Tensor],
        *,
        layers: Sequence[str],
        resize: str,
        precision: str,
        device: torch.device | str,
        weights_file: str,
    ) -> None:
        """Takes those of the named tensors that ``layers`` use; the network is built when images first come.

        So a run whose features are all on file pays for knowing the weights, not for laying them out.

        Raises:
            WeightsError: A tensor is missing, of another shape, not finite, or foreign to the network.
        """
        import torch

        self.info = info
        self.layers = tuple(layers)
        self.resize = resize
        self.precision = precision
        self.device = torch.device(device)
        self.weights_file = weights_file
        self.micro_batch = self.cpu_micro_batch if self.device.type == "cpu" else self.cuda_micro_batch
        names = {layer: self.shapes(layer) for layer in self.layers}
        wanted = {name: shape for shapes in names.values() for name, shape in shapes.items()}
        self._unbuilt: dict[str, torch.Tensor] | None = self._check(tensors, wanted)
        used = self._unbuilt
        self.layer_sha256 = {
            layer: tensors_sha256({name: used[name] for name in shapes}) for layer, shapes in names.items()
        }

    @classmethod
    @abstractmethod
    def shapes(cls, layer: str) -> Shapes:
        """Names and shapes of the tensors that ``layer`` uses."""

    @classmethod
    def is_ignored(cls, name: str) -> bool:
        """Whether a file may hold a tensor of this name though no layer uses it."""
        return name.endswith(".num_batches_tracked")

    @abstractmethod
    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Makes the network for `layers` from exactly the tensors they use."""

    @abstractmethod
    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resizes uint8 ``(n, 3, h, w)`` on the device and brings it to the network's range, as float32."""

    @abstractmethod
    def network(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Runs one preprocessed batch of exactly `micro_batch` images; float32 ``(n, d)`` for each layer."""

    def preprocess(self, images: Sequence[UInt8Array]) -> torch.Tensor:
        """Resizes and normalises images of any size to float32 ``(n, 3, s, s)`` on the device."""
        import torch

        side = self.info.input_size
        batch = torch.empty(
            (len(images), 3, side, side), device=self.device, memory_format=torch.channels_last
        )
        for start, stop in _runs([image.shape for image in images]):
            pixels = torch.from_numpy(np.stack(images[start:stop]))
            if self.device.type == "cuda":
                pixels = pixels.pin_memory().to(self.device, non_blocking=True)
            batch[start:stop] = self.normalise(pixels)
        return batch

    def __call__(self, images: Sequence[UInt8Array]) -> dict[str, Float32Array]:
        """Features of ``images``: for every layer a float32 array of shape ``(len(images), d)``."""
        import torch

        parts: dict[str, list[Float32Array]] = {layer: [] for layer in self.layers}
        # TF32 would round every product of a float32 network to 10 bits.
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.inference_mode(), exact:
            if self._unbuilt is not None:
                self.build(self._unbuilt)
                self._unbuilt = None
            for start in range(0, len(images), self.micro_batch):
                chunk = images[start : start + self.micro_batch]
                batch = self.preprocess(chunk)
                if len(chunk) < self.micro_batch:
                    batch = torch.cat([batch, batch[-1:].expand(self.micro_batch - len(chunk), -1, -1, -1)])
                outputs = self.network(batch.contiguous(memory_format=torch.channels_last))
                for layer in self.layers:
                    parts[layer].append(outputs[layer][: len(chunk)].float().cpu().numpy())
        return {
            layer: np.concatenate(rows) if rows else np.empty((0, self.info.layers[layer]), np.float32)
            for layer, rows in parts.items()
        }

    def _check(self, tensors: Mapping[str, torch.Tensor], wanted: Shapes) -> dict[str, torch.Tensor]:
        where = f"{self.weights_file} does not fit {self.info.name}"
        advice = f"give the file that `evalkit weights path {self.info.weights[0]}` names"
        if missing := [name for name in wanted if name not in tensors]:
            can = [layer for layer in self.info.layers if all(name in tensors for name in self.shapes(layer))]
            serves = f"it serves layer {', '.join(can)} alone" if can else advice
            raise WeightsError(
                f"{where}, layer {', '.join(self.layers)}: it has no tensor {missing[0]!r} ({len(missing)} "
                f"are missing); {serves}"
            )
        known = {name for layer in self.info.layers for name in self.shapes(layer)}
        foreign = [name for name in tensors if name not in known and not self.is_ignored(name)]
        if foreign:
            raise WeightsError(
                f"{where}: it holds {len(foreign)} tensors that the network does not have, such as "
                f"{foreign[0]!r}; {advice}"
            )
        return fitting_tensors(tensors, wanted, where, advice)


def _runs(shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    # Stretches of equal shape, as (start, stop).
    start = 0
    for place in range(1, len(shapes) + 1):
        if place == len(shapes) or shapes[place] != shapes[start]:
            yield start, place
            start = place


def fitting_tensors(
    tensors: Mapping[str, torch.Tensor], wanted: Shapes, where: str, advice: str
) -> dict[str, torch.Tensor]:
    """The wanted tensors in float32, each found to be there, of its shape, and finite.

    Args:
        tensors: By name.
        wanted: Names and shapes.
        where: How messages begin: which file does not fit what.
        advice: How they end: what to do.

    Raises:
        WeightsError: One of them is not.
    """
    used = {}
    for name, shape in wanted.items():
        if name not in tensors:
            raise WeightsError(f"{where}: it has no tensor {name!r}; {advice}")
        value = tensors[name].detach().float()
        if tuple(value.shape) != tuple(shape):
            raise WeightsError(
                f"{where}: {name!r} has shape {tuple(value.shape)} and should have {tuple(shape)}; {advice}"
            )
        if not np.isfinite(value.numpy()).all():
            raise WeightsError(f"{where}: {name!r} holds NaN or infinite values; {advice}")
        used[name] = value
    return used


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest of named tensors: names, shapes and float32 values, ordered by name, whatever file held them."""
    return arrays_sha256({name: value.detach().cpu().float().numpy() for name, value in tensors.items()})
