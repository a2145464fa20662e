"""Path lengths against the official samplers, and perceptual distances against the installed peers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import max_norm_cases
import numpy as np
import pytest
import torch
from max_norm_cases import MaxNormCase
from tensor_cases import TensorCase
from tensor_cases import names_of as tensor_names_of
from torch.nn import functional

from evalkit.engine.path_length import PathLengthProbe
from evalkit.engine.probes import Subject
from evalkit.engine.procedures.path_length import measure_path_length
from evalkit.features import lpips as perceptual
from evalkit.features.tensors import read_tensors
from evalkit.imaging.quantise import to_uint8
from evalkit.metrics.latent.interpolate import lerp, slerp
from evalkit.metrics.latent.ppl import Trimmed, between, path_distances, prepare, trimmed
from evalkit.protocols.catalog import PROTOCOLS
from evalkit.protocols.spec import PathLengthOptions
from golden_cases import Golden, find_cases, fitting
from reference_models.stylegan import convert as stylegan
from reference_models.stylegan.generator import Generator as StyleGAN
from reference_models.stylegan2.convert import config_from_official, from_official
from reference_models.stylegan2.generator import Generator as StyleGAN2

HANDLES = ("metrics/ppl*", "ppl", "ppl_*", "stylegan1_ppl*")

CASES = {name: path for name, path in find_cases().items() if fitting(name, HANDLES)}
ARRAYS = [name for name in CASES if name.startswith("metrics/")]


def options(space: str, epsilon: float = 1e-4, *, crop: bool, reduce: str) -> PathLengthOptions:
    """Settings of a case; those that do not decide a distance are the published ones."""
    return PathLengthOptions(
        space=space, sampling="full", interpolation="slerp", epsilon=epsilon, crop=crop, reduce=reduce,
        pixels="float", lower=1.0, upper=99.0, draws="seeds",
    )  # fmt: skip


def squares(features: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda a, b: (features(a) - features(b)).square().sum(dim=1)


@pytest.mark.parametrize("name", [name for name in ARRAYS if "sampler" not in name])
def test_percentiles_and_great_circles(name: str):
    golden = Golden(CASES[name])

    def of(count: str) -> Trimmed:
        return trimmed(golden[f"dist_n{count}"], 1, 99)

    def torchmetrics(count: str) -> Trimmed:
        # Another convention: the lower of two values at both ends, at a rank that float32 rounds.
        values = torch.from_numpy(golden[f"dist_n{count}"])
        low, high = (float(torch.quantile(values, q, interpolation="lower")) for q in (0.01, 0.99))
        return between(values.double().numpy(), low, high)

    golden.compare(r"stylegan3__ppl_n(\d+)", lambda n: of(n).mean, rtol=1e-5)
    golden.compare(r"rule__lo_n(\d+)", lambda n: of(n).lower)
    golden.compare(r"rule__hi_n(\d+)", lambda n: of(n).upper)
    golden.compare(r"torchmetrics__ppl_mean_n(\d+)", lambda n: torchmetrics(n).mean, rtol=1e-5)
    golden.compare(r"torchmetrics__ppl_std_n(\d+)", lambda n: torchmetrics(n).kept.std(ddof=1), rtol=1e-5)
    a, b, t = (torch.from_numpy(golden[f"slerp_{part}"]) for part in "abt")
    golden.compare("stylegan3__slerp_t", lambda: slerp(a, b, t), rtol=1e-5, atol=1e-6)
    golden.compare("stylegan3__slerp_t_plus_1e-4", lambda: slerp(a, b, t + 1e-4), rtol=1e-5, atol=1e-6)
    golden.finish()


def toy_images(w: torch.Tensor, side: int) -> torch.Tensor:
    """The case's closed-form generator, float64."""
    u = ((torch.arange(side, dtype=torch.float64) + 0.5) / side)[None, None, :]
    v = u.transpose(1, 2)
    w0, w1, w2, w3 = (w[:, place, None, None] for place in range(4))
    channels = (
        torch.sin(4 * w0 * u + 3 * w1 * v),
        torch.cos(5 * w2 * v + 2 * w3 * u),
        w0 * u + w3 * v**2 - 0.3,
    )
    return torch.stack(channels, dim=1)


@pytest.mark.parametrize("name", [name for name in ARRAYS if "sampler" in name])
def test_closed_form_generator(name: str):
    golden = Golden(CASES[name])
    side = golden.number("resolution")
    z0, z1, t = (torch.from_numpy(golden[key]) for key in ("z0", "z1", "t"))
    shown: dict[bool, list[int]] = {}

    def distances(space: str, sampling: str, crop: str) -> torch.Tensor:
        def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            shown[crop == "1"] = list(a.shape[2:])
            return squares(lambda x: x.flatten(1) / 1000)(a, b)

        given = options(space, crop=crop == "1", reduce="box-by-image")
        return path_distances(
            lambda w: toy_images(w, side), lambda z: torch.tanh(0.7 * z + 0.1), distance, z0, z1,
            t * (sampling == "full"), given,
        )  # fmt: skip

    golden.compare("stylegan3__dist_([wz])_(full|end)_crop([01])", distances, rtol=1e-5)
    golden.compare("stylegan3__vgg_input_hw_crop([01])", lambda crop: shown[crop == "1"])
    golden.finish()


