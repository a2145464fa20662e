"""PyTorch files that ProGAN and StyleGAN were ported to: read safely, told apart, measured."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evalkit.errors import CheckpointError
from reference_models.convert.ported import identify, progan_config, read_ported, stylegan_config
from reference_models.progan import convert as progan_convert
from reference_models.progan.config import GeneratorConfig as ProganConfig
from reference_models.progan.generator import Generator as ProganG
from reference_models.stylegan import convert as stylegan_convert
from reference_models.stylegan.config import GeneratorConfig as StyleganConfig
from reference_models.stylegan.config import MappingConfig
from reference_models.stylegan.generator import Generator as StyleganG

PROGAN = ProganConfig(img_resolution=32, c_dim=2, fmap_base=128, fmap_max=12, fused_scale=False)
STYLEGAN = StyleganConfig(
    img_resolution=32, z_dim=9, w_dim=10, fmap_base=128, fmap_max=12,
    mapping=MappingConfig(num_layers=3, layer_features=11),
)  # fmt: skip


def ported_progan() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return progan_convert.to_ported(PROGAN, ProganG(PROGAN).state_dict())


def ported_stylegan(config: StyleganConfig = STYLEGAN) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return stylegan_convert.to_ported(config, StyleganG(config).state_dict())


def test_files_of_three_networks_and_of_one(tmp_path: Path):
    path = tmp_path / "file.pth"
    torch.save({"generator": ported_progan(), "generator_smooth": ported_progan()}, path)
    assert set(read_ported(path)) == {"G", "G_ema"}
    torch.save(ported_stylegan(), path)
    found = read_ported(path)
    assert set(found) == {"G_ema"}
    assert identify(found["G_ema"]) == "stylegan"
    assert identify(ported_progan()) == "progan"


def test_sizes_are_read_off_the_shapes():
    assert progan_config(ported_progan(), c_dim=2) == replace(PROGAN, z_dim=12)
    state = ported_progan()
    config = progan_config(state, c_dim=2)
    generator = ProganG(config)
    generator.load_state_dict(progan_convert.from_ported(config, state))
    assert stylegan_config(ported_stylegan()) == replace(STYLEGAN, truncation_cutoff=8)
    quiet = replace(STYLEGAN, use_noise=False, c_dim=4)
    assert stylegan_config(ported_stylegan(quiet)) == quiet


@pytest.mark.parametrize(
    ("base", "top"), [(8192, 512), (4096, 512), (128, 8), (100, 300), (16, 512)], ids=str
)
def test_channels_of_any_base_are_found(base: int, top: int):
    config = replace(PROGAN, fmap_base=base, fmap_max=top, c_dim=0)
    with torch.device("meta"):
        state = ProganG(config).state_dict()
    widths = [config.maps(stage) for stage in range(1, 5)]
    ported = {f"output{block}.weight": torch.empty(3, width, 1, 1) for block, width in enumerate(widths)}
    ported["layer0.weight"] = torch.empty(widths[0], state["4x4.Dense.weight"].shape[1], 4, 4)
    found = progan_config(ported)
    assert [found.maps(stage) for stage in range(1, 5)] == widths


def test_files_that_are_none(tmp_path: Path):
    marker = tmp_path / "marker"

    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    path = tmp_path / "file.pth"
    torch.save({"generator": Runs()}, path)
    with pytest.raises(CheckpointError, match="not a file of state dicts that can be read safely"):
        read_ported(path)
    assert not marker.exists()
    whole = tmp_path / "whole.pth"
    torch.save(ported_progan(), whole)
    for length in (0, 1, 100, 5000):
        path.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(CheckpointError, match="not a file of state dicts"):
            read_ported(path)
    with pytest.raises(CheckpointError, match="absent.pth cannot be read"):
        read_ported(tmp_path / "absent.pth")
    for content, text in (([1, 2], "holds a list, not a dict"), ({"x": 5}, "'x' is a int, not a tensor")):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=text):
            read_ported(path)


def test_other_networks_and_odd_shapes():
    with pytest.raises(CheckpointError, match="no ported generator of ProGAN or StyleGAN .its first .* conv"):
        identify({"conv": torch.zeros(1)})
    state = ported_progan()
    state["output2.weight"] = torch.zeros(3, 7, 1, 1)
    with pytest.raises(CheckpointError, match="channels 12, 12, 7, 8 from 4x4 up do not halve"):
        progan_config(state)
    del state["layer0.weight"]
    with pytest.raises(CheckpointError, match="no tensor 'layer0.weight'"):
        progan_config({**ported_progan(), "layer0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="0 output layers; between 1"):
        progan_config({"conv": torch.zeros(1)})
