"""What every feature extractor is: a network, a resize, and the exact tensors behind both.

An extractor maps uint8 RGB images of any size to float32 rows. The result for an image depends on that image
alone: batches are cut and padded to one fixed shape before they reach the network, so that neither
``--batch-size`` nor the last partial batch can move a bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]


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
        weights_sha256: Digest of the tensors that the asked layers use, whatever file they came from.
        weights_file: The file they came from, for records.
        micro_batch: Images per forward pass; the same for every call.
    """

    info: ExtractorInfo
    layers: tuple[str, ...]
    resize: str
    precision: str
    device: torch.device
    weights_sha256: str
    weights_file: str
    micro_batch: int

    @abstractmethod
    def preprocess(self, images: Sequence[UInt8Array]) -> torch.Tensor:
        """Resizes and normalises images of any size to float32 ``(n, 3, s, s)`` on the device."""

    @abstractmethod
    def network(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Runs one preprocessed batch of exactly `micro_batch` images; float32 ``(n, d)`` for each layer."""

    def __call__(self, images: Sequence[UInt8Array]) -> dict[str, Float32Array]:
        """Features of ``images``: for every layer a float32 array of shape ``(len(images), d)``."""
        import torch

        parts: dict[str, list[Float32Array]] = {layer: [] for layer in self.layers}
        with torch.inference_mode():
            for start in range(0, len(images), self.micro_batch):
                chunk = images[start : start + self.micro_batch]
                batch = self.preprocess(chunk)
                if len(chunk) < self.micro_batch:
                    batch = torch.cat([batch, batch[-1:].expand(self.micro_batch - len(chunk), -1, -1, -1)])
                outputs = self.network(batch)
                for layer in self.layers:
                    parts[layer].append(outputs[layer][: len(chunk)].float().cpu().numpy())
        return {
            layer: np.concatenate(rows) if rows else np.empty((0, self.info.layers[layer]), np.float32)
            for layer, rows in parts.items()
        }


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest of named tensors: names, shapes and float32 values, ordered by name, whatever file held them."""
    total = hashlib.sha256(b"evalkit-tensors-1")
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name].detach().cpu().float().numpy())
        total.update(f"{name}|{value.shape}|".encode())
        total.update(value.tobytes())
    return total.hexdigest()
