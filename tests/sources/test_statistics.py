"""Files of reference statistics: told apart by their arrays, checked before they are believed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evalkit.errors import SourceError, UsageError
from evalkit.sources.resolve import resolve
from evalkit.sources.statistics import ReferenceStatistics, write_statistics

MU = np.arange(4.0)
SIGMA = np.eye(4) + 0.1
HEADER = {
    "format": "evalkit-reference-1",
    "protocol": "fd_mini",
    "extractor": "mini",
    "layer": "features",
    "resize": "antialiased-bilinear",
    "precision": "float32",
    "weights_sha256": "a" * 64,
    "num": 10,
    "ddof": 1,
}


def test_evalkits_own_file_comes_back(tmp_path: Path):
    write_statistics(tmp_path / "ref.npz", MU, SIGMA, HEADER)
    found = resolve(tmp_path / "ref.npz")
    assert isinstance(found, ReferenceStatistics)
    assert (found.format, found.num, found.ddof) == ("evalkit", 10, 1)
    assert found.header == HEADER
    np.testing.assert_array_equal(found.mu, MU)
    np.testing.assert_array_equal(found.sigma, SIGMA)
    with np.load(tmp_path / "ref.npz", allow_pickle=False) as file:
        assert {"mu", "sigma"} <= set(file)


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("stats.npz", {}, "pytorch-fid"),
        ("cifar10_clean_test_32.npz", {}, "clean-fid"),
        ("cifar10_legacy_tensorflow_test_32.npz", {}, "clean-fid"),
        ("VIRTUAL.npz", {"mu_s": MU, "sigma_s": SIGMA, "arr_0": np.zeros((2, 8, 8, 3), np.uint8)}, "adm"),
    ],
)
def test_formats_are_told_apart(tmp_path: Path, name: str, more: dict, expected: str):
    np.savez(tmp_path / name, mu=MU, sigma=SIGMA, **more)
    found = resolve(tmp_path / name)
    assert isinstance(found, ReferenceStatistics)
    assert found.format == expected
    assert found.num is None
    assert (found.mu_s is not None) == (expected == "adm")


def test_images_beside_statistics_can_be_named(tmp_path: Path):
    np.savez(tmp_path / "ref.npz", mu=MU, sigma=SIGMA, arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    assert len(resolve(f"{tmp_path / 'ref.npz'}:arr_0")) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": MU, "sigma": np.eye(3)}, r"mu has shape \(4,\) and sigma \(3, 3\)"),
        ({"mu": MU, "sigma": np.triu(np.ones((4, 4)))}, "sigma is not symmetric"),
        ({"mu": MU * np.nan, "sigma": SIGMA}, "mu holds NaN"),
        ({"mu": MU, "sigma": -SIGMA}, "diagonal of sigma has negative values"),
        ({"mu": MU, "sigma": 0 * SIGMA}, "all zero"),
        ({"mu": MU.astype(int), "sigma": SIGMA}, "statistics are floats"),
        ({"mu": MU, "sigma": SIGMA, "header": np.array("{")}, "no JSON of evalkit's"),
        (
            {"mu": MU, "sigma": SIGMA, "header": np.array(json.dumps({"format": "evalkit-reference-9"}))},
            "of format",
        ),
        (
            {"mu": MU, "sigma": SIGMA, "header": np.array(json.dumps({"format": "evalkit-reference-1"}))},
            "header lacks protocol",
        ),
        ({"mu": np.array([{}], dtype=object), "sigma": SIGMA}, "statistics are floats"),
    ],
)
def test_what_is_no_covariance_is_refused(tmp_path: Path, arrays: dict, message: str):
    np.savez(tmp_path / "ref.npz", **arrays)
    with pytest.raises(SourceError, match=message):
        resolve(tmp_path / "ref.npz")


def test_a_truncated_file_is_refused(tmp_path: Path):
    write_statistics(tmp_path / "ref.npz", MU, SIGMA, HEADER)
    content = (tmp_path / "ref.npz").read_bytes()
    (tmp_path / "ref.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="cannot be read"):
        resolve(tmp_path / "ref.npz")


def test_no_part_of_statistics_can_be_taken(tmp_path: Path):
    write_statistics(tmp_path / "ref.npz", MU, SIGMA, HEADER)
    with pytest.raises(UsageError, match="holds statistics, of which no part can be taken"):
        resolve(tmp_path / "ref.npz", limit=3)


def test_the_fingerprint_covers_arrays_and_header(tmp_path: Path):
    variants = [
        (MU, SIGMA, HEADER),
        (MU + 1, SIGMA, HEADER),
        (MU, 2 * SIGMA, HEADER),
        (MU, SIGMA, {**HEADER, "num": 9}),
    ]
    prints = set()
    for i, (mu, sigma, header) in enumerate(variants):
        write_statistics(tmp_path / f"{i}.npz", mu, sigma, header)
        prints.add(resolve(tmp_path / f"{i}.npz").fingerprint)
    assert len(prints) == len(variants)
