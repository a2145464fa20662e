"""Metrics that ask a model itself: the same digits however the work is cut, and reasons where none is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from closed_form import Waves

import evalkit
import reference_models
from evalkit.adapters.external import load_external
from evalkit.engine.equivariance import COLUMNS, EquivarianceProbe
from evalkit.engine.probes import Subject, draw_seeds, draw_uniform
from evalkit.engine.repeats import STRIDE, repeat, spreads
from evalkit.errors import CheckpointError, MetricError, ProtocolError, UsageError, WeightsError
from evalkit.features.store import SHARD_ROWS
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.records.schema import Record
from evalkit.records.store import read_records

ROOT = Path(__file__).resolve().parents[2]
METRICS = "ppl_mini,ls_mini,equivariance"
WAVES = f"{ROOT / 'tests' / 'support' / 'closed_form.py'}:waves"


def run(folder: Path, **more) -> list[Record]:
    arguments = {
        "model": WAVES, "metrics": METRICS, "num": 20, "output": folder / "results",
        "cache_dir": folder / "cache", **more,
    }  # fmt: skip
    return evalkit.evaluate(**arguments)


def bodies(records: list[Record]) -> list[dict]:
    return [record.body for record in records]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return run(tmp_path_factory.mktemp("expected"))


def test_every_value_has_an_interval_and_says_how_it_was_made(expected: list[Record]):
    names = ["ppl_mini", "ls_mini_z", "ls_mini_w", "eqt_int", "eqt_frac", "eqr"]
    assert [record.metric for record in expected] == names
    for record in expected:
        assert record.value is not None
        assert record.standard_error is not None
        assert record.ci95 is not None
        assert record.ci95[0] <= record.value <= record.ci95[1]
        assert record.ci_method
        assert record.seed == 0
        assert record.samples.num == 20
        assert record.higher_is_better == record.metric.startswith("eq")


def test_another_batch_size_gives_the_same_digits(expected: list[Record], tmp_path: Path):
    assert bodies(run(tmp_path, batch_size=3)) == bodies(expected)


def test_two_processes_give_the_same_digits(expected: list[Record], tmp_path: Path):
    code = (
        "import sys, evalkit\n"
        f"evalkit.evaluate(model={WAVES!r}, metrics={METRICS!r}, num=20, output=sys.argv[1] + '/results', "
        "cache_dir=sys.argv[1] + '/cache')\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"},
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    found = {record.metric: record.body for record in read_records(tmp_path / "results")}
    assert found == {record.metric: record.body for record in expected}


def test_a_run_goes_on_from_the_shards_that_are_there(tmp_path: Path):
    model = load_external(WAVES)
    metrics = {"model": model, "metrics": "eqt_int", "num": SHARD_ROWS + 8}
    whole = run(tmp_path / "whole", **metrics)
    run(tmp_path / "part", **metrics)
    shards = sorted((tmp_path / "part" / "cache").rglob("*.npy"))
    assert len(shards) == 2
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-4])  # damaged, and noticed
    calls = []
    made = model._function

    def counted(*given, **more):
        calls.append(given)
        return made(*given, **more)

    model._function = counted
    again = run(tmp_path / "part", **metrics)
    assert len(calls) > 2 * (SHARD_ROWS + 8) / 8
    calls.clear()
    assert bodies(run(tmp_path / "part", **metrics)) == bodies(again) == bodies(whole)
    assert len(calls) < 40  # the fingerprint's own, and no more


def test_another_seed_draws_other_latents_and_moves(expected: list[Record], tmp_path: Path):
    other = run(tmp_path, seed=1)
    assert all(a.value != b.value for a, b in zip(expected, other, strict=True) if a.metric != "ls_mini_w")
    assert not set(draw_seeds(0, "z", range(500))) & set(draw_seeds(1, "z", range(500)))
    assert not set(draw_seeds(0, "z", range(500))) & set(draw_seeds(0, "y", range(500)))
    parts = [draw_uniform(3, "t", range(start, start + 5), 2) for start in (0, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), draw_uniform(3, "t", range(10), 2))


def test_operations_measured_alone_and_together_agree(expected: list[Record], tmp_path: Path):
    alone = {
        record.metric: record.body for name in ("eqt_frac", "eqr") for record in run(tmp_path, metrics=name)
    }
    assert alone == {r.metric: r.body for r in expected if r.metric in alone}


def test_rows_hold_the_draws_and_can_be_made_again():
    model = load_external(WAVES)
    probe = EquivarianceProbe(Subject(model=model, seed=5), PROTOCOLS["eqr"], ("frac", "rot"))
    rows = probe(range(8, 12))
    for operation, move, found, changed in probe.compared(range(8, 12)):
        assert changed
        np.testing.assert_allclose(rows[operation][:, :2], found.sums(), rtol=1e-6)
        for place, name in enumerate(("tx", "ty", "angle")):
            column = rows[operation][:, COLUMNS.index(name)]
            np.testing.assert_array_equal(column, np.full(4, move[place], np.float32))
    assert abs(rows["frac"][0, 2]) <= 0.125
    assert abs(rows["rot"][0, 4]) <= np.pi


def test_a_model_without_coordinates_gets_a_reason_and_no_number(tmp_path: Path):
    model = reference_models.build("progan", preset="tiny")
    records = run(tmp_path, model=model, metrics="ppl_mini,eqt_int,eqr", num=8)
    assert [record.metric for record in records] == ["ppl_mini", "eqt_int", "eqr"]
    assert records[0].value is not None
    for record in records[1:]:
        assert record.value is None
        assert record.reason == (
            "not applicable: this needs a model whose input can be transformed; progan:tiny-random offers: "
            "Samples, HasLatents"
        )
    filed = {record.metric: record for record in read_records(tmp_path / "results")}
    assert filed["eqr"].reason == records[2].reason


def test_what_applies_nowhere_is_filed_with_its_reason_alone(tmp_path: Path):
    model = reference_models.build("progan", preset="tiny")
    records = run(tmp_path, model=model, metrics="eqt_int,eqr", num=8)
    assert [record.value for record in records] == [None, None]
    assert all(record.reason.startswith("not applicable: this needs a model whose") for record in records)
    assert len(read_records(tmp_path / "results")) == 2


FILE = """
import torch
from closed_form import Waves

