"""The FID Inception network (Szegedy et al. 2015, graph inception-2015-12-05), named as in torch-fidelity.

Official: toshas/torch-fidelity@5e211a9 torch_fidelity/feature_extractor_inceptionv3.py, which reproduces the
TensorFlow graph behind every published FID. Where that graph differs from torchvision's Inception v3:
average pools leave padded zeros out, the last block pools its maximum, images are scaled as (x - 128) / 128,
and the classifier has 1,008 outputs. Layers: the outputs of the first, second and sixth reduction averaged
over positions (64, 192, 768), the pooled features (2048), and the classifier without and with its bias
(logits_unbiased, logits).

Deviates: BatchNorm is folded into the convolutions, which are computed channels-last; features differ from
the official module's by rounding (below 1e-5 relative). The half-pixel resize is pytorch-fid's input
(mseitzer/pytorch-fid@b9c1811 src/pytorch_fid/inception.py): resized in [0, 1], then 2x - 1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch.nn import functional

from evalkit.features.base import Extractor, Shapes
from evalkit.features.convolution import Convolution, fold_batch_norm
from evalkit.imaging.resizes import RESIZES

EPSILON = 0.001  # added to variances, as in the graph
CLASSES = 1008
BN_TENSORS = ("weight", "bias", "running_mean", "running_var")


class Conv(NamedTuple):
    """A convolution with BatchNorm and ReLU; the padding keeps the size unless ``valid``."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    valid: bool = False


class Fork(NamedTuple):
    """Convolutions of one input, side by side; their outputs are concatenated."""

    arms: tuple[Conv, ...]


AVERAGE, MAXIMUM, REDUCE = "average", "maximum", "reduce"  # 3x3 pools: of stride 1, of stride 1, of stride 2
Step = Conv | Fork | str
Branch = tuple[Step, ...]


class Stage(NamedTuple):
    """Branches of one input whose outputs are concatenated, and the layer that can be read after them."""

    name: str
    branches: tuple[Branch, ...]
    layer: str = ""


def _block_a(pool: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
        (AVERAGE, Conv("branch_pool", pool)),
    )


def _block_c(width: int) -> tuple[Branch, ...]:
    across, down = (1, 7), (7, 1)
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", width),
            Conv("branch7x7_2", width, across),
            Conv("branch7x7_3", 192, down),
        ),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, down),
            Conv("branch7x7dbl_3", width, across),
            Conv("branch7x7dbl_4", width, down),
            Conv("branch7x7dbl_5", 192, across),
        ),
        (AVERAGE, Conv("branch_pool", 192)),
    )


def _block_e(pool: str) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 320),),
        (
            Conv("branch3x3_1", 384),
            Fork((Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1)))),
        ),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            Fork((Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1)))),
        ),
        (pool, Conv("branch_pool", 192)),
    )


_BLOCK_B: tuple[Branch, ...] = (
    (Conv("branch3x3", 384, (3, 3), 2, True),),
    (
        Conv("branch3x3dbl_1", 64),
        Conv("branch3x3dbl_2", 96, (3, 3)),
        Conv("branch3x3dbl_3", 96, (3, 3), 2, True),
    ),
    (REDUCE,),
)
_BLOCK_D: tuple[Branch, ...] = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2, True)),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2, True),
    ),
    (REDUCE,),
)

STAGES = (
    Stage(
        "",
        (
            (
                Conv("Conv2d_1a_3x3", 32, (3, 3), 2, True),
                Conv("Conv2d_2a_3x3", 32, (3, 3), 1, True),
                Conv("Conv2d_2b_3x3", 64, (3, 3)),
                REDUCE,
            ),
        ),
        "64",
    ),
    Stage("", ((Conv("Conv2d_3b_1x1", 80), Conv("Conv2d_4a_3x3", 192, (3, 3), 1, True), REDUCE),), "192"),
    Stage("Mixed_5b.", _block_a(32)),
    Stage("Mixed_5c.", _block_a(64)),
    Stage("Mixed_5d.", _block_a(64)),
    Stage("Mixed_6a.", _BLOCK_B),
    Stage("Mixed_6b.", _block_c(128)),
    Stage("Mixed_6c.", _block_c(160)),
    Stage("Mixed_6d.", _block_c(160)),
    Stage("Mixed_6e.", _block_c(192), "768"),
    Stage("Mixed_7a.", _BLOCK_D),
    Stage("Mixed_7b.", _block_e(AVERAGE)),
    Stage("Mixed_7c.", _block_e(MAXIMUM), "2048"),
)
_HEADS: Mapping[str, Shapes] = {
    "logits_unbiased": {"fc.weight": (CLASSES, 2048)},
    "logits": {"fc.weight": (CLASSES, 2048), "fc.bias": (CLASSES,)},
}


