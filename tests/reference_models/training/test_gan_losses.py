"""Losses of logits and regularisers: closed forms on functions whose derivatives are known."""

from __future__ import annotations

import math

import pytest
import torch

from evalkit.errors import UsageError
from reference_models.training import gan_losses as losses
from reference_models.training.gan_regularisers import gradient_penalty, path_lengths, squared_gradient


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_logistic_losses_are_log_likelihoods():
    fake, real = 3 * draws(6, 1), 3 * draws(6, 1, seed=1)
    torch.testing.assert_close(losses.logistic_fake(fake), -torch.log(1 - torch.sigmoid(fake)))
    torch.testing.assert_close(losses.logistic_real(real), -torch.log(torch.sigmoid(real)))
    torch.testing.assert_close(losses.non_saturating_generator(fake), -torch.log(torch.sigmoid(fake)))
    both = losses.logistic_discriminator(fake, real)
    torch.testing.assert_close(both, losses.logistic_fake(fake) + losses.logistic_real(real))


def test_logistic_losses_stay_finite_far_out():
    far = torch.tensor([-1e4, 1e4])
    assert losses.logistic_fake(far).tolist() == [0.0, 1e4]
    assert losses.non_saturating_generator(far).tolist() == [1e4, 0.0]


def test_a_logistic_discriminator_that_knows_nothing_loses_two_bits():
    zero = torch.zeros(1)
    assert float(losses.logistic_discriminator(zero, zero)) == pytest.approx(2 * math.log(2))


def test_wasserstein_and_hinge():
    fake, real = torch.tensor([-2.0, 0.5, 2.0]), torch.tensor([3.0, 0.5, -1.0])
    assert losses.wasserstein_generator(fake).tolist() == [2.0, -0.5, -2.0]
    assert losses.wasserstein_discriminator(fake, real).tolist() == [-5.0, 0.0, 3.0]
    assert losses.wasserstein_discriminator(fake, real, 0.1).tolist() == pytest.approx([-4.1, 0.025, 3.1])
    assert losses.hinge_generator(fake).tolist() == [2.0, -0.5, -2.0]
    assert losses.hinge_discriminator(fake, real).tolist() == [0.0, 2.0, 5.0]


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        (losses.non_saturating_generator, losses.logistic_discriminator),
        (losses.wasserstein_generator, losses.wasserstein_discriminator),
        (losses.hinge_generator, losses.hinge_discriminator),
    ],
)
def test_both_networks_pull_scores_of_fakes_in_opposite_directions(generator, discriminator):
    fake, real = torch.tensor([0.3], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    (up,) = torch.autograd.grad(generator(fake).sum(), fake)
    down, reals_up = torch.autograd.grad(discriminator(fake, real).sum(), (fake, real))
    assert up < 0 < down
    assert reals_up < 0


# ----------------------------------------------------------------------------------------- regularisers


def test_squared_gradient_of_a_quadratic_and_its_own_derivative():
    a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    x = draws(4, 2, 3, 3).requires_grad_()
    penalty = squared_gradient(a * x.square().sum(dim=(1, 2, 3)), x)
    squares = x.detach().square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(penalty, 4 * a**2 * squares)
    (slope,) = torch.autograd.grad(penalty.sum(), a)
    torch.testing.assert_close(slope, (8 * a.detach() * squares).sum())


def test_the_gradient_penalty_of_a_linear_score_is_its_slope_against_the_target():
    slope = draws(1, 2, 3, 3).requires_grad_()
    norm = float(slope.detach().square().sum().sqrt())

    def score(x: torch.Tensor) -> torch.Tensor:
        return (x * slope).sum(dim=(1, 2, 3))[:, None]

    reals, fakes = draws(4, 2, 3, 3), draws(4, 2, 3, 3, seed=1).requires_grad_()
    mixing = torch.tensor([0.0, 0.3, 0.9, 1.0])
    found = gradient_penalty(score, reals, fakes, mixing, wgan_lambda=3.0, wgan_target=2.0)
    torch.testing.assert_close(found.norms, torch.full((4,), norm, dtype=torch.float64))
    assert found.penalty.tolist() == pytest.approx([3 / 4 * (norm - 2) ** 2] * 4)
    found.penalty.sum().backward()
    assert fakes.grad is None
    # d penalty / d slope = 2 * 3 / 4 (norm - 2) slope / norm, for each of four samples.
    wanted = 4 * 1.5 * (norm - 2) * slope.detach() / norm
    torch.testing.assert_close(slope.grad, wanted)
    ends = [gradient_penalty(score, reals, fakes, torch.full((4,), end)).mixed for end in (0.0, 1.0)]
    torch.testing.assert_close(ends[0], reals)
    torch.testing.assert_close(ends[1], fakes.detach())


def test_path_lengths_of_a_linear_generator():
    # An image that is s times the style: J^T y is s y, so lengths are s |y| / sqrt(num_ws).
    s = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    ws = draws(3, 1, 8).requires_grad_()
    img = (s * ws).reshape(3, 2, 2, 2)
    noise, mean = draws(3, 2, 2, 2, seed=1), torch.tensor(0.7, dtype=torch.float64)
    found = path_lengths(img, ws, noise, mean, decay=0.25)
    wanted = 2 * noise.square().sum(dim=(1, 2, 3)).sqrt() / 2
    torch.testing.assert_close(found.lengths, wanted)
    torch.testing.assert_close(found.mean, 0.75 * mean + 0.25 * wanted.mean())
    assert not found.mean.requires_grad
    torch.testing.assert_close(found.penalty, (wanted - found.mean).square())
    # The mean moves with the lengths: d penalty / d s = 2 (l - a) (l / s - 0.25 mean(l) / s).
    (slope,) = torch.autograd.grad(found.penalty.sum(), s)
    torch.testing.assert_close(slope, (2 * (wanted - found.mean) * (wanted - 0.25 * wanted.mean()) / 2).sum())


def test_path_lengths_refuse_noise_of_another_shape():
    ws = draws(3, 1, 8).requires_grad_()
    img = ws.reshape(3, 2, 2, 2)
    with pytest.raises(
        UsageError, match=r"noise of the images' shape \(3, 2, 2, 2\); given is \(2, 2, 2, 2\)"
    ):
        path_lengths(img, ws, draws(2, 2, 2, 2), torch.tensor(0.0), decay=0.1)
