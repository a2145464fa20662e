"""clean-fid on two folders with given weights: it has no command line of its own, so this is the shortest.

python benchmarks/cleanfid_cli.py SAMPLES DATA WEIGHTS.pth
"""

from __future__ import annotations

import json
import os
import sys

import torch
from cleanfid import fid
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Body(torch.nn.Module):
    """The network as clean-fid calls its own: resized pixels in [0, 255] to pooled features, no folding."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        whole = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights)
        blocks = [block for name, block in whole.named_children() if name != "fc"]
        self.blocks = torch.nn.Sequential(*blocks)
        self.pool = torch.nn.AdaptiveAvgPool2d(1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.pool(self.blocks((pixels - 128) / 128)).flatten(1)


def main() -> None:
    samples, data, weights = sys.argv[1:4]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = Body(weights).eval()
    options = {"num_workers": 0, "batch_size": 32, "device": torch.device("cpu"), "verbose": False}
    value = fid.compare_folders(samples, data, model, mode="clean", **options)
    print(json.dumps({"frechet_inception_distance": float(value)}))


if __name__ == "__main__":
    main()
