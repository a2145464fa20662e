"""VDVAE against the official program: strings, blocks, mixture, whole passes, sampling, steps of training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from groups import Alone
from output_cases import OutputCase
from tensor_cases import names_of
from torch import nn

from golden_cases import FOLDER, Golden, find_cases, fitting
from reference_models.layers import dmol, gaussian
from reference_models.layers.draws import GivenDraws
from reference_models.training.task import Iteration
from reference_models.vdvae import convert, objective
from reference_models.vdvae.blocks import Block, pad_channels
from reference_models.vdvae.config import PRESETS, NetworkConfig, parse_blocks, parse_widths
from reference_models.vdvae.evaluate import Model
from reference_models.vdvae.model import Network
from reference_models.vdvae.recipe import RECIPES, Recipe
from reference_models.vdvae.trainer import VDVAETask

HANDLES = ("vdvae_*", "metrics/nll_dmol*")

# Data sets by their official names, where a preset is named otherwise.
DATASETS = {"ffhq_256": "ffhq256", "ffhq_1024": "ffhq1024"}
SIZES = (
    "enc_blocks", "dec_blocks", "width", "custom_width_str", "bottleneck_multiple", "zdim", "no_bias_above",
    "num_mixtures",
)  # fmt: skip
# Hyper-parameters that the official program reads into no computation, or that are its paths and intervals.
UNUSED = {
    "seed", "data_root", "dataset", "scale_encblock", "test_eval", "lr_prior", "wd_prior", "num_epochs",
    "temperature", "iters_per_ckpt", "iters_per_print", "iters_per_save", "iters_per_images",
    "epochs_per_eval", "epochs_per_probe", "epochs_per_eval_save", "num_images_visualize",
    "num_variables_visualize", "num_temperatures_visualize", "reported",
}  # fmt: skip


def scaling_of(dataset: str) -> dict[str, Any]:
    config = PRESETS[DATASETS.get(dataset, dataset)].network
    names = ("input_shift", "input_scale", "loss_shift", "loss_scale", "unit_range", "low_bit")
    return {name: getattr(config, name) for name in names}


def network_of(case: OutputCase) -> Network:
    hyper = case.hyper
    scaling = scaling_of(hyper["dataset"])
    if (given := case.facts.get("preprocessing")) is not None:
        scaling |= {
            "input_shift": given["shift"],
            "input_scale": given["scale"],
            "loss_shift": given["shift_loss"],
            "loss_scale": given["scale_loss"],
            "low_bit": given["low_bit"],
        }
    network = Network(
        NetworkConfig(
            img_resolution=hyper["image_size"],
            img_channels=hyper["image_channels"],
            **{name: hyper[name] for name in SIZES},
            **scaling,
        )
    )
    state = convert.from_official(case.weights, network.config)
    network.load_state_dict(state, strict=True)
    return network


def nchw(array: torch.Tensor) -> torch.Tensor:
    return array.permute(0, 3, 1, 2)


def nhwc(array: torch.Tensor) -> torch.Tensor:
    return array.permute(0, 2, 3, 1)


@contextmanager
def seen(modules: dict[str, nn.Module], *, inputs: bool) -> Iterator[dict[str, torch.Tensor]]:
    """What goes into modules, or what comes out of them, in the passes below."""
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: nn.Module, given: Any, result: torch.Tensor) -> None:
            found[name] = given[0] if inputs else result

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", names_of("vdvae_parser*"))
def test_strings(name: str):
    expected = json.loads((FOLDER / name / "case.json").read_text(encoding="utf-8"))["expected"]
    for text, entries in expected["layer_strings"].items():
        assert [list(entry) for entry in parse_blocks(text)] == entries, text
    for case in expected["width_strings"]:
        of = parse_widths(case["s"])
        assert {side: of.get(int(side), case["width"]) for side in case["widths"]} == case["widths"]
    assert expected.keys() == {"layer_strings", "width_strings"}


@pytest.mark.parametrize("name", names_of("vdvae_blocks*"))
def test_blocks(name: str):
    case = OutputCase(name)

    def block(index: str) -> torch.Tensor:
        made = Block(**case.hyper["blocks"][int(index)])
        made.load_state_dict(case.below(f"block{index}."), strict=True)
        return made(case[f"in.block{index}.x"])

    case.compare(r"block(\d+)\.y", block)
    case.compare(r"pad\.y", lambda: pad_channels(case["in.pad.x"], case.hyper["pad_width"]))
    of_kl = [case[f"in.kl.{part}"] for part in ("mu1", "logsigma1", "mu2", "logsigma2")]
    case.compare(r"kl", lambda: gaussian.kl_of_log_std(*of_kl))
    case.finish()


@pytest.mark.parametrize("name", names_of("vdvae_preproc*"))
def test_scaling_of_images(name: str):
    case = OutputCase(name)
    images = nchw(case["in.raw_uint8"])

    def scaled(dataset: str, which: str) -> torch.Tensor:
        config = PRESETS[DATASETS.get(dataset, dataset)].network
        return nhwc((objective.inputs if which == "input" else objective.targets)(images, config))

    case.compare(r"(.+)\.(input|target)", scaled)
    case.finish()


def nll(params: torch.Tensor, x: torch.Tensor, bits: int) -> torch.Tensor:
    """Nats a dimension of NHWC arrays."""
    found = dmol.log_likelihood(nchw(params), nchw(x), convention=dmol.VDVAE, bits=bits)
    return -found.sum((1, 2)) / x[0].numel()


@pytest.mark.parametrize("name", names_of("vdvae_dmol*"))
def test_mixture(name: str):
    case = OutputCase(name)
    params = case["in.params"].requires_grad_()

    def gradient(bits: str) -> torch.Tensor:
        return torch.autograd.grad(nll(params, case[f"in.x{bits}"], int(bits)).mean(), params)[0]

    def in_double(bits: str) -> torch.Tensor:
        return nll(params.double(), case[f"in.x{bits}"].double(), int(bits))

    case.compare(r"nll_(\d)bit_float64", in_double, (1e-9, 1e-9))
    case.compare(r"nll_(\d)bit", lambda bits: nll(params, case[f"in.x{bits}"], int(bits)))
    case.compare(r"grad_params_(\d)bit", gradient)
    sample = dmol.sample(nchw(params), nchw(case["noise.u_select"]), nchw(case["noise.u_value"]))
    case.compare("sample", lambda: nhwc(sample))
    case.compare("sample_uint8", lambda: nhwc(dmol.to_levels(sample)))
    case.finish()
    mass = case.facts["mass_check"]
    level = torch.arange(256, dtype=torch.float64)
    for bits, levels in ((8, level), (5, level[::8])):
        x = (levels - 127.5) / 127.5
        of_one = torch.tensor(0.2).double(), torch.tensor(-1.0).double()  # float32 parameters, as there
        found = dmol.logistic_log_mass(x, *of_one, convention=dmol.VDVAE, bits=bits).exp().sum()
        assert float(found) == pytest.approx(mass[f"mass_{bits}bit"], abs=1e-12)


@pytest.mark.parametrize("name", [name for name in find_cases() if fitting(name, ("metrics/nll_dmol*",))])
def test_mixture_as_a_metric(name: str):
    golden = Golden(find_cases()[name])
    levels, params = (torch.from_numpy(golden[key]) for key in ("x_uint8", "params"))
    assert params.shape[-1] == dmol.num_parameters(levels.shape[-1], golden.number("num_mixtures"))
    scaled = {
        8: (levels.double() - 127.5) / 127.5,
        5: ((levels.double() / 8).floor() * 8 - 127.5) / 127.5,
    }

    def nats(bits: str) -> np.ndarray:
        return nll(params.double(), scaled[int(bits)], int(bits)).numpy()

    golden.compare(r"vdvae__nats_per_dim_(\d)bit(?:_low_bit)?", nats, rtol=1e-5)
    golden.compare(r"rule__bits_per_dim_(\d)bit", lambda bits: nats(bits) / math.log(2), rtol=1e-5)
    of_kl = [torch.from_numpy(golden[f"kl_{part}"]) for part in ("mu1", "logsigma1", "mu2", "logsigma2")]
    golden.compare(r"vdvae__gaussian_kl", lambda: gaussian.kl_of_log_std(*of_kl), rtol=1e-5, atol=1e-6)
    golden.finish()


@pytest.mark.parametrize("name", names_of("vdvae_model*"))
def test_whole_model(name: str):
    case = OutputCase(name)
    network, images = network_of(case), nchw(case["in.raw_uint8"])
    config, decoder = network.config, network.decoder
    x, target = objective.inputs(images, config), objective.targets(images, config)
    torch.testing.assert_close(nhwc(x), case["in.x"])
    torch.testing.assert_close(nhwc(target), case["in.target"])

    activations = network.encoder(x)
    case.compare(r"enc\.act\.(\d+)", lambda side: activations[int(side)])
    inside = {str(index): block.prior for index, block in enumerate(decoder.dec_blocks)}
    after = {str(index): block.resnet for index, block in enumerate(decoder.dec_blocks)}
    last: dict[str, nn.Module] = {"px_z": decoder.out_net}
    with seen(inside, inputs=True) as x_in, seen(after, inputs=False) as x_out, seen(last, inputs=True) as px:
        output = network(x, network.draw(GivenDraws(normal=case.numbered("noise.fwd."))))
    case.compare(r"dec\.(\d+)\.x_in", x_in.__getitem__)
    case.compare(r"dec\.(\d+)\.x_out", x_out.__getitem__)
    case.compare(r"dec\.(\d+)\.kl", lambda index: output.latents[int(index)].kl())
    case.compare(r"dec\.(\d+)\.(\w+)", lambda index, part: getattr(output.latents[int(index)], part))
    case.compare(r"px_z", lambda: px["px_z"])
    case.compare(r"dmol_params", lambda: nhwc(output.params))

    terms = objective.terms(output, target, config)
    case.compare(r"(distortion|rate)_per_image", lambda part: getattr(terms, part))
    case.compare(r"(distortion|rate|elbo)", lambda part: getattr(terms, part).mean())
    case.compare(r"bits_per_dim", lambda: terms.elbo.mean() / math.log(2))
    per_block = torch.stack([latent.kl().sum((1, 2, 3)) for latent in output.latents], dim=1)
    case.compare(r"kl_nats_per_block_per_image", lambda: per_block)
    found = torch.autograd.grad(terms.elbo.mean(), list(network.parameters()))
    grads = dict(zip(dict(network.named_parameters()), found, strict=True))
    case.compare(r"grad_norm_total", lambda: torch.stack([each.norm() for each in found]).norm())
    case.compare(r"grad_norm\.(.+)", lambda key: grads[key].norm())

    def unconditional(key: str, given: list[torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
        eps = network.draw(GivenDraws(normal=case.numbered(f"noise.{key}.")), skip=len(given))
        with seen(last, inputs=True) as px, torch.no_grad():
            params = network.generate(eps, given=given, **options)
        return {"px_z": px["px_z"], "dmol_params": nhwc(params)}

    def temperature_of(key: str) -> float | list[float]:
        if key == "list":
            return case.hyper["temp_list"]
        return 1.0 if key == "none" else float(key.removeprefix("t"))

    passes = {
        key: unconditional(f"unc_{key}", [], temperature=temperature_of(key))
        for key in {name.split("unc_")[1].rsplit(".", 1)[0] for name in case.arrays if "out.unc_" in name}
    }
    case.compare(r"unc_(.+)\.(px_z|dmol_params)", lambda key, part: passes[key][part])
    fixed = [latent.z for latent in output.latents[: case.hyper["manual_blocks"]]]
    partly = unconditional("manual", fixed, temperature=0.1)
    case.compare(r"manual\.(px_z|dmol_params)", partly.__getitem__)

    uniform = [nchw(case[f"noise.dmol_u_{part}"]) for part in ("select", "value")]
    sample = dmol.sample(nchw(passes["t1.0"]["dmol_params"]), *uniform)
    case.compare(r"sample_float", lambda: nhwc(sample))
    case.compare(r"sample_uint8", lambda: nhwc(dmol.to_levels(sample)))
    case.finish()


@pytest.mark.parametrize("name", names_of("vdvae_model*"))
def test_the_model_that_evaluations_ask(name: str):
    # Nats and samples as above, through the draws of an evaluation.
    case = OutputCase(name)
    model = Model(network_of(case), name=name)
    images = nchw(case["in.raw_uint8"])
    nats = model._nats(images, GivenDraws(normal=case.numbered("noise.fwd.")))
    case.check("elbo", (nats.mean() / images[0].numel()).float())
    assert model.likelihood["bits"] == (5 if case.facts["preprocessing"]["low_bit"] else 8)


@pytest.mark.parametrize("name", names_of("vdvae_train*"))
def test_steps_of_training(name: str):
    case = OutputCase(name)
    network = network_of(case)
    facts = dict(case.facts["train"])
    batch = len(case["in.0.x"])
    task = VDVAETask(network, Recipe(batch=batch, **facts))
    rng, stats = torch.Generator(), []
    for index in range(case.facts["n_steps"]):
        at = Iteration(index=index, images=index * batch, feed=None, rng=rng, group=Alone())  # type: ignore[arg-type]
        eps = case.numbered(f"noise.{index}.")
        step = task.step(nchw(case[f"in.{index}.x"]), nchw(case[f"in.{index}.target"]), eps, at)
        rate = task.optimisers["G"].param_groups[0]["lr"]
        stats.append(
            {
                "distortion": step.distortion,
                "rate": step.rate,
                "elbo": step.distortion + step.rate,
                "grad_norm": step.grad_norm,
                "skipped_updates": float(step.skipped),
                "lr": rate,
            }
        )
    case.compare(r"stat\.(\w+)", lambda part: torch.tensor([float(each[part]) for each in stats]))
    assert task.skipped == sum(each["skipped_updates"] for each in case.facts["stats"])
    trained, average = network.state_dict(), task.G_ema.state_dict()
    case.compare(r"param\.(.+)", trained.__getitem__)
    case.compare(r"ema\.(.+)", average.__getitem__)
    case.finish()


def published(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name / "presets.json").read_text(encoding="utf-8"))


PUBLISHED = [(name, preset) for name in names_of("vdvae_presets*") for preset in published(name)]


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_published_presets(name: str, preset: str):
    facts = published(name)[preset]
    config, recipe = PRESETS[preset].network, RECIPES[preset]
    assert {part: getattr(config, part) for part in SIZES} == {part: facts[part] for part in SIZES}
    training = (
        "lr", "wd", "adam_beta1", "adam_beta2", "warmup_iters", "ema_rate", "grad_clip", "skip_threshold",
    )  # fmt: skip
    assert {part: getattr(recipe, part) for part in training} == {part: facts[part] for part in training}
    scaling = {"input_shift", "input_scale", "loss_shift", "loss_scale"}
    assert {part: getattr(config, part) for part in scaling} == pytest.approx({p: facts[p] for p in scaling})
    assert config.low_bit == facts["low_bit_5"]
    assert (config.img_resolution, recipe.batch) == (facts["image_size"], facts["n_batch"] * facts["n_gpus"])
    assert list(config.bias_sides) == facts["bias_xs_order"]
    assert len(config.encoder_entries) == facts["n_enc_blocks"]
    assert len(config.decoder_entries) == facts["n_dec_blocks"]

    table = FOLDER / name / f"state_dict_{preset}.csv"
    with table.open(encoding="utf-8", newline="") as file:
        wanted = {row["name"]: tuple(map(int, row["shape"].split("x"))) for row in csv.DictReader(file)}
    found = convert.official_shapes(config)
    assert found == wanted
    assert len(found) == facts["n_tensors"]
    assert sum(map(math.prod, found.values())) == facts["n_parameters"]
    checked = {
        *SIZES, *training, *scaling, "low_bit_5", "image_size", "n_batch", "n_gpus", "bias_xs_order",
        "n_enc_blocks", "n_dec_blocks", "n_tensors", "n_parameters",
    }  # fmt: skip
    assert facts.keys() == checked | UNUSED
