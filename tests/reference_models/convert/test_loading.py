"""Whole files through `reference_models.load_checkpoint`: TensorFlow pickles and ported PyTorch files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tf_files import OPTIONS, TF_STYLEGAN2, write_tf_pickle

import reference_models
from evalkit.errors import CheckpointError
from reference_models.progan import convert as progan
from reference_models.stylegan import convert as stylegan
from reference_models.stylegan2 import convert_tf as stylegan2

SEEDS = np.arange(3)


@pytest.mark.parametrize("name", ["progan", "stylegan", "stylegan2"])
def test_a_tensorflow_pickle_gives_the_images_of_the_network_it_holds(tmp_path: Path, name: str):
    path, generator = write_tf_pickle(tmp_path, name)
    model = reference_models.load_checkpoint(path)
    assert model.resolution == 16
    wanted = type(model)(generator, name="in memory")
    assert torch.equal(model.sample(SEEDS), wanted.sample(SEEDS))
    assert not (tmp_path / "marker").exists()


def test_stylegan2_options_of_a_file_are_the_config():
    config = stylegan2.config_from_tf(TF_STYLEGAN2, {})
    assert (config.channel_base, config.conv_clamp, config.mapping.w_avg_beta) == (128, None, 0.995)


@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_a_ported_file_gives_the_images_of_the_network_it_holds(tmp_path: Path, name: str):
    _, generator = write_tf_pickle(tmp_path, name)
    convert = {"progan": progan, "stylegan": stylegan}[name]
    path = tmp_path / "file.pth"
    torch.save({"generator_smooth": convert.to_ported(generator.config, generator.state_dict())}, path)
    model = reference_models.load_checkpoint(path)
    wanted = type(model)(generator, name="in memory")
    difference = model.sample(SEEDS).int() - wanted.sample(SEEDS).int()
    # ProGAN's ported form is the unfused one, which sums in another order: a level may round otherwise.
    assert int(difference.abs().max()) <= (1 if name == "progan" else 0)


def test_a_network_that_does_not_fit_its_options_is_refused(tmp_path: Path):
    path, _ = write_tf_pickle(tmp_path, "progan", **{**OPTIONS["progan"], "resolution": 32})
    with pytest.raises(CheckpointError, match="missing: .*32x32"):
        reference_models.load_checkpoint(path)
