"""The bundled classifier is the one its papers describe."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from evalkit.features.catalog import load_extractor
from evalkit.features.mini_net import VERSION, WEIGHTS_FILE
from evalkit.features.weights import WEIGHTS


def test_file_papers_and_catalogue_agree():
    papers = json.loads(WEIGHTS_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    content = WEIGHTS_FILE.read_bytes()
    assert papers["version"] == VERSION
    assert papers["file"] == WEIGHTS_FILE.name == WEIGHTS["mini"].filename
    assert papers["sha256"] == hashlib.sha256(content).hexdigest() == WEIGHTS["mini"].sha256
    assert papers["bytes"] == len(content) == WEIGHTS["mini"].size


@pytest.mark.slow
def test_its_accuracy_on_cifar10_is_the_published_one(data_dir: Path):
    papers = json.loads(WEIGHTS_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(data_dir / "cifar10.npz", allow_pickle=False) as data:
        images, labels = data["test_images"].transpose(0, 3, 1, 2), data["test_labels"]
    extractor = load_extractor("mini", layers=["logits"])
    right = 0
    for start in range(0, len(images), 1000):
        scores = extractor(list(images[start : start + 1000]))["logits"]
        right += int((scores.argmax(axis=1) == labels[start : start + 1000]).sum())
    # 8,316 of 10,000; two images may change sides where another machine rounds otherwise.
    assert right == pytest.approx(papers["test_accuracy"] * papers["test_images"], abs=2)
