"""Sweeps over truncation: paired points, filed and resumed like other runs, and the law they show."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evalkit
import reference_models
from evalkit.engine.sweep import Sweep, check_psis, parse_psis, plan_sweep, sweep, write_sweep
from evalkit.errors import MetricError, UsageError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "leaderboards" / "references" / "digits" / "stylegan3-t.safetensors"
COMMITTED = ROOT / "benchmarks" / "results" / "truncation_sweep.csv"
SMALL: dict[str, Any] = {"data": "bundled:digits:test", "data_limit": 60, "num": 60, "metrics": "fd_mini"}


class Mapped:
    """A stand-in from outside with styles: grey images whose levels follow w; its map may be truncated."""

    z_dim = 4

    def map(self, z: torch.Tensor, truncation_psi: float = 1.0) -> torch.Tensor:
        return truncation_psi * z

    def synthesise(self, w: torch.Tensor) -> torch.Tensor:
        return torch.tanh(w)[:, :3, None, None].expand(-1, 3, 8, 8)


class Untruncated(Mapped):
    def map(self, z: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return z


def at(result: Sweep, metric: str) -> list[float]:
    return [record.value for _, record in result.curves()[metric] if record.value is not None]


@pytest.mark.parametrize(
    ("words", "psis"),
    [
        ("0.3:1.0:8", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("1:0.5:2", [0.5, 1.0]),
        ("0.7, 0.3,0.5", [0.3, 0.5, 0.7]),
        ("0:1:3", [0.0, 0.5, 1.0]),
    ],
)
def test_psis_are_read_to_the_last_bit_of_what_one_would_type(words: str, psis: list[float]):
    assert list(parse_psis(words)) == psis


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--truncation '': write start:stop:count, such as 0.3:1.0:8, or a list, such as 0.3,0.5,0.7"),
        ("a:1:3", "--truncation 'a:1:3': write start:stop:count"),
        ("0.3:1", "--truncation '0.3:1': write start:stop:count"),
        ("0.3:1:2.5", "write start:stop:count"),
        ("0.3:1:4:5", "write start:stop:count"),
        ("0.5;0.6", "write start:stop:count"),
        ("0.3:1:1", "1 is no number of points; a sweep has 2 or more"),
        ("0.3:1:-2", "-2 is no number of points"),
        ("0.3:1:1000", "more than 100 points"),
        ("0.5", "a sweep has 2 to 100 points, and 1 was given"),
        ("0.5,nan", "truncation psi is nan; a sweep takes finite numbers from 0 on"),
        ("0.5:inf:3", "truncation psi is inf"),
        ("-0.1:1:3", "truncation psi is -0.1; a sweep takes finite numbers from 0 on"),
        ("0.5,0.5,1", "psi 0.5 was given twice"),
        ("0.5:0.5:4", "psi 0.5 was given twice"),
    ],
)
def test_psis_that_cannot_be(words: str, message: str):
    with pytest.raises(UsageError) as caught:
        parse_psis(words)
    assert message in str(caught.value)


def test_psis_of_python_are_checked_too():
    with pytest.raises(UsageError, match="truncation psi is '0.5'"):
        check_psis(["0.5", 1])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="truncation psi is True"):
        check_psis([True, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": "images/"}, "--samples are images that are there already; name the model with --model"),
        ({"model": None}, "a sweep truncates a model; name one with --model"),
        ({"truncation_psi": 0.5}, "a sweep sets truncation psi itself"),
        ({"metrics": ""}, "no metric was named"),
        ({"model": reference_models.build("progan")}, "a model that can be truncated: .*no average latent"),
        ({"model": evalkit.adapt(Untruncated())}, "can be truncated: .*for models whose map takes"),
        ({"truncation_cutoff": -1}, "truncation cutoff is -1"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_swept(arguments: dict[str, Any], message: str):
    given = {"model": evalkit.adapt(Mapped()), **SMALL, **arguments}
    for function in (plan_sweep, sweep):
        with pytest.raises(UsageError, match=message):
            function([0.5, 1.0], **given)


def test_a_model_without_latents_is_named():
    class Bare:
        name, resolution, num_classes = "bare", 8, 0

        def sample(self, seeds, labels=None):
            return torch.zeros(len(seeds), 3, 8, 8, dtype=torch.uint8)

    with pytest.raises(UsageError, match="truncated: truncation needs a model whose latents .*bare offers"):
        plan_sweep([0.5, 1.0], model=Bare(), **SMALL)


def test_points_are_plain_evaluations_filed_under_their_psi(tmp_path: Path):
    model = reference_models.build("stylegan2", seed=1)
    result = sweep([1.0, 0.4], model=model, name="mine", output=tmp_path / "records", seed=3, **SMALL)
    assert result.psis == (0.4, 1.0)
    assert result.model == "mine"
    for psi, records in zip(result.psis, result.records, strict=True):
        (alone,) = evalkit.evaluate(
            model=model, truncation_psi=psi, name=f"mine psi={psi!r}", output=None, seed=3, **SMALL
        )
        assert [record.record_id for record in records] == [alone.record_id]
    filed = evalkit.read_records(tmp_path / "records")
    assert {record.samples.name for record in filed} == {"mine psi=0.4", "mine psi=1.0"}
    assert len({record.samples.fingerprint for record in filed}) == 2
    folders = {path.name for path in (tmp_path / "records" / "bundled-digits-test").iterdir()}
    assert folders == {"mine-psi-0.4", "mine-psi-1.0"}


def test_a_second_sweep_computes_what_is_missing_alone():
    arguments = {"model": reference_models.build("stylegan2"), "output": None, **SMALL}
    planned = {key: value for key, value in arguments.items() if key != "output"}
    before = plan_sweep([0.5, 1.0], **planned)
    assert [(each.images, each.to_do, each.stored) for each in before.passes] == [
        ("samples at psi 0.5", 60, 0), ("data", 60, 0), ("samples at psi 1.0", 60, 0),
    ]  # fmt: skip
    assert "a sweep over 2 psi: 180 images or draws to pass through networks, 0 on file" in before.sentence
    first = sweep([0.5, 1.0], **arguments)
    after = plan_sweep([0.5, 0.75, 1.0], **planned)
    assert [(each.images, each.to_do, each.stored) for each in after.passes] == [
        ("samples at psi 0.5", 0, 60), ("data", 0, 60),
        ("samples at psi 0.75", 60, 0), ("samples at psi 1.0", 0, 60),
    ]  # fmt: skip
    again = sweep([0.5, 0.75, 1.0], **arguments)
    ids = [[record.record_id for record in records] for records in (*first.records, *again.records)]
    assert (ids[2], ids[4]) == (ids[0], ids[1])


def test_a_cutoff_is_used_where_there_is_truncation():
    model = reference_models.build("stylegan2")
    first, cut = (
        sweep([0.5, 1.0], model=model, output=None, truncation_cutoff=cutoff, **SMALL) for cutoff in (None, 2)
    )
    assert at(first, "fd_mini")[0] != at(cut, "fd_mini")[0]
    assert at(first, "fd_mini")[1] == at(cut, "fd_mini")[1]
    assert cut.model == f"{first.model} cutoff=2"
    names = [[record.samples.name for (record,) in result.records] for result in (first, cut)]
    assert names[0] == [f"{first.model} psi=0.5", f"{first.model} psi=1.0"]
    assert names[1] == [f"{first.model} psi=0.5 cutoff=2", f"{first.model} psi=1.0"]


def test_what_is_written_holds_the_records(tmp_path: Path):
    model = evalkit.adapt(Mapped(), name="levels")
    result = sweep([0.5, 0.8], model=model, output=None, **{**SMALL, "metrics": "fd_mini,prdc_mini"})
    paths = write_sweep(result, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [p.name for p in paths]
    told = json.loads(paths[1].read_text(encoding="utf-8"))
    assert told["format"] == "evalkit-sweep-1"
    assert told["metrics"]["fd_mini"]["digest"] == evalkit.PROTOCOLS["fd_mini"].digest
    with paths[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(told["points"]) == 2 * 5
    for row, point, record in zip(rows, told["points"], [r for p in result.records for r in p], strict=True):
        assert float(row["value"]) == point["value"] == record.value
        assert (float(row["low"]), float(row["high"])) == record.ci95
        assert row["record_id"] == point["record_id"] == record.record_id
    with Image.open(paths[2]) as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_sweep(result, tmp_path / "again")] == first


def test_what_does_not_apply_has_no_value_and_stops_nothing(tmp_path: Path):
    arguments = {**SMALL, "metrics": "fd_mini,eqt_int", "num": 20}
    result = sweep([0.5, 0.8], model=evalkit.adapt(Mapped()), output=None, **arguments)
    assert set(result.curves()) == {"fd_mini"}
    assert [row["value"] for row in result.rows() if row["metric"] == "eqt_int"] == [None, None]
    told = result.to_dict()["metrics"]["eqt_int"]
    assert "whose input can be transformed" in told["reason"]
    assert write_sweep(result, tmp_path)[2].exists()
    empty = Sweep(model="m", data="d", seed=0, psis=(0.5,), records=(result.records[0][1:],))
    with pytest.raises(
        MetricError, match="has no value to draw: not applicable: this needs a model whose input"
    ):
        write_sweep(empty, tmp_path / "empty")


def test_psi_of_nothing_says_that_all_images_are_one():
    with pytest.raises(MetricError, match=r"psi 0.0: all 60 rows .* equal.*start the sweep above it"):
        sweep([0.0, 1.0], model=evalkit.adapt(Mapped()), output=None, **SMALL)


def test_truncation_trades_recall_away_on_a_trained_model():
    result = sweep(
        [0.3, 0.6, 1.0], model=reference_models.load_checkpoint(REFERENCE), data="bundled:digits:test",
        metrics="prdc_mini", num=160, output=None,
    )  # fmt: skip
    recall = at(result, "prdc_mini_recall")
    assert recall == sorted(recall)
    ends = [result.curves()["prdc_mini_recall"][place][1].ci95 for place in (0, -1)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0][1] < ends[1][0]
    precision = at(result, "prdc_mini_precision")
    assert precision[1] > precision[2]


def test_the_committed_sweep_shows_the_trade():
    with COMMITTED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    curve = {
        name: {float(row["psi"]): float(row["value"]) for row in rows if row["metric"] == name}
        for name in ("prdc_mini_precision", "prdc_mini_recall", "fd_mini")
    }
    psis = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert all(list(values) == psis for values in curve.values())
    recall, precision = (
        [curve[f"prdc_mini_{name}"][psi] for psi in psis] for name in ("recall", "precision")
    )
    # To within half of what 898 images can tell, a standard error of 0.03.
    assert all(high - low > -0.015 for low, high in itertools.pairwise(recall))
    assert all(low - high > -0.015 for low, high in itertools.pairwise(precision))
    assert recall[-1] - recall[0] > 0.5
    assert precision[0] - precision[-1] > 0.15
    assert all(math.isfinite(value) for values in curve.values() for value in values.values())
