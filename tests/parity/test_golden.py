"""Numbers that official code produced, and ours.

``EVALKIT_GOLDEN=<folder> pytest tests/parity`` compares every case below a folder; ``-k fid_rankdef`` one of
them. A case that nobody handles, and nobody declares to belong to a later part, fails.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.imaging.resize_pil import clean_bicubic
from evalkit.imaging.resize_tf import half_pixel_bilinear, tf1_bilinear
from evalkit.metrics.distribution import kid
from evalkit.metrics.distribution.fid import frechet_distance, frechet_distance_statistics
from evalkit.metrics.distribution.fid_infinity import frechet_infinity, sample_sizes
from evalkit.metrics.distribution.inception_score import inception_score
from evalkit.metrics.distribution.prdc import Inside, neighbours, radii
from evalkit.metrics.distribution.realism import realism
from evalkit.metrics.moments import moments
from golden_cases import FOLDER, Golden, find_cases, fitting, waits_for

ROOT = Path(__file__).resolve().parents[2]


def fid(golden: Golden) -> None:
    """Every route of the Fréchet distance; those with float32 means are given float32 means."""
    real, gen = golden["real"], golden["gen"]
    both = moments(real), moments(gen)
    exact = [frechet_distance(*both, ddof=ddof) for ddof in (0, 1)]
    rough = frechet_distance_statistics(
        real.mean(axis=0), np.cov(real, rowvar=False), gen.mean(axis=0), np.cov(gen, rowvar=False)
    )
    golden.compare("own_nuclear_norm_f64__fid_ddof([01])", lambda ddof: exact[int(ddof)], rtol=1e-6)
    golden.compare("stylegan3__fid", lambda: exact[0], rtol=1e-6)
    golden.compare("stylegan3__fid_self", lambda: frechet_distance(both[0], both[0], ddof=0), atol=1e-5)
    golden.compare(".*_f64stats", lambda: exact[1], rtol=1e-6)
    golden.compare(
        "torch_fidelity__fid|clean_fid__.*|dgm_eval__.*|guided_diffusion__fid", lambda: rough, rtol=1e-6
    )
    if "mu_real_f64" in golden:
        np.testing.assert_allclose(both[0].mean, golden["mu_real_f64"], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            both[0].covariance(1), golden["sigma_real_ddof1_f64"], rtol=1e-9, atol=1e-12
        )


def kernel_distance(golden: Golden) -> None:
    """KID in every form: official draws, whole sets, other kernels."""
    real, gen = golden["real"], golden["gen"]
    poly = kid.polynomial_kernel()

    def drawn(kernel: kid.Kernel, order: kid.DrawOrder = "fake-first") -> kid.KernelDistance:
        return kid.kernel_distance(
            gen,
            real,
            kernel,
            num_subsets=golden.number("num_subsets"),
            subset_size=golden.number("subset_size"),
            seed=golden.number("np_seed"),
            draw_order=order,
        )

    found = drawn(poly)
    golden.compare(
        "stylegan3__kid|torch_fidelity__kid_mean|clean_fid__kernel_distance", lambda: found.value, rtol=1e-4
    )
    golden.compare("torch_fidelity__kid_std", lambda: found.std, rtol=1e-4)
    golden.compare(
        r"torch_fidelity__kid_rbf_sigma(\d+)_mean",
        lambda sigma: drawn(kid.rbf_kernel(sigma=float(sigma))).value,
        rtol=1e-4,
        atol=1e-7,
    )
    golden.compare("dgm_eval__kd_mean", lambda: drawn(poly, "real-first").value, rtol=1e-4)
    golden.compare("dgm_eval__kd_std", lambda: drawn(poly, "real-first").std, rtol=1e-4)
    if "full_n" in golden:
        n = golden.number("full_n")
        whole = {
            form: kid.mmd2(gen[:n], real[:n], poly, form).value
            for form in ("unbiased", "biased", "u-statistic")
        }
        golden.compare(
            "torch_fidelity__mmd2_full_f64_(.*)",
            lambda form: whole[form.replace("_", "-")],
            rtol=1e-9,
            atol=1e-14,
        )
        golden.compare("torchmetrics__poly_mmd_full_f64", lambda: whole["unbiased"], rtol=1e-9)
        golden.compare(".*_full(_unbiased)?", lambda _: whole["unbiased"], rtol=1e-4)


def inception(golden: Golden) -> None:
    """The score from logits and from probabilities, under every cut and permutation."""
    splits = golden.number("splits")

    def score(**options) -> object:
        given = {"splits": splits, **options}
        if "split_size" in given:
            given["splits"] = None
        found = inception_score(golden["logits"], **given)
        again = inception_score(golden["probs"], given="probabilities", **given)
        assert again.mean == pytest.approx(found.mean, rel=1e-5)
        return found

    golden.compare(r"\w+__is_mean(?:_noshuffle)?", lambda: score().mean, rtol=1e-5)
    golden.compare(r"stylegan3__is_mean_splits(\d+)", lambda n: score(splits=int(n)).mean, rtol=1e-5)
    golden.compare(r"\w+__is_std(?:_noshuffle)?", lambda: score().std, rtol=1e-5)
    golden.compare(r"\w+__is_std_noshuffle_ddof1", lambda: score(ddof=1).std, rtol=1e-5)
    golden.compare(r"\w+__is_mean_shuffle(\d+)", lambda seed: score(shuffle_seed=int(seed)).mean, rtol=1e-5)
    golden.compare(r"\w+__is_std_shuffle(\d+)", lambda seed: score(shuffle_seed=int(seed)).std, rtol=1e-5)
    golden.compare(r"guided_diffusion__is_split(\d+)", lambda n: score(split_size=int(n)).mean, rtol=1e-5)


def coverage(golden: Golden) -> None:
    """Precision, recall, density, coverage to the count, realism and radii."""
    real, gen = golden["real"], golden["gen"]
    half_a_count = 0.5 / max(len(real), len(gen))

    def value(inside: Inside) -> Callable[[str, str], float]:
        return lambda part, k: getattr(neighbours(real, gen, k=int(k), inside=inside), part)

    golden.compare(
        r"(?:kynkaat|torch_fidelity_full|torch_fidelity_part|stylegan3_fp32)__(precision|recall)_k(\d+)",
        value("<="),
        atol=half_a_count,
    )
    golden.compare(r"prdc__(precision|recall|coverage)_k(\d+)", value("<"), atol=half_a_count)
    golden.compare(r"prdc__(density)_k(\d+)", value("<"), rtol=1e-12)
    golden.compare(r"prdc__real_radii_k(\d+)", lambda k: radii(real, k=int(k)), rtol=1e-5, atol=1e-6)
    golden.compare(r"dgm_eval__realism_k(\d+)", lambda k: realism(gen, real, k=int(k)), rtol=1e-5)
    golden.compare(
        r"kynkaat__max_realism_squared_dist_k(\d+)",
        lambda k: realism(gen, real, k=int(k), squared=True, prune=False, eps=1e-5),
        rtol=1e-4,
    )
    golden.informative(
        r"(?:stylegan3_fp16emul|guided_diffusion_fp16)__.*", "half precision moves a few counts"
    )


def infinity(golden: Golden) -> None:
    """The line through growing parts of the samples, under both official draws."""
    real, gen = moments(golden["real"]), golden["gen"]
    points, seed = golden.number("num_points"), golden.number("np_seed")
    least = golden.number("min_fake")
    few = min(5000, max(len(gen) // 10, 2))
    found = frechet_infinity(real, gen, ddof=1, num_points=points, min_fake=least, seed=seed)
    other = frechet_infinity(real, gen, ddof=1, num_points=points, min_fake=few, seed=seed, draw="choice")
    golden.compare("fid_infinity__fid_inf|rule__intercept_of_fid_vs_1_over_n", lambda: found.value, rtol=1e-5)
    golden.compare("rule__batch_sizes", lambda: sample_sizes(len(gen), least, points))
    golden.compare("rule__fid_at_each_batch_size", lambda: found.distances, rtol=1e-5)
    golden.compare("dgm_eval__fd_infinity_default_rng_seeded", lambda: other.value, rtol=1e-5)
    golden.compare("rule__dgm_batch_sizes", lambda: sample_sizes(len(gen), few, points))


def resizes(golden: Golden) -> None:
    """The three resizes in front of the Inception network, up and down."""
    image = torch.from_numpy(golden["img"].transpose(2, 0, 1)[None].copy())
    rules = {
        "torch_fidelity__tf1_bilinear": tf1_bilinear,
        "clean_fid__clean_pil_bicubic": clean_bicubic,
        "clean_fid__pytorch_bilinear": half_pixel_bilinear,
    }
    for name, resize in rules.items():
        for expected, _ in golden.outputs(f"{name}(_\\w+)?"):
            got = resize(image, expected.shape[:2])[0].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4, err_msg=name)


def cmmd(golden: Golden) -> None:
    """CMMD is 1000 times the biased form under an rbf kernel of bandwidth 10."""
    found = 1000 * kid.mmd2(golden["x"], golden["y"], kid.rbf_kernel(sigma=10.0), "biased").value
    golden.compare("cmmd_pytorch__mmd_f64", lambda: found, rtol=1e-6)
    golden.informative("cmmd_pytorch__mmd_f32", "its float32 sums lose the fourth digit")


HANDLERS: dict[str, Callable[[Golden], None]] = {
    "metrics/fid_infinity*": infinity,
    "metrics/fid_*": fid,
    "metrics/kid*": kernel_distance,
    "metrics/inception_score*": inception,
    "metrics/inception_resize*": resizes,
    "metrics/pr_*": coverage,
    "metrics/cmmd*": cmmd,
}
CASES = find_cases()


def handled_elsewhere() -> dict[str, str]:
    """Patterns that other files of this folder list in ``HANDLES``, and whose they are."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HANDLES":
                found.update(dict.fromkeys(ast.literal_eval(node.value), path.name))
    return found


