"""The contract of flow layers as a table: they invert, and their log-determinants are the Jacobian's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from reference_models.layers import flow
from reference_models.srflow.config import NetworkConfig
from reference_models.srflow.flow import ConditionalAffine, FlowStep

COND = 3
# nf and no stacked blocks make a condition of COND channels.
CONDITIONAL = NetworkConfig(nf=COND, blocks=(), hidden=5)
ALONE = NetworkConfig(hidden=5, conditional=False, lu=True)


class Row(NamedTuple):
    make: Callable[[], flow.FlowLayer]
    channels: int = 4
    side: int = 2
    conditional: bool = False


TABLE = {
    "squeeze": Row(flow.Squeeze),
    "actnorm": Row(lambda: flow.ActNorm(4)),
    "1x1 convolution": Row(lambda: flow.InvertibleConv1x1(4)),
    "1x1 convolution of odd width": Row(lambda: flow.InvertibleConv1x1(3), channels=3),
    "1x1 convolution in LU form": Row(lambda: flow.InvertibleConv1x1(4, lu=True)),
    "injector": Row(lambda: flow.AffineInjector(4, COND, hidden=5), conditional=True),
    "coupling": Row(lambda: flow.AffineCoupling(4, hidden=5)),
    "coupling of odd width": Row(lambda: flow.AffineCoupling(5, hidden=5), channels=5),
    "conditional coupling": Row(lambda: flow.AffineCoupling(4, COND, hidden=5), conditional=True),
    "injector and coupling": Row(lambda: ConditionalAffine(4, CONDITIONAL), conditional=True),
    "flow step": Row(lambda: FlowStep(4, CONDITIONAL, transition=False), conditional=True),
    "transition step": Row(lambda: FlowStep(4, CONDITIONAL, transition=True)),
    "unconditional flow step in LU form": Row(lambda: FlowStep(4, ALONE, transition=False)),
}
EVERY_LAYER = pytest.mark.parametrize("name", TABLE)


def perturbed(layer: nn.Module, size: float = 0.2) -> nn.Module:
    """Away from the start, at which many layers do nothing."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return layer.eval()


