"""The plan: every image passes every network once, and what cannot work is said before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evalkit.engine.plan import make_plan
from evalkit.engine.request import prepare
from evalkit.errors import EvalkitError, MetricError, ProtocolError, UsageError
from evalkit.protocols import catalog
from evalkit.sources.resolve import resolve


def images(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 3, 8, 8), dtype=np.uint8)


def plan_of(names: str, num_fake: int = 40, num_real: int | None = 50, **variation):
    data = None if num_real is None else resolve(images(num_real, 1))
    return make_plan(catalog.select(names.split(","), **variation), resolve(images(num_fake)), data)


def test_metrics_that_share_a_network_share_its_pass():
    plan = plan_of("fid,kid,is,prdc,fid_clean")
    assert [m.spec.name for m in plan.measurements] == ["fid", "kid", "is", "prdc", "fid_clean"]
    passes = {(step.role, step.extractor, step.resize): step.layers for step in plan.steps}
    assert passes == {
        ("samples", "inception-tf2015", "tf1-bilinear"): ("2048", "logits_unbiased"),
        ("data", "inception-tf2015", "tf1-bilinear"): ("2048",),
        ("samples", "inception-tf2015", "clean"): ("2048",),
        ("data", "inception-tf2015", "clean"): ("2048",),
    }


def test_metrics_without_a_real_side_need_no_data():
    plan = plan_of("is_mini", num_real=None)
    assert [step.role for step in plan.steps] == ["samples"]
    assert plan.measurements[0].num_real is None


@pytest.mark.parametrize(
    ("names", "num_fake", "num_real", "error", "message"),
    [
        ("fid50k_full", 40, 50, ProtocolError, "defined on 50,000 samples .* has 40; .*'fid'"),
        ("fid", 40, None, UsageError, "compares with real images; name them with --data"),
        ("fid", 1, 50, MetricError, "not defined on 1 samples .* at least 2"),
        ("fid", 40, 1, MetricError, "not defined on 1 real images"),
        ("prdc", 5, 50, MetricError, r"k = 5 neighbours need at least k \+ 1 = 6 images"),
        ("prdc", 40, 5, MetricError, "not defined on 5 real images"),
        ("is", 9, None, MetricError, "10 splits need at least one image each"),
        ("fid_inf", 20, 50, MetricError, "15 sample sizes need at least 30 images"),
    ],
)
def test_counts_that_cannot_work(names: str, num_fake: int, num_real: int | None, error: type, message: str):
    with pytest.raises(error, match=message):
        plan_of(names, num_fake, num_real)


def test_protocols_with_a_count_use_that_many_of_the_real_images():
    spec = catalog.PROTOCOLS["pr50k3"]
    big = resolve(np.zeros((50_003, 8, 8, 3), np.uint8))
    plan = make_plan([spec], big, big)
    assert plan.measurements[0].num_real == 50_000
    assert plan.measurements[0].num_fake == 50_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": "fd_mimi"}, r"unknown protocol 'fd_mimi' \(nearest: fd_mini"),
        ({"metrics": ""}, "no metric was named; try --metrics mini"),
        ({"metrics": "fd_mini", "batch_size": 0}, "batch_size is 0; it must be 1 or more"),
        ({"metrics": "fd_mini", "k": 3}, "--k 3 fits none of fd_mini"),
    ],
)
def test_requests_that_cannot_be_run(arguments: dict, message: str):
    with pytest.raises(UsageError, match=message):
        prepare(samples=images(4), data=images(4), **arguments)


def test_a_subset_seed_draws_on_the_sides_that_have_a_limit():
    asked = {"samples": images(40), "data": images(50, 1), "metrics": "fd_mini", "subset_seed": 3}
    assert len(prepare(**asked, limit=20).samples) == 20
    assert len(prepare(**asked, data_limit=30).data) == 30
    with pytest.raises(UsageError, match="--subset-seed 3 draws a limited number .* --data-limit"):
        prepare(**asked)


def test_statistics_cannot_be_the_samples(tmp_path: Path):
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(UsageError, match="holds statistics, and --samples must be images"):
        prepare(samples=path, data=images(4), metrics="fid")


@pytest.mark.parametrize("metrics", ["kid", "prdc", "pr"])
def test_statistics_serve_no_metric_that_needs_images(tmp_path: Path, metrics: str):
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(ProtocolError, match=f"{metrics} needs the real images themselves .* serve Fréchet"):
        prepare(samples=images(40), data=path, metrics=metrics)


def test_every_error_of_this_file_is_one_a_user_can_mend():
    for error in (MetricError, ProtocolError, UsageError):
        assert issubclass(error, EvalkitError)


@pytest.mark.parametrize(
    ("name", "more", "metrics", "message"),
    [
        (
            "c10_clean_test.npz",
            {},
            "fid",
            "clean-fid's kind, made after the resize clean, and cannot serve 'fid'",
        ),
        ("c10_legacy_pytorch_test.npz", {}, "fid", "made after the resize half-pixel-bilinear"),
        ("stats.npz", {}, "fid_clean", "tf1-bilinear or half-pixel-bilinear, and cannot serve 'fid_clean'"),
        ("stats.npz", {}, "fd_mini", "Inception features, and cannot serve 'fd_mini', which measures mini"),
        ("adm.npz", {"mu_s": np.zeros(3), "sigma_s": np.eye(3)}, "fid_pytorch", "adm's kind"),
    ],
)
def test_the_peers_statistics_are_refused_by_other_protocols(
    tmp_path: Path, name: str, more: dict, metrics: str, message: str
):
    np.savez(tmp_path / name, mu=np.zeros(2048), sigma=np.eye(2048), **more)
    with pytest.raises(ProtocolError, match=message):
        prepare(samples=images(40), data=tmp_path / name, metrics=metrics)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("c10_clean_test.npz", "fid_clean"),
        ("stats.npz", "fid"),
        ("stats.npz", "fid_pytorch"),
        ("stats.npz", "fid_inf"),
    ],
)
def test_the_peers_statistics_serve_their_own_protocols(tmp_path: Path, name: str, metrics: str):
    np.savez(tmp_path / name, mu=np.zeros(2048), sigma=np.eye(2048))
    plan = prepare(samples=images(40), data=tmp_path / name, metrics=metrics).plan
    assert [step.role for step in plan.steps] == ["samples"]
