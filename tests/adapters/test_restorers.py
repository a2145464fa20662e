"""What restores images: models from outside by every way in, and what each misfit says."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evalkit.adapters.baselines import Baseline
from evalkit.adapters.capabilities import Restores, offers
from evalkit.adapters.resolve import open_restorer
from evalkit.adapters.restorers import adapt_restorer
from evalkit.errors import CheckpointError, EvalkitError, SourceError, UsageError
from evalkit.imaging.quantise import to_uint8

RNG = np.random.default_rng(3)
IMAGE = torch.from_numpy(RNG.integers(0, 256, (3, 6, 5), dtype=np.uint8))
SEEDS = np.array([11, 4, 11, 2**62], np.int64)


def enlarged(x: Tensor, scale: int = 2) -> Tensor:
    return x.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)


class Doubling(nn.Module):
    """A network whose answer is known: pixels repeated, and half their value added."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        large = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return large * self.gain + 0.25


def noisy(x: Tensor, seed: int, temperature: float = 0.5) -> Tensor:
    draws = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(seed % 2**31))
    return enlarged(x) + 0.1 * temperature * draws


# -- the call


def test_what_draws_nothing_is_called_once_and_repeated():
    calls = []

    def double(x: Tensor) -> Tensor:
        calls.append(x)
        return enlarged(x)

    model = adapt_restorer(double, scale=2)
    assert isinstance(model, Restores)
    assert "Restores" in offers(model)
    assert not model.stochastic
    made = model.restore(IMAGE, seeds=SEEDS)
    assert len(calls) == 2  # once to be used, once to see that it answers alike
    assert model.restore(IMAGE, seeds=SEEDS[:1]).shape == (1, 3, 12, 10)
    assert len(calls) == 3
    assert calls[0].dtype == torch.float32
    assert calls[0].shape == (1, 3, 6, 5)
    assert bool((made == made[:1]).all())
    # Bytes over 255 and back again: truncation must not lose a level.
    assert torch.equal(to_uint8(made, "unit")[0], enlarged(IMAGE))
    with pytest.raises(UsageError, match="has no temperature; leave --temperature 0.7 out"):
        model.restore(IMAGE, seeds=SEEDS, temperature=0.7)


def test_a_sample_depends_on_its_seed_and_temperature_alone():
    model = adapt_restorer(noisy, scale=2)
    assert (model.stochastic, model.temperature) == (True, 0.5)
    made = model.restore(IMAGE, seeds=SEEDS)
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1])
    assert torch.equal(model.restore(IMAGE, seeds=SEEDS[1:2])[0], made[1])
    assert torch.equal(made, model.restore(IMAGE, seeds=SEEDS, temperature=0.5))
    cold = model.restore(IMAGE, seeds=SEEDS, temperature=0)
    assert torch.equal(cold[0], cold[1])
    hot = adapt_restorer(noisy, scale=2, temperature=0.9)
    assert hot.temperature == 0.9
    assert torch.equal(hot.restore(IMAGE, seeds=SEEDS), model.restore(IMAGE, seeds=SEEDS, temperature=0.9))
    assert model.restore(IMAGE, seeds=SEEDS[:0]).shape == (0, 3, 12, 10)
    for wrong in (-1, float("nan"), True, "hot"):
        with pytest.raises(UsageError, match="the temperature is .*; give a finite number from 0 up"):
            model.restore(IMAGE, seeds=SEEDS, temperature=wrong)


def test_seeds_come_as_a_tensor_of_one_where_it_takes_seeds():
    seen = []

    def takes_seeds(x: Tensor, seeds: Tensor) -> Tensor:
        seen.append(seeds)
        return enlarged(x)

    adapt_restorer(takes_seeds, scale=2).restore(IMAGE, seeds=SEEDS[:1])
    assert seen[0].dtype == torch.int64
    assert seen[0].tolist() == [11]


