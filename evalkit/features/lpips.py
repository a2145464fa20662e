"""Perceptual distances of image pairs: LPIPS on VGG16, and the same recipe on the bundled network.

LPIPS (Zhang et al. 2018, eq. 1): both images pass a network; at several depths the channels of every position
are brought to unit length, and the squared differences are weighted by channel, averaged over positions and
summed over depths. ``lpips-vgg16`` is version 0.1 of that metric: VGG16's rectified maps before each of its
five pools, with the channel weights ("linear heads") that the PyPI package ``lpips`` carries. It is the
distance of StyleGAN's path length and of torch-fidelity. ``lpips-mini`` is evalkit's own: the maps of the
bundled CIFAR-10 classifier after its stem, its two stages and its head, all channels with weight 1. It needs
no download, and its values are comparable with each other alone.

Images are not resized. Distances are float32 without TF32, and those of a pair depend on that pair alone:
pairs pass the network in batches of one size (docs/adr/0002). Imports torch only to load a network.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from evalkit.errors import MetricError, WeightsError, lookup
from evalkit.features.base import Shapes, fitting_tensors, tensors_sha256
from evalkit.features.tensors import read_tensors
from evalkit.features.weights import check_overrides, locate
from evalkit.features.weights import weights_dir as weights_folder
from evalkit.files import sha256_file

if TYPE_CHECKING:
    import torch

# weights/v0.1/vgg.pth of richzhang/PerceptualSimilarity, which is in lpips 0.1.1 to 0.1.4.
HEADS_FILE = "weights/v0.1/vgg.pth"
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
_LENGTH_FLOOR = 1e-10  # added to lengths, as the metric's authors do: positions without activation stay zero


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DistanceInfo:
    """What can be known of a distance without loading it.

    Attributes:
        name: Name used by protocols and records.
        weights: The entry of the weights catalogue that feeds its network.
        smallest: Least height and width of an image.
        gmac: Multiply-accumulate operations of one image of 256x256 pixels, in units of 1e9; they grow with
            the number of pixels. A pair has two images.
        source: Where it was published.
    """

    name: str
    weights: str
    smallest: int
    gmac: float
    source: str


DISTANCES: Mapping[str, DistanceInfo] = {
    info.name: info
    for info in (
        DistanceInfo(
            name="lpips-vgg16",
            weights="vgg16",
            smallest=16,
            gmac=20.0,
            source="Zhang et al. 2018, version 0.1: torchvision's VGG16, linear heads of the lpips package",
        ),
        DistanceInfo(
            name="lpips-mini",
            weights="mini",
            smallest=8,
            gmac=3.6,
            source="evalkit: the recipe of Zhang et al. 2018 without learned heads on the bundled network",
        ),
    )
}


class PerceptualDistance(ABC):
    """A loaded distance.

    Attributes:
        info: What it is.
        name: Its name.
        device: Where it runs.
        sha256: Digest of the tensors in use, whatever file they came from.
        weights_file: The file they came from, for records.
        micro_batch: Pairs per forward pass; the same for every call.
    """

    cpu_micro_batch: ClassVar[int] = 4
    cuda_micro_batch: ClassVar[int] = 16

    def __init__(
        self, info: DistanceInfo, tensors: Mapping[str, torch.Tensor], device: torch.device, weights_file: str
    ) -> None:
        """Lays the network out for the device."""
        self.info = info
        self.name = info.name
        self.device = device
        self.sha256 = tensors_sha256(tensors)
        self.weights_file = weights_file
        self.micro_batch = self.cpu_micro_batch if device.type == "cpu" else self.cuda_micro_batch
        self.build(tensors)

    @property
    def gmac(self) -> float:
        """See `DistanceInfo`."""
        return self.info.gmac

    @abstractmethod
    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Makes the network from exactly the tensors in use."""

    @abstractmethod
    def maps(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """Maps ``(n, c, h, w)`` of images on the scale 0 to 255, with weights ``(1, c, 1, 1)`` or None."""

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distances of pairs.

        Args:
            a: Floats on the scale 0 to 255, ``(n, 3, h, w)``; they may overshoot it.
            b: Of the same shape.

        Returns:
            float32 ``(n,)`` on the distance's device, at least 0; NaN where an image holds NaN.

        Raises:
            MetricError: Another shape or type, or images that are too small.
        """
        import torch

        small = self.info.smallest
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or not a.is_floating_point():
            raise MetricError(
                f"{self.name} compares two batches of float RGB images (n, 3, h, w) of one shape; got "
                f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
            )
        if min(a.shape[2:]) < small:
            raise MetricError(
                f"{self.name} needs images of {small} by {small} pixels or more and got {a.shape[2]} by "
                f"{a.shape[3]}; use a protocol that does not crop, lpips-mini (from 8 by 8), or larger images"
            )
        # TF32 would round every product of a float32 network to 10 bits.
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        found = [torch.empty(0, device=self.device)]
        with torch.no_grad(), exact:
            for start in range(0, len(a), self.micro_batch):
                pairs = [x[start : start + self.micro_batch].to(self.device).float() for x in (a, b)]
                num = len(pairs[0])
                filled = [torch.cat([x, x[-1:].expand(self.micro_batch - num, -1, -1, -1)]) for x in pairs]
                batch = torch.cat(filled).contiguous(memory_format=torch.channels_last)
                total = torch.zeros(self.micro_batch, device=self.device)
                for values, weights in self.maps(batch):
                    first, second = (
                        values / (values.square().sum(dim=1, keepdim=True).sqrt() + _LENGTH_FLOOR)
                    ).chunk(2)
                    apart = (first - second).square()
                    apart = apart if weights is None else apart * weights
                    total += apart.sum(dim=1).mean(dim=(1, 2))
                found.append(total[:num])
        return torch.cat(found)


class _OnVGG16(PerceptualDistance):
    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        import torch

        from evalkit.features import vgg16

        # The metric's own scaling of [-1, 1], by (-.030, -.088, -.188) and (.458, .448, .450), is this one.
        self._mean = torch.tensor(vgg16.MEAN, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(vgg16.STD, device=self.device).view(1, 3, 1, 1)
        self._groups = vgg16.convolution_groups(tensors, self.device, torch.float32)
        self._heads = [tensors[name].to(self.device) for name in _head_shapes()]

    def maps(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        from torch.nn import functional

        x, found = (images - self._mean) / self._std, []
        for place, group in enumerate(self._groups):
            if place:
                x = functional.max_pool2d(x, 2)
            for convolution in group:
                x = functional.relu(convolution(x))
            found.append(x)
        return list(zip(found, self._heads, strict=True))


class _OnMini(PerceptualDistance):
    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        import torch

        from evalkit.features import mini

        self._net = mini.lay_out(tensors, self.device, torch.float32)

    def maps(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        from evalkit.features import mini_net

        x = self._net.stem(mini_net.normalise(images))
        found, place = [x], 0
        for _, blocks in mini_net.STAGES:
            x = self._net.blocks[place : place + blocks](x)
            found.append(x)
            place += blocks
        found.append(self._net.head(x))
        return [(values, None) for values in found]


def load_distance(
    name: str,
    *,
    device: torch.device | str = "cpu",
    weights_dir: Path | str | None = None,
    overrides: Mapping[str, Path] | None = None,
) -> PerceptualDistance:
    """A distance ready to run, with verified weights. Nothing is downloaded.

    Args:
        name: ``lpips-vgg16`` or ``lpips-mini``.
        device: Where it runs.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: There is no such distance, or a file was named for weights that do not exist.
        WeightsError: Weights are missing, partial, wrong, or do not fit the network.
    """
    import torch

    info = lookup(name, DISTANCES, "distance")
    given = overrides or {}
    check_overrides(given)
    path = locate(info.weights, weights_folder(weights_dir), given)
    where = f"{path} does not fit {name}"
    advice = f"give the file that `evalkit weights path {info.weights}` names"
    used = fitting_tensors(read_tensors(path), _network_shapes(name), where, advice)
    made: type[PerceptualDistance] = _OnMini
    if name == "lpips-vgg16":
        used |= _heads()
        made = _OnVGG16
    return made(info, used, torch.device(device), str(path))


def _network_shapes(name: str) -> Shapes:
    if name == "lpips-mini":
        from evalkit.features.mini import Mini

        return Mini.shapes("features")
    from evalkit.features.vgg16 import VGG16

    return {key: shape for key, shape in VGG16.shapes("fc2").items() if key.startswith("features.")}


def _head_shapes() -> Shapes:
    from evalkit.features.vgg16 import GROUPS

    return {f"lin{place}.model.1.weight": (1, widths[-1], 1, 1) for place, widths in enumerate(GROUPS)}


def _heads() -> dict[str, torch.Tensor]:
    # Only the file is read: importing the package would import its training code and run its pickle loader.
    found = importlib.util.find_spec("lpips")
    again = "install it again: pip install --force-reinstall lpips"
    if found is None or found.origin is None:
        raise WeightsError(
            "lpips-vgg16 takes its linear heads from the package lpips, which is not installed; pip install "
            "lpips"
        )
    path = Path(found.origin).parent / HEADS_FILE
    if not path.is_file() or sha256_file(path) != HEADS_SHA256:
        raise WeightsError(f"the package lpips lacks its file {HEADS_FILE}, or holds another one; {again}")
    return fitting_tensors(read_tensors(path), _head_shapes(), f"{path} does not fit lpips-vgg16", again)
