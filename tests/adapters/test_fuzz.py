"""Damaged and hostile files by the thousand: each ends in success or `CheckpointError`, in time, and leaves
nothing.

10,000 files by default; EVALKIT_FUZZ=2000 makes as many as it says.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pickle_writer import Call, dumps, module, network_file, numpy_array, parameter, tensor

from evalkit.adapters.nvidia_pickle import read_nvidia_pickle
from evalkit.adapters.restricted_pickle import RestrictedUnpickler, numpy_globals
from evalkit.errors import CheckpointError
from golden_cases import FOLDER
from reference_models.convert.inspect import inspect_checkpoint
from reference_models.convert.tf_pickle import read_tf_pickle

EXAMPLES = int(os.environ.get("EVALKIT_FUZZ") or 10_000)
SECONDS = 20  # a hang is one that never ends; a busy machine may take its time


def bases() -> list[bytes]:
    values = np.arange(12, dtype=np.float32)
    view = tensor(values, size=(3, 2), stride=(4, 2), offset=1)
    many = module({f"p{i}": parameter(values[:i]) for i in range(4)}, {"view": view})
    made = [network_file(), network_file(many, D=module(modules={"b4": many}))]
    arrays = {"a": values, "b": np.asfortranarray(np.eye(3)), "c": np.int64(7), "d": [np.zeros(0, np.uint8)]}
    made += [tensorflow_file()]
    made += [pickle.dumps(arrays, protocol) for protocol in (2, 3, 4, 5)]
    return made + [
        path.read_bytes()
        for path in sorted((FOLDER / "pickle_bad").glob("*.pkl"))
        if path.stat().st_size < 2000
    ]


def tensorflow_file() -> bytes:
    def network(name: str, **components: Call) -> Call:
        state = {
            "version": 4, "name": name, "static_kwargs": {"resolution": 4}, "components": components,
            "variables": [("4x4/Dense/weight", numpy_array(np.ones((2, 3), np.float32)))],
            "build_module_src": "import os", "build_func_name": "G_style",
        }  # fmt: skip
        return Call("dnnlib.tflib.network", "Network", state=state)

    return dumps((network("G"), network("D"), network("Gs", mapping=network("m"), synthesis=network("s"))))


BASES = bases()
PIECES = [bytes([code]) for code in range(256)] + [
    b"cposix\nsystem\n", b"cbuiltins\neval\n", b"(X\x0c\x00\x00\x00touch markertR", b"r\xff\xff\xff\xff",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"h\x00", b"h\x01", b"\x94", b"u", b"}",
    b"\x85" * 50,
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xff", b"2" * 100, b"(" * 100, b"\x8f", b"\x8c\x01a",
    b"cnumpy\ndtype\n",
    dumps(Call("numpy", "dtype", "O8", False, True))[2:-1], dumps(tensor(np.zeros(3, np.float32)))[2:-1],
]  # fmt: skip

where = st.integers(0, 1 << 20)
mutation = st.one_of(
    st.tuples(st.just("flip"), where, st.integers(0, 7)),
    st.tuples(st.just("byte"), where, st.integers(0, 255)),
    st.tuples(st.just("cut"), where, st.integers(1, 60)),
    st.tuples(st.just("end"), where, st.just(0)),
    st.tuples(st.just("insert"), where, st.integers(0, len(PIECES) - 1)),
    st.tuples(st.just("splice"), where, where),
    st.tuples(st.just("repeat"), where, st.integers(1, 200)),
)


def mutate(data: bytes, steps: list[tuple[str, int, int]], other: bytes) -> bytes:
    for what, place, detail in steps:
        at = place % (len(data) + 1)
        if what == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << detail)]) + data[at + 1 :]
        elif what == "byte":
            data = data[:at] + bytes([detail]) + data[at + 1 :]
        elif what == "cut":
            data = data[:at] + data[at + detail :]
        elif what == "end":
            data = data[:at]
        elif what == "insert":
            data = data[:at] + PIECES[detail] + data[at:]
        elif what == "splice":
            data = data[:at] + other[detail % (len(other) + 1) :]
        elif what == "repeat":
            data = data[: at + detail] + data[at:]
    return data


class Hang(BaseException):
    """Not an Exception, so that nothing takes it for an error of the file."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    if not hasattr(signal, "setitimer"):
        yield
        return
    old = signal.signal(signal.SIGALRM, stop)
    left = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *left)
        signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(made)
    yield made
    os.chdir(before)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(BASES), st.lists(mutation, min_size=1, max_size=6), st.sampled_from(BASES))
def test_no_file_does_more_than_be_refused(folder: Path, base: bytes, steps: list, other: bytes):
    data = mutate(base, steps, other)
    path = folder / "fuzzed.pkl"
    path.write_bytes(data)
    with limited(SECONDS):
        with contextlib.suppress(CheckpointError):
            read_nvidia_pickle(path)
        with contextlib.suppress(CheckpointError):
            RestrictedUnpickler(
                io.BytesIO(data), numpy_globals(), what="f", persistent=lambda given: None
            ).load()
        with contextlib.suppress(CheckpointError):
            read_tf_pickle(path)
        with contextlib.suppress(CheckpointError):
            inspect_checkpoint(path)
    assert [entry.name for entry in folder.iterdir()] == ["fuzzed.pkl"]


@pytest.mark.skipif(not (FOLDER / "pickle_sg2").is_dir(), reason=f"no golden files at {FOLDER}")
def test_genuine_files_cut_and_flipped(folder: Path):
    rng = np.random.default_rng(0)
    path = folder / "fuzzed.pkl"
    for name in ("pickle_sg2/network.pkl", "pickle_sg3/network_protocol2.pkl"):
        genuine = (FOLDER / name).read_bytes()
        for _ in range(max(20, EXAMPLES // 100)):
            data = bytearray(genuine)
            for place in rng.integers(0, len(data), rng.integers(1, 20)):
                data[place] ^= 1 << int(rng.integers(8))
            if rng.random() < 0.3:
                del data[int(rng.integers(len(data))) :]
            path.write_bytes(data)
            with limited(SECONDS), contextlib.suppress(CheckpointError):
                read_nvidia_pickle(path)
    assert [entry.name for entry in folder.iterdir()] == ["fuzzed.pkl"]
