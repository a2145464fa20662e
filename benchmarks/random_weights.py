"""Full-size random weights in the peers' own formats, for where the published ones cannot be assumed.

A network with weights drawn blindly dies or explodes with depth, and two programs that agree on zeros agree
on nothing. So weights are drawn with He's variance, the statistics of BatchNorm are measured on pictures, and
the classifier ignores what all pictures have in common: every layer then varies from picture to picture, at a
scale near 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from evalkit.features.inception import Inception
from evalkit.features.tensors import read_tensors
from evalkit.imaging.resize_tf import tf1_bilinear


def pictures(num: int, size: int, seed: int) -> np.ndarray:
    """Smooth colour fields with texture of random strength: uint8 ``(num, size, size, 3)``."""
    rng = np.random.default_rng(seed)
    side = max(2, size // 16)
    low = torch.from_numpy(rng.normal(size=(num, 3, side, side)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(
        low, size=(size, size), mode="bicubic", align_corners=False
    ).numpy()
    level, contrast = rng.uniform(70, 180, (num, 3, 1, 1)), rng.uniform(10, 60, (num, 1, 1, 1))
    grain = rng.normal(size=(num, 3, size, size)) * rng.uniform(0, 25, (num, 1, 1, 1))
    return np.clip(level + contrast * smooth + grain, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def write_inception(path: Path, seed: int = 0) -> Path:
    """Writes the FID Inception network as torch-fidelity keeps it."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in Inception.shapes("logits").items():
        if name.endswith("conv.weight"):
            fan_in = shape[1] * shape[2] * shape[3]
            state[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        elif name.endswith("bn.weight"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif name.endswith("bn.running_var"):
            state[name] = torch.ones(shape)
        else:
            state[name] = torch.randn(shape, generator=generator) * 0.3
    torch.save(state, path)
    network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path=str(path))
    batch = _varied(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the one batch it sees
    with torch.no_grad():
        network.train()
        network(batch)
        network.eval()
        (features,) = network(batch)
        # Rows orthogonal to the mean feature, at a scale that gives the scores of others a deviation near 1.
        weight = torch.randn(network.fc.weight.shape, generator=generator)
        mean = features.mean(0)
        weight -= torch.outer(weight @ mean, mean) / mean.dot(mean)
        network.fc.weight.copy_(weight * (0.8 / (features @ weight.T).std()))
    torch.save(network.state_dict(), path)
    return path


def _varied(seed: int) -> torch.Tensor:
    # Pictures as they reach the network from files of different sizes, so that the statistics hold for all.
    made = []
    for size in (32, 96, 200, 256):
        part = torch.from_numpy(pictures(6, size, seed + size)).permute(0, 3, 1, 2)
        made.append(tf1_bilinear(part, (299, 299)).round().byte())
    return torch.cat(made)


def write_vgg16(path: Path, seed: int = 0) -> Path:
    """Writes VGG16 as torchvision keeps it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.vgg16()  # its own initialisation keeps the scale; only biases start at 0
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith("bias"):
                    value.normal_(0, 0.05)
    torch.save(network.state_dict(), path)
    return path


def once(folder: Path, network: str) -> Path:
    """The file of ``inception`` or ``vgg16`` in ``folder``, written when it is first asked for."""
    path = folder / f"random-{network}.pth"
    if not path.exists():
        {"inception": write_inception, "vgg16": write_vgg16}[network](path)
    return path


def with_stem(whole: Path, stem: Path, path: Path) -> Path:
    """Writes ``whole`` with the tensors of ``stem`` in place: torch-fidelity reads whole files only."""
    state = torch.load(whole, weights_only=True)
    state.update(read_tensors(stem))
    torch.save(state, path)
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("output", type=Path, help="the .pth to write")
    parser.add_argument("--stem", type=Path, help="genuine first layers to put in place")
    arguments = parser.parse_args()
    write_inception(arguments.output)
    if arguments.stem:
        with_stem(arguments.output, arguments.stem, arguments.output)


if __name__ == "__main__":
    main()