def test_what_draws_from_torch_s_own_generator_is_seeded_around_the_call():
    def draws(x: Tensor) -> Tensor:
        return enlarged(x) + 0.1 * torch.randn(1, 3, 12, 10)

    model = adapt_restorer(draws, scale=2, stochastic=True)
    before = torch.get_rng_state()
    made = model.restore(IMAGE, seeds=SEEDS)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1])
    with pytest.raises(
        CheckpointError, match="another image when it was called again and is not declared to dr"
    ):
        adapt_restorer(draws, scale=2).restore(IMAGE, seeds=SEEDS)

    generator = np.random.default_rng(0)

    def hidden(x: Tensor, seed: int) -> Tensor:
        return enlarged(x) + float(generator.random())

    with pytest.raises(
        CheckpointError, match="called again with the same seed; draw all randomness from the s"
    ):
        adapt_restorer(hidden, scale=2).restore(IMAGE, seeds=SEEDS)


def test_signed_images_go_in_and_come_out():
    seen = []

    def signed(x: Tensor) -> Tensor:
        seen.append(x)
        return enlarged(x)

    made = adapt_restorer(signed, scale=2, value_range="signed").restore(IMAGE, seeds=SEEDS[:1])
    assert torch.allclose(seen[0], IMAGE[None] / 127.5 - 1)
    assert torch.equal((made[0] * 255).to(torch.uint8), enlarged(IMAGE))


def test_signed_images_keep_every_level():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    made = adapt_restorer(lambda x: x, scale=1, value_range="signed").restore(levels, seeds=SEEDS[:1])
    assert np.array_equal(to_uint8(made.numpy(), "unit")[0], levels.numpy())


def test_hot_samples_of_a_flow_may_lie_anywhere():
    def hot(x: Tensor, seed: int, temperature: float = 0.9) -> Tensor:
        noise = torch.randn(enlarged(x).shape, generator=torch.Generator().manual_seed(seed))
        return enlarged(x) + temperature * noise

    flow = adapt_restorer(hot, scale=2)
    assert flow.restore(IMAGE, seeds=SEEDS, temperature=9.0).min() < -9
    with pytest.raises(SourceError, match="many negative floats"):
        flow.restore(IMAGE, seeds=SEEDS)


def test_whatever_is_an_image_is_taken():
    levels = enlarged(IMAGE)
    for function in (
        lambda x: levels,
        lambda x: levels[None],
        lambda x: levels.numpy(),
        lambda x: (levels / 255).half() * 1.0,
        lambda x: (levels / 255).bfloat16()[None],
        lambda x: (levels / 255).double().numpy(),
    ):
        made = adapt_restorer(function, scale=2).restore(IMAGE, seeds=SEEDS[:1])
        values = made.double() if made.dtype == torch.uint8 else made.double() * 255
        assert float((values[0] - levels).abs().max()) < 1


def test_values_that_are_not_finite_are_passed_on():
    def broken(x: Tensor, seed: int) -> Tensor:
        made = enlarged(x)
        if seed == 4:
            made[0, 0, 0, 0], made[0, 0, 0, 1], made[0, 0, 0, 2] = torch.nan, torch.inf, 1e30
        return made

    made = adapt_restorer(broken, scale=2).restore(IMAGE, seeds=SEEDS)
    assert torch.isfinite(made).flatten(1).all(1).tolist() == [True, False, True, True]
    assert bool(torch.isnan(adapt_restorer(lambda x: enlarged(x) * torch.nan, scale=2).restore(
        IMAGE, seeds=SEEDS)).all())  # fmt: skip


def fails(x: Tensor) -> Tensor:
    raise RuntimeError("out of luck\nand more")