def _deepest(layers: tuple[str, ...]) -> int:
    # How many stages the layers need.
    taps = [index for index, stage in enumerate(STAGES, 1) if stage.layer in layers]
    return len(STAGES) if any(layer in _HEADS for layer in layers) else max(taps)


def _convolutions(num_stages: int) -> Iterator[tuple[str, Conv, int]]:
    # Every convolution of the first stages: full name, what it is, width of its input.
    width = 3
    for stage in STAGES[:num_stages]:
        total = 0
        for branch in stage.branches:
            inside = width
            for step in branch:
                arms = (step,) if isinstance(step, Conv) else step.arms if isinstance(step, Fork) else ()
                for conv in arms:
                    yield stage.name + conv.name, conv, inside
                inside = sum(conv.width for conv in arms) or inside
            total += inside
        width = total


@functools.cache
def _shapes(layer: str) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, conv, inputs in _convolutions(_deepest((layer,))):
        shapes[f"{name}.conv.weight"] = (conv.width, inputs, *conv.kernel)
        shapes.update({f"{name}.bn.{part}": (conv.width,) for part in BN_TENSORS})
    return {**shapes, **_HEADS.get(layer, {})}


class Inception(Extractor):
    """The FID Inception network, as deep as the deepest layer asked for."""

    @classmethod
    def shapes(cls, layer: str) -> Shapes:
        """Names and shapes of the tensors that ``layer`` uses."""
        return _shapes(layer)

    def build(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Folds BatchNorm and lays the weights out for the device."""
        self._dtype = getattr(torch, self.precision)
        self._stages = STAGES[: _deepest(self.layers)]
        self._convolutions: dict[str, Convolution] = {}
        for name, conv, _ in _convolutions(len(self._stages)):
            weight, bias = fold_batch_norm(tensors, name, EPSILON)
            height, width = conv.kernel
            self._convolutions[name] = Convolution(
                weight, bias, stride=conv.stride, device=self.device, dtype=self._dtype,
                padding=(0, 0) if conv.valid else (height // 2, width // 2),
            )  # fmt: skip
        if "fc.weight" in tensors:
            self._classifier = tensors["fc.weight"].to(self.device, self._dtype)
            self._bias = tensors.get("fc.bias", torch.zeros(CLASSES)).to(self.device)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Resizes uint8 images to 299x299 and scales them to [-1, 1]."""
        resize = RESIZES[self.resize]
        if self.resize == "half-pixel-bilinear":
            return resize(pixels.float().div_(255), (299, 299)).mul_(2).sub_(1)
        return resize(pixels, (299, 299)).sub_(128).div_(128)

    def network(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of one preprocessed batch of `micro_batch` images."""
        found: dict[str, torch.Tensor] = {}
        x = batch.to(self._dtype)
        for stage in self._stages:
            x = torch.cat([self._branch(stage.name, branch, x) for branch in stage.branches], dim=1)
            if stage.layer and (stage.layer in self.layers or stage is STAGES[-1]):
                found[stage.layer] = x.float().mean(dim=(2, 3))
        if any(layer in _HEADS for layer in self.layers):
            scores = functional.linear(found["2048"].to(self._dtype), self._classifier)
            found["logits_unbiased"] = scores.float()
            found["logits"] = found["logits_unbiased"] + self._bias
        return {layer: found[layer] for layer in self.layers}

    def _branch(self, block: str, branch: Branch, x: torch.Tensor) -> torch.Tensor:
        for step in branch:
            if isinstance(step, Conv):
                x = self._convolve(block, step, x)
            elif isinstance(step, Fork):
                x = torch.cat([self._convolve(block, arm, x) for arm in step.arms], dim=1)
            elif step == AVERAGE:
                x = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            else:
                same = step == MAXIMUM
                x = functional.max_pool2d(x, 3, stride=1 if same else 2, padding=1 if same else 0)
        return x

    def _convolve(self, block: str, conv: Conv, x: torch.Tensor) -> torch.Tensor:
        return functional.relu_(self._convolutions[block + conv.name](x))
