"""Perceptual distances of image pairs: LPIPS on three networks, and the same recipe on the bundled one.

LPIPS (Zhang et al. 2018, eq. 1): both images pass a network; at several depths the channels of every position
are brought to unit length, and the squared differences are weighted by channel, averaged over positions and
summed over depths. ``lpips-alex``, ``lpips-vgg16`` and ``lpips-squeeze`` are version 0.1 of that metric, with
the channel weights ("linear heads") that the PyPI package ``lpips`` carries. VGG16's is the distance of
StyleGAN's path length and of torch-fidelity, AlexNet's that of super-resolution. ``lpips-mini`` is evalkit's
own: the maps of the bundled CIFAR-10 classifier after its stem, its two stages and its head, all channels
with weight 1. It needs no download, and its values are comparable with each other alone.

Images are not resized. Distances are float32 without TF32, and those of a pair depend on that pair alone:
pairs pass the network in batches of one size (docs/adr/0002). Imports torch only to load a network.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from evalkit.errors import MetricError, lookup
from evalkit.features.base import Shapes, fitting_tensors, tensors_sha256
from evalkit.features.tensors import read_tensors
from evalkit.features.weights import check_overrides, locate, packaged_file
from evalkit.features.weights import weights_dir as weights_folder

if TYPE_CHECKING:
    import torch

_LENGTH_FLOOR = 1e-10  # added to lengths, as the metric's authors do: positions without activation stay zero


class Heads(NamedTuple):
    """Linear heads of richzhang/PerceptualSimilarity, which are in lpips 0.1.1 to 0.1.4.

    Attributes:
        file: Where in the package.
        sha256: Of that file.
    """

    file: str
    sha256: str


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
        heads: Its linear heads; None where all channels weigh the same.
    """

    name: str
    weights: str
    smallest: int
    gmac: float
    source: str
    heads: Heads | None = None


DISTANCES: Mapping[str, DistanceInfo] = {
    info.name: info
    for info in (
        DistanceInfo(
            name="lpips-vgg16",
            weights="vgg16",
            smallest=16,
            gmac=20.0,
            source="Zhang et al. 2018, version 0.1: torchvision's VGG16, linear heads of the lpips package",
            heads=Heads(
                "weights/v0.1/vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
            ),
        ),
        DistanceInfo(
            name="lpips-alex",
            weights="alexnet",
            smallest=31,
            gmac=0.9,
            source="Zhang et al. 2018, version 0.1: torchvision's AlexNet, linear heads of the lpips package",
            heads=Heads(
                "weights/v0.1/alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
            ),
        ),
        DistanceInfo(
            name="lpips-squeeze",
            weights="squeezenet",
            smallest=17,
            gmac=0.35,
            source="Zhang et al. 2018, version 0.1: torchvision's SqueezeNet 1.1, linear heads of the lpips "
            "package",
            heads=Heads(
                "weights/v0.1/squeeze.pth",
                "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
            ),
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

        from evalkit.imaging.exact import exact_float32

        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or not a.is_floating_point():
            raise MetricError(
                f"{self.name} compares two batches of float RGB images (n, 3, h, w) of one shape; got "
                f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
            )
        check_size(self.name, self.info.smallest, a.shape[2], a.shape[3])
        found = [torch.empty(0, device=self.device)]
        with exact_float32():
            for start in range(0, len(a), self.micro_batch):
                pairs = [x[start : start + self.micro_batch].to(self.device).float() for x in (a, b)]
                num = len(pairs[0])
                filled = [torch.cat([x, x[-1:].expand(self.micro_batch - num, -1, -1, -1)]) for x in pairs]
                total = torch.zeros(self.micro_batch, device=self.device)
                batch = torch.cat(filled).contiguous(memory_format=torch.channels_last)
                for values, weights in self.unit_maps(batch):
                    first, second = values.chunk(2)
                    total += weighted_difference(first, second, weights).mean(dim=(1, 2))
                found.append(total[:num])
        return torch.cat(found)

    def unit_maps(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        """`maps` of channels-last images, of unit length along the channels, each with its weights."""
        return [(_unit(values), weights) for values, weights in self.maps(images)]


def check_size(name: str, smallest: int, height: int, width: int) -> None:
    """Refuses images that are too small for the network called ``name``.

    Raises:
        MetricError: A side is shorter than ``smallest``.
    """
    if min(height, width) < smallest:
        raise MetricError(
            f"{name} needs images of {smallest} by {smallest} pixels or more and got {height} by {width}; "
            "use a protocol that does not crop, lpips-mini (from 8 by 8), or larger images"
        )


def _unit(values: torch.Tensor) -> torch.Tensor:
    return values / (values.square().sum(dim=1, keepdim=True).sqrt() + _LENGTH_FLOOR)


def weighted_difference(
    first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Squared differences ``(n, h, w)`` of two unit maps ``(n, c, h, w)``, weighted and summed by channel."""
    apart = (first - second).square()
    return (apart if weights is None else apart * weights).sum(dim=1)


class _OnBackbone(PerceptualDistance):
    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        from evalkit.features.lpips_nets import BACKBONES

        self._net = BACKBONES[self.name](tensors, self.device)
        self._heads = [tensors[name].to(self.device) for name in _head_shapes(self.name)]

    def maps(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        return list(zip(self._net(images), self._heads, strict=True))


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
        name: One of `DISTANCES`.
        device: Where it runs.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: There is no such distance, or a file was named for weights that do not exist.
        WeightsError: Weights are missing, partial, wrong, or do not fit the network.
    """
    import torch

    info = lookup(name, DISTANCES, "distance")
    used, path = network_tensors(info.weights, name, _network_shapes(name), weights_dir, overrides)
    if info.heads is None:
        return _OnMini(info, used, torch.device(device), str(path))
    used |= _read_heads(name, info.heads)
    return _OnBackbone(info, used, torch.device(device), str(path))


def network_tensors(
    weights: str,
    name: str,
    shapes: Shapes,
    weights_dir: Path | str | None,
    overrides: Mapping[str, Path] | None,
) -> tuple[dict[str, torch.Tensor], Path]:
    """The verified tensors of the network under ``name``, and the file they came from.

    Args:
        weights: The entry of the weights catalogue.
        name: What they are for, in messages.
        shapes: Those wanted.
        weights_dir: Folder of weight files.
        overrides: Files to use for single weights, by name.

    Raises:
        UsageError: A file was named for weights that do not exist.
        WeightsError: Weights are missing, partial, wrong, or do not fit.
    """
    given = overrides or {}
    check_overrides(given)
    path = locate(weights, weights_folder(weights_dir), given)
    advice = f"give the file that `evalkit weights path {weights}` names"
    return fitting_tensors(read_tensors(path), shapes, f"{path} does not fit {name}", advice), path


def _network_shapes(name: str) -> Shapes:
    if name == "lpips-mini":
        from evalkit.features.mini import Mini

        return Mini.shapes("features")
    from evalkit.features.lpips_nets import BACKBONES

    return BACKBONES[name].shapes()


def _head_shapes(name: str) -> Shapes:
    from evalkit.features.lpips_nets import BACKBONES

    widths = BACKBONES[name].widths
    return {f"lin{place}.model.1.weight": (1, width, 1, 1) for place, width in enumerate(widths)}


def _read_heads(name: str, heads: Heads) -> dict[str, torch.Tensor]:
    path = packaged_file("lpips", heads.file, heads.sha256, what=name, install="lpips")
    again = "install it again: pip install --force-reinstall lpips"
    return fitting_tensors(read_tensors(path), _head_shapes(name), f"{path} does not fit {name}", again)
