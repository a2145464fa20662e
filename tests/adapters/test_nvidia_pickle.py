"""Network files of StyleGAN2-ADA and StyleGAN3: every tensor is found, no source is run, every lie is
caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pickle_writer import Call, dumps, module, network_file, parameter, storage, tensor

from evalkit.adapters.nvidia_pickle import read_nvidia_pickle
from evalkit.errors import CheckpointError

F4 = np.arange(4, dtype=np.float32)


def read(folder: Path, data: bytes):
    path = folder / "network.pkl"
    path.write_bytes(data)
    return read_nvidia_pickle(path)


def with_tensor(value) -> bytes:
    return network_file(module(buffers={"x": value}))


def test_a_file_gives_tensors_arguments_and_source(tmp_path: Path):
    found = read(tmp_path, network_file(G=module(source="import os", class_name="Other")))
    average = found.networks["G_ema"]
    assert list(found.networks) == ["G", "G_ema"]
    assert {name: value.tolist() for name, value in average.tensors.items()} == {
        "w_avg": [0, 1, 2, 3],
        "synthesis.b4.weight": [[0, 1, 2], [3, 4, 5]],
    }
    assert average.parameters == ("synthesis.b4.weight",)
    assert average.kind == "stylegan2"
    assert average.init_args == ()
    assert average.init_kwargs == {
        "z_dim": 4,
        "img_resolution": 8,
        "gain": 0.5,
        "nested": {"k": [1, (2, None)]},
    }
    assert found.training_set_kwargs == {"path": "x"}
    assert found.augment_pipe is None
    assert (found.networks["G"].source, found.networks["G"].class_name) == ("import os", "Other")


def test_passing_buffers_and_empty_slots_are_left_out(tmp_path: Path):
    net = module({"w": parameter(F4), "b": None}, {"kept": tensor(F4), "gone": tensor(F4), "none": None},
                 {"input": None}, _non_persistent_buffers_set={"gone"})  # fmt: skip
    found = read(tmp_path, network_file(module(modules={"synthesis": net})))
    assert list(found.networks["G_ema"].tensors) == ["synthesis.w", "synthesis.kept"]
    assert found.networks["G_ema"].kind is None


@pytest.mark.parametrize(
    ("modules", "kind"),
    [
        ({"synthesis": module(modules={"input": module()})}, "stylegan3"),
        ({"synthesis": module(modules={"b4": module()})}, "stylegan2"),
        ({"b4": module()}, "stylegan2"),
        ({"b8": module()}, None),
        ({"synthesis": None}, None),
    ],
)
def test_the_kind_is_told_by_the_children(modules, kind: str | None, tmp_path: Path):
    assert read(tmp_path, network_file(module(modules=modules))).networks["G_ema"].kind == kind


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "u1", "b1"])
def test_stored_types_are_kept(kind: str, tmp_path: Path):
    values = np.array([[0, 1, 2], [3, 0, 1]]).astype(kind)
    got = read(tmp_path, with_tensor(tensor(values))).networks["G_ema"].tensors["x"]
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)
    assert got.flags.writeable


def test_views_are_cut_out_of_their_storage(tmp_path: Path):
    values = np.arange(24, dtype=np.float32)
    buffers = {
        "transposed": tensor(values, size=(4, 6), stride=(1, 4)),
        "offset": tensor(values, size=(2, 3), stride=(6, 1), offset=5),
        "scalar": tensor(values, size=(), stride=(), offset=23),
        "empty": tensor(values, size=(0, 3), stride=(3, 1), offset=24),
        "one": tensor(values, size=(1, 2), stride=(10**9, 1), offset=22),
    }
    got = read(tmp_path, network_file(module(buffers=buffers))).networks["G_ema"].tensors
    np.testing.assert_array_equal(got["transposed"], values.reshape(6, 4).T)
    np.testing.assert_array_equal(got["offset"], [[5, 6, 7], [11, 12, 13]])
    assert got["scalar"].shape == ()
    assert got["scalar"] == 23
    assert got["empty"].shape == (0, 3)
    np.testing.assert_array_equal(got["one"], [[22, 23]])


BAD_TENSORS = {
    "beyond": (tensor(F4, size=(5,), stride=(1,)), "reaches beyond its storage"),
    "stride": (tensor(F4, size=(2, 2), stride=(3, 1)), r"4 elements up to position 4, of 4"),
    "offset": (tensor(F4, size=(4,), stride=(1,), offset=1), "reaches beyond its storage"),
    "repeated": (
        tensor(F4, size=(2**40,), stride=(0,)),
        r"1,099,511,627,776 elements up to position 0, of 4",
    ),
    "negative": (tensor(F4, size=(4,), stride=(-1,)), "impossible size or stride"),
    "negative offset": (tensor(F4, offset=-1), "impossible size or stride"),
    "axes": (tensor(F4, size=(4,), stride=(1, 1)), "impossible size or stride"),
    "float size": (
        Call(
            "torch._utils",
            "_rebuild_tensor_v2",
            Call("torch.storage", "_load_from_bytes", storage(F4)),
            0,
            (4.0,),
            (1,),
            False,
            {},
        ),
        "impossible size or stride",
    ),
    "no storage": (
        Call("torch._utils", "_rebuild_tensor_v2", F4.tobytes(), 0, (4,), (1,), False, {}),
        "has no storage",
    ),
    "numel": (tensor(F4, data=storage(F4, numel=2**40)), "16 bytes where 1,099,511,627,776 numbers"),
    "type": (tensor(F4, data=storage(F4, name="Double")), "16 bytes where 4 numbers of 8 bytes"),
    "unknown type": (
        tensor(F4, data=storage(F4, name="ComplexFloat")),
        "the global torch.ComplexFloatStorage",
    ),
    "cut": (tensor(F4, data=storage(F4)[:-1]), "15 bytes where 4 numbers"),
    "more": (tensor(F4, data=storage(F4) + b"x"), "17 bytes where 4 numbers"),
    "header": (tensor(F4, data=storage(F4)[:150]), "ends too early|bytes where"),
    "magic": (tensor(F4, data=dumps(1) * 5), "not in torch's first format"),
    "big-endian": (tensor(F4, data=storage(F4).replace(b"\x88", b"\x89")), "not little-endian"),
    "keys": (
        tensor(F4, data=storage(F4).replace(b"](X\x01\x00\x00\x007", b"](X\x01\x00\x00\x008")),
        "other storages",
    ),
    "inside": (
        tensor(F4, data=dumps(0x1950A86A20F9469CFC6C, 2) + dumps(Call("posix", "system", "touch marker"), 2)),
        "posix.system",
    ),
    "text": (Call("torch.storage", "_load_from_bytes", "text"), "is a str, not bytes"),
    "no tensor": ([1.0], "x is no tensor"),
    "parameter": (
        Call("torch._utils", "_rebuild_parameter", 3, True, {}),
        "a parameter is a int, not a tensor",
    ),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_tensor_that_lies_is_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    value, message = BAD_TENSORS[case]
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, with_tensor(value))
    assert [path.name for path in tmp_path.iterdir()] == ["network.pkl"]


def nested(levels: int):
    net = module()
    for _ in range(levels):
        net = module(modules={"m": net})
    return net


def endless(value):
    for _ in range(40):
        value = [value]
    return value


def meta(**changes):
    given = {"type": "class", "version": 6, "module_src": "", "class_name": "G", "state": {}, **changes}
    held = {key: value for key, value in given.items() if value is not ...}
    return Call("torch_utils.persistence", "_reconstruct_persistent_obj", held)


BAD_NETWORKS = {
    "version": (module(version=7), "format version 7; version 6"),
    "version type": (meta(version=6.0), "format version float"),
    "type": (meta(type="function"), "of format version 6"),
    "lacks": (meta(state=..., module_src=...), "lacks its module_src, state"),
    "state": (meta(state=[]), "has no attributes"),
    "source": (meta(module_src=b"x"), "no class name or source text"),
    "list": (Call("torch_utils.persistence", "_reconstruct_persistent_obj", []), "described by a list"),
    "sections": (meta(), "a G has no _parameters"),
    "section": (module(_buffers=[1]), "a Generator has no _buffers"),
    "dotted name": (module({"a.b": parameter(F4)}), "an odd name in _parameters"),
    "number as a name": (module(modules={3: module()}), "an odd name in _modules"),
    "child": (module(modules={"x": "text"}), "x is no module"),
    "passing": (module(_non_persistent_buffers_set=[1]), "passing buffers is none"),
    "twice": (module({"x": parameter(F4)}, {"x": tensor(F4)}), "x is no tensor, or is there twice"),
    "deep": (nested(40), "occurs twice or too deep"),
    "arguments": (module(_init_args=[1]), "its arguments are no tuple"),
    "kwargs": (module(_init_kwargs=[1]), "options are a list"),
    "odd kwargs": (module(kwargs={"z_dim": b"x"}), "a bytes, where numbers and text are expected"),
    "module in kwargs": (module(kwargs={"z_dim": module()}), "a _Module, where numbers"),
    "deep kwargs": (module(kwargs={"z_dim": endless(1)}), "nested too deep, or without end"),
    "long kwargs": (module(kwargs={"z_dim": [0] * 30_000}), "nested too deep, or without end"),
}


@pytest.mark.parametrize("case", BAD_NETWORKS)
def test_a_network_that_cannot_be_is_refused(case: str, tmp_path: Path):
    net, message = BAD_NETWORKS[case]
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, network_file(net))


def test_a_module_in_two_places_is_refused(tmp_path: Path):
    # {"m": child, "n": child} by the memo; doubled forty times it would take 2^40 steps to walk.
    data = network_file(module(modules={"mm": module(), "nn": None}))
    child = dumps(module())[2:-1]
    assert child in data
    data = data.replace(child, child + b"\x94", 1).replace(
        b"X\x02\x00\x00\x00nnN", b"X\x02\x00\x00\x00nnh\x00"
    )
    with pytest.raises(CheckpointError, match="module nn. occurs twice or too deep"):
        read(tmp_path, data)


BAD_FILES = {
    "no average": (dumps({"G": None, "D": None}), r"holds a dict without network G_ema \(2 entries\)"),
    "average none": (network_file(G_ema=None), "without network G_ema"),
    "list": (
        dumps([1, 2]),
        "holds a list; a network file of StyleGAN2-ADA or StyleGAN3 holds G, D and G_ema",
    ),
    "other network": (network_file(D="text"), "network D: a str where a network is expected"),
    "options": (network_file(training_set_kwargs=[1]), "training_set_kwargs: options are a list"),
    "set": (
        network_file(training_set_kwargs={"x": Call("builtins", "set", [1])}),
        "a set holds something else",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_another_file_is_refused(case: str, tmp_path: Path):
    data, message = BAD_FILES[case]
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, data)


def test_no_file_is_said(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is no file; give a network file"):
        read_nvidia_pickle(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing.pkl is no file"):
        read_nvidia_pickle(tmp_path / "missing.pkl")


def test_source_is_kept_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    source = "open('marker', 'w')\nclass Generator: pass\n"
    found = read(tmp_path, network_file(module(source=source)))
    assert found.networks["G_ema"].source == source
    assert not (tmp_path / "marker").exists()


def test_the_reader_needs_no_torch(tmp_path: Path):
    path = tmp_path / "network.pkl"
    path.write_bytes(network_file())
    code = (
        "import sys; from evalkit.adapters.nvidia_pickle import read_nvidia_pickle as read; "
        f"read({str(path)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
