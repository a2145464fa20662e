"""Models from outside: every way in gives the same images, and every misfit is said."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evalkit.adapters import external
from evalkit.adapters.capabilities import offers
from evalkit.adapters.external import is_external, load_external
from evalkit.errors import CheckpointError, EvalkitError, SourceError, UsageError
from evalkit.imaging.quantise import to_uint8

SEEDS = np.array([5, 0, 7, 2**32 - 1, 5], np.int64)


class Net(nn.Module):
    """A generator of 4x4 images with three channels."""

    def __init__(self, z_dim: int = 6, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.dense = nn.Linear(z_dim, channels * 16)
        with torch.no_grad():
            values = torch.linspace(-1, 1, self.dense.weight.numel())
            self.dense.weight.copy_((values * 37).sin().reshape(self.dense.weight.shape))
            self.dense.bias.zero_()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dense(z)).reshape(-1, self.channels, 4, 4)


class Spatial(nn.Module):
    """One that takes latents with two more axes, as many convolutional generators do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Net()

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        assert z.ndim == 4, "latents of four axes"
        return self.inner(z.flatten(1))


def latents(seeds: np.ndarray, z_dim: int = 6) -> torch.Tensor:
    drawn = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.array(drawn, np.float32))


def expected(net: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return to_uint8(net(latents(SEEDS)))


MODULE = """
import numpy as np, torch
from torch import nn

class Net(nn.Module):
    z_dim = 3
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(0.25))
        self.drop = nn.Dropout(0.5)
    def forward(self, z):
        return self.drop(torch.tanh(z.sum(1) + self.bias)).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)

class Conditional(nn.Module):
    z_dim, num_classes = 2, 4
    def forward(self, z, labels):
        assert labels.dtype == torch.int64
        return (labels / 2 - 1).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2)

factory = Net
conditional = Conditional
def numpy_function(): return lambda z: np.tile(np.asarray(z)[:, :1, None, None], (3, 2, 2)).clip(-1, 1)
def unit(): return lambda z: torch.rand(len(z), 3, 2, 2, generator=torch.Generator().manual_seed(0))
def levels(): return lambda z: torch.full((len(z), 3, 2, 2), 200, dtype=torch.uint8)
def fails(): raise RuntimeError("no such weights")
def nothing(): return 3
def large(): return lambda z: torch.full((len(z), 3, 2, 2), 255.0)
def negative(): return lambda z: -torch.ones(len(z), 3, 2, 2)
def nan(): return lambda z: torch.full((len(z), 3, 2, 2), float("nan"))
def flat(): return lambda z: torch.zeros(len(z), 48)
def oblong(): return lambda z: torch.zeros(len(z), 3, 4, 8)
def pair(): return lambda z: (torch.zeros(len(z), 3, 4, 4), None)
def ints(): return lambda z: torch.zeros(len(z), 3, 4, 4, dtype=torch.int64)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_models.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    return "my_models"


def save_torchscript(path: Path, net: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net.eval(), torch.zeros(2, 6)), str(path))


def save_onnx(path: Path, net: Net, batch: int | None) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(net.dense.weight.detach().numpy().T.copy(), "w"),
        numpy_helper.from_array(np.array([batch or -1, 3, 4, 4], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["d"]),
        helper.make_node("Tanh", ["d"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], ["img"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch or "n", 6])],
        [helper.make_tensor_value_info("img", TensorProto.FLOAT, [batch or "n", 3, 4, 4])],
        weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())


def check(model: external.ExternalModel, images: torch.Tensor, tolerance: int = 1) -> None:
    assert offers(model) == ("Samples", "HasLatents")  # its images are floats
    assert model.resolution == images.shape[-1]
    assert len(model.identity) == 64
    got = model.sample(SEEDS)
    assert got.dtype == torch.uint8
    assert got.shape == images.shape
    # The runtimes sum in another order, which moves a rounded level by one.
    assert (got.int() - images.int()).abs().max() <= tolerance
    torch.testing.assert_close(got[:1], got[-1:], rtol=0, atol=0)
    one_by_one = torch.cat([model.sample(SEEDS[i : i + 1]) for i in range(len(SEEDS))])
    torch.testing.assert_close(got, one_by_one, rtol=0, atol=0)
    assert model.sample(SEEDS[:0]).shape == (0, *images.shape[1:])


def test_torchscript(tmp_path: Path):
    save_torchscript(tmp_path / "net.pt", Net())
    check(load_external(str(tmp_path / "net.pt"), z_dim=6), expected(Net()))


@pytest.mark.parametrize("batch", [None, 3])
def test_an_exported_program(batch: int | None, tmp_path: Path):
    z = torch.zeros(batch or 2, 6)
    dynamic = None if batch else {"z": {0: torch.export.Dim("n")}}
    torch.export.save(torch.export.export(Net(), (z,), dynamic_shapes=dynamic), str(tmp_path / "net.pt2"))
    check(load_external(str(tmp_path / "net.pt2")), expected(Net()))


@pytest.mark.parametrize("batch", [None, 3])
def test_an_onnx_graph(batch: int | None, tmp_path: Path):
    save_onnx(tmp_path / "net.onnx", Net(), batch)
    check(load_external(str(tmp_path / "net.onnx")), expected(Net()))


def test_a_factory_by_module_and_by_file(module: str, tmp_path: Path):
    by_module = load_external(f"{module}:factory")
    values = torch.tanh(latents(SEEDS, 3).sum(1) + 0.25).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    check(by_module, to_uint8(values.contiguous()), tolerance=0)
    by_file = load_external(f"{tmp_path / 'my_models.py'}:factory")
    assert by_file.identity == by_module.identity
    torch.testing.assert_close(by_file.latents(SEEDS), latents(SEEDS, 3), rtol=0, atol=0)


def test_identity_follows_the_source(module: str, tmp_path: Path):
    first = load_external(f"{tmp_path / 'my_models.py'}:levels", z_dim=1).identity
    (tmp_path / "my_models.py").write_text(MODULE + "\n# changed\n")
    assert load_external(f"{tmp_path / 'my_models.py'}:levels", z_dim=1).identity != first


def test_functions_levels_and_ranges(module: str):
    got = load_external(f"{module}:numpy_function", z_dim=5).sample(SEEDS)
    torch.testing.assert_close(got[:, 0, 0, 0], to_uint8(latents(SEEDS, 5)[:, 0].clamp(-1, 1)))
    assert (load_external(f"{module}:levels", z_dim=1).sample(SEEDS) == 200).all()
    signed = load_external(f"{module}:unit", z_dim=1).sample(SEEDS)
    unit = load_external(f"{module}:unit", z_dim=1, value_range="unit").sample(SEEDS)
    assert signed.min() >= 128 > unit.float().mean() - 30


def test_latents_with_two_more_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    this = Path(__file__)
    monkeypatch.setattr(external, "MICRO_BATCH", 3)
    check(load_external(f"{this}:Spatial", z_dim=6), expected(Net()))


def test_a_conditional_model(module: str):
    model = load_external(f"{module}:conditional")
    assert offers(model) == ("Samples", "Conditional")
    got = model.sample(SEEDS, np.array([0, 1, 2, 3, 0]))
    assert got[:, 0, 0, 0].tolist() == [0, 64, 128, 191, 0]
    with pytest.raises(
        UsageError, match=r"is conditional on 4 classes; give labels, one a seed, from 0 to 3"
    ):
        model.sample(SEEDS)
    with pytest.raises(UsageError, match=r"wants 5 labels from 0 to 3"):
        model.sample(SEEDS, np.array([0, 1, 2, 3, 4]))
    with pytest.raises(UsageError, match=r"wants 5 labels from 0 to 3"):
        model.sample(SEEDS, np.array([0]))
    with pytest.raises(UsageError, match="has no classes and labels were given"):
        load_external(f"{module}:levels", z_dim=1).sample(SEEDS, np.array([0] * 5))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fails", CheckpointError, "my_models:fails raised RuntimeError: no such weights"),
        ("nothing", CheckpointError, "returned int; a factory takes no arguments and returns a torch module"),
        (
            "large",
            SourceError,
            r"returned floats up to 255; expected are floats in \[-1, 1\].*give --range unit",
        ),
        ("nan", SourceError, r"my_models:nan \(seeds 0 to 7\): images hold NaN"),
        ("flat", CheckpointError, r"returned shape \(8, 48\); expected is one array or tensor"),
        ("oblong", CheckpointError, r"returned shape \(8, 3, 4, 8\).*with h equal to w"),
        ("pair", CheckpointError, "returned tuple; expected is one array"),
        ("ints", CheckpointError, "returned images of type int64; return floats or uint8"),
        ("absent", SourceError, "my_models:absent does not exist"),
    ],
)
def test_a_misfit_is_said(module: str, name: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        load_external(f"{module}:{name}", z_dim=2)


def test_a_range_that_cannot_be_is_said(module: str):
    with pytest.raises(
        SourceError, match="was given with --range unit, floats in .*many negative ones, down to -1"
    ):
        load_external(f"{module}:negative", z_dim=2, value_range="unit")
    with pytest.raises(UsageError, match=r"unknown range 'units' \(nearest: unit\)"):
        load_external(f"{module}:unit", z_dim=2, value_range="units")


def test_numbers_that_cannot_be_are_said(module: str, tmp_path: Path):
    with pytest.raises(UsageError, match="does not say how wide its latents are; give --z-dim N"):
        load_external(f"{module}:levels")
    with pytest.raises(UsageError, match="give --z-dim N"):
        load_external(f"{module}:levels", z_dim=0)
    with pytest.raises(UsageError, match="num_classes is -1"):
        load_external(f"{module}:levels", z_dim=1, num_classes=-1)
    with pytest.raises(UsageError, match="seeds must be 0 to 4294967295"):
        load_external(f"{module}:levels", z_dim=1).sample(np.array([-1]))
    save_torchscript(tmp_path / "net.pt", Net())
    with pytest.raises(
        CheckpointError, match=r"shape \[8, 5\] it raised.*shape \[8, 5, 1, 1\] it raised.*--z-dim 5"
    ):
        load_external(str(tmp_path / "net.pt"), z_dim=5)
    with pytest.raises(CheckpointError, match="could not be called and labels of shape"):
        load_external(str(tmp_path / "net.pt"), z_dim=6, num_classes=3)


@pytest.mark.parametrize("first_format", [False, True])
def test_a_state_dict_is_refused_with_the_way_out(first_format: bool, tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(Net().state_dict(), path, _use_new_zipfile_serialization=not first_format)
    with pytest.raises(
        CheckpointError, match=r"no TorchScript program; .*Write a factory.*evaluate-your-model.md"
    ):
        load_external(str(path), z_dim=6)


def test_a_file_that_was_cut_short_is_said(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(Net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="ends too early: .*get the file again"):
        load_external(str(path), z_dim=6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.pt2", "cannot be read as a torch.export program"),
        ("x.onnx", "cannot be read as an ONNX graph"),
        ("x.pt", "holds no TorchScript program"),
    ],
)
def test_a_damaged_file_is_said(name: str, message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match=message):
        load_external(str(tmp_path / name), z_dim=6)
    with pytest.raises(CheckpointError, match="is no file; check the path"):
        load_external(str(tmp_path / f"other-{name}"), z_dim=6)


def test_a_cut_torchscript_file_is_said(tmp_path: Path):
    save_torchscript(tmp_path / "net.pt", Net())
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pt") as whole, zipfile.ZipFile(tmp_path / "cut.pt", "w") as cut:
        for entry in whole.namelist():
            if "code" not in entry:
                cut.writestr(entry, whole.read(entry))
    with pytest.raises(CheckpointError, match="cannot be read as TorchScript"):
        load_external(str(tmp_path / "cut.pt"), z_dim=6)


def test_a_missing_runtime_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "net.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs the package onnxruntime; pip install 'evalkit\[onnx\]'"):
        load_external(str(tmp_path / "net.onnx"))


def test_spellings():
    assert all(map(is_external, ["a.b:c", "dir/file.py:make", "x.pt", "x.PTH", "x.onnx", "x.pt2"]))
    assert not any(map(is_external, ["stylegan2", "folder/", "x.npz", "x.pkl"]))
    with pytest.raises(UsageError, match="names no model; accepted are package.module:factory"):
        load_external("folder")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.py:make", "absent.py is no file"),
        ("broken.py:make", "broken.py raised ZeroDivisionError"),
        ("sound.py:absent", r"has no callable 'absent' \(nearest"),
        ("no_such_module_here:make", "no module 'no_such_module_here'"),
    ],
)
def test_a_factory_that_is_not_there_is_said(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("1 / 0\n")
    Path("sound.py").write_text("def make(): ...\n")
    with pytest.raises(SourceError, match=message):
        load_external(spec, z_dim=2)


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("lambda z: torch.zeros(len(z), 3, 8, 8).to_sparse()", {"z_dim": 4}, "that is no plain array"),
        ("lambda z: torch.zeros(len(z), 3, 0, 0)", {"z_dim": 4}, r"returned shape \(8, 3, 0, 0\)"),
        ("lambda z: z", {"z_dim": 10**12}, "are wider than 1,048,576; check --z-dim"),
    ],
)  # fmt: skip
def test_tensors_and_widths_that_cannot_be(tmp_path: Path, body: str, options: dict, message: str):
    (tmp_path / "odd.py").write_text(f"import torch\ndef factory():\n    return {body}\n")
    with pytest.raises(EvalkitError, match=message):
        load_external(f"{tmp_path / 'odd.py'}:factory", **options).sample(np.arange(8))


def test_a_file_that_is_no_exported_program(tmp_path: Path):
    (tmp_path / "text.pt2").write_text("hi")
    with pytest.raises(CheckpointError, match="it is cut short or something else; save one"):
        load_external(str(tmp_path / "text.pt2"))