MISFITS = [
    (fails, CheckpointError, "given an image of 5x6, raised RuntimeError: out of luck$"),
    (lambda x: [enlarged(x)], CheckpointError, "returned list; expected is one tensor or array"),
    (lambda x: enlarged(x).to_sparse(), CheckpointError, "returned Tensor of torch.float32; expected is one"),
    (lambda x: enlarged(x).long(), CheckpointError, "returned numbers of type torch.int64; return fl"),
    (lambda x: enlarged(x)[:, :1], CheckpointError, r"shape \(1, 1, 12, 10\); expected is one RGB image"),
    (lambda x: enlarged(x).permute(0, 2, 3, 1), CheckpointError, r"returned shape \(1, 12, 10, 3\)"),
    (lambda x: enlarged(x).expand(2, -1, -1, -1), CheckpointError, r"returned shape \(2, 3, 12, 10\)"),
    (lambda x: enlarged(x)[..., 1:], CheckpointError,
     "returned 9x12 for a 5x6 image at scale 2; expected 10x12: check the scale, and how the model pads"),
    (lambda x: enlarged(x, 4), CheckpointError, "returned 20x24 for a 5x6 image at scale 2; expected 10x12"),
    (lambda x: enlarged(x) * 255, SourceError,
     r"returned floats up to 255|returned floats up to 2\d\d; expected are floats in \[0, 1\]: return uint8"),
    (lambda x: enlarged(x) * 2 - 1, SourceError, "many negative floats, down to -.*: give --range signed"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "message"), MISFITS)
def test_what_is_no_restoration_is_said(function: object, kind: type[EvalkitError], message: str):
    with pytest.raises(kind, match=message):
        adapt_restorer(function, scale=2).restore(IMAGE, seeds=SEEDS)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (enlarged, {"scale": 0}, "the scale is 0"),
        (enlarged, {"scale": 2, "value_range": "sined"}, r"unknown range 'sined' \(nearest: signed\)"),
        (lambda x: x, {"scale": 2, "temperature": 0.9}, "has no parameter temperature, and 0.9 was given"),
        (noisy, {"scale": 2, "temperature": -1.0}, "the temperature is -1.0"),
    ],
)
def test_what_cannot_be_adapted(function: object, options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        adapt_restorer(function, **options)


def test_a_model_s_own_scale_counts():
    class Four(nn.Module):
        scale = 4

        def forward(self, x: Tensor) -> Tensor:
            return enlarged(x, 4)

    assert adapt_restorer(Four(), scale=4).restore(IMAGE, seeds=SEEDS).shape == (4, 3, 24, 20)
    with pytest.raises(UsageError, match="enlarges 4 times, and the scale is 2; give --scale 4"):
        adapt_restorer(Four(), scale=2)
    with pytest.raises(CheckpointError, match="thing is int; what restores is a function or torch module"):
        adapt_restorer(3, scale=2, name="thing")


# -- ways in

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return self.drop(x.repeat_interleave(2, -1).repeat_interleave(2, -2))

class Own:
    name, scale, stochastic, temperature, identity = "own", 2, False, None, "abc"
    def restore(self, image, *, seeds, temperature=None):
        return image.repeat_interleave(2, -1).repeat_interleave(2, -2).expand(len(seeds), -1, -1, -1)

def nothing(): return 3
def fails(): raise RuntimeError("no such weights")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_restorers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_restorers", raising=False)
    return "my_restorers"


def test_factories_make_what_restores(module: str, tmp_path: Path):
    for spec in (f"{module}:Net", f"{tmp_path}/{module}.py:Net"):
        model = open_restorer(spec, None, scale=2)
        made = to_uint8(model.restore(IMAGE, seeds=SEEDS), "unit")
        assert torch.equal(made[0], enlarged(IMAGE))  # in evaluation mode: nothing is dropped
        assert model.name == spec
        assert model.identity is not None
    signed = open_restorer(f"{module}:Net", None, scale=2, value_range="signed")
    assert signed.identity != open_restorer(f"{module}:Net", None, scale=2).identity
    own = open_restorer(f"{module}:Own", None, scale=2)
    assert type(own).__name__ == "Own"
    assert open_restorer(own, None, scale=2) is own
    with pytest.raises(UsageError, match="own enlarges 2 times, and the scale is 4; give --scale 2"):
        open_restorer(f"{module}:Own", None, scale=4)
    with pytest.raises(CheckpointError, match="my_restorers:nothing is int; what restores is a function"):
        open_restorer(f"{module}:nothing", None, scale=2)
    with pytest.raises(CheckpointError, match="raised RuntimeError: no such weights"):
        open_restorer(f"{module}:fails", None, scale=2)


def test_programs_give_what_the_network_gives(tmp_path: Path):
    net = Doubling().eval()
    example = torch.rand(1, 3, 8, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, example), str(tmp_path / "net.pt"))
        sides = {2: torch.export.Dim("h", min=2), 3: torch.export.Dim("w", min=2)}
        torch.export.save(torch.export.export(net, (example,), dynamic_shapes=(sides,)), tmp_path / "net.pt2")
        torch.export.save(torch.export.export(net, (example,)), tmp_path / "fixed.pt2")
    expected = adapt_restorer(net, scale=2).restore(IMAGE, seeds=SEEDS)
    for name in ("net.pt", "net.pt2"):
        model = open_restorer(tmp_path / name, None, scale=2)
        assert torch.allclose(model.restore(IMAGE, seeds=SEEDS), expected, atol=1e-6)
    fixed = open_restorer(tmp_path / "fixed.pt2", None, scale=2)
    with pytest.raises(
        CheckpointError, match=r"inputs of shape \(1, 3, 8, 9\) and was given \(1, 3, 6, 5\); exp"
    ):
        fixed.restore(IMAGE, seeds=SEEDS)
    with pytest.raises(CheckpointError, match="lost.pt2 is no file"):
        open_restorer(tmp_path / "lost.pt2", None, scale=2)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="numbers without the network they belong to. Write a factory"):
        open_restorer(tmp_path / "weights.pth", None, scale=2)