@pytest.mark.parametrize("name", max_norm_cases.names_of("ppl*", "ppl"))
def test_official_sampler_on_a_network(name: str):
    case = MaxNormCase(name)
    config = config_from_official(case.facts["constructor_kwargs"])
    a, b, t = (case[f"in.slerp.{part}"] for part in "abt")
    case.compare("slerp", lambda: slerp(a, b, t))
    case.compare("lerp", lambda: lerp(a, b, t))

    def network(batch: int) -> StyleGAN2:
        stored = {
            key: case[f"in.noise_const.{key}.{batch}"]
            for key in case.weights
            if f"in.noise_const.{key}.{batch}" in case
        }
        assert stored
        made = StyleGAN2(config)
        made.load_state_dict(from_official({**case.weights, **stored}, config))
        return made

    def distances(sub: dict[str, Any]) -> torch.Tensor:
        matrix, given = (
            case[sub["P"]],
            options(sub["space"], sub["epsilon"], crop=sub["crop"], reduce="box-by-image"),
        )

        def features(x: torch.Tensor) -> torch.Tensor:
            return functional.avg_pool2d(x / 127.5 - 1, sub["pool"]).flatten(1) @ matrix

        rows = []
        for batch in range(sub["num_batches"]):
            z0, z1 = case[f"in.{sub['name']}.z01"][batch].chunk(2)
            c, u = case[f"in.{sub['name']}.c"][batch], case[f"in.{sub['name']}.u"][batch]
            generator = network(batch)
            with torch.no_grad():
                rows.append(
                    path_distances(
                        generator.synthesis, lambda z, c=c, g=generator: g.mapping(z, c), squares(features),
                        z0, z1, u * (sub["sampling"] == "full"), given,
                    )
                )  # fmt: skip
        return torch.stack(rows)

    for sub in case.facts["subcases"]:
        found = distances(sub)
        case.check(f"out.{sub['name']}.dist", found)
        value = trimmed(found.flatten()[: sub["num_samples"]].numpy(), 1, 99).mean
        case.check(f"out.{sub['name']}.ppl", value)
    case.finish()


@pytest.mark.parametrize("name", max_norm_cases.names_of("ppl*", "ppl_prep"))
def test_preparation(name: str):
    case = MaxNormCase(name)
    for sub in case.facts["prep_subcases"]:
        images = case[sub["x"]].float() / 127.5 - 1
        assert images.shape[-1] == sub["img_resolution"]
        found = prepare(images, options("w", crop=sub["crop"], reduce="box-by-image"))
        assert found.shape[1] == 3
        assert torch.equal(found[:, 0], found[:, 2])
        case.check(f"out.{sub['name']}.prepared_ch0", found[:, :1])
    for sub in case.facts["percentile_subcases"]:
        values = trimmed(case[sub["dist"]].numpy(), 1, 99)
        case.check(f"out.{sub['name']}.lo_hi", torch.tensor([values.lower, values.upper]))
        case.check(f"out.{sub['name']}.ppl", values.mean)
    case.finish()


@pytest.mark.parametrize("name", tensor_names_of("stylegan1_ppl*"))
def test_stylegan(name: str):
    case = TensorCase(name)
    config = stylegan.config_from_official(case.kwargs["Gs"])
    generator = StyleGAN(config)
    kernel = torch.from_numpy(case.weights["stub.weight"])

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b = (torch.tanh(functional.conv2d(x[:, : kernel.shape[1]] / 255, kernel)) for x in (a, b))
        return (a - b).square().mean(dim=(1, 2, 3))

    for facts in case.facts["configs"]:
        key = facts["key"]
        stored = {
            f"G_synthesis/noise{layer}": case.arrays[f"{key}.noise{layer}"]
            for layer in range(generator.num_ws)
        }
        generator.load_state_dict(stylegan.from_tf(config, {**case.part("Gs/"), **stored}))
        latents = case[f"{key}.latents"]
        with torch.no_grad():
            found = path_distances(
                lambda w: generator.synthesis(w, noise="const", lod=float(generator.lod)),
                generator.map, distance, latents[0::2], latents[1::2], case[f"{key}.t"],
                options(facts["space"], facts["epsilon"], crop=True, reduce="box-by-crop"),
            )  # fmt: skip
        case.check(f"{key}.distances", found)
        case.check(f"{key}.ppl", np.float32(trimmed(found.numpy(), 1, 99).mean))
    case.finish()


