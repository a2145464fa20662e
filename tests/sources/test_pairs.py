"""Originals, low-resolution images and restorations: found by name or order, and every misfit is said."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evalkit.errors import EvalkitError, SourceError, UsageError
from evalkit.imaging.resize_matlab import downscale
from evalkit.sources.pairs import open_pairs
from evalkit.sources.resolve import resolve

RNG = np.random.default_rng(7)


def picture(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, images: dict[str, tuple[int, int] | np.ndarray]) -> Path:
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image if isinstance(image, np.ndarray) else picture(*image)).save(path)
    return folder


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return write(tmp_path / "hr", {"baby.png": (16, 24), "bird.png": (12, 12)})


def low(names: list[str]) -> dict[str, tuple[int, int] | np.ndarray]:
    return {name: (4, 6) if "baby" in name else (3, 3) for name in names}


def high(names: list[str]) -> dict[str, tuple[int, int] | np.ndarray]:
    return {name: (16, 24) if "baby" in name else (12, 12) for name in names}


def level(folder: Path, *names: str) -> dict[str, np.ndarray]:
    """Files whose pixels say which of them they are."""
    return {name: np.full((4, 4, 3), place, np.uint8) for place, name in enumerate(names)}


@pytest.mark.parametrize(
    "form",
    ["{}.png", "{}x4.png", "{}_x4.png", "{}X4.png", "{}_LR.png", "{}_LRx4.png", "{}_LRBI_x4.png", "{}.bmp",
     "all/{}x4.png"],
)  # fmt: skip
def test_low_resolution_images_are_found_by_name(form: str, hr: Path, tmp_path: Path):
    folder = write(tmp_path / "lr", low([form.format(name) for name in ("baby", "bird")]))
    pairs = open_pairs(hr, scale=4, lr=folder)
    assert (len(pairs), pairs.names, pairs.lr_from, pairs.num_samples) == (2, ("baby", "bird"), "files", 0)
    assert [pairs.lr(i).shape for i in range(2)] == [(3, 4, 6), (3, 3, 3)]
    stored = np.asarray(Image.open(folder / form.format("baby")))
    assert np.array_equal(pairs.lr(0).transpose(1, 2, 0), stored)


def test_low_resolution_images_are_made_from_the_cropped_originals(tmp_path: Path):
    folder = write(tmp_path / "hr", {"a.png": (17, 22), "b.png": (16, 20)})
    pairs = open_pairs(folder, scale=4)
    whole = np.asarray(Image.open(folder / "a.png")).transpose(2, 0, 1)
    assert np.array_equal(pairs.hr(0), whole[:, :16, :20])
    assert np.array_equal(pairs.lr(0), downscale(whole[:, :16, :20], 4))
    assert pairs.lr_from == "matlab-bicubic"
    assert (
        "1 of 2 originals are cropped at the bottom and the right to multiples of 4, such as a from 22x17 to "
        "20x16" in pairs.notes
    )
    assert (
        "low-resolution images are made from the originals by MATLAB's bicubic imresize at 1/4" in pairs.notes
    )


@pytest.mark.parametrize(
    ("forms", "num"),
    [
        (["{}.png"], 1),
        (["{}x4.png"], 1),
        (["{}_SR.png"], 1),
        (["{}x4_SR.png"], 1),
        (["{}_0.png", "{}_1.png", "{}_2.png"], 3),
        (["{}x4_0.png", "{}x4_1.png"], 2),
        (["{}_sample00000.png", "{}_sample00001.png"], 2),
        (["{}_sample0.png"], 1),
        (["0/{}.png", "1/{}.png"], 2),
        (["run/sample1/{}x4.png", "run/sample2/{}x4.png"], 2),
    ],
)
def test_restorations_are_found_by_name_and_number(forms: list[str], num: int, hr: Path, tmp_path: Path):
    names = [form.format(name) for name in ("baby", "bird") for form in forms]
    folder = write(tmp_path / "sr", high(names))
    pairs = open_pairs(hr, scale=4, sr=folder)
    assert pairs.num_samples == num
    for image, name in enumerate(("baby", "bird")):
        for sample, form in enumerate(forms):
            stored = np.asarray(Image.open(folder / form.format(name)))
            assert np.array_equal(pairs.sr(image, sample).transpose(1, 2, 0), stored)


def test_samples_go_by_their_numbers_not_their_letters(tmp_path: Path):
    names = [f"a_{k}.png" for k in (0, 1, 2, 9, 10, 11)]
    write(tmp_path / "sr", level(tmp_path, *names))
    pairs = open_pairs(write(tmp_path / "hr", {"a.png": (4, 4)}), scale=2, sr=tmp_path / "sr")
    assert [int(pairs.sr(0, k)[0, 0, 0]) for k in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("originals", "files"),
    [
        (["0801", "0801_1"], {"0801": ["0801"], "0801_1": ["0801_1"]}),
        (["0801", "0801_1"], {"0801": ["0801_0", "0801_1"], "0801_1": ["0801_1_0", "0801_1_1"]}),
        (["img_001", "img_002"], {"img_001": ["img_001"], "img_002": ["img_002"]}),
        (["img_001", "img_002"], {"img_001": ["img_001_3"], "img_002": ["img_002_3"]}),
        (["img", "img_0"], {"img": ["img_0", "img_1"], "img_0": ["img_0_0", "img_0_1"]}),
        (["a_HR", "b_HR"], {"a_HR": ["a_SR"], "b_HR": ["b_SR"]}),
        (["0/a", "1/a"], {"0/a": ["0/a"], "1/a": ["1/a"]}),
        (["0/a", "1/a"], {"0/a": ["0/0/a", "1/0/a"], "1/a": ["0/1/a", "1/1/a"]}),
    ],
)
def test_names_that_end_in_numbers_are_not_mistaken(
    originals: list[str], files: dict[str, list[str]], tmp_path: Path
):
    hr = write(tmp_path / "hr", {f"{name}.png": (4, 4) for name in originals})
    listed = [name for names in files.values() for name in names]
    folder = write(tmp_path / "sr", level(tmp_path, *(f"{name}.png" for name in listed)))
    pairs = open_pairs(hr, scale=2, sr=folder)
    assert list(pairs.names) == originals
    for image, name in enumerate(originals):
        found = [listed[int(pairs.sr(image, k)[0, 0, 0])] for k in range(pairs.num_samples)]
        assert found == files[name]


def test_folders_archives_and_arrays_give_the_same_pairs(tmp_path: Path):
    images = {f"{k}.png": picture(8, 8) for k in range(3)}
    hr = write(tmp_path / "hr", images)
    with zipfile.ZipFile(tmp_path / "hr.zip", "w") as archive:
        for name in images:
            archive.write(hr / name, f"data/{name}")
    array = np.stack(list(images.values()))
    one, two, three = (open_pairs(given, scale=2) for given in (hr, tmp_path / "hr.zip", array))
    assert one.names == two.names == ("0", "1", "2")
    assert three.names == ("00000", "00001", "00002")
    for index in range(3):
        assert np.array_equal(one.lr(index), two.lr(index))
        assert np.array_equal(one.lr(index), three.lr(index))
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != open_pairs(hr, scale=4).fingerprint
    assert (
        one.fingerprint
        != open_pairs(hr, scale=2, lr=write(tmp_path / "lr", {n: (4, 4) for n in images})).fingerprint
    )


def test_what_has_no_file_names_goes_by_its_order():
    hr = np.stack([picture(8, 8) for _ in range(3)])
    sr = np.stack([picture(8, 8) for _ in range(6)])
    lr = np.stack([picture(4, 4) for _ in range(3)])
    pairs = open_pairs(hr, scale=2, lr=lr, sr=sr)
    assert pairs.num_samples == 2
    assert np.array_equal(pairs.sr(1, 0).transpose(1, 2, 0), sr[2])
    assert np.array_equal(pairs.lr(2).transpose(1, 2, 0), lr[2])
    assert any("by their order, 2 of each" in note for note in pairs.notes)
    limited = open_pairs(hr, scale=2, sr=sr, limit=2)
    assert (len(limited), limited.num_samples) == (2, 2)
    few = open_pairs(hr, scale=2, sr=sr[:2], limit=2)
    assert (len(few), few.num_samples) == (2, 1)
    with pytest.raises(
        SourceError, match="holds 5 images and there are 3 originals.*expected is a multiple of 3"
    ):
        open_pairs(hr, scale=2, sr=sr[:5])
    with pytest.raises(
        SourceError, match="holds 2 images and there are 3 originals.*expected is 3: one each"
    ):
        open_pairs(hr, scale=2, lr=lr[:2])


def test_originals_without_files_pair_with_files_by_number(tmp_path: Path):
    hr = np.stack([picture(8, 8) for _ in range(4)])
    names = [f"0000{k}_{s}.png" for k in range(4) for s in range(2)]
    folder = write(tmp_path / "sr", {name: (8, 8) for name in names})
    pairs = open_pairs(hr, scale=4, limit=3, sr=folder)
    assert (pairs.names[2], pairs.num_samples, pairs.lr(2).shape) == ("00002", 2, (3, 2, 2))
    stored = np.asarray(Image.open(folder / "00002_1.png"))
    assert np.array_equal(pairs.sr(2, 1).transpose(1, 2, 0), stored)
    (folder / "00002_1.png").rename(folder / "2_1.png")  # numbers without their zeros might be anything
    with pytest.raises(SourceError, match="1 of 8 files belong to no original: .*2_1.png"):
        open_pairs(hr, scale=4, limit=2, sr=folder)


def test_samples_and_limits_take_the_first(hr: Path, tmp_path: Path):
    names = [f"{name}_{k}.png" for name in ("baby", "bird") for k in range(4)]
    folder = write(tmp_path / "sr", high(names))
    pairs = open_pairs(hr, scale=4, sr=folder, samples=2)
    assert pairs.num_samples == 2
    assert "the first 2 of 4 restorations of each original are used" in pairs.notes
    assert np.array_equal(pairs.sr(1, 1).transpose(1, 2, 0), np.asarray(Image.open(folder / "bird_1.png")))
    whole = open_pairs(hr, scale=4, sr=folder)
    assert pairs.sr_fingerprint != whole.sr_fingerprint
    assert pairs.fingerprint == whole.fingerprint
    (folder / "bird_3.png").unlink()
    limited = open_pairs(hr, scale=4, sr=folder, limit=1)  # bird is not asked for
    assert (limited.names, limited.num_samples) == (("baby",), 4)
    with pytest.raises(UsageError, match="there is no restoration 4 of baby: 4 of each were given"):
        limited.sr(0, 4)


def test_grey_is_what_is_stored_grey(tmp_path: Path):
    grey = picture(8, 8)[..., 0]
    alpha = np.dstack([grey, np.full_like(grey, 99)])
    folder = write(
        tmp_path / "hr",
        {
            "a.png": grey,
            "b.png": np.repeat(grey[..., None], 3, axis=2),  # equal channels are not one channel
            "c.png": (grey.astype(np.uint16) << 8) + 7,
            "d.png": grey,
            "e.png": np.dstack([picture(8, 8), grey]),
        },
    )
    Image.fromarray(alpha).save(folder / "d.png")
    pairs = open_pairs(folder, scale=2)
    assert [pairs.grey(index) for index in range(5)] == [True, False, True, True, False]
    assert np.array_equal(pairs.hr(2), np.repeat(grey[None], 3, axis=0))  # the high byte
    notes = " / ".join(pairs.notes)
    assert "3 of 5 originals are stored grey" in notes
    assert "originals: 2 of 5 images have transparency: the alpha channel is dropped" in notes
    assert "originals: 1 of 5 images have 16 bits a channel: the high byte is used" in notes
    one_channel = open_pairs(np.stack([grey, grey])[..., None], scale=2)
    three = open_pairs(np.repeat(np.stack([grey, grey])[..., None], 3, axis=3), scale=2)
    assert one_channel.grey(0)
    assert not three.grey(0)
    assert one_channel.fingerprint != three.fingerprint  # luma is not the grey level


def test_unreadable_images_take_what_belongs_to_them_along(hr: Path, tmp_path: Path):
    lr = write(tmp_path / "lr", low(["baby.png", "bird.png"]))
    data = (lr / "baby.png").read_bytes()
    (lr / "baby.png").write_bytes(data[:60])
    with pytest.raises(SourceError, match="baby.png cannot be read as an image"):
        open_pairs(hr, scale=4, lr=lr).lr(0)
    pairs = open_pairs(hr, scale=4, lr=lr, skip_broken=True)
    assert pairs.names == ("bird",)
    assert pairs.broken == (str(hr / "baby.png"),)
    few = write(tmp_path / "sr", high(["baby_0.png", "baby_1.png", "bird_0.png"]))
    with pytest.raises(
        SourceError, match="none of its 1 images can be read"
    ):  # bird, outside the limit, has too few
        open_pairs(hr, scale=4, lr=lr, sr=few, limit=1, skip_broken=True)
    (lr / "bird.png").write_bytes(b"")
    with pytest.raises(SourceError, match="none of its 2 images can be read"):
        open_pairs(hr, scale=4, lr=lr, skip_broken=True)


def test_alike_files_are_paired_alike_and_changes_are_seen(hr: Path, tmp_path: Path):
    lr = write(tmp_path / "lr", low(["baby.png", "bird.png"]))
    sr = write(tmp_path / "sr", high(["baby.png", "bird.png"]))
    first = open_pairs(hr, scale=4, lr=lr, sr=sr)
    write(sr, high(["bird.png"]))
    changed = open_pairs(hr, scale=4, lr=lr, sr=sr)
    assert first.fingerprint == changed.fingerprint
    assert first.sr_fingerprint != changed.sr_fingerprint
    write(lr, low(["bird.png"]))
    assert open_pairs(hr, scale=4, lr=lr, sr=sr).fingerprint != first.fingerprint


BAD_LR: list[tuple[dict[str, tuple[int, int]], str]] = [
    ({"baby.png": (4, 6), "bird.png": (3, 4)},
     "bird.png is 4x3 and its original .*bird.png is 12x12; at scale 4 expected is 3x3"),
    ({"baby.png": (4, 6)}, "no low-resolution image of 1 of 2 originals, bird; looked for is NAME, NAMEx4"),
    ({"baby.png": (4, 6), "bird.png": (3, 3), "man.png": (3, 3)},
     "1 of 3 files belong to no original: .*man.png"),
    ({"babyx2.png": (8, 12), "birdx2.png": (6, 6)},
     "babyx2.png is named for scale 2, and the scale is 4; give --scale 2"),
    ({"baby.png": (4, 6), "babyx4.png": (4, 6), "bird.png": (3, 3)},
     "baby.png and .*babyx4.png are both the low-resolution image of baby; take one"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "message"), BAD_LR)
def test_low_resolution_images_that_do_not_fit(files: dict, message: str, hr: Path, tmp_path: Path):
    with pytest.raises(SourceError, match=message):
        open_pairs(hr, scale=4, lr=write(tmp_path / "lr", files))


def test_low_resolution_images_of_whole_originals_are_told(tmp_path: Path):
    hr = write(tmp_path / "hr", {"a.png": (17, 16)})
    with pytest.raises(SourceError, match="4x5: it was made from the whole original \\(16x17\\).*gives 4x4"):
        open_pairs(hr, scale=4, lr=write(tmp_path / "lr", {"a.png": (5, 4)}))


BAD_SR: list[tuple[dict[str, tuple[int, int]], str]] = [
    ({"baby.png": (16, 23), "bird.png": (12, 12)},
     "baby.png is 23x16 and .* of baby at scale 4: expected is 24x16 \\(it is off by a pixel\\)"),
    ({"baby_0.png": (16, 24), "baby_1.png": (16, 24), "bird_0.png": (12, 12)},
     "different numbers of restorations of different originals: 2 of baby; 1 of bird|1 of bird; 2 of baby"),
    ({"baby_0.png": (16, 24), "baby_00.png": (16, 24), "bird_0.png": (12, 12), "bird_1.png": (12, 12)},
     "are both the restoration of baby with the same number"),
    ({"baby_0.png": (16, 24), "baby_1.png": (16, 24)}, "has no restoration of 1 of 2 originals, bird;"),
    ({"baby.png": (16, 24), "bird.png": (12, 12), "mean_of_all.png": (4, 4)},
     "1 of 3 files belong to no original: .*mean_of_all.png"),
    ({"baby_x3_0.png": (16, 24), "bird_x3_0.png": (12, 12)}, "is named for scale 3, and the scale is 4"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "message"), BAD_SR)
def test_restorations_that_do_not_fit(files: dict, message: str, hr: Path, tmp_path: Path):
    with pytest.raises(SourceError, match=message):
        open_pairs(hr, scale=4, sr=write(tmp_path / "sr", files))


def test_restorations_of_cropped_originals_have_their_size(tmp_path: Path):
    hr = write(tmp_path / "hr", {"a.png": (17, 16)})
    message = "expected is 16x16, the original's 16x17 cropped at the bottom and right to multiples of 4 \\("
    with pytest.raises(SourceError, match=message):
        open_pairs(hr, scale=4, sr=write(tmp_path / "sr", {"a.png": (17, 16)}))


def test_too_few_samples_are_said(hr: Path, tmp_path: Path):
    folder = write(tmp_path / "sr", high(["baby.png", "bird.png"]))
    with pytest.raises(SourceError, match="holds 1 restoration of each original and --samples asks for 3"):
        open_pairs(hr, scale=4, sr=folder, samples=3)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"scale": 0}, UsageError, "the scale is 0; give a whole number"),
        ({"scale": 2.5}, UsageError, "the scale is 2.5"),
        ({"scale": True}, UsageError, "the scale is True"),
        ({"scale": 1}, UsageError, "at scale 1 .* give them with --lr"),
        ({"scale": 16}, SourceError, "bird.png is 12x12 and cannot be the original of anything at scale 16"),
        ({"scale": 4, "samples": 0}, UsageError, "samples is 0"),
        ({"scale": 4, "limit": 3}, SourceError, "has 2 images and the limit asks for 3"),
        (
            {"scale": 4, "lr": "hr"},
            UsageError,
            "--hr and --lr are the same images, .*hr; give a folder for each",
        ),
        ({"scale": 4, "sr": "hr"}, UsageError, "--hr and --sr are the same images"),
        ({"scale": 4, "lr": "empty"}, SourceError, "empty holds no image \\(it is empty\\)"),
        ({"scale": 4, "sr": "nowhere"}, SourceError, "nothing is at .*nowhere"),
    ],
)
def test_what_cannot_be_asked(
    arguments: dict, kind: type[EvalkitError], message: str, hr: Path, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    given = {key: str(tmp_path / value) if key in ("lr", "sr") else value for key, value in arguments.items()}
    with pytest.raises(kind, match=message):
        open_pairs(hr, **given)


def test_two_originals_of_one_name_and_statistics_are_refused(tmp_path: Path):
    hr = write(tmp_path / "hr", {"a.png": (4, 4), "a.bmp": (4, 4)})
    with pytest.raises(SourceError, match=re.escape("a.bmp and ") + ".*a.png have one name, 'a'"):
        open_pairs(hr, scale=2)
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(UsageError, match="holds statistics, and restoration compares images"):
        open_pairs(tmp_path / "stats.npz", scale=2)


def test_scale_1_takes_degraded_images(hr: Path, tmp_path: Path):
    pairs = open_pairs(hr, scale=1, lr=write(tmp_path / "noisy", high(["baby.png", "bird.png"])))
    assert pairs.lr(0).shape == pairs.hr(0).shape == (3, 16, 24)


def test_the_matlab_inputs_of_the_benchmarks_pair(data_dir: Path):
    for name, num, odd in (("set5", 5, 0), ("set14", 14, 4)):
        given = open_pairs(data_dir / name, scale=4, lr=data_dir / f"{name}_LRx4")
        assert len(given) == num
        assert sum("cropped" in note and note.startswith(f"{odd} of") for note in given.notes) == (odd > 0)
        made = open_pairs(data_dir / name, scale=4, limit=2)
        for index in range(2):
            apart = np.abs(made.lr(index).astype(int) - given.lr(index).astype(int))
            assert apart.max() <= 1
        grey = [pair for pair in range(num) if given.grey(pair)]
        assert [given.names[pair] for pair in grey] == ([] if name == "set5" else ["bridge"])


def test_sources_of_every_kind_know_their_files_and_forms(hr: Path):
    folder = resolve(hr)
    assert [folder.file_name(index) for index in range(2)] == ["baby.png", "bird.png"]
    assert [tuple(form) for form in folder.forms([1, 0])] == [(12, 12, False), (16, 24, False)]
    for first, grey in ((Image.new("L", (6, 5)), True), (np.zeros((5, 6, 3), np.uint8), False)):
        items = resolve([(first, 0), (first, 1)])
        assert items.file_name(1) is None
        assert [tuple(form) for form in items.forms([1])] == [(5, 6, grey)]
    array = resolve(np.zeros((2, 5, 6, 1), np.uint8))
    assert array.file_name(0) is None
    assert [tuple(form) for form in array.forms([0])] == [(5, 6, True)]
    limited = resolve(hr, limit=1)
    assert limited.file_name(0) == "baby.png"
    assert [tuple(form) for form in limited.forms([0])] == [(16, 24, False)]
