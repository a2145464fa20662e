"""StyleGAN against the official graph: networks, truncation, mixing, losses, gradients, steps of training."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from kinks import on_either_side
from tensor_cases import TensorCase, gradients_of, names_of

from evalkit.imaging.quantise import to_uint8
from reference_models import ops
from reference_models.layers.growing import downscale, instance_norm, pixel_norm, upscale
from reference_models.stylegan import convert
from reference_models.stylegan.discriminator import Discriminator
from reference_models.stylegan.generator import Generator
from reference_models.stylegan.layers import Blur
from reference_models.stylegan.objective import (
    discriminator_logistic,
    discriminator_wgan_gp,
    generator_logistic,
    generator_wgan,
    mixing_cutoff,
)
from reference_models.training import ema
from reference_models.training.optimisers import TFAdam

HANDLES = ("stylegan1_net*", "stylegan1_mixing*", "stylegan1_loss*", "stylegan1_train*")
PATHS = ("reference", "fast")


def generator_of(case: TensorCase, **changes: object) -> Generator:
    config = dataclasses.replace(convert.config_from_official(case.kwargs["G"]), **changes)
    generator = Generator(config)
    generator.load_state_dict(convert.from_tf(config, case.part("G/")))
    return generator


def discriminator_of(case: TensorCase, **changes: object) -> Discriminator:
    config = dataclasses.replace(convert.discriminator_config_from_official(case.kwargs["D"]), **changes)
    discriminator = Discriminator(config)
    discriminator.load_state_dict(convert.from_tf(config, case.part("D/")))
    return discriminator


def noise(case: TensorCase, generator: Generator, prefix: str = "") -> list[torch.Tensor]:
    return [case[f"{prefix}noise{layer}"] for layer in range(generator.num_ws)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("stylegan1_net*"))
def test_networks(name: str, path: str):
    case = TensorCase(name)
    generator, discriminator = generator_of(case), discriminator_of(case)
    z, c, ws = case["latents"], case["labels"], case["dlatents"]
    images, labels = case["D.images"], case["D.labels"]
    with torch.no_grad(), ops.use(path):
        case.compare(r"mapping\.dlatents", lambda: generator.map(z, c))
        case.compare(
            r"G\.images\.psi=(.*)\.cutoff=(.*)",
            lambda psi, cutoff: generator(
                z, c, truncation_psi=float(psi), truncation_cutoff=int(cutoff), lod=0.0
            ),
        )
        case.compare(r"G\.images\.is_validation", lambda: generator(z, c, lod=0.0))

        def stored(lod: str) -> torch.Tensor:
            generator.set_lod(float(lod))
            return generator.synthesis(ws)

        case.compare(r"S\.images\.lod=(.*)", stored)
        case.compare(
            r"S\.images\.random_noise", lambda: generator.synthesis(ws, noise=noise(case, generator), lod=0.0)
        )
        case.compare(r"S\.layer(\d+)", lambda layer: layer_output(generator, ws, int(layer)))
        fused = generator_of(case, fused_scale=True)
        case.compare(r"S\.images\.fused_scale", lambda: fused.synthesis(ws, lod=0.0))
        case.compare(r"D\.scores\.lod=(.*)", lambda lod: discriminator(images, labels, lod=float(lod)))
        fused_d = discriminator_of(case, fused_scale=True)
        case.compare(r"D\.scores\.fused_scale", lambda: fused_d(images, labels, lod=0.0))
        case.compare(r"op\.blur", lambda: Blur((1.0, 2.0, 1.0))(case["op.x"]))
        case.compare(r"op\.downscale", lambda: downscale(case["op.x"]))
        case.compare(r"op\.upscale", lambda: upscale(case["op.x"]))
        case.compare(r"op\.instance_norm", lambda: instance_norm(case["op.x"]))
        case.compare(r"op\.pixel_norm", lambda: pixel_norm(case["op.x"]))
        case.compare(r"op\.to_uint8", lambda: to_uint8(0.9 * case["op.x"]))
    case.finish()


def layer_output(generator: Generator, ws: torch.Tensor, layer: int) -> torch.Tensor:
    side = 4 << (layer // 2)
    block = getattr(generator.synthesis, f"{side}x{side}")
    names = ("Const", "Conv") if layer < 2 else ("Conv0_up", "Conv1")
    kept = []
    hook = getattr(block, names[layer % 2]).register_forward_hook(lambda *call: kept.append(call[-1]))
    generator.synthesis(ws[:1], lod=0.0)
    hook.remove()
    return kept[0]


@pytest.mark.parametrize("name", names_of("stylegan1_mixing*"))
def test_mixing_and_the_average(name: str):
    case = TensorCase(name)
    for place, draws in enumerate(case.facts["variants"]):
        generator = generator_of(case)
        lod = draws["lod"]
        generator.set_lod(lod)
        cutoff = mixing_cutoff(generator.num_ws, lod, uniform=draws["mix_uniform"], draw=draws["cutoff_draw"])
        with torch.no_grad():
            images = generator.training_images(
                case["latents"],
                case["labels"],
                z_mix=case["latents2"],
                cutoff=cutoff,
                noise=noise(case, generator),
            )
        case.check(f"v{place}.images", images)
        case.check(f"v{place}.dlatent_avg", generator.w_avg)
    case.finish()


def as_the_case_names_them(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Variables of G, whose parts the case names as they name themselves."""
    return {
        f"G_{key}" if key.startswith(("synthesis/", "mapping/")) else key: array
        for key, array in arrays.items()
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("stylegan1_loss*"))
def test_losses(name: str, path: str):
    case = TensorCase(name)
    generator, discriminator = generator_of(case), discriminator_of(case)
    facts = case.kwargs
    generator.set_lod(facts["lod"])
    discriminator.set_lod(facts["lod"])
    cutoff = mixing_cutoff(
        generator.num_ws, facts["lod"], uniform=facts["mix_uniform"], draw=facts["cutoff_draw"]
    )

    def fakes(which: str, labels: torch.Tensor) -> torch.Tensor:
        return generator.training_images(
            case[f"{which}.latents"],
            labels,
            z_mix=case[f"{which}.latents2"],
            cutoff=cutoff,
            noise=noise(case, generator, f"{which}."),
        )

    def generator_part() -> None:
        labels = case["G_loss.labels"]
        wgan = case.facts["classes"]["G_loss"].endswith("wgan")
        loss = (generator_wgan if wgan else generator_logistic)(
            discriminator, fakes("G_loss", labels), labels
        )
        case.check("G_loss.per_sample", loss[:, None])
        case.check("G_loss.mean", loss.mean())
        to_tf = partial(convert.to_tf, generator.config)
        ours = gradients_of(loss.mean(), generator, to_tf)
        case.gradients("G/", as_the_case_names_them(ours))

    def discriminator_part() -> None:
        labels = case["reals.labels"]
        with torch.no_grad():
            images = fakes("D_loss", labels)
        if case.facts["classes"]["D_loss"].endswith("wgan_gp"):
            names = ("wgan_lambda", "wgan_epsilon", "wgan_target")
            weights = {key: facts[key] for key in names if key in facts}
            found = discriminator_wgan_gp(
                discriminator, case["reals"], images, case["D_loss.mixing"], labels, **weights
            )
        else:
            gammas = {key: facts.get(key, 0.0) for key in ("r1_gamma", "r2_gamma")}
            found = discriminator_logistic(discriminator, case["reals"], images, labels, **gammas)
        case.check("D_loss.per_sample", found.scores[:, None] + found.penalties)
        case.check("D_loss.mean", found.total.mean())
        case.check("D_loss.real_scores", found.real_scores)
        case.compare("D_loss.fake_scores", lambda: found.fake_scores)
        case.compare("D_loss.r1_penalty", lambda: found.r1)
        case.compare("D_loss.r2_penalty", lambda: found.r2)
        to_tf = partial(convert.to_tf, discriminator.config)
        case.gradients("D/", gradients_of(found.total.mean(), discriminator, to_tf))

    with ops.use(path):
        on_either_side(case, generator_part)
        on_either_side(case, discriminator_part)
    case.finish()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("stylegan1_train*"))