class Ignores(Waves):
    def __call__(self, z, transform=None):
        return super().__call__(z)

class Breaks(Waves):
    def __call__(self, z, transform=None):
        return super().__call__(z, transform) / (1.0 if transform is None else 0.0)

class Shrinks(Waves):
    def __call__(self, z, transform=None):
        made = super().__call__(z, transform)
        return made if transform is None else made[..., ::2, ::2]

class Pales(Waves):
    def __call__(self, z, transform=None):
        made = super().__call__(z, transform)
        return made if transform is None else made[:, :1]

class Raises(Waves):
    def __call__(self, z, transform=None):
        if transform is not None:
            raise ValueError("no moves\\nat all")
        return super().__call__(z)
"""


def test_factories_of_one_file_are_told_apart_by_how_they_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Their plain images are the same to the last bit, and so are their file and their lack of weights.
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "support"))
    (tmp_path / "some.py").write_text(FILE)
    model = f"{tmp_path / 'some.py'}:"
    (ignores,) = run(tmp_path, model=model + "Ignores", metrics="eqt_int", num=8)
    assert "no transform changed any image: the model seems to ignore it" in ignores.notes
    with pytest.raises(MetricError, match="eqt_int: images .* hold NaN or infinite values under a transform"):
        run(tmp_path, model=model + "Breaks", metrics="eqt_int", num=8)
    shapes = r"returned images of shape \(4, 3, 24, 24\) under a transform and \(4, 3, 48, 48\) without"
    with pytest.raises(MetricError, match=shapes):
        run(tmp_path, model=model + "Shrinks", metrics="eqt_int,eqr", num=8)
    with pytest.raises(MetricError, match=r"shape \(4, 1, 48, 48\) under a transform and"):
        run(tmp_path, model=model + "Pales", metrics="eqt_int", num=8)
    with pytest.raises(CheckpointError, match=r"Raises \(under a transform\) raised ValueError: no moves$"):
        run(tmp_path, model=model + "Raises", metrics="eqt_int", num=8)


def test_a_metric_that_cannot_be_loaded_costs_no_other(tmp_path: Path):
    with pytest.raises(WeightsError, match="the weights vgg16 cannot be used.*1 other result is filed in"):
        run(tmp_path, metrics="ppl,eqt_int", num=8)
    assert [record.metric for record in read_records(tmp_path / "results")] == ["eqt_int"]


def test_records_say_how_the_model_was_asked(tmp_path: Path):
    model = reference_models.build("stylegan2")
    (record,) = run(tmp_path, model=model, metrics="eqt_int", num=8, truncation_psi=0.5)
    assert "truncation psi 0.5" in record.samples.notes
    assert record.provenance["device"] == evalkit.doctor()["device"] or "cpu" in record.provenance["device"]


def test_counts_of_metrics_that_draw_for_themselves_bind_no_other(tmp_path: Path):
    costs = evalkit.plan(
        model=reference_models.build("progan", preset="tiny"), metrics="fd_mini,eqr50k",
        data="bundled:digits:test", data_limit=40, cache_dir=tmp_path,
    )  # fmt: skip
    assert [item.num_fake for item in costs.measurements] == [40]
    assert [name for name, _ in costs.inapplicable] == ["eqr50k"]


@pytest.mark.parametrize(
    ("metrics", "other"),
    [
        ("eqt50k_int", ", or use 'eqt_int', which takes any number"), ("ppl2_wend", ", or use 'ppl', which"),
        ("ls", ", or use 'ls_any', which"), ("ppl_zfull", "$"),
    ],
)  # fmt: skip
def test_a_count_that_a_name_demands(tmp_path: Path, metrics: str, other: str):
    with pytest.raises(ProtocolError, match=f"{metrics} is defined on .* make more samples{other}"):
        run(tmp_path, metrics=metrics, num=20)


def test_separability_of_any_number_by_a_bundle_of_ones_own(tmp_path: Path):
    model = reference_models.build("stylegan2", seed=1)
    named = run(tmp_path, model=model, metrics="ls_any", attributes="digits", num=640)
    mini = run(tmp_path, model=model, metrics="ls_mini", num=640)
    assert [record.metric for record in named] == ["ls_any_z", "ls_any_w"]
    assert [record.value for record in named] == [record.value for record in mini]


def test_images_cannot_be_asked(tmp_path: Path):
    with pytest.raises(
        UsageError, match="ppl_mini asks a model itself and cannot be computed from images; name the model"
    ):
        evalkit.evaluate(
            samples=np.zeros((8, 8, 8, 3), np.uint8), metrics="ppl_mini", output=None, cache_dir=tmp_path
        )


def test_a_bundle_that_nothing_looks_through_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="--attributes digits belongs to ls, which is not among the metrics"):
        run(tmp_path, metrics="ls_mini", attributes="digits")


def test_ls_without_a_bundle_says_how_to_name_one(tmp_path: Path):
    with pytest.raises(
        UsageError, match="ls needs attribute classifiers; name a bundle .* --attributes: digits"
    ):
        run(tmp_path, metrics="ls", num=200_000)


def test_images_too_small_for_a_rotation_have_no_number(tmp_path: Path):
    model = evalkit.adapt(Waves(side=12))
    with pytest.raises(
        MetricError, match="no pixel of any image could be compared: the images are too small"
    ):
        run(tmp_path, model=model, metrics="eqr", num=8)


def test_exact_equivariance_has_no_number(tmp_path: Path):
    model = evalkit.adapt(Waves(sticking=0.0, side=32))
    with pytest.raises(MetricError, match="equals the moved image to the last bit: the PSNR is infinite"):
        run(tmp_path, model=model, metrics="eqt_int", num=8)


def test_an_image_that_is_no_number_under_a_transform_is_named(tmp_path: Path):
    class Broken(Waves):
        def __call__(self, z, transform=None):
            made = super().__call__(z, transform)
            return made if transform is None else made / (z[:, :1, None, None] > -1.0)

    with pytest.raises(
        MetricError, match=r"eqt_int: images \d+.* hold NaN or infinite values under a transform"
    ):
        run(tmp_path, model=evalkit.adapt(Broken()), metrics="eqt_int", num=32)


def test_a_model_that_changes_how_it_moves_is_measured_anew(tmp_path: Path):
    class Moving(Waves):
        share = 1.0

        def __call__(self, z, transform=None):
            if transform is not None:
                transform = transform.clone()
                transform[:2, 2] *= self.share
            return super().__call__(z, transform)

    first = run(tmp_path, model=evalkit.adapt(Moving()), metrics="eqt_int", num=8)
    Moving.share = 0.9
    second = run(tmp_path, model=evalkit.adapt(Moving()), metrics="eqt_int", num=8)
    assert first[0].value is not None
    assert second[0].value is not None
    assert second[0].value < first[0].value - 3


def test_costs_are_known_before(tmp_path: Path):
    costs = evalkit.plan(model=WAVES, metrics="ppl_mini,equivariance", num=20, cache_dir=tmp_path)
    by_name = {step.name: step for step in costs.model_steps}
    assert by_name["ppl_mini"].images == 40
    assert by_name["eqt_int, eqt_frac, eqr"].images == 80
    assert all(step.seconds is not None and step.seconds > 0 for step in costs.model_steps)
    run(tmp_path, metrics="ppl_mini", cache_dir=tmp_path)
    (again,) = evalkit.plan(model=WAVES, metrics="ppl_mini", num=20, cache_dir=tmp_path).model_steps
    assert (again.num_stored, again.images, again.seconds) == (20, 0, 0.0)


def test_repeats_have_seeds_of_their_own(tmp_path: Path):
    runs = repeat(2, model=WAVES, metrics="eqt_int", num=16, output=tmp_path / "r", cache_dir=tmp_path)
    assert [records[0].seed for records in runs] == [0, STRIDE]
    (spread,) = spreads(runs)
    values = [records[0].value for records in runs]
    assert spread.values == tuple(values)
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.standard_deviation == pytest.approx(np.std(values, ddof=1))
    assert len(read_records(tmp_path / "r")) == 2


def test_repeats_of_a_set_of_images_are_refused(tmp_path: Path):
    with pytest.raises(
        UsageError, match="--repeats 2 draws other samples every time, and a set of images has no"
    ):
        repeat(2, samples=np.zeros((8, 8, 8, 3), np.uint8), metrics="is_mini", output=None)
    with pytest.raises(UsageError, match="--repeats is 0; give 1 or more"):
        repeat(0, model=WAVES, metrics="eqt_int", output=None)
    with pytest.raises(UsageError, match="--repeats keeps 1,000,000 seeds for each run; give --num"):
        repeat(2, model=WAVES, metrics="eqt_int", num=2_000_000, output=None)


def test_a_constant_that_was_moved_is_told(tmp_path: Path):
    (record,) = run(tmp_path, model=reference_models.build("stylegan2"), metrics="eqt_int", num=8)
    assert any("the learned 4x4 constant was read at the moved places" in note for note in record.notes)
    (other,) = run(tmp_path, model=reference_models.build("stylegan3"), metrics="eqt_int", num=8)
    assert not other.notes
