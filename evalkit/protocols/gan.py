"""The protocols GAN papers quote: StyleGAN's names and conventions, and forms for any number of images.

Official: NVlabs/stylegan3@c233a91 `metrics/`, toshas/torch-fidelity@5e211a9. A name with a count demands that
count; the short names take all images they are given and follow torch-fidelity, so that both agree on the
same folders.
"""

from __future__ import annotations

from typing import Any

from evalkit.protocols.spec import (
    About,
    FrechetInfinityOptions,
    FrechetOptions,
    InceptionScoreOptions,
    KernelOptions,
    NeighbourOptions,
    ProtocolSpec,
)

_STYLEGAN3 = "NVlabs/stylegan3@c233a91 metrics/"
_FIDELITY = "toshas/torch-fidelity@5e211a9 torch_fidelity/"
_INCEPTION: dict[str, Any] = {
    "extractor": "inception-tf2015",
    "layer": "2048",
    "resize": "tf1-bilinear",
    "precision": "float32",
}
_LOGITS: dict[str, Any] = {**_INCEPTION, "layer": "logits_unbiased"}
_VGG: dict[str, Any] = {
    "extractor": "vgg16",
    "layer": "fc2_relu",
    "resize": "tf1-bilinear",
    "precision": "float32",
}
_MINI: dict[str, Any] = {
    "extractor": "mini",
    "layer": "features",
    "resize": "antialiased-bilinear",
    "precision": "float32",
}
_ALL: dict[str, Any] = {"num_real": None, "num_fake": None}

_FID_PAPER = "Heusel et al. 2017, eq. 6"
_KID_PAPER = "Binkowski et al. 2018, eq. 4"
_IS_PAPER = "Salimans et al. 2016, section 4"
_PR_PAPER = "Kynkäänniemi et al. 2019, eq. 1-2"
_PRDC_PAPER = "Naeem et al. 2020, eq. 1-5"
_INF_PAPER = "Chong and Forsyth 2020, section 4"


def _kernel(seed: int, rule: Any) -> KernelOptions:  # noqa: ANN401
    return KernelOptions(
        kernel="poly", degree=3, coef0=1.0, sigma=10.0, num_subsets=100, subset_size=1000,
        subset_rule=rule, draw_order="fake-first", seed=seed,
    )  # fmt: skip


_PRDC = NeighbourOptions(k=5, inside="<", values=("precision", "recall", "density", "coverage"))
_PR3 = NeighbourOptions(k=3, inside="<=", values=("precision", "recall"))
_IS10 = InceptionScoreOptions(splits=10, ddof=0, shuffle_seed=2020)
_INF15 = FrechetInfinityOptions(ddof=1, num_points=15, min_fake=None, seed=0)