def test_the_cases_say_what_they_are():
    for name, path in CASES.items():
        if path.name == "case.json":
            facts = json.loads(path.read_text(encoding="utf-8"))
            assert facts.get("kind") in ("ppl", "ppl_prep") or fitting(name, ("stylegan1_ppl*",))


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = pytest.importorskip("benchmarks.random_weights").once(tmp_path_factory.getbasetemp(), "vgg16")
    assert isinstance(made, Path)
    return made


@pytest.fixture
def theirs(vgg16_file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch-fidelity's LPIPS, with the network of `vgg16_file`; it would download both of its files."""
    module = pytest.importorskip("torch_fidelity.sample_similarity_lpips")
    torchvision = pytest.importorskip("torchvision")
    known = perceptual.DISTANCES["lpips-vgg16"].heads
    assert known is not None
    heads = Path(pytest.importorskip("lpips").__file__).parent / known.file
    network = torchvision.models.vgg16(weights=None)
    network.load_state_dict(read_tensors(vgg16_file))
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *_, **__: read_tensors(heads))
    monkeypatch.setattr(module, "torchvision_load_pretrained_vgg16", lambda *_, **__: network)
    return module.SampleSimilarityLPIPS


def test_lpips_is_that_of_torch_fidelity(vgg16_file: Path, theirs: Any):
    ours = perceptual.load_distance("lpips-vgg16", overrides={"vgg16": vgg16_file})
    rng = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (3, 3, 64, 48), generator=rng).float()
    b = (a + 20 * torch.randn(a.shape, generator=rng)).clamp(0, 255)
    with torch.no_grad():
        expected = theirs("peer")(a, b)
    torch.testing.assert_close(ours(a, b), expected, rtol=1e-5, atol=0)


class Waves:
    """Images that move by many grey levels a step, so that rounding leaves something to measure."""

    name, resolution = "waves", 96

    def __init__(self, num_classes: int, side: int) -> None:
        rng = torch.Generator().manual_seed(1)
        self.num_classes, self.resolution = num_classes, side
        self.rate = 20 * torch.randn(6, 3, generator=rng)
        self.phase = 3 * torch.rand(1, 3, side, side, generator=rng)

    def latents(self, seeds: np.ndarray) -> torch.Tensor:
        rows = [np.random.RandomState(int(seed)).randn(6) for seed in seeds]
        return torch.from_numpy(np.array(rows, np.float32))

    def map(self, z: torch.Tensor, labels: np.ndarray | None = None, **_: Any) -> torch.Tensor:
        shift = torch.zeros(len(z), 1) if labels is None else torch.as_tensor(labels)[:, None] * 0.7
        return z @ (100 * self.rate) + shift

    def synthesise(self, w: torch.Tensor, *, noise_seeds: np.ndarray | None = None) -> torch.Tensor:
        assert noise_seeds is None
        return torch.sin(w[:, :, None, None] * self.phase)


@pytest.mark.parametrize(("num_classes", "side"), [(0, 96), (4, 40)])
def test_all_of_torch_fidelity(
    num_classes: int, side: int, vgg16_file: Path, theirs: Any, monkeypatch: pytest.MonkeyPatch
):
    torch_fidelity = pytest.importorskip("torch_fidelity")
    model, num, seed = Waves(num_classes, side), 21, 2020

    class Module(torch.nn.Module):
        def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            return to_uint8(model.synthesise(model.map(z, labels)))

    official = np.percentile
    monkeypatch.setattr(  # an argument that NumPy has renamed since
        np, "percentile", lambda *given, interpolation: official(*given, method=interpolation)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch_fidelity.calculate_metrics(
            input1=torch_fidelity.GenerativeModelModuleWrapper(Module(), 6, "normal", num_classes),
            input1_model_num_samples=num, input1_model_num_classes=num_classes, cuda=False, ppl=True,
            ppl_reduction="none", batch_size=5, verbose=False, rng_seed=seed,
        )  # fmt: skip
    monkeypatch.setattr(np, "percentile", official)

    spec = PROTOCOLS["ppl_fidelity"]
    distance = perceptual.load_distance("lpips-vgg16", overrides={"vgg16": vgg16_file})
    probe = PathLengthProbe(Subject(model=model, seed=seed), spec, distance, num=num)
    rows = np.concatenate([probe(range(start, start + 8))["distance"] for start in range(0, num, 8)])[:num]
    (found,) = measure_path_length(spec, rows, seed)
    raw = np.asarray(expected["perceptual_path_length_raw"])
    assert len(np.unique(raw)) > num // 2
    kept = rows[(found.extras["lower_bound"] <= rows) & (rows <= found.extras["upper_bound"])]
    np.testing.assert_allclose(kept, raw, rtol=2e-5)
    assert found.estimate.value == pytest.approx(expected["perceptual_path_length_mean"], rel=1e-5)
    assert found.extras["std"] == pytest.approx(expected["perceptual_path_length_std"], rel=1e-5)