ELSEWHERE = handled_elsewhere()


@pytest.mark.skipif(
    not CASES, reason=f"no golden cases at {FOLDER}; set $EVALKIT_GOLDEN to compare with them"
)
@pytest.mark.parametrize("name", CASES or ["none"])
def test_case(name: str):
    handlers = fitting(name, HANDLERS)
    if not handlers and (elsewhere := fitting(name, ELSEWHERE)):
        pytest.skip(f"compared in {ELSEWHERE[elsewhere[0]]}")
    if not handlers:
        what = waits_for(name)
        assert what is not None, (
            f"{name}: no handler, and not declared to belong to a later part in {__name__}"
        )
        pytest.skip(f"belongs to a later part: {what}")
    golden = Golden(CASES[name])
    HANDLERS[handlers[0]](golden)
    golden.finish()


def test_an_unknown_case_fails_and_an_unknown_output_too(tmp_path: Path):
    (tmp_path / "metrics").mkdir()
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.savez(
        tmp_path / "metrics" / "cmmd.npz",
        x=x,
        y=x,
        out__cmmd_pytorch__mmd_f64=0.0,
        out__cmmd_pytorch__other=0.0,
    )
    np.savez(tmp_path / "metrics" / "unheard_of.npz", x=x, out__someone__something=1.0)
    (tmp_path / "unheard_net").mkdir()
    (tmp_path / "unheard_net" / "case.json").write_text("{}")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "tests/parity/test_golden.py",
            "-q",
            "-k",
            "test_case",
            "-p",
            "no:cacheprovider",
        ],
        cwd=ROOT,
        env={**os.environ, "EVALKIT_GOLDEN": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "3 failed" in done.stdout
    assert "metrics/unheard_of: no handler" in done.stdout
    assert "unheard_net: no handler" in done.stdout
    assert "outputs that no rule compares: ['out__cmmd_pytorch__other']" in done.stdout
