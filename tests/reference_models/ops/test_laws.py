"""What the operations must do whatever the numbers are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_models import ops


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 2, 1], list(range(1, 13))])
def test_resampling_keeps_brightness_and_size(path: str, taps: list[int]):
    f = ops.setup_filter(taps).double()
    flat = torch.ones(1, 2, 24, 36, dtype=torch.float64)
    with ops.use(path):
        for made, size in (
            (ops.filter2d(flat, f), (24, 36)),
            (ops.upsample2d(flat, f), (48, 72)),
            (ops.upsample2d(flat, f, up=(1, 2)), (48, 36)),
            (ops.downsample2d(flat, f), (12, 18)),
            (ops.downsample2d(flat, f, down=(3, 2)), (12, 12)),
        ):
            assert made.shape[2:] == size
            if taps == [1, 3, 3, 1]:  # its two phases have equal sums, so flat stays flat inside the edges
                inner = made[:, :, 2:-2, 2:-2]
                if size != (12, 12):
                    torch.testing.assert_close(inner, torch.ones_like(inner), rtol=1e-6, atol=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(shift=st.integers(0, 4), up=st.integers(1, 3))
def test_moving_the_picture_moves_the_result(shift: int, up: int):
    f, x = random(5, seed=1), random(1, 1, 20, 20)
    moved = torch.roll(x, shift, 3)
    got, want = (ops.upfirdn2d(value, f, up=up, padding=2) for value in (moved, x))
    keep = slice((shift + 6) * up, 14 * up)
    torch.testing.assert_close(got[..., keep], torch.roll(want, shift * up, 3)[..., keep])


def test_the_adjoint_is_the_transposed_matrix():
    f = random(4, 3, seed=1)

    def run(x: torch.Tensor) -> torch.Tensor:
        return ops.upfirdn2d(x, f, up=(2, 3), down=(3, 1), padding=(4, -1, 2, 3))

    x = random(1, 1, 7, 6).requires_grad_()
    y = run(x)
    g = random(*y.shape, seed=2)
    (back,) = torch.autograd.grad(y, x, g)
    torch.testing.assert_close((y * g).sum(), (x * back).sum())


@pytest.mark.parametrize("path", ["reference", "fast"])
def test_a_sample_does_not_depend_on_its_batch(path: str):
    f = ops.setup_filter([1, 3, 3, 1])
    x, w, s = random(5, 3, 9, 9).float(), random(4, 3, 3, 3, seed=1).float(), random(5, 3, seed=2).float()
    with ops.use(path):
        for run in (
            lambda x, s: ops.upfirdn2d(x, f, up=2, padding=2),
            lambda x, s: ops.filtered_lrelu(x, f, f, up=2, down=2, padding=4),
            lambda x, s: ops.modulated_conv2d(x, w, s, up=2, padding=1, resample_filter=f),
        ):
            torch.testing.assert_close(run(x, s)[3:4], run(x[3:4], s[3:4]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["reference", "fast"])
def test_demodulated_outputs_do_not_depend_on_the_size_of_weights_and_styles(path: str):
    x, w, s = random(2, 3, 9, 9), random(4, 3, 3, 3, seed=1), random(2, 3, seed=2)
    with ops.use(path):
        torch.testing.assert_close(
            ops.modulated_conv2d(x, w, s), ops.modulated_conv2d(x, 7 * w, 5 * s), rtol=1e-7, atol=1e-7
        )
        torch.testing.assert_close(
            ops.modulated_conv2d_equivariant(x, w, s),
            ops.modulated_conv2d_equivariant(x, 7 * w, 5 * s),
            rtol=1e-7,
            atol=1e-7,
        )


@pytest.mark.parametrize("path", ["reference", "fast"])
def test_not_a_number_stays_in_sight(path: str):
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 4, 4] = torch.nan
    f = ops.setup_filter([1, 3, 3, 1])
    with ops.use(path):
        assert ops.upfirdn2d(x, f, up=2, padding=2).isnan().any()
        assert ops.bias_act(x, act="lrelu", clamp=1.0).isnan().any()
        assert ops.filtered_lrelu(x, f, f, up=2, down=2, padding=4, clamp=1.0).isnan().any()


@pytest.mark.parametrize("path", ["reference", "fast"])
def test_a_value_that_is_not_finite_stays_in_its_channel(path: str):
    x = torch.zeros(1, 3, 64, 64)
    x[0, 1, 32, 32] = torch.inf
    with ops.use(path):
        y = ops.upfirdn2d(x, ops.setup_filter([1, 3, 3, 1]), padding=(2, 1, 2, 1))
    assert not y[0, 1, 31:35, 31:35].isfinite().any()
    assert (y[0, [0, 2]] == 0).all()


def test_shapes_are_known_on_the_meta_device():
    x = torch.empty(1, 4, 16, 16, device="meta")
    with torch.device("meta"):
        f = ops.setup_filter([1, 3, 3, 1])
    assert f.device.type == "meta"
    assert ops.upsample2d(x, f).shape == (1, 4, 32, 32)
    assert ops.filtered_lrelu(x, f, f, up=2, down=2, padding=4).shape[2:] == (17, 17)
    assert ops.bias_act(x, act="lrelu").device.type == "meta"


def test_groups_of_the_minibatch_are_not_neighbours():
    # Samples 0 and 2 are alike, and so are 1 and 3: in groups of two, every group is uniform.
    x = torch.tensor([1.0, 5.0, 1.0, 5.0]).reshape(4, 1, 1, 1).expand(4, 2, 3, 3)
    y = ops.minibatch_std(x, group_size=2)
    assert y.shape == (4, 3, 3, 3)
    torch.testing.assert_close(y[:, 2], torch.full((4, 3, 3), 1e-4))
    assert ops.minibatch_std(x, group_size=2, num_channels=0) is x
    torch.testing.assert_close(
        ops.minibatch_std(x, group_size=None)[:, 2], torch.full((4, 3, 3), (4 + 1e-8) ** 0.5)
    )


def test_one_tap_needs_no_filter():
    assert ops.design_lowpass_filter(1, 1.0, 1.0, 4.0) is None
    odd = ops.design_lowpass_filter(5, 1.0, 1.0, 4.0, radial=True)
    assert odd is not None
    assert odd.isfinite().all()
    torch.testing.assert_close(odd, odd.T)
    torch.testing.assert_close(odd.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("fused", [True, False])
def test_modulation_changes_none_of_its_inputs(path: str, fused: bool):
    x, w, s = random(1, 3, 4, 4), random(3, 3, 1, 1, seed=1), random(1, 3, seed=2)
    noise = random(2, 1, 4, 4, seed=3)  # more samples than the picture has: the result has as many
    kept = [value.clone() for value in (x, w, s, noise)]
    with ops.use(path), torch.no_grad():
        wide = ops.modulated_conv2d(x, w, s, noise=noise, fused=fused)
        narrow = ops.modulated_conv2d(x, w, s, noise=noise[:1], fused=fused)
    assert wide.shape == (2, 3, 4, 4)
    torch.testing.assert_close(wide[:1], narrow)
    for value, before in zip((x, w, s, noise), kept, strict=True):
        torch.testing.assert_close(value, before, rtol=0, atol=0)