def test_steps_of_training(name: str, path: str):
    case = TensorCase(name)
    facts, reals = case.kwargs, case["reals"]
    gammas = {key: facts.get(key, 0.0) for key in ("r1_gamma", "r2_gamma")}

    def labels(which: str, step: int) -> torch.Tensor | None:
        return case[f"{which}.labels"][step] if f"{which}.labels" in case else None

    def fakes(generator: Generator, which: str, step: int, c: torch.Tensor | None) -> torch.Tensor:
        cutoff = mixing_cutoff(
            generator.num_ws,
            float(case["lod"][step]),
            uniform=float(case[f"{which}.mix_uniform"][step]),
            draw=int(case[f"{which}.cutoff"][step]),
            probability=facts["style_mixing_prob"],
        )
        maps = [each[step] for each in noise(case, generator, f"{which}.")]
        z, z_mix = case[f"{which}.latents"][step], case[f"{which}.latents2"][step]
        return generator.training_images(z, c, z_mix=z_mix, cutoff=cutoff, noise=maps)

    def train() -> None:
        generator, discriminator = generator_of(case), discriminator_of(case)
        assert generator.config.mapping.w_avg_beta == facts["w_avg_beta"]
        average = copy.deepcopy(generator)
        average.load_state_dict(convert.from_tf(generator.config, case.part("Gs/")))
        adam = facts["adam"]
        made = partial(TFAdam, lr=facts["lr"], betas=(adam["beta1"], adam["beta2"]), eps=adam["eps"])
        of_G, of_D = made(generator.parameters()), made(discriminator.parameters())
        beta = ema.half_life_beta(facts["batch"], facts["G_smoothing_kimg"], None, 0)
        assert beta == pytest.approx(facts["Gs_beta"], rel=1e-12)
        for step in range(len(reals)):
            for network in (generator, discriminator):
                network.set_lod(float(case["lod"][step]))
            c = labels("reals", step)
            with torch.no_grad():
                images = fakes(generator, "D", step, c)
            of_D.zero_grad()
            loss = discriminator_logistic(discriminator, reals[step], images, c, **gammas).total.mean()
            loss.backward()
            of_D.step()
            case.compare(rf"step{step}\.D_loss", lambda loss=loss: loss)
            ema.update(average, generator, beta)
            of_G.zero_grad()
            c = labels("G", step)
            loss = generator_logistic(discriminator, fakes(generator, "G", step, c), c).mean()
            loss.backward()
            of_G.step()
            case.compare(rf"step{step}\.G_loss", lambda loss=loss: loss)
            found = {
                f"D/{key}": array
                for key, array in convert.to_tf(discriminator.config, discriminator.state_dict()).items()
            }
            for net, network in (("G", generator), ("Gs", average)):
                arrays = as_the_case_names_them(convert.to_tf(network.config, network.state_dict()))
                found |= {f"{net}/{key}": array for key, array in arrays.items()}
            # The case's own rule: Adam without momentum turns rounding of a gradient near 0 into steps of lr.
            slack = 2 * facts["lr"] * (step + 1)
            case.check_most(rf"step{step}\.(.+/.+)", found, share=0.005, slack=slack)

    with ops.use(path):
        on_either_side(case, train)
    case.finish()


@pytest.mark.parametrize("name", names_of(*HANDLES))
def test_variables_come_back_as_they_were(name: str):
    case = TensorCase(name)
    networks = {"G/": generator_of(case)}
    if "D" in case.kwargs:
        networks["D/"] = discriminator_of(case)
    for prefix, network in networks.items():
        back = convert.to_tf(network.config, network.state_dict())
        given = {key.removeprefix("G_"): array for key, array in case.part(prefix).items()}
        assert back.keys() == given.keys()
        for key, array in given.items():
            assert (back[key] == array).all(), key
