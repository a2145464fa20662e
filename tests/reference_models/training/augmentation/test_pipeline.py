"""The pipeline as a whole: identity, determinism, frequencies, each image for itself, bad input."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from augment_cases import drawn, noisy, rows, smooth

from evalkit.errors import UsageError
from reference_models.training.augmentation.config import (
    BLIT,
    COLOR,
    CUTOUT,
    FILTER,
    GEOM,
    NOISE,
    SETS,
    AugmentConfig,
)
from reference_models.training.augmentation.pipeline import AugmentPipe

EVERYTHING = SETS["bgcfnc"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_is_the_identity_to_the_last_bit(name: str, channels: int):
    x = noisy(4, 12, channels=channels)
    assert torch.equal(AugmentPipe(SETS[name])(x, p=0, generator=rng()), x)


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0, 3.0])
def test_the_same_randomness_is_used_at_every_strength(p: float):
    pipe, x, used, reference = AugmentPipe(EVERYTHING), noisy(4, 8), rng(), rng()
    pipe(x, p=p, generator=used)
    pipe(x, p=0.5, generator=reference)
    assert torch.equal(used.get_state(), reference.get_state())


def test_seeds_decide_everything_and_no_global_randomness_is_used():
    pipe, x = AugmentPipe(EVERYTHING), noisy(8, 8)
    before = torch.get_rng_state()
    first, again, other = (pipe(x, p=0.8, generator=rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_strengths_are_numbers_or_tensors_and_above_one_they_are_one():
    pipe, x = AugmentPipe(EVERYTHING), noisy(8, 8)
    whole = pipe(x, p=1.0, generator=rng())
    assert torch.equal(pipe(x, p=1.7, generator=rng()), whole)
    assert torch.equal(pipe(x, p=torch.tensor(1.0), generator=rng()), whole)


def test_untouched_images_stay_as_they_are_to_the_last_bit():
    x = noisy(400, 8)
    changed = (AugmentPipe()(x, p=0.05, generator=rng()) != x).flatten(1).any(dim=1)
    # What chooses an image but leaves it as it is: fair coins, and turns and shifts by nothing.
    expected = 1 - (1 - 0.05 / 2) ** 2 * (1 - 0.05 * 3 / 4) ** 2 * (1 - 0.05) ** 8
    assert abs(changed.double().mean().item() - expected) < 4 * math.sqrt(0.25 / 400)


EXPECTED = {
    "xflip": lambda p: p / 2,
    "rotate90": lambda p: p * 3 / 4,
    "xint": lambda p: p * 3 / 4,  # up to one pixel of eight: each axis stays with probability 1/2
    "imgfilter": lambda p: 1 - (1 - p) ** 4,
    "lumaflip": lambda p: p / 2,
}
NAMES = [name for group in (BLIT, GEOM, COLOR, FILTER, NOISE, CUTOUT) for name in group]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("p", "multiplier"), [(0.3, 1.0), (0.8, 0.75), (0.9, 2.0)])
def test_each_augmentation_happens_as_often_as_it_should(name: str, p: float, multiplier: float):
    n = 1500
    pipe = AugmentPipe(AugmentConfig(**{name: multiplier}))
    x = noisy(n, 8)
    changed = (pipe(x, p=p, generator=rng(7)) - x).abs().flatten(1).amax(dim=1) > 1e-5
    expected = EXPECTED.get(name, lambda p: p)(min(p * multiplier, 1))
    spread = math.sqrt(expected * (1 - expected) / n)
    assert abs(changed.double().mean().item() - expected) <= 4 * spread + 2 / n


@pytest.mark.parametrize("side", [16, 36])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_every_image_is_augmented_for_itself(side: int, p: float):
    pipe, x, draws = AugmentPipe(EVERYTHING), noisy(12, side).double(), drawn(12)
    noise = noisy(12, side, seed=1)
    together = pipe.apply_draws(x, p=p, draws=draws, noise=noise)
    for which in ([3], [7, 0], [11, 5, 2, 9]):
        alone = pipe.apply_draws(x[which], p=p, draws=rows(draws, which), noise=noise[which])
        torch.testing.assert_close(alone, together[which], rtol=0, atol=1e-6)


def test_a_grey_image_is_augmented_as_a_coloured_one_without_colour():
    grey, draws = smooth(8, 16, channels=1), drawn(8)
    pipe = AugmentPipe(AugmentConfig(rotate=1, scale=1, brightness=1, contrast=1, lumaflip=1, imgfilter=1))
    once = pipe.apply_draws(grey, p=1, draws=draws, noise=None)
    thrice = pipe.apply_draws(grey.expand(-1, 3, -1, -1).contiguous(), p=1, draws=draws, noise=None)
    torch.testing.assert_close(once.expand(-1, 3, -1, -1), thrice)


@pytest.mark.parametrize(("side", "fast"), [(5, False), (34, True)])
def test_gradients_of_first_and_second_order_are_right(side: int, fast: bool):
    pipe, draws = AugmentPipe(EVERYTHING), drawn(2, seed=3)
    noise = noisy(2, side, seed=1)
    x = noisy(2, side).double().requires_grad_()

    def augmented(x: torch.Tensor) -> torch.Tensor:
        return pipe.apply_draws(x, p=0.7, draws=draws, noise=noise)

    assert torch.autograd.gradcheck(augmented, (x,), fast_mode=fast)
    assert torch.autograd.gradgradcheck(lambda x: augmented(x).square(), (x,), fast_mode=True)


def test_the_penalty_of_r1_reaches_the_weights_through_augmentation():
    pipe, draws = AugmentPipe(), drawn(3)
    x = smooth(3, 8).requires_grad_()
    weight = smooth(1, 8, seed=5)[0].requires_grad_()

    def penalty(weight: torch.Tensor) -> torch.Tensor:
        logits = (pipe.apply_draws(x, p=0.8, draws=draws, noise=None) * weight).tanh().sum()
        return torch.autograd.grad(logits, x, create_graph=True)[0].square().sum()

    assert torch.autograd.gradcheck(penalty, (weight,), fast_mode=True)


def test_half_precision_is_augmented_in_single():
    pipe, x = AugmentPipe(EVERYTHING), noisy(4, 8)
    half = x.bfloat16()
    made = pipe(half, p=1, generator=rng())
    assert made.dtype == torch.bfloat16
    single = pipe(half.float(), p=1, generator=rng())
    assert torch.equal(made, single.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pipe(half.float(), p=1, generator=rng()), single)


def test_a_pipe_has_nothing_to_save_and_is_copied_whole():
    pipe, x = AugmentPipe(EVERYTHING), noisy(2, 8)
    assert not pipe.state_dict()
    assert torch.equal(copy.deepcopy(pipe)(x, p=1, generator=rng()), pipe(x, p=1, generator=rng()))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(3, 8, 8), r"square images as floats of shape \(n, c, r, r\); given are torch.float32"),
        (torch.zeros(1, 3, 8, 6), r"shape \(1, 3, 8, 6\): scale bytes to \[-1, 1\], and pad or crop"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "given are torch.uint8"),
        (torch.zeros(1, 3, 1, 1), "2 pixels or more a side; these have 1"),
        (torch.zeros(1, 2, 8, 8), "1 or 3 channels; these have 2"),
    ],
)
def test_images_that_cannot_be_augmented_are_refused(images: torch.Tensor, words: str):
    with pytest.raises(UsageError, match=words):
        AugmentPipe()(images, p=1, generator=rng())


@pytest.mark.parametrize("p", [-0.1, float("nan"), float("inf")])
def test_strengths_that_are_none_are_refused(p: float):
    with pytest.raises(UsageError, match=r"the strength p of augmentation is .*; give 0 \(nothing\) to 1"):
        AugmentPipe()(noisy(1, 8), p=p, generator=rng())


@pytest.mark.gpu
def test_a_gpu_augments_as_a_cpu_does():
    draws, noise = drawn(16), noisy(16, 32, seed=1)
    x = smooth(16, 32)
    pipe = AugmentPipe(EVERYTHING)
    there, back = x.clone().requires_grad_(), x.cuda().requires_grad_()
    expected = pipe.apply_draws(there, p=0.8, draws=draws, noise=noise)
    made = pipe.cuda().apply_draws(back, p=0.8, draws=draws, noise=noise)
    torch.testing.assert_close(made.cpu(), expected, rtol=0, atol=1e-6)
    for image, result in ((there, expected), (back, made)):
        (first,) = torch.autograd.grad(result.square().sum(), image, create_graph=True)
        first.square().sum().backward()
    torch.testing.assert_close(back.grad.cpu(), there.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_can_be_deterministic():
    pipe, draws, noise = AugmentPipe(EVERYTHING).cuda(), drawn(16), noisy(16, 40, seed=1)
    x = noisy(16, 40).cuda().requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        results = [pipe.apply_draws(x, p=0.8, draws=draws, noise=noise).square().sum() for _ in range(2)]
        first, again = (torch.autograd.grad(result, x)[0] for result in results)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, again)
