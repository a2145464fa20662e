"""The pickle machine: what data need is built, all else is refused by name, and nothing can exhaust the
machine."""

from __future__ import annotations

import collections
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from pickle_writer import Call, Name, Persistent, dumps

from evalkit.adapters.restricted_pickle import Passive, RestrictedUnpickler, numpy_globals, survey
from evalkit.errors import CheckpointError


def load(data: bytes, allowed=None, **options):
    return RestrictedUnpickler(
        io.BytesIO(data), numpy_globals() if allowed is None else allowed, what="f", **options
    ).load()


PLAIN = {
    "text": "Gewicht \U0001f600 \x00",
    "none": None,
    "flags": [True, False],
    "long": "x" * 70_000,
    "ints": (0, -1, 255, 256, 65536, -(2**31), 2**31, 2**80, -(2**80)),
    "floats": [0.5, -1e300, float("inf")],
    "empty": [(), [], {}, set()],
    "bytes": b"\x00\xff" * 300,
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    3: {4: {5: None}},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_read_as_python_reads_it(protocol: int):
    allowed = {**numpy_globals(), ("__builtin__", "set"): lambda items=(): set(items)}
    allowed["builtins", "set"] = allowed["__builtin__", "set"]
    # Protocol 2 spells empty bytes as a call; there are none here.
    assert load(pickle.dumps(PLAIN, protocol), allowed) == PLAIN
    shared = [1]
    found = load(pickle.dumps([shared, shared], protocol))
    assert found[0] is found[1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u1", "b1", ">f4", ">i8"])
def test_arrays_and_scalars_survive(kind: str, protocol: int):
    values = np.array([[0, 1, 2], [5, 7, 1]], dtype=kind)
    given = {"a": values, "f": np.asfortranarray(values), "s": values[1, 2], "e": values[:0], "again": values}
    found = load(pickle.dumps(given, protocol))
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype.newbyteorder("=")
        assert found[name].shape == value.shape
    assert found["again"] is found["a"]
    assert found["f"].flags.writeable


def test_older_spellings_of_numpy_are_read():
    now = pickle.dumps(np.arange(3.0), 2)
    old = now.replace(b"numpy._core", b"numpy.core")
    assert old != now or b"numpy.core" in now
    np.testing.assert_array_equal(load(old), np.arange(3.0))


@pytest.mark.parametrize(
    "array",
    [
        np.array([None, 1], object),
        np.array(["a", "b"]),
        np.zeros(2, [("x", "f4")]),
        np.array([1j]),
        np.array(["2020"], "M8[D]"),
    ],
    ids=["object", "text", "structure", "complex", "date"],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_arrays_are_refused(array: np.ndarray, protocol: int):
    with pytest.raises(
        CheckpointError, match=r"only numbers of at most 8 bytes|_codecs.encode|which do not fill"
    ):
        load(pickle.dumps(array, protocol))


def bomb(*arguments):
    return Call("posix", "system", *arguments)


HOSTILE = {
    "call": dumps([bomb("touch marker")]),
    "deep": dumps({"a": {"b": [(bomb("touch marker"),)]}}),
    "eval": dumps(Call("builtins", "eval", "open('marker', 'w')")),
    "dotted": dumps(Call("numpy", "dtype.mro")),
    "parent": dumps(Name("numpy.core.multiarray", "_reconstruct.__globals__")),
    "other module": dumps(Name("numpy.core.multiarray ", "scalar")),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("stacked", [False, True])
def test_a_foreign_global_is_refused_by_name(
    case: str, stacked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    data = HOSTILE[case]
    if stacked:  # the same name through STACK_GLOBAL
        start = data.index(b"c") if case != "eval" else data.index(b"cbuiltins")
        module, name, rest = data[start + 1 :].split(b"\n", 2)
        text = [b"X" + struct.pack("<I", len(part)) + part for part in (module, name)]
        data = data[:start] + b"".join(text) + b"\x93" + rest
    with pytest.raises(
        CheckpointError, match=r"f names the global .*, which has no place.*nothing of the file was run"
    ):
        load(data)
    assert not list(tmp_path.iterdir())


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


DAMAGED = {
    "empty": (b"", "ends too early"),
    "no stop": (b"\x80\x04]", "ends too early: 1 more bytes are announced and 0 are there"),
    "string of 2^60 bytes": (
        b"\x80\x04\x8e" + number(2**60, 8) + b"abc.",
        "1,152,921,504,606,846,976 more bytes",
    ),
    "text of 2^63 bytes": (b"\x80\x04\x8d" + number(2**63, 8) + b".", "ends too early"),
    "bytearray": (b"\x80\x05\x96" + number(2**40, 8) + b".", "ends too early"),
    "integer of 2^31 bytes": (
        b"\x80\x04\x8b" + number(2**31 - 1, 4) + b".",
        "an integer of 2,147,483,647 bytes",
    ),
    "frame": (b"\x80\x04\x95\x00", "ends too early"),
    "stack": (b"\x80\x04\x85.", "a value is missing"),
    "mark": (b"\x80\x04t.", "a mark is missing"),
    "open mark": (b"\x80\x04(N.", "a mark is left open"),
    "pop": (b"\x80\x040.", "a mark is missing"),
    "memo": (b"\x80\x04h\x07.", "refers to a value that it does not have"),
    "dict": (b"\x80\x04](NNu.", "no dict"),
    "odd dict": (b"\x80\x04}(Nu.", "no dict"),
    "list": (b"\x80\x04}Na.", "no list"),
    "set": (b"\x80\x04](N\x90.", "no set"),
    "utf-8": (b"\x80\x04\x8c\x01\xff.", "not UTF-8"),
    "name": (b"\x80\x04cabc", "a name has no end"),
    "long name": (b"\x80\x04c" + b"a" * 400 + b"\n\n.", "a name has no end"),
    "global of numbers": (b"\x80\x04NN\x93.", "a global has no name"),
    "call of a list": (b"\x80\x04])R.", "calls something that is no global"),
    "attributes": (b"\x80\x04]}b.", "sets attributes of what has none"),
    "persistent id": (dumps(Persistent("x")), "refers to objects outside"),
    "extension": (b"\x80\x02\x82\x01.", "opcode 0x82"),
    "instance": (b"\x80\x02(iposix\nsystem\n.", "opcode 0x69"),
    "object": (b"\x80\x02(No.", "opcode 0x6f"),
    "text opcode": (b"I1\n.", "opcode 0x49"),
    "keywords": (b"\x80\x04NNN\x92.", "opcode 0x92"),
    "buffer": (b"\x80\x05\x97.", "opcode 0x97"),
    "tuple key": (dumps({("a",): 1}), "has a tuple as a key"),
    "bytes in a set": (b"\x80\x04\x8f(C\x01a\x90.", "has a bytes as a key"),
    "large key": (dumps({2**61 - 1: 1}), "has a int as a key"),
    "too many": (
        dumps(Call("numpy", "dtype", "f4", 1, 2, 3, 4)),
        r"gives numpy.dtype what it does not take \(TypeError\)",
    ),
    "array class": (dumps(Call("numpy", "ndarray", (3,))), "numpy.ndarray is called directly"),
    "encoding": (dumps(Call("_codecs", "encode", "x", "rot13")), "something else than bytes"),
    "endless": (b"\x80\x04" + b"N0" * 40 + b"N.", "more than 50 pickle operations"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_pickle_says_what_is_wrong(case: str):
    data, message = DAMAGED[case]
    with pytest.raises(CheckpointError, match=message):
        load(data, max_operations=50)


def test_huge_memo_indices_cost_nothing():
    assert load(b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.") is None


def test_depth_costs_no_stack():
    value = load(b"\x80\x04" + b"N" + b"\x85" * 100_000 + b".")
    for _ in range(100_000):
        (value,) = value
    assert value is None
    recursive = load(b"\x80\x04]\x94h\x00a.")
    assert recursive[0] is recursive


def test_a_small_file_cannot_become_a_large_one():
    # One text of 100 kB, turned into bytes again and again.
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    again = b"c_codecs\nencode\nq\x01h\x00X\x06\x00\x00\x00latin1\x86R"
    data = b"\x80\x02" + text + b"q\x00" + again + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * 1000 + b"."
    with pytest.raises(CheckpointError, match="unpacks to far more than it holds"):
        load(data)


def test_pickles_that_follow_each_other_are_read_in_turn():
    file = io.BytesIO(dumps([1]) + dumps("x") + b"rest")
    assert RestrictedUnpickler(file, {}, what="f").load() == [1]
    assert RestrictedUnpickler(file, {}, what="f").load() == "x"
    assert file.read() == b"rest"


def test_state_reaches_only_what_is_meant_for_it():
    class Stored:
        def __setstate__(self, state):
            self.state = state

    class Built(Passive):
        def build(self, state):
            return ("built", state)

    allowed = {("a", "Stored"): Stored, ("a", "Built"): Built, ("a", "array"): lambda: np.zeros(2)}
    assert load(dumps(Call("a", "Stored", state={"x": 1})), allowed).state == {"x": 1}
    # What was remembered before the state was set is the finished object too.
    data = b"\x80\x04ca\nBuilt\n)R\x94X\x01\x00\x00\x00sb0h\x00."
    assert load(data, allowed) == ("built", "s")
    with pytest.raises(CheckpointError, match="sets attributes of what has none"):
        load(dumps(Call("a", "array", state=(1, (4,), None, False, b""))), allowed)
    with pytest.raises(CheckpointError, match="has no state to set"):
        load(dumps(Call("a", "Passive", state=1)), {("a", "Passive"): Passive})


def test_containers_of_other_classes_are_filled():
    allowed = {("collections", "OrderedDict"): collections.OrderedDict}
    assert load(pickle.dumps(collections.OrderedDict(a=1, b=[2]), 4), allowed) == {"a": 1, "b": [2]}


def test_persistent_ids_are_handed_on():
    assert load(dumps([Persistent("x")]), persistent=lambda given: given * 2) == ["xx"]


def test_a_stream_without_an_end_is_refused():
    class Pipe(io.BytesIO):
        def seek(self, *arguments):
            raise OSError("illegal seek")

    with pytest.raises(CheckpointError, match=r"cannot be read \(illegal seek\); give a regular file"):
        RestrictedUnpickler(Pipe(b"N."), {}, what="f")


def test_a_survey_lists_globals_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    inside = dumps([bomb("touch marker")], 2)
    held = Call("torch.storage", "_load_from_bytes", inside)
    data = dumps({"a": Call("os.path", "join", "x", state={"y": held}), "b": np_call()})
    found = survey(io.BytesIO(data), what="f")
    assert found.globals == ("numpy.dtype", "os.path.join", "posix.system", "torch.storage._load_from_bytes")
    assert found.problem is None
    cut = survey(io.BytesIO(data[:-1]), what="f")
    assert cut.globals == found.globals
    assert "ends too early" in cut.problem
    assert not list(tmp_path.iterdir())


def np_call() -> Call:
    return Call("numpy", "dtype", "f4", False, True)