PROTOCOLS = (
    ProtocolSpec(
        name="fid50k_full",
        version=1,
        **_INCEPTION,
        num_real=None,
        num_fake=50_000,
        options=FrechetOptions(ddof=0),
        about=About(
            title="Fréchet inception distance, 50,000 samples against all real images",
            source=f"{_FID_PAPER}; {_STYLEGAN3}frechet_inception_distance.py, metric_main.py",
            deviates="the trace term comes from symmetric eigenvalues, not scipy's sqrtm: equal to rounding",
        ),
    ),
    ProtocolSpec(
        name="fid50k",
        version=1,
        **_INCEPTION,
        num_real=50_000,
        num_fake=50_000,
        options=FrechetOptions(ddof=0),
        about=About(
            title="Fréchet inception distance, 50,000 samples against at most 50,000 real images",
            source=f"{_FID_PAPER}; {_STYLEGAN3}frechet_inception_distance.py, metric_main.py",
            deviates="the trace term comes from symmetric eigenvalues, not scipy's sqrtm: equal to rounding",
        ),
    ),
    ProtocolSpec(
        name="kid50k_full",
        version=1,
        **_INCEPTION,
        num_real=1_000_000,
        num_fake=50_000,
        options=_kernel(0, "shrink"),
        about=About(
            title="Kernel inception distance, 50,000 samples against all real images",
            source=f"{_KID_PAPER}; {_STYLEGAN3}kernel_inception_distance.py, metric_main.py",
            deviates="subsets come from a seeded generator (seed 0), not from numpy's global one; sums in "
            "float64",
        ),
    ),
    ProtocolSpec(
        name="kid50k",
        version=1,
        **_INCEPTION,
        num_real=50_000,
        num_fake=50_000,
        options=_kernel(0, "shrink"),
        about=About(
            title="Kernel inception distance, 50,000 samples against at most 50,000 real images",
            source=f"{_KID_PAPER}; {_STYLEGAN3}kernel_inception_distance.py, metric_main.py",
            deviates="subsets come from a seeded generator (seed 0), not from numpy's global one; sums in "
            "float64",
        ),
    ),
    ProtocolSpec(
        name="pr50k3_full",
        version=1,
        **_VGG,
        num_real=200_000,
        num_fake=50_000,
        options=_PR3,
        about=About(
            title="Improved precision and recall, 50,000 samples, at most 200,000 real images",
            source=f"{_PR_PAPER}; {_STYLEGAN3}precision_recall.py, metric_main.py",
            deviates="VGG16 with torchvision's weights and TF1 resize as in torch-fidelity, since the "
            "official network is a pickle; exact distances where the official code rounds features and "
            "distances to float16",
        ),
    ),
    ProtocolSpec(
        name="pr50k3",
        version=1,
        **_VGG,
        num_real=50_000,
        num_fake=50_000,
        options=_PR3,
        about=About(
            title="Improved precision and recall, 50,000 samples, at most 50,000 real images",
            source=f"{_PR_PAPER}; {_STYLEGAN3}precision_recall.py, metric_main.py",
            deviates="as pr50k3_full",
        ),
    ),
    ProtocolSpec(
        name="is50k",
        version=1,
        **_LOGITS,
        num_real=None,
        num_fake=50_000,
        options=InceptionScoreOptions(splits=10, ddof=0, shuffle_seed=None),
        about=About(
            title="Inception score, 50,000 samples in ten splits",
            source=f"{_IS_PAPER}; {_STYLEGAN3}inception_score.py, metric_main.py",
            deviates="log_softmax in float64, so that a probability of 0 gives 0 and not NaN",
        ),
    ),
    ProtocolSpec(
        name="fid",
        version=1,
        **_INCEPTION,
        **_ALL,
        options=FrechetOptions(ddof=1),
        about=About(
            title="Fréchet inception distance of all images given",
            source=f"{_FID_PAPER}; {_FIDELITY}metric_fid.py",
            deviates="sums and means in float64, the official ones in float32: equal to about 1e-6",
        ),
    ),
    ProtocolSpec(
        name="kid",
        version=1,
        **_INCEPTION,
        **_ALL,
        options=_kernel(2020, "shrink"),
        about=About(
            title="Kernel inception distance of all images given",
            source=f"{_KID_PAPER}; {_FIDELITY}metric_kid.py",
            deviates="sets smaller than 1,000 shrink the subsets, where the official code stops; sums in "
            "float64",
        ),
    ),
    ProtocolSpec(
        name="is",
        version=1,
        **_LOGITS,
        **_ALL,
        options=_IS10,
        about=About(
            title="Inception score of all images given, shuffled, ten splits",
            source=f"{_IS_PAPER}; {_FIDELITY}metric_isc.py",
        ),
    ),
    ProtocolSpec(
        name="pr",
        version=1,
        **_VGG,
        **_ALL,
        options=_PR3,
        about=About(
            title="Improved precision and recall of all images given (VGG16, k = 3)",
            source=f"{_PR_PAPER}; {_FIDELITY}metric_prc.py",
            deviates="distances within rounding of a radius are decided in float64",
        ),
    ),
    ProtocolSpec(
        name="prdc",
        version=1,
        **_INCEPTION,
        **_ALL,
        options=_PRDC,
        about=About(
            title="Precision, recall, density and coverage of all images given (Inception, k = 5)",
            source=f"{_PRDC_PAPER}; clovaai/generative-evaluation-prdc@e320c1d prdc/prdc.py",
            deviates="distances within rounding of a radius are decided in float64",
        ),
    ),
    ProtocolSpec(
        name="fid_inf",
        version=1,
        **_INCEPTION,
        **_ALL,
        options=_INF15,
        about=About(
            title="Fréchet inception distance extrapolated to infinitely many samples",
            source=f"{_INF_PAPER}; mchong6/FID_IS_infinity@2cbf52e score_infinity.py",
            deviates="sizes run from a tenth of the samples (at least 2) to all of them; the draws are "
            "seeded",
        ),
    ),
    ProtocolSpec(
        name="fd_mini",
        version=1,
        **_MINI,
        **_ALL,
        options=FrechetOptions(ddof=1),
        about=About(
            title="Fréchet distance on the bundled extractor; never comparable with FID",
            source=f"{_FID_PAPER}; evalkit, features/mini.py",
        ),
    ),
    ProtocolSpec(
        name="kd_mini",
        version=1,
        **_MINI,
        **_ALL,
        options=_kernel(2020, "shrink"),
        about=About(
            title="Kernel distance on the bundled extractor; never comparable with KID",
            source=f"{_KID_PAPER}; evalkit, features/mini.py",
        ),
    ),
    ProtocolSpec(
        name="is_mini",
        version=1,
        **{**_MINI, "layer": "logits"},
        **_ALL,
        options=_IS10,
        about=About(
            title="Classifier score on the bundled extractor's ten CIFAR-10 classes",
            source=f"{_IS_PAPER}; evalkit, features/mini.py",
        ),
    ),
    ProtocolSpec(
        name="pr_mini",
        version=1,
        **_MINI,
        **_ALL,
        options=_PR3,
        about=About(
            title="Improved precision and recall on the bundled extractor (k = 3)",
            source=f"{_PR_PAPER}; evalkit, features/mini.py",
        ),
    ),
    ProtocolSpec(
        name="prdc_mini",
        version=1,
        **_MINI,
        **_ALL,
        options=_PRDC,
        about=About(
            title="Precision, recall, density and coverage on the bundled extractor (k = 5)",
            source=f"{_PRDC_PAPER}; evalkit, features/mini.py",
        ),
    ),
    ProtocolSpec(
        name="fd_inf_mini",
        version=1,
        **_MINI,
        **_ALL,
        options=_INF15,
        about=About(
            title="Fréchet distance on the bundled extractor, extrapolated to infinity",
            source=f"{_INF_PAPER}; evalkit, features/mini.py",
        ),
    ),
)
