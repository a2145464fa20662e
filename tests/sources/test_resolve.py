"""What a user types or hands over: every spelling reaches its source, every mistake its own sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import SourceError, UsageError
from evalkit.sources.arrays import ArraySource
from evalkit.sources.base import ImageSource
from evalkit.sources.resolve import resolve

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "samples").mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / "samples" / f"{i:02d}.png")
    return tmp_path / "samples"


def test_a_source_passes_through(folder: Path):
    source = resolve(folder)
    assert resolve(source) is source
    assert len(resolve(source, limit=3)) == 3


def test_a_path_may_be_text_or_relative(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    assert resolve("samples").fingerprint == resolve(folder).fingerprint
    assert resolve("samples").spec == "samples"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("smaples", r"nothing is at smaples: \. has no 'smaples' \(nearest: samples"),
        ("samples/deeper/still", r"samples has no 'deeper'"),
        ("bundled-digits", r"nearest: .*bundled:digits"),
        (Path("nowhere"), "nothing is at nowhere"),
        ("nowhere.npz:test", r"nothing is at nowhere\.npz: \. has no"),
    ],
)
def test_what_is_not_there_is_looked_for_nearby(folder: Path, monkeypatch, given: object, message: str):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(SourceError, match=message):
        resolve(given)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 31}, SourceError, "has 30 images and the limit asks for 31; lower the limit"),
        ({"limit": 0}, UsageError, "the limit on .*samples is 0; it must be 1 or more"),
        ({"limit": -2}, UsageError, "is -2"),
        ({"subset_seed": 1}, UsageError, "no limit was given; add --limit, or leave the seed out"),
        ({"limit": 2, "subset_seed": -1}, UsageError, "the subset seed is -1"),
    ],
)
def test_limits_that_cannot_be(folder: Path, options: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        resolve(folder, **options)


def test_a_seed_draws_without_replacement_in_the_order_of_the_source(folder: Path):
    everything = [image.tobytes() for image in resolve(folder).load(range(30))]
    drawn = [image.tobytes() for image in resolve(folder, limit=12, subset_seed=5).load(range(12))]
    places = [everything.index(image) for image in drawn]
    assert places == sorted(set(places))
    assert places != list(range(12))
    expected = np.sort(np.random.default_rng(5).choice(30, size=12, replace=False))
    assert places == expected.tolist()
    other = [image.tobytes() for image in resolve(folder, limit=12, subset_seed=6).load(range(12))]
    assert drawn != other


def test_a_selection_is_what_a_source_of_just_these_images_is(folder: Path, tmp_path: Path):
    whole = resolve(folder)
    assert resolve(folder, limit=30).fingerprint == whole.fingerprint
    np.save(tmp_path / "all.npy", PIXELS)
    np.save(tmp_path / "ten.npy", PIXELS[:10])
    assert resolve(tmp_path / "all.npy", limit=10).fingerprint == resolve(tmp_path / "ten.npy").fingerprint


def test_broken_ones_are_left_out_before_the_limit_counts(folder: Path):
    (folder / "01.png").write_bytes(b"broken")
    source = resolve(folder, skip_broken=True, limit=29)
    assert (len(source), len(source.broken)) == (29, 1)
    with pytest.raises(SourceError, match="has 29 images and the limit asks for 30"):
        resolve(folder, skip_broken=True, limit=30)
    whole = resolve(folder, skip_broken=True).fingerprint
    (folder / "01.png").unlink()
    assert whole == resolve(folder).fingerprint


def test_a_callable_needs_a_number():
    def sample(seeds: np.ndarray) -> np.ndarray:
        return PIXELS[seeds % 30]

    with pytest.raises(
        UsageError, match="sample makes as many images as it is asked for; say how many with --num"
    ):
        resolve(sample)
    assert len(resolve(sample, num=7)) == 7
    assert len(resolve(sample, usual_num=5)) == 5
    assert len(resolve(sample, num=7, usual_num=5)) == 7
    assert len(resolve(sample, limit=7)) == 7
    assert len(resolve(sample, num=9, limit=7)) == 7
    np.testing.assert_array_equal(resolve(sample, num=2, seed=4).load([1])[0], PIXELS[5].transpose(2, 0, 1))


def test_a_number_is_a_callables_alone(tmp_path: Path):
    with pytest.raises(
        UsageError,
        match=r"--num 2 says how many images a callable makes, and bundled:digits has a number of its own; "
        r"use --limit 2 to take so many of them",
    ):
        resolve("bundled:digits", num=2)
    assert len(resolve("bundled:digits", usual_num=2)) == 1797


def test_a_callable_whose_package_looks_like_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mnist_gan").mkdir()
    (tmp_path / "mnist_gan" / "__init__.py").write_text("")
    (tmp_path / "mnist_gan" / "models.py").write_text(
        "import numpy as np\ndef sample(seeds):\n    return np.zeros((len(seeds), 4, 5, 3), np.uint8)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = resolve("mnist_gan.models:sample", num=3)
    assert source.spec == "mnist_gan.models:sample"
    assert len(source.load(range(3))) == 3


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((4, 8, 9, 3), "NHWC"), ((4, 3, 8, 9), "NCHW"), ((4, 8, 9, 1), "NHWC"), ((4, 1, 8, 9), "NCHW"),
     ((5, 8, 9), "NHW"), ((4, 8, 9, 4), "NHWC"), ((4, 4, 8, 9), "NCHW"), ((4, 4, 9, 3), "NHWC")],
)  # fmt: skip
def test_axes_of_arrays(shape: tuple[int, ...], layout: str):
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    planes = {"NHWC": lambda a: a.transpose(0, 3, 1, 2), "NCHW": lambda a: a, "NHW": lambda a: a[:, None]}
    expected = planes[layout](array)[:, :3]
    expected = expected if expected.shape[1] == 3 else np.repeat(expected, 3, axis=1)
    source = resolve(array)
    np.testing.assert_array_equal(np.stack(source.load(range(len(array)))), expected)
    assert any("alpha" in note for note in source.notes) == (4 in (shape[1], shape[-1]) and shape[-1] != 3)


def test_loaded_images_are_the_callers_own():
    source = ArraySource(PIXELS.copy())
    source.load([0])[0][:] = 0
    np.testing.assert_array_equal(source.load([0])[0], PIXELS[0].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("arrays", "spec", "message"),
    [
        ({"images": PIXELS, "arr_0": PIXELS}, "", "several arrays of images; choose one by .*:arr_0 or"),
        ({"images": PIXELS, "labels": np.zeros((30, 10))}, "", "the labels 'labels' are float64"),
    ],
)
def test_an_npz_that_can_be_read_in_two_ways(tmp_path: Path, arrays: dict, spec: str, message: str):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(SourceError, match=message):
        resolve(f"{tmp_path / 'a.npz'}{spec}")


def test_names_inside_an_npz(tmp_path: Path):
    labels = np.arange(30)
    np.savez(
        tmp_path / "keras.npz", x_train=PIXELS, y_train=labels[:, None], x_test=PIXELS[:2], y_test=labels[:2]
    )
    np.testing.assert_array_equal(resolve(f"{tmp_path / 'keras.npz'}:x_train").labels, labels)
    np.savez(tmp_path / "odd.npz", pictures=PIXELS, weights=np.zeros(3))
    assert len(resolve(tmp_path / "odd.npz")) == 30
    np.savez(tmp_path / "unnamed.npz", PIXELS, np.zeros((3, 3)))
    assert resolve(tmp_path / "unnamed.npz").labels is None


def test_a_cut_npz_and_a_flipped_byte(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=PIXELS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="cannot be read .*cut off: copy or save it again"):
        resolve(path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(SourceError, match="cannot be read .*CRC"):
        resolve(path)


def test_pickles_are_never_opened(tmp_path: Path):
    import pickle

    (tmp_path / "a.npy").write_bytes(pickle.dumps([1, 2]))
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("a.npy", "b.npy"):
        with pytest.raises(SourceError, match="pickled Python objects, which are never loaded"):
            resolve(tmp_path / name)
    (tmp_path / "network.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(SourceError, match="no kind of file that holds images"):
        resolve(tmp_path / "network.pkl")


def test_a_cut_npy(tmp_path: Path):
    np.save(tmp_path / "a.npy", PIXELS)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-500])
    with pytest.raises(SourceError, match="cannot be read"):
        resolve(tmp_path / "a.npy")


def test_resolving_paths_imports_nothing_heavy(folder: Path):
    code = (
        "import sys\n"
        "from evalkit.sources.resolve import resolve, describe_sources\n"
        "describe_sources()\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'sklearn', 'scipy', 'datasets'}\n"
        "assert not (heavy | {'PIL'}) & set(sys.modules)\n"
        "resolve(sys.argv[1]).fingerprint\n"
        "assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("spec", "num", "shape", "labels"),
    [
        ("cifar10.npz:train", 10_000, (3, 32, 32), 10),
        ("mnist.npz:test", 10_000, (3, 28, 28), 10),
        ("cifar10_torchfidelity_5k.npz", 5_000, (3, 32, 32), 10),
        ("faces/olivetti.npz", 400, (3, 64, 64), None),
        ("set14", 14, None, None),
    ],
)
def test_real_files(data_dir: Path, spec: str, num: int, shape: tuple | None, labels: int | None):
    source = resolve(f"{data_dir}/{spec}")
    assert isinstance(source, ImageSource)
    assert len(source) == num
    assert shape is None or source.load([num - 1])[0].shape == shape
    assert (source.labels is None) == (labels is None)
    if source.labels is not None:
        assert len(np.unique(source.labels)) == labels
    assert len(source.fingerprint) == 64


def test_an_empty_name_is_not_the_working_folder():
    with pytest.raises(UsageError, match="an empty name was given for images"):
        resolve("")
