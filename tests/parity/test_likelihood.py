"""Units, offsets and importance weighting against the conventions of the official programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import norm
from tensor_cases import names_of

from evalkit.metrics.likelihood.bits_per_dim import (
    SCALES,
    bits_per_dim,
    convert,
    dequantise,
    discretised,
    nats_per_image,
)
from evalkit.metrics.likelihood.conversions import PRINTED, Dims, bits_per_dim_of, converted
from evalkit.metrics.likelihood.importance import elbo, iwae
from golden_cases import FOLDER

HANDLES = ("likelihood_conventions*", "nvae_vdvae_results*")

# Dimensions of the data sets that NVAE's num_output knows.
NUM_OUTPUT = {
    "mnist": 28 * 28, "omniglot": 28 * 28, "cifar10": 3 * 32**2, "imagenet_32": 3 * 32**2,
    "celeba_64": 3 * 64**2, "imagenet_64": 3 * 64**2, "celeba_256": 3 * 256**2, "ffhq": 3 * 256**2,
}  # fmt: skip
# Names of the scales in the cases.
SCALE_NAMES = {"unit": "unit", "pm1": "signed", "256": "levels"}


class Case:
    """One case of conventions, every output of which must be compared."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((FOLDER / name / "case.json").read_text(encoding="utf-8"))
        self.arrays = load_file(FOLDER / name / "io.safetensors")
        self._open = {key for key in self.arrays if key.startswith("out.")}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def num_dims(self) -> int:
        return int(self.facts["D"])

    @property
    def dims(self) -> Dims:
        return Dims(num=self.num_dims, channels=self.num_dims // int(self.facts["pixels"]))

    def compare(self, pattern: str, compute: Callable[..., Any]) -> None:
        """Holds ``compute(*groups)`` to every output that fits, within the case's own tolerance."""
        for name in sorted(self._open):
            if match := re.fullmatch(rf"out\.{pattern}", name):
                got = np.reshape(np.asarray(compute(*match.groups())), self.arrays[name].shape)
                np.testing.assert_allclose(
                    got, self.arrays[name], rtol=self.facts["rtol"], atol=self.facts["atol"], err_msg=name
                )
                self._open.discard(name)

    def finish(self) -> None:
        assert not self._open, f"outputs that no rule compares: {sorted(self._open)}"


def printed(values: np.ndarray, name: str, **options: Any) -> np.ndarray:
    return np.array([bits_per_dim_of(float(value), PRINTED[name], **options) for value in values])


def density(case: Case, y: np.ndarray, scale: str, bits: int) -> np.ndarray:
    """ln p(y) of the case's normal distribution, which is stated on [0, 1] and moved to the scale of y."""
    zero, unit = {"unit": (0.0, 1.0), "signed": (-1.0, 2.0), "levels": (0.0, 2.0**bits)}[scale]
    mean, deviation = zero + unit * case["in.mu"], unit * case["in.sigma"]
    return norm.logpdf(y, mean, deviation).sum(axis=(1, 2, 3))


@pytest.mark.parametrize("name", names_of("likelihood_conventions*"))
def test_conventions(name: str):
    case = Case(name)
    x, u = case["in.x"], case["in.u"]

    def noisy(bits: int, scale: str) -> np.ndarray:
        return dequantise(x, u, bits=bits, scale=scale)

    def log_density(bits: str, scale: str) -> np.ndarray:
        at = SCALE_NAMES[scale]
        return density(case, noisy(int(bits), at), at, int(bits))

    def bpd(bits: str, scale: str) -> np.ndarray:
        nats = -log_density(bits, scale)
        given = discretised(nats, case.num_dims, bits=int(bits), scale=SCALE_NAMES[scale])
        one_by_one = printed(nats, f"density-{SCALE_NAMES[scale]}", dims=case.dims, bits=int(bits))
        np.testing.assert_allclose(bits_per_dim(given, case.num_dims), one_by_one, rtol=1e-12)
        return one_by_one

    assert set(SCALE_NAMES.values()) == set(SCALES)
    case.compare(r"deq(\d)\.y", lambda bits: noisy(int(bits), "unit"))
    case.compare(r"deq(\d)\.logp_nats_(\w+)_scale", log_density)
    case.compare(r"deq(\d)\.bpd", lambda bits: bpd(bits, "unit"))
    case.compare(r"deq(\d)\.bpd_from_(\w+)", bpd)

    per_dim = case["in.vdvae.distortion"] + case["in.vdvae.rate"]
    case.compare(r"vdvae\.elbo_nats_per_dim", lambda: per_dim)
    case.compare(r"vdvae\.elbo_batch_mean", lambda: per_dim.mean())
    case.compare(r"vdvae\.bpd", lambda: printed(per_dim, "vdvae-nats"))
    case.compare(r"vdvae\.nats_per_image", lambda: nats_per_image(per_dim, "nats/dim", case.num_dims))

    case.compare(
        r"nvae\.bpd\.(\w+)",
        lambda data: printed(case["in.nvae.nelbo_nats"], "nvae-nelbo", dims=Dims(num=NUM_OUTPUT[data])),
    )

    channels = case.dims.channels
    plain = convert(
        -case["in.srflow.objective_nats"], "nats", "bits/pixel", num_dims=case.num_dims, channels=channels
    )
    case.compare(r"srflow\.nll_plain", lambda: plain)
    case.compare(r"srflow\.nll_noisy_q(\d+)", lambda q: plain + np.log2(int(q)))
    case.compare(
        r"srflow\.bits_per_dim_proper_q(\d+)",
        lambda q: printed(plain, "srflow-nll", dims=case.dims, noise=int(q)),
    )
    case.compare(
        r"srflow\.proper_from_noisy_q(\d+)",
        lambda q: printed(case[f"out.srflow.nll_noisy_q{q}"], "srflow-noise", dims=case.dims, noise=int(q)),
    )
    # The release's own noise is centred, and of another width than a level: SRFlow's, not dequantisation.
    case.compare(r"srflow\.noisy_input_q(\d+)", lambda q: x / 255.0 + (case["in.srflow.u"] - 0.5) / int(q))

    case.compare(r"iw\.logp", lambda: iwae(case["in.iw.log_w"]))
    case.compare(r"iw\.elbo", lambda: elbo(case["in.iw.log_w"]))
    case.finish()


def pairs(facts: Any) -> Iterator[tuple[float, float]]:
    """Every place of the facts that has one number in both units."""
    if isinstance(facts, dict):
        if {"nats_per_dim", "bpd"} <= set(facts):
            yield facts["nats_per_dim"], facts["bpd"]
        for value in facts.values():
            yield from pairs(value)


@pytest.mark.parametrize("name", names_of("nvae_vdvae_results*"))
def test_published_numbers_agree_in_both_units(name: str):
    facts = json.loads((FOLDER / name / "case.json").read_text(encoding="utf-8"))
    found = list(pairs(facts))
    assert found, f"{name}: no number in two units"
    for nats, bpd in found:
        # Published with two decimals, nats with three or four digits.
        assert abs(converted(nats, "vdvae-nats").bits_per_dim - bpd) <= 0.005 + 0.0005
