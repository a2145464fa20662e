"""Laws of the discretised mixture of logistics and of the Gaussian terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from reference_models.layers import dmol, gaussian

LEVELS = torch.arange(256, dtype=torch.float64)
# Level v at 8 bits, and what each model makes of 5 bits.
EIGHT = (LEVELS - 127.5) / 127.5
VDVAE_FIVE = (LEVELS[::8] - 127.5) / 127.5
NVAE_FIVE = torch.arange(32, dtype=torch.float64) / 31 * 2 - 1


def mixture(channels: int, mixtures: int, *, side: int = 2, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    shape = (3, dmol.num_parameters(channels, mixtures), side, side)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def mass_of(x: torch.Tensor, convention: dmol.Convention, bits: int, *, mean: float = 0.2) -> float:
    log_scale = torch.tensor(-1.0, dtype=torch.float64)
    masses = dmol.logistic_log_mass(
        x, torch.tensor(mean, dtype=torch.float64), log_scale, convention=convention, bits=bits
    )
    return float(masses.exp().sum())


def test_levels_share_a_probability_of_one():
    assert mass_of(EIGHT, dmol.VDVAE, 8) == pytest.approx(1, abs=1e-12)
    assert mass_of(NVAE_FIVE, dmol.NVAE, 5) == pytest.approx(1, abs=1e-12)


def test_published_probabilities_that_do_not_sum_to_one():
    # NVAE gives level 254 of 8 bits the whole tail as well, VDVAE's 5 bits are off the centres of their bins.
    assert mass_of(EIGHT, dmol.NVAE, 8) == pytest.approx(1.103033389334949, abs=1e-9)
    assert mass_of(VDVAE_FIVE, dmol.VDVAE, 5) == pytest.approx(0.9160653255358305, abs=1e-9)


def test_grey_pixels_of_a_mixture_sum_to_one():
    params = mixture(1, 3)
    params[:, 6:].clamp_(-1, 1)  # so that no bin is thin, where the density stands in for the probability
    found = [dmol.log_likelihood(params, x.expand(3, 1, 2, 2), convention=dmol.VDVAE) for x in EIGHT]
    np.testing.assert_allclose(torch.stack(found).exp().sum(0), 1, rtol=1e-8)


def test_channels_of_a_colour_pixel_sum_to_one_after_one_another():
    # Red and green given, blue's levels share what those two have.
    params = mixture(3, 2, side=1)[:1]
    some = torch.tensor([0.1, -0.4], dtype=torch.float64)
    given = torch.cat([some.expand(256, 2), EIGHT[:, None]], dim=1)[..., None, None]
    joint = dmol.log_likelihood(params.expand(256, -1, -1, -1), given, convention=dmol.VDVAE).exp().sum()
    logits, rest = params[0, :2, 0, 0], params[0, 2:, 0, 0].reshape(3, 3, 2)
    shift = torch.tanh(rest[0, 2]) * some[0]
    of_two = logits.log_softmax(0)
    for x, mean, log_scale in ((some[0], rest[0, 0], rest[0, 1]), (some[1], rest[1, 0] + shift, rest[1, 1])):
        of_two = of_two + dmol.logistic_log_mass(x, mean, log_scale, convention=dmol.VDVAE)
    assert float(joint) == pytest.approx(float(of_two.exp().sum()), rel=1e-9)


def test_bins_are_differences_of_the_logistic_distribution():
    x, mean, log_scale = EIGHT[1:-1], 0.3, -2.0
    got = dmol.logistic_log_mass(x, torch.tensor(mean), torch.tensor(log_scale), convention=dmol.VDVAE)
    of = stats.logistic(loc=mean, scale=np.exp(log_scale))
    want = of.cdf(x.numpy() + 1 / 255) - of.cdf(x.numpy() - 1 / 255)
    fat = want > 1e-5
    np.testing.assert_allclose(got.exp().numpy()[fat], want[fat], rtol=1e-6)
    # Where a bin is thin the density at its centre stands in, times 1/127.5.
    np.testing.assert_allclose(got.numpy()[~fat], of.logpdf(x.numpy()[~fat]) - np.log(127.5), rtol=1e-6)


def test_a_component_narrower_than_the_lowest_scale_counts_as_that_wide():
    params, narrow = mixture(1, 1), mixture(1, 1)
    params[:, 2], narrow[:, 2] = -7.0, -12.0
    x = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    same = [dmol.log_likelihood(each, x, convention=dmol.NVAE) for each in (params, narrow)]
    torch.testing.assert_close(*same, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_have_levels_and_follow_their_probabilities(channels: int):
    params = mixture(channels, 3, side=1)[:1].expand(20000, -1, -1, -1)
    rng = torch.Generator().manual_seed(1)
    select = dmol.inside(torch.rand(20000, 3, 1, 1, generator=rng, dtype=torch.float64))
    value = dmol.inside(torch.rand(20000, channels, 1, 1, generator=rng, dtype=torch.float64))
    drawn = dmol.sample(params, select, value)
    assert drawn.shape == value.shape
    assert drawn.abs().max() <= 1
    levels = dmol.to_levels(drawn)
    assert levels.dtype == torch.uint8
    # Red, or grey, to the left of a few levels: its logistic alone, without the other channels.
    mixing = params[0, :3, 0, 0].softmax(0).numpy()
    means, log_scales = params[0, 3:6, 0, 0].numpy(), params[0, 6:9, 0, 0].numpy()
    for level in (32, 128, 224):
        edge = level / 127.5 - 1
        want = float((mixing * stats.logistic.cdf(edge, means, np.exp(log_scales))).sum())
        got = float((levels[:, 0] < level).double().mean())
        assert got == pytest.approx(want, abs=5 * np.sqrt(want * (1 - want) / 20000) + 1e-12)


def test_extreme_uniform_numbers_leave_samples_finite():
    params = mixture(3, 2)
    for end in (0.0, 1.0):
        some = dmol.inside(torch.full((3, 3, 2, 2), end))
        assert dmol.sample(params, some[:, :2], some).isfinite().all()


def test_the_previews_temperature_divides_scales():
    params = mixture(1, 1)
    value = dmol.inside(torch.full((3, 1, 2, 2), 0.6, dtype=torch.float64))
    params[:, 1] = 0.0
    params[:, 2] = -3.0
    plain, cold = (dmol.sample(params, value, value, temperature=t) for t in (1.0, 0.5))
    torch.testing.assert_close(cold, 2 * plain)


def test_mean_image_of_one_component_is_its_chain_of_means():
    params = mixture(3, 1, side=1)
    rest = params[:, 1:].reshape(3, 3, 3)  # channel, then mean, log scale and coefficient
    red = rest[:, 0, 0].clamp(-1, 1)
    green = (rest[:, 1, 0] + rest[:, 0, 2].tanh() * red).clamp(-1, 1)
    blue = (rest[:, 2, 0] + rest[:, 1, 2].tanh() * red + rest[:, 2, 2].tanh() * green).clamp(-1, 1)
    got = dmol.mean_image(params, channels=3)[..., 0, 0]
    torch.testing.assert_close(got, torch.stack([red, green, blue], dim=1))


def test_levels_are_cut_off():
    images = torch.tensor([-1.2, -1.0, 0.9999, 1.0, 1.4])
    assert dmol.to_levels(images).tolist() == [0, 0, 254, 255, 255]


def test_parameters_that_fit_no_mixture_are_refused():
    with pytest.raises(ValueError, match="12 parameters a pixel are none of a mixture for 3 channels"):
        dmol.log_likelihood(torch.zeros(1, 12, 2, 2), torch.zeros(1, 3, 2, 2), convention=dmol.NVAE)


def test_divergence_and_density_of_gaussians():
    rng = torch.Generator().manual_seed(0)
    mean1, log_std1, mean2, log_std2 = torch.randn(4, 5, generator=rng, dtype=torch.float64)
    of_logs = gaussian.kl_of_log_std(mean1, log_std1, mean2, log_std2)
    torch.testing.assert_close(gaussian.kl_of_std(mean1, log_std1.exp(), mean2, log_std2.exp()), of_logs)
    first = stats.norm(float(mean1[0]), float(log_std1[0].exp()))
    second = stats.norm(float(mean2[0]), float(log_std2[0].exp()))
    integral, _ = integrate.quad(
        lambda x: first.pdf(x) * (first.logpdf(x) - second.logpdf(x)), *first.interval(1 - 1e-12)
    )
    assert float(of_logs[0]) == pytest.approx(integral, rel=1e-6)
    assert float(gaussian.log_density(mean2, mean1, log_std1)[0]) == pytest.approx(first.logpdf(mean2[0]))
