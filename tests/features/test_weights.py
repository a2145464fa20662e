"""Weight files: found and checked; a partial or wrong one is never used and says what to do."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.errors import UsageError, WeightsError
from evalkit.features import weights
from evalkit.features.weights import WEIGHTS, WeightsEntry, fetch, locate, status, verify, weights_dir

EntryFor = Callable[[str | None], WeightsEntry]


def test_the_catalogue_states_what_a_user_needs():
    for name, entry in WEIGHTS.items():
        assert entry.name == name
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", entry.sha256)
        assert entry.licence
        assert entry.what
        if len(entry.sha256) == 8:
            assert entry.sha256 in entry.filename
    assert WEIGHTS["inception-tf2015"].filename == "weights-inception-2015-12-05-6726825d.pth"
    assert WEIGHTS["inception-tf2015"].aliases == ("pt_inception-2015-12-05-6726825d.pth",)


def test_urls_are_the_peers_own():
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models import VGG16_Weights

    assert WEIGHTS["inception-tf2015"].url == URL_INCEPTION_V3
    assert WEIGHTS["vgg16"].url == VGG16_Weights.IMAGENET1K_V1.url


def test_the_bundled_weights_are_always_there_and_whole(tmp_path: Path):
    state = status(WEIGHTS["mini"], tmp_path / "nowhere")
    assert state.state == "ok"
    assert hashlib.sha256(state.path.read_bytes()).hexdigest() == WEIGHTS["mini"].sha256
    assert state.path.stat().st_size == WEIGHTS["mini"].size < 1_000_000
    assert fetch("mini", tmp_path) == locate("mini", tmp_path, {}) == state.path


def test_the_folder_is_the_one_given_or_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert weights_dir(tmp_path / "mine") == tmp_path / "mine"
    assert weights_dir() == Path(os.environ["EVALKIT_WEIGHTS"])
    monkeypatch.delenv("EVALKIT_WEIGHTS")
    assert weights_dir() == Path(os.environ["EVALKIT_CACHE"]) / "weights"


@pytest.mark.parametrize("name", ["net-file.pth", "other-name.pth"])
def test_a_whole_file_is_found_under_either_name(
    tmp_path: Path, name: str, entry_for: EntryFor, content: bytes
):
    (tmp_path / name).write_bytes(content)
    assert status(entry_for(None), tmp_path).path == tmp_path / name
    assert status(entry_for(None), tmp_path).state == "ok"


def test_a_right_file_under_another_name_makes_up_for_a_wrong_one(
    tmp_path: Path, entry_for: EntryFor, content: bytes
):
    (tmp_path / "net-file.pth").write_bytes(content[:-1])
    (tmp_path / "other-name.pth").write_bytes(content)
    assert status(entry_for(None), tmp_path).state == "ok"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("inception-tf2015", r"weights-inception-2015-12-05-6726825d.pth is not in .*; run `evalkit weights "
         r"fetch inception-tf2015`, or get the file on another machine and put it into .* \(another folder: "
         r"--weights-dir or \$EVALKIT_WEIGHTS\), or name it with --weights inception-tf2015=FILE"),
        ("inception-tf2015-stem192", r"inception_2015_12_05_stem192.npz is not in .*; it is given by hand: "
         r"get the file on another machine"),
    ],
)  # fmt: skip
def test_missing_weights_say_how_to_get_them(tmp_path: Path, name: str, message: str):
    assert status(WEIGHTS[name], tmp_path).state == "missing"
    with pytest.raises(WeightsError, match=rf"the weights {name} cannot be used \(missing\): {message}"):
        locate(name, tmp_path, {})


def test_a_partial_download_is_not_used_and_says_so(tmp_path: Path):
    (tmp_path / "vgg16-397923af.pth.part").write_bytes(b"x" * 1234)
    assert status(WEIGHTS["vgg16"], tmp_path).state == "partial"
    with pytest.raises(
        WeightsError, match="only 1,234 bytes have been downloaded; run `evalkit weights fetch v"
    ):
        locate("vgg16", tmp_path, {})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("vgg16-397923af.pth", r"vgg16-397923af.pth is incomplete or another file \(5 bytes\): its sha256 "
         r"begins 2cf24dba and should begin 397923af; `evalkit weights fetch vgg16` replaces it$"),
        ("pt_inception-2015-12-05-6726825d.pth", "should begin 6726825d; `evalkit weights fetch "
         "inception-tf2015` replaces it, once it is deleted"),
        ("inception_2015_12_05_stem192.npz", r"\(5 of 651,991 bytes\).*delete it and copy the right one"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_not_used_and_says_so(tmp_path: Path, file: str, message: str):
    (tmp_path / file).write_bytes(b"hello")
    name = next(e.name for e in WEIGHTS.values() if file in (e.filename, *e.aliases))
    assert status(WEIGHTS[name], tmp_path).state == "wrong"
    with pytest.raises(WeightsError, match=message):
        locate(name, tmp_path, {})


def test_a_damaged_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "_PACKAGE_DATA", tmp_path)
    with pytest.raises(WeightsError, match="install evalkit again"):
        locate("mini", tmp_path, {})
    (tmp_path / "mini-v1.safetensors").write_bytes(b"hello")
    with pytest.raises(WeightsError, match=r"\(5 of 943,204 bytes\).* install evalkit again"):
        locate("mini", tmp_path, {})


def test_a_file_that_changes_is_hashed_again(tmp_path: Path, entry_for: EntryFor, content: bytes):
    entry, path = entry_for(None), tmp_path / "net-file.pth"
    path.write_bytes(content)
    assert status(entry, tmp_path).state == "ok"
    path.write_bytes(content[:-1])
    assert status(entry, tmp_path).state == "wrong"


def test_a_file_named_by_the_user_is_taken_as_it_is(tmp_path: Path):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"anything")
    assert locate("vgg16", tmp_path, {"vgg16": mine}) == mine


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("none.pth", "--weights vgg16=.*none.pth: there is no such file"),
        ("net.h5", "no weight file evalkit reads; give a .pth"),
    ],
)  # fmt: skip
def test_a_named_file_that_cannot_serve_is_refused(tmp_path: Path, file: str, message: str):
    with pytest.raises(WeightsError, match=message):
        locate("vgg16", tmp_path, {"vgg16": tmp_path / file})


@pytest.mark.parametrize(
    "call", [lambda name: weights.entry(name), lambda name: fetch(name), lambda name: verify([name])]
)
def test_unknown_names_offer_the_nearest(call):
    with pytest.raises(
        UsageError, match=r"unknown weight 'vgg61' \(nearest: vgg16\); `evalkit list weights`"
    ):
        call("vgg61")


def test_verify_tells_the_state_of_all_or_of_those_named(tmp_path: Path):
    assert {name: state.state for name, state in verify(folder=tmp_path).items()} == {
        "inception-tf2015": "missing", "inception-tf2015-stem192": "missing", "vgg16": "missing",
        "alexnet": "missing", "squeezenet": "missing", "mini": "ok", "attributes-digits": "ok",
    }  # fmt: skip
    assert list(verify(["mini"])) == ["mini"]