@pytest.mark.parametrize("sides", [["h", "w"], [6, 5], [8, 8]])
def test_onnx_graphs_restore(sides: list, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    values = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [values],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "net.onnx"))
    restorer = open_restorer(str(tmp_path / "net.onnx"), None, scale=2)
    if sides == [8, 8]:
        with pytest.raises(
            CheckpointError, match=r"a graph for inputs of shape \(1, 3, 8, 8\) and was given"
        ):
            restorer.restore(IMAGE, seeds=SEEDS)
        return
    assert torch.equal(to_uint8(restorer.restore(IMAGE, seeds=SEEDS), "unit")[0], enlarged(IMAGE))


def test_reference_models_are_asked_first():
    own = SimpleNamespace(
        name="flow", scale=2, stochastic=True, temperature=0.9, identity="x",
        restore=lambda image, *, seeds, temperature=None: enlarged(image)[None].repeat(len(seeds), 1, 1, 1),
    )  # fmt: skip
    sampler = SimpleNamespace(name="gan", resolution=8, num_classes=0, sample=lambda seeds, labels=None: None)
    opened = {"flow:tiny-random": own, "gan:tiny-random": sampler}
    reference = SimpleNamespace(open_model=lambda spec, *, device: opened.get(spec), model_rows=list)
    assert open_restorer("flow:tiny-random", reference, scale=2) is own
    assert offers(own) == ("Restores",)
    assert isinstance(open_restorer("bicubic", reference, scale=2), Baseline)
    with pytest.raises(UsageError, match="flow enlarges 2 times, and the scale is 4; give --scale 2"):
        open_restorer("flow:tiny-random", reference, scale=4)
    message = (
        "restoration needs a model that turns low-resolution images into high-resolution ones; gan offers: "
    )
    with pytest.raises(UsageError, match=message):
        open_restorer("gan:tiny-random", reference, scale=2)
    with pytest.raises(
        UsageError, match="flow:tiny-random says itself what its images are; leave --range out"
    ):
        open_restorer("flow:tiny-random", reference, scale=2, value_range="signed")
    with pytest.raises(
        UsageError, match=r"'bicubik' names nothing that restores images \(nearest: bicubic\)"
    ):
        open_restorer("bicubik", reference, scale=2)
    adapted = open_restorer(enlarged, None, scale=2)  # a function is one object more that can be given
    assert adapted.name == "enlarged"
