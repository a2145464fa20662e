"""NVAE against the official program: cells, flows, distributions, whole passes, norms, steps of training."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from groups import Alone
from output_cases import OutputCase
from tensor_cases import names_of
from torch import nn

from golden_cases import FOLDER
from reference_models.layers import dmol
from reference_models.layers.draws import GivenDraws
from reference_models.nvae import convert, distributions, flow, objective, schedules
from reference_models.nvae.cells import Cell, DecoderCombiner, EncoderCombiner
from reference_models.nvae.config import ARCHITECTURES, BITS, PRESETS, groups_per_scale
from reference_models.nvae.distributions import Normal
from reference_models.nvae.model import Network
from reference_models.nvae.recipe import RECIPES, Recipe
from reference_models.nvae.trainer import NVAETask
from reference_models.training.task import Iteration

HANDLES = (
    "nvae_model*", "nvae_cells*", "nvae_ar*", "nvae_dist*", "nvae_schedules*", "nvae_train*", "nvae_presets*",
)  # fmt: skip

NO_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked", "weight_normalized")


def facts_of(name: str, file: str = "case.json") -> Any:
    return json.loads((FOLDER / name / file).read_text(encoding="utf-8"))


def network_of(case: OutputCase) -> Network:
    config = convert.config_from_official(case.hyper, img_resolution=case.facts["input_size"])
    network = Network(config)
    network.load_state_dict(convert.from_official(case.weights, config), strict=True)
    return network


def spectral_of(case: OutputCase, network: Network) -> objective.SpectralNorms:
    spectral = objective.SpectralNorms(network)
    assert spectral.names == case.facts["sr_layer_order"]
    spectral.start({shape: case[f"in.sr_u0.{shape}"] for shape in spectral.names})
    return spectral


def given(case: OutputCase, prefix: str) -> GivenDraws:
    return GivenDraws(normal=case.numbered(f"noise.{prefix}"))


@pytest.mark.parametrize("name", names_of("nvae_model*"))
def test_passes(name: str):
    case = OutputCase(name)
    network = network_of(case).eval()
    config, x = network.config, case["in.x"]
    assert list(config.groups_per_scale) == case.facts["groups_per_scale"]
    pre = distributions.reduce_bits(x, config.num_x_bits)
    case.check("x_pre", pre)
    found = {}
    for key, module in network.named_modules():
        module.register_forward_hook(lambda m, given, result, key=key: found.update({key: result}))
    with torch.no_grad():
        inferred = network.infer(pre, given(case, "fwd."))
        case.compare(r"act\.(.+)", found.__getitem__)
        case.check("logits", inferred.logits)
        case.check("log_q", inferred.log_q)
        case.check("log_p", inferred.log_p)
        case.check("kl_all", inferred.kl)
        case.compare(r"kl_diag\.(\d+)", lambda group: inferred.groups[int(group)].kl.sum((2, 3)).mean(0))
        decoder = distributions.decoder(config, inferred.logits)
        case.check("log_prob", decoder.log_prob(pre))
        case.compare(r"dec_mean", decoder.mean)
        case.check("recon_loss", -inferred.log_likelihood)
        case.check("nelbo", inferred.nelbo)
        case.check("log_iw", inferred.log_weight)
        to_bits = math.log(2) * case.facts["num_output_for_bpd"]
        case.check("nelbo_bpd", inferred.nelbo.mean() / to_bits)
        case.compare(
            r"sample_logits_(.+)",
            lambda t: network.sample(given(case, f"samp_{t}."), len(x), temperature=float(t)),
        )
        weights, bounds = [], []
        draws = given(case, "iw.")
        for _ in range(case.facts["K_importance"]):
            drawn = network.infer(pre, draws)
            weights.append(drawn.log_weight)
            bounds.append(drawn.nelbo)
        log_p = torch.logsumexp(torch.stack(weights), 0) - math.log(len(weights))
        case.check("iw_neg_log_p", -log_p.mean())
        case.check("iw_bpd_log_p", -log_p.mean() / to_bits)
        case.check("iw_nelbo", torch.stack(bounds).mean())
    alpha = torch.tensor(schedules.balance(config.groups_per_scale))
    case.check("alpha", alpha)
    case.compare(r"balanced_kl_(.+)", lambda c: objective.balanced_kl(case["out.kl_all"], float(c), alpha).kl)
    case.compare(
        r"kl_coeffs_(.+)",
        lambda c: objective.balanced_kl(case["out.kl_all"], float(c), alpha).coefficients,
    )
    # As training does it: norms after a pass on the statistics of the batch.
    network.train()
    inferred = network.infer(pre, given(case, "train."))
    case.check("train.logits", inferred.logits)
    case.check("train.kl_all", inferred.kl)
    case.compare(r"train\.buffer\.(.+)", network.state_dict().__getitem__)
    spectral = spectral_of(case, network)
    first, norms = spectral(), objective.batch_norm_penalty(network)
    case.check("spectral_first", first)
    case.check("bn_loss", norms)
    loss = (objective.balanced_kl(inferred.kl, 0.3, alpha).kl - inferred.log_likelihood).mean()
    loss = loss + 0.01 * (first + norms)
    case.check("train_loss", loss)
    loss.backward()

    def grad_norm(key: str) -> torch.Tensor:
        grad = network.get_parameter(key).grad
        return torch.zeros(()) if grad is None else grad.norm()

    case.compare(r"grad_norm\.(.+)", grad_norm)
    with torch.no_grad():
        case.check("spectral_second", spectral())
        exact = [torch.linalg.matrix_norm(objective.matrix(m), 2) for _, m in objective.convolutions(network)]
        case.check("spectral_exact", torch.stack(exact).sum())
    case.finish()


@pytest.mark.parametrize("name", names_of("nvae_cells*"))
def test_cells(name: str):
    case = OutputCase(name)

    def loaded(module: nn.Module, prefix: str) -> nn.Module:
        state = case.below(prefix)
        known = module.state_dict()
        for key in state.keys() - known.keys():
            assert key.startswith("pre.") or key.endswith(("weight_normalized", "num_batches_tracked")), key
        module.load_state_dict({key: state[key] for key in known}, strict=True)
        return module

    for facts in case.facts["cells"]:
        at, x = facts["name"], case[f"in.{facts['name']}.x"]
        sizes = (facts["Cin"], facts["Cout"], facts["cell_type"], facts["arch"])
        with torch.no_grad():
            cell = loaded(Cell(*sizes, use_se=facts["use_se"]), f"{at}.")
            case.check(f"{at}.y_eval", cell.eval()(x))
            case.check(f"{at}.y_train", cell.train()(x))
            case.compare(rf"{at}\.buffer\.(.+)", cell.state_dict().__getitem__)
            if f"out.{at}.y_first" in case:
                fresh = loaded(Cell(*sizes, use_se=facts["use_se"]), f"{at}.pre.").train()
                for _, conv in objective.convolutions(fresh):
                    conv.by_data = conv.bias is not None and conv.kernel_size == (3, 3)
                case.check(f"{at}.y_first", fresh(x))
                for key, value in fresh.state_dict().items():
                    torch.testing.assert_close(value, case.weights[f"{at}.{key}"], rtol=2e-4, atol=2e-5)

    combiners = {"enc_combiner": EncoderCombiner, "dec_combiner": DecoderCombiner}

    def combined(at: str) -> torch.Tensor:
        first, second = case[f"in.{at}.x1"], case[f"in.{at}.x2"]
        return loaded(combiners[at](first.shape[1], second.shape[1]), f"{at}.")(first, second)

    case.compare(r"(enc_combiner|dec_combiner)\.y", combined)
    case.finish()


@pytest.mark.parametrize("name", names_of("nvae_ar*"))
def test_flows(name: str):
    case = OutputCase(name)
    z = case["in.z"]
    cell = flow.PairedCell(case.hyper["num_z"])
    cell.load_state_dict(case.below("paired."), strict=True)
    with torch.no_grad():
        case.check("cell1.hidden", cell.cell1.conv(z))
        case.check("cell1.new_z", cell.cell1(z))
        case.check("paired.new_z", cell(z))
    case.compare(r"(?:cell1|paired)\.log_det", lambda: torch.zeros_like(z))
    case.compare(r"mask\.(.+)", lambda at: cell.get_submodule(at).mask)

    def mask(index: str) -> torch.Tensor:
        args = dict(case.facts["maskfn_args"][int(index)])
        sizes = (args.pop("kernel_size"), args.pop("c_in"), args.pop("c_out"))
        return flow.causal_mask(*sizes, **args)

    case.compare(r"maskfn\.(\d+)", mask)
    parts = [case[f"in.mixcdf.{part}"] for part in ("z", "logit_pi", "mu", "log_s", "log_a", "b")]
    new_z, log_det = flow.mix_log_cdf(*parts)
    case.check("mixcdf.new_z", new_z)
    case.check("mixcdf.log_det", log_det)
    case.finish()


@pytest.mark.parametrize("name", names_of("nvae_dist*"))
def test_distributions(name: str):
    case = OutputCase(name)
    x8, params = case["in.raw_uint8"].float() / 255, case["in.params"]
    torch.testing.assert_close(case["in.x8"], x8)

    def images(bits: str) -> torch.Tensor:
        found = distributions.reduce_bits(x8, int(bits))
        torch.testing.assert_close(case[f"in.x{bits}"], found)
        return found

    def mixture(bits: str = "8", dtype: torch.dtype = torch.float32) -> distributions.Mixture:
        return distributions.Mixture(params.to(dtype), channels=3, bits=int(bits))

    case.compare(r"mix(\d)\.log_prob", lambda bits: mixture(bits).log_prob(images(bits)))
    case.compare(
        r"mix(\d)\.log_prob_float64",
        lambda bits: mixture(bits, torch.float64).log_prob(case[f"in.x{bits}"].double()),
        (1e-9, 1e-9),
    )
    case.compare(r"mix(\d)\.recon_loss", lambda bits: -mixture(bits).log_prob(images(bits)).sum((1, 2)))
    case.compare(r"mix\.mean", lambda: mixture().mean())

    def drawn(t: str) -> torch.Tensor:
        select, value = case["noise.u_select"], case["noise.u_value"]
        return dmol.sample(params, select, value, temperature=float(t)) / 2 + 0.5

    case.compare(r"mix\.sample_(.+)", drawn)
    normal = distributions.NormalDecoder(case["in.normal_params"])
    log_prob = normal.log_prob(x8)
    case.check("normal.log_prob", log_prob)
    case.check("normal.recon_loss", -log_prob.sum((1, 2, 3)))
    case.check("normal.sample", normal.sample(GivenDraws(normal=[case["noise.normal"]])))
    mean, log_scale = case["in.normal_params"].chunk(2, dim=1)
    case.compare(
        r"disc_logistic\.log_prob",
        lambda: dmol.logistic_log_mass(2 * x8 - 1, mean, log_scale, convention=dmol.NVAE),
    )
    first = Normal(case["in.n.mu"], case["in.n.log_sigma"])
    second = Normal(case["in.n.mu2"], case["in.n.log_sigma2"])
    case.check("n.mu", first.mean)
    case.check("n.sigma", first.sigma)
    case.compare(r"n\.sigma_t(.+)", lambda t: Normal(case["in.n.mu"], case["in.n.log_sigma"], float(t)).sigma)
    case.check("n.log_p", first.log_density(case["in.n.z"]))
    case.check("n.kl", first.kl(second))
    case.check("n.sample_given_eps", first.sample(case["in.n.z"]))
    bernoulli = distributions.Bernoulli(case["in.bern.logits"]).log_prob(case["in.bern.x"])
    pixels = distributions.BINARY_PIXELS
    case.check("bern.recon_crop", -bernoulli[..., pixels, pixels].sum((1, 2, 3)))
    case.check("bern.recon_nocrop", -bernoulli.sum((1, 2, 3)))
    case.finish()


@pytest.mark.parametrize("name", names_of("nvae_schedules*"))
def test_schedules(name: str):
    facts = facts_of(name)
    expected, near = dict(facts["expected"]), {"rel": facts["rtol"], "abs": facts["atol"]}
    for each in expected.pop("groups_per_scale"):
        scales, groups, adaptive, least = each["args"]
        assert list(groups_per_scale(scales, groups, adaptive=adaptive, min_groups=least)) == each["out"]
    for each in expected.pop("kl_balancer_coeff"):
        assert len(each["groups_per_scale"]) == each["num_scales"]
        found = schedules.balance(each["groups_per_scale"], each["fun"])
        assert list(found) == pytest.approx(each["out"], **near)
    for each in expected.pop("kl_coeff"):
        found = schedules.kl_coeff(
            each["step"],
            total=each["total_step"],
            constant=each["constant_step"],
            least=each["min_kl_coeff"],
        )
        assert found == pytest.approx(each["out"], **near)
    for each in expected.pop("wdn_coeff"):
        found = schedules.norm_weight(each["kl_coeff"], initial=each["init"], final=each["final"])
        assert found == pytest.approx(each["out"], **near)
    each = expected.pop("kl_balancer")
    found = objective.balanced_kl(torch.tensor(each["kl_all"]), each["kl_coeff"], torch.tensor(each["alpha"]))
    for got, key in zip(found, ("out", "coeffs", "kl_vals"), strict=True):
        assert got.tolist() == pytest.approx(each[key], **near)
    each = expected.pop("lr_schedule")
    rates = [
        schedules.learning_rate(
            step,
            lr=each["lr"],
            lr_min=each["lr_min"],
            steps_per_epoch=each["steps_per_epoch"],
            epochs=each["epochs"],
            warmup_epochs=each["warmup_epochs"],
        )
        for step in range(len(each["per_step"]))
    ]
    assert rates == pytest.approx(each["per_step"], **near)
    levels = expected.pop("pre_process_5bit")["levels_of_uint8"]
    x = torch.arange(256, dtype=torch.float32) / 255
    assert (distributions.reduce_bits(x, 5) * 31).round().int().tolist() == levels
    for each in expected.pop("bpd"):
        config = convert.config_from_official({"dataset": each["dataset"]})
        assert config.num_dims == each["num_output"]
        assert 1 / (math.log(2) * config.num_dims) == pytest.approx(each["bpd_coeff"], **near)
    assert not expected


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CountedRecipe(Recipe):
    """A recipe that counts iterations, as the case does, and no epochs; it ends before the first cosine."""

    num_total_iter: int
    warmup_iters: int

    @property
    def steps(self) -> int:
        return self.num_total_iter

    def lr_at(self, step: int) -> float:
        return schedules.learning_rate(
            min(step, self.warmup_iters),
            lr=self.learning_rate,
            lr_min=self.learning_rate_min,
            steps_per_epoch=max(self.warmup_iters, 1),
            epochs=10,
            warmup_epochs=min(self.warmup_iters, 1),
        )


@pytest.mark.parametrize("name", names_of("nvae_train*"))
def test_steps_of_training(name: str):
    case = OutputCase(name)
    train, network = case.facts["train"], network_of(case)
    names = {field.name for field in dataclasses.fields(CountedRecipe)} - {"batch", "epochs"}
    recipe = CountedRecipe(mirror=False, **{key: value for key, value in train.items() if key in names})
    assert train.keys() <= names
    task = NVAETask(network, recipe)
    task.spectral.start({shape: case[f"in.sr_u0.{shape}"] for shape in task.spectral.names})
    draws, losses = GivenDraws(normal=case.numbered("noise.")), []
    for index in range(case.facts["n_steps"]):
        x = distributions.reduce_bits(case[f"in.{index}.x"], network.config.num_x_bits)
        iteration = Iteration(index=index, images=0, feed=None, rng=torch.Generator(), group=Alone())
        losses.append(task.step(x, [draws.normal(shape) for shape in network.latent_shapes], iteration).loss)
    case.check("loss", torch.stack(losses))
    state = convert.to_official(network.state_dict(), network.config)
    # The release counts passes of training, which nothing reads and this network does not.
    before = {key: int(value) for key, value in case.weights.items() if key.endswith("num_batches_tracked")}
    case.compare(
        r"state\.(.+num_batches_tracked)", lambda key: torch.tensor(before[key] + case.facts["n_steps"])
    )
    case.compare(r"state\.(.+)", state.__getitem__)
    case.finish()


@pytest.mark.parametrize("name", names_of("nvae_presets*"))
def test_presets(name: str):
    cells, outlines = facts_of(name, "arch_cells.json"), {}
    for recipe, kinds in cells.items():
        if recipe.endswith("9"):  # names an operation that does not exist
            assert recipe not in ARCHITECTURES
        else:
            of = {kind: list(operations) for kind, operations in ARCHITECTURES[recipe].items()}
            assert of == {kind: operations for kind, operations in kinds.items() if kind != "ar_nn"}
    for preset, facts in facts_of(name, "presets.json").items():
        config, recipe = PRESETS[preset].network, RECIPES[preset]
        assert config == convert.config_from_official(facts)
        assert config.img_resolution == facts["input_size"]
        assert config.num_x_bits in BITS
        assert list(config.groups_per_scale) == facts["groups_per_scale_high_to_low"]
        assert list(config.latent_shapes[0]) == facts["z0_size"]
        assert len(config.latent_shapes) == facts["total_groups"]
        assert recipe.batch == facts["global_batch"]
        for key in recipe.__slots__:
            assert key not in facts or getattr(recipe, key) == facts[key], f"{preset}: {key}"
        with (FOLDER / name / f"state_dict_{preset}.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["name"]: row["shape"] for row in csv.DictReader(file)}
        if config not in outlines:  # two presets have the same sizes
            outlines[config] = convert.official_shapes(config)
        shapes = outlines[config]
        assert {key: "x".join(map(str, shape)) for key, shape in shapes.items()} == rows
        assert len(rows) == facts["n_tensors"]
        assert list(shapes["prior_ftr0"]) == facts["prior_ftr0_shape"]
        parameters = {key: shape for key, shape in shapes.items() if not key.endswith(NO_PARAMETERS)}
        convolutions = [
            key for key, shape in parameters.items() if len(shape) == 4 and key.endswith(".weight")
        ]
        assert len(convolutions) == facts["n_conv_layers_spectral"]
        assert sum(key.endswith("running_mean") for key in shapes) == facts["n_bn_layers"]
        assert sum(map(math.prod, parameters.values())) == facts["n_parameters"]


@pytest.mark.parametrize("name", names_of("nvae_vdvae_results*"))
def test_what_presets_say_was_published(name: str):
    said = PRESETS["cifar10"].about
    assert f"{facts_of(name)['nvae']['with_flows']['CIFAR-10']} bits/dim" in said
    assert "importance-weighted bound of 1000 samples" in said