def made(
    name: str, dtype: torch.dtype = torch.float64
) -> tuple[flow.FlowLayer, torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(3)
    row = TABLE[name]
    layer = perturbed(row.make()).to(dtype)
    assert isinstance(layer, flow.FlowLayer)
    z = torch.randn(3, row.channels, row.side, row.side, dtype=dtype)
    cond = torch.randn(3, COND, row.side, row.side, dtype=dtype) if row.conditional else None
    return layer, z, cond


def one(cond: torch.Tensor | None, index: int) -> torch.Tensor | None:
    return None if cond is None else cond[index : index + 1]


def log_volume(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> float:
    """ln |det J| of a map of one image, by automatic differentiation."""
    jacobian = torch.autograd.functional.jacobian(function, at)
    return float(torch.linalg.slogdet(jacobian.reshape(at.numel(), at.numel()))[1])


@EVERY_LAYER
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_layers_can_be_undone(name: str, dtype: torch.dtype, within: float):
    layer, z, cond = made(name, dtype)
    there, logdet = layer(z, cond)
    again, back = layer.reverse(there, cond)
    assert there.dtype == logdet.dtype == again.dtype == dtype
    torch.testing.assert_close(again, z, rtol=within, atol=within)
    torch.testing.assert_close(back, -logdet, rtol=within, atol=within)
    other, _ = layer.reverse(z, cond)
    torch.testing.assert_close(layer(other, cond)[0], z, rtol=within, atol=within)
    assert name == "squeeze" or (there - z).abs().max() > 0.01


@EVERY_LAYER
def test_log_determinants_are_those_of_the_jacobian(name: str):
    layer, z, cond = made(name)
    forward, reverse = layer(z, cond)[1], layer.reverse(z, cond)[1]
    assert forward.shape == reverse.shape == (3,)
    for index in range(len(z)):
        at, of = z[index : index + 1], one(cond, index)
        there = log_volume(lambda x, of=of: layer(x, of)[0], at)
        assert float(forward[index].detach()) == pytest.approx(there, abs=1e-9)
        back = log_volume(lambda x, of=of: layer.reverse(x, of)[0], at)
        assert float(reverse[index].detach()) == pytest.approx(back, abs=1e-9)


@EVERY_LAYER
def test_images_do_not_depend_on_their_batch(name: str):
    layer, z, cond = made(name)
    for way in (layer.forward, layer.reverse):
        images, logdet = way(z, cond)
        for index in range(len(z)):
            alone, of_alone = way(z[index : index + 1], one(cond, index))
            torch.testing.assert_close(alone[0], images[index], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(of_alone[0], logdet[index], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.conditional])
def test_one_condition_serves_many_images(name: str):
    layer, z, cond = made(name)
    shared = one(cond, 1)
    assert shared is not None
    for way in (layer.forward, layer.reverse):
        images, logdet = way(z, shared)
        want, of_want = way(z, shared.expand(3, -1, -1, -1))
        torch.testing.assert_close(images, want)
        torch.testing.assert_close(logdet, of_want)
        assert logdet.shape == (3,)


def test_squeezing_orders_channels_by_row_and_column():
    z = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6).float()
    made, _ = flow.Squeeze()(z)
    for channel in range(2):
        for row in range(2):
            for column in range(2):
                want = z[0, channel, row::2, column::2]
                assert torch.equal(made[0, 4 * channel + 2 * row + column], want)


@pytest.mark.parametrize("channels", [4, 5, 7])
def test_a_split_is_a_density_and_can_be_undone(channels: int):
    torch.manual_seed(5)
    split = perturbed(flow.Split(channels)).double()
    assert isinstance(split, flow.Split)
    z = torch.randn(2, channels, 2, 2, dtype=torch.float64)
    off = split(z)
    assert off.eps.shape[1] == round(channels / 2)
    joined, back = split.reverse(off.z, off.eps)
    torch.testing.assert_close(joined, z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(back, -off.logdet)
    # Standardising what leaves changes the volume, and the rest of the number is N(0, 1).
    for index in range(2):

        def standardised(x: torch.Tensor) -> torch.Tensor:
            found = split(x)
            return torch.cat([found.z, found.eps], dim=1)

        volume = log_volume(standardised, z[index : index + 1])
        of_noise = float(flow.standard_log_density(off.eps)[index].detach())
        assert float(off.logdet[index].detach()) == pytest.approx(volume + of_noise, abs=1e-9)


def test_the_prior_is_the_standard_normal_density():
    z = torch.tensor([0.0, 1.0, -2.0, 0.5]).reshape(1, 1, 2, 2).double()
    want = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    assert float(flow.standard_log_density(z)) == pytest.approx(float(want), abs=1e-12)


def test_the_lu_form_begins_as_a_rotation_and_keeps_its_permutation():
    torch.manual_seed(0)
    conv = flow.InvertibleConv1x1(6, lu=True)
    matrix = conv.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6), rtol=1e-5, atol=1e-5)
    assert set(dict(conv.named_parameters())) == {"l", "log_s", "u"}
    assert set(dict(conv.named_buffers())) == {"p", "sign_s"}
    before = (conv.l.triu() == 0).all() and (conv.u.tril() == 0).all()
    assert before
    conv(torch.randn(2, 6, 3, 3))[0].square().mean().backward()
    assert conv.l.grad is not None
    assert bool((conv.l.grad.triu() == 0).all())  # what lies outside of the factors is never learned


class TestInitialisation:
    def batch(self) -> torch.Tensor:
        torch.manual_seed(1)
        return 3 + 2 * torch.randn(8, 4, 5, 5)

    def test_the_first_batch_of_training_is_normalised(self):
        layer = flow.ActNorm(4).train()
        out, logdet = layer(self.batch())
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
        torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(4), rtol=0, atol=1e-5)
        assert float(logdet[0].detach()) == pytest.approx(25 * float(layer.logs.detach().sum()), rel=1e-6)
        bias = layer.bias.clone()
        layer(10 * self.batch())
        assert torch.equal(layer.bias, bias)

    def test_evaluation_initialises_nothing(self):
        layer = flow.ActNorm(4).eval()
        out, _ = layer(self.batch())
        assert torch.equal(out, self.batch())

    def test_a_layer_that_was_loaded_keeps_what_it_has(self):
        first, second = flow.ActNorm(4).train(), flow.ActNorm(4).train()
        first(self.batch())
        second.load_state_dict(first.state_dict())
        second(10 * self.batch())
        assert torch.equal(second.bias, first.bias)

    def test_a_channel_without_variance_stays_finite(self):
        layer = flow.ActNorm(1).train()
        out, logdet = layer(torch.full((2, 1, 3, 3), 0.5))
        assert bool(torch.isfinite(out).all())
        assert float(logdet[0].detach()) == pytest.approx(-9 * math.log(1e-6), rel=1e-5)
