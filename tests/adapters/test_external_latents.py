"""What a model from outside can be asked, by its shape: latents, styles, noise, truncation, moves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from closed_form import Waves
from torch import nn

import evalkit
from evalkit.adapters.capabilities import offers
from evalkit.errors import CheckpointError, UsageError
from evalkit.imaging.quantise import to_uint8

SEEDS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], np.int64)
SHIFT = torch.tensor([[1.0, 0.0, -0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


class Halves:
    """A conditional model with two halves, noise of its own and truncation."""

    z_dim, num_classes = 5, 3

    def map(self, z, labels, truncation_psi=1.0):
        return truncation_psi * torch.cat([z, labels[:, None].float()], dim=1)

    def synthesise(self, w, noise_seeds=None):
        picture = torch.tanh(w).sum(1)[:, None, None, None].expand(-1, 3, 8, 8) / 6
        if noise_seeds is None:
            return picture
        noise = [torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(int(s))) for s in noise_seeds]
        return picture + 0.01 * torch.stack(noise)


class Grid(nn.Module):
    """A fully convolutional model: its latents are a grid, 4 cells to 16 pixels."""

    z_shape = (2, 4, 4)

    def forward(self, z):
        assert z.shape[1:] == (2, 4, 4)
        grey = z.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3).mean(1, keepdim=True)
        return torch.tanh(grey)


def test_what_a_function_offers_follows_from_its_parameters():
    assert offers(evalkit.adapt(Waves())) == ("Samples", "HasLatents", "Transformable")
    assert offers(evalkit.adapt(lambda z: torch.zeros(len(z), 3, 8, 8) + z[0, 0], z_dim=2)) == (
        "Samples",
        "HasLatents",
    )
    assert offers(evalkit.adapt(Halves())) == ("Samples", "HasLatents", "Conditional")
    assert offers(evalkit.adapt(Grid())) == ("Samples", "HasLatents", "Transformable")


def test_rounded_images_hide_small_steps_so_only_samples_are_offered():
    def rounded(z):
        return torch.zeros(len(z), 3, 8, 8, dtype=torch.uint8)

    model = evalkit.adapt(rounded, z_dim=2)
    assert offers(model) == ("Samples",)
    (record,) = evalkit.evaluate(model=model, metrics="ppl_mini", num=4, output=None)
    assert record.value is None
    assert "this needs a model whose latents can be mapped and synthesised" in record.reason


def test_labels_have_no_place_in_the_styles_of_a_plain_function():
    def conditional(z, labels):
        return torch.zeros(len(z), 3, 8, 8) + labels[:, None, None, None] / 10

    assert offers(evalkit.adapt(conditional, z_dim=2, num_classes=4)) == ("Samples", "Conditional")


def test_both_halves_give_the_images_that_are_sampled():
    model = evalkit.adapt(Halves())
    labels = SEEDS % 3
    w = model.map(model.latents(SEEDS), labels)
    assert torch.equal(to_uint8(model.synthesise(w)), model.sample(SEEDS, labels))
    plain = evalkit.adapt(Waves(side=16))
    assert torch.equal(to_uint8(plain.synthesise(plain.map(plain.latents(SEEDS)))), plain.sample(SEEDS))


def test_an_image_does_not_depend_on_its_batch():
    model = evalkit.adapt(Waves(side=16))
    w = model.map(model.latents(SEEDS))
    whole = model.synthesise(w, transform=SHIFT)
    parts = torch.cat([model.synthesise(w[i : i + 3], transform=SHIFT) for i in range(0, len(w), 3)])
    assert torch.equal(whole, parts)


def test_equal_noise_seeds_are_equal_noise():
    model = evalkit.adapt(Halves())
    w = model.map(model.latents(SEEDS[:2]), np.zeros(2, np.int64))
    same = model.synthesise(w[:1].expand(2, -1), noise_seeds=np.array([7, 7]))
    other = model.synthesise(w[:1].expand(2, -1), noise_seeds=np.array([7, 8]))
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1])
    assert torch.equal(other[0], same[0])


def test_truncation_reaches_a_map_that_takes_it():
    model = evalkit.adapt(Halves())
    labels = SEEDS % 3
    w = model.map(model.latents(SEEDS), labels, truncation_psi=0.5)
    torch.testing.assert_close(w, 0.5 * model.map(model.latents(SEEDS), labels))
    assert torch.equal(model.sample(SEEDS, labels, truncation_psi=0.5), to_uint8(model.synthesise(w)))
    with pytest.raises(UsageError, match="cannot be truncated so: truncation is for models whose map takes"):
        evalkit.adapt(Waves()).sample(SEEDS, truncation_psi=0.5)
    with pytest.raises(UsageError, match="models from outside take no cutoff"):
        model.sample(SEEDS, labels, truncation_psi=0.5, truncation_cutoff=2)


def test_a_grid_of_latents_moves_the_picture():
    model = evalkit.adapt(Grid())
    w = model.map(model.latents(SEEDS))
    assert w.shape == (len(SEEDS), 2, 4, 4)
    moved = model.synthesise(w, transform=SHIFT)  # by one cell, four pixels
    torch.testing.assert_close(moved[..., 4:], model.synthesise(w)[..., :-4])
    (record,) = evalkit.evaluate(model=model, metrics="eqt_int", num=8, output=None)
    assert record.value is not None


def test_the_range_is_brought_to_signed():
    def unit(z):
        return torch.sigmoid(z[:, :3, None, None]).expand(-1, 3, 8, 8)

    model = evalkit.adapt(unit, z_dim=3, value_range="unit")
    images = model.synthesise(model.map(model.latents(SEEDS)))
    torch.testing.assert_close(images[:, :, 0, 0], 2 * torch.sigmoid(model.latents(SEEDS)) - 1)


def test_torchscript_says_by_its_schema_that_it_takes_a_transform(tmp_path):
    class Moves(nn.Module):
        def forward(self, z: torch.Tensor, transform: torch.Tensor | None = None) -> torch.Tensor:
            shift = torch.zeros(1) if transform is None else transform[0, 2]
            return torch.tanh(z[:, :3, None, None] + shift).expand(-1, 3, 8, 8)

    path = tmp_path / "moves.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is being retired; its files are still there
        torch.jit.script(Moves()).save(str(path))
    from evalkit.adapters.external import load_external

    model = load_external(str(path), z_dim=4)
    assert "Transformable" in offers(model)
    w = model.map(model.latents(SEEDS))
    assert not torch.equal(model.synthesise(w), model.synthesise(w, transform=SHIFT))


@pytest.mark.parametrize(
    ("made", "more", "kind", "message"),
    [
        (
            3,
            {},
            CheckpointError,
            "int returned int; a factory takes no arguments and returns a torch module, a",
        ),
        (
            Grid(),
            {"z_dim": 7},
            UsageError,
            r"has latents of shape \(2, 4, 4\), 32 numbers, and --z-dim 7 was",
        ),
        (lambda z: z, {}, UsageError, "does not say how wide its latents are; give --z-dim N"),
        (Waves(), {"value_range": "bytes"}, UsageError, "unknown range 'bytes'"),
    ],
)
def test_what_cannot_be_adapted(made, more, kind, message):
    with pytest.raises(kind, match=message):
        evalkit.adapt(made, **more)


def test_a_shape_that_is_no_grid():
    class Flat(Grid):
        z_shape = (4, 4)

    with pytest.raises(
        CheckpointError, match=r"z_shape = \(4, 4\); latents that are grids have a shape \(channels"
    ):
        evalkit.adapt(Flat())


def test_failures_of_the_halves_are_told():
    class Fails(Halves):
        num_classes = 0

        def map(self, z):
            if z.abs().max() > 100:
                raise RuntimeError("too far out")
            return z if z.abs().max() < 50 else z.tolist()

        def synthesise(self, w):
            return super().synthesise(w)

    model = evalkit.adapt(Fails())
    with pytest.raises(CheckpointError, match="Fails.*: map raised RuntimeError: too far out"):
        model.map(torch.full((1, 5), 200.0))
    with pytest.raises(CheckpointError, match="map returned list; return a torch tensor, one style a row"):
        model.map(torch.full((1, 5), 60.0))
