"""ProGAN against the official graph: networks at every level of detail, losses, steps of training."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from kinks import on_either_side
from tensor_cases import TensorCase, gradients_of, names_of

from reference_models import ops
from reference_models.progan import convert
from reference_models.progan.discriminator import Discriminator
from reference_models.progan.generator import Generator
from reference_models.progan.objective import discriminator_loss, generator_loss
from reference_models.training import ema
from reference_models.training.optimisers import TFAdam

HANDLES = ("progan_net*", "progan_loss*", "progan_train*")
PATHS = ("reference", "fast")


def networks(case: TensorCase) -> tuple[Generator, Discriminator]:
    generator = Generator(convert.config_from_official(case.kwargs["G"]))
    generator.load_state_dict(convert.from_tf(generator.config, case.part("G/")))
    discriminator = Discriminator(convert.discriminator_config_from_official(case.kwargs["D"]))
    discriminator.load_state_dict(convert.from_tf(discriminator.config, case.part("D/")))
    return generator, discriminator


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("progan_net*"))
def test_networks(name: str, path: str):
    case = TensorCase(name)
    generator, discriminator = networks(case)
    images = case["D.images"]
    with torch.no_grad(), ops.use(path):

        def made(lod: str) -> torch.Tensor:
            generator.set_lod(float(lod))  # through the stored level
            return generator(case["G.latents"], case["G.labels"])

        case.compare(r"G\.images\.lod=(.*)", made)
        case.compare(r"D\.scores\.lod=(.*)", lambda lod: discriminator(images, lod=float(lod)).scores)
        case.compare(r"D\.labels\.lod=(.*)", lambda lod: discriminator(images, lod=float(lod)).logits)
        case.compare(r"D\.scores\.first(\d+)", lambda n: discriminator(images[: int(n)], lod=0.0).scores)
        group = discriminator.config.mbstd_group_size
        case.compare(r"mbstd\.on_images", lambda: ops.minibatch_std(images, group_size=group)[:, -1:])
    case.finish()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("progan_loss*"))
def test_losses(name: str, path: str):
    case = TensorCase(name)
    generator, discriminator = networks(case)
    lod = case.kwargs["lod"]
    generator.set_lod(lod)
    discriminator.set_lod(lod)
    to_tf = partial(convert.to_tf, generator.config), partial(convert.to_tf, discriminator.config)

    def generator_part() -> None:
        weight = case.kwargs.get("G_loss", case.kwargs["D_loss"])["cond_weight"]
        labels = case["G_loss.labels"]
        fakes = generator(case["G_loss.latents"], labels)
        found = generator_loss(discriminator, fakes, labels, cond_weight=weight)
        # The official sum of (n, 1) and (n,) broadcasts; rebuilt here from the two parts.
        grid = found.scores[:, None] + found.labels if labels.shape[1] else found.scores[:, None]
        case.check("G_loss.per_sample", grid)
        case.check("G_loss.mean", found.total.mean())
        case.gradients("G/", gradients_of(found.total.mean(), generator, to_tf[0]))

    def discriminator_part() -> None:
        reals, labels = case["reals"], case["reals.labels"]
        with torch.no_grad():
            fakes = generator(case["D_loss.latents"], labels)
        for key in sorted(key for key in case.kwargs if key.startswith("D_loss")):
            loss = discriminator_loss(
                discriminator, reals, fakes, case["D_loss.mixing"], labels, **case.kwargs[key]
            )
            case.check(f"{key}.per_sample", loss.scores[:, None] + loss.penalties)
            case.check(f"{key}.mean", loss.total.mean())
            if key == "D_loss":
                case.check("D_loss.fakes", fakes)
                case.check("D_loss.fake_scores", loss.fake_scores)
                case.check("D_loss.real_scores", loss.real_scores)
                case.check("D_loss.mixed", loss.gradient.mixed)
                case.check("D_loss.mixed_scores", loss.gradient.scores)
                case.check("D_loss.mixed_norms", loss.gradient.norms)
                case.gradients("D/", gradients_of(loss.total.mean(), discriminator, to_tf[1]))

    with ops.use(path):
        on_either_side(case, generator_part)
        on_either_side(case, discriminator_part)
    case.finish()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("progan_train*"))
def test_steps_of_training(name: str, path: str):
    case = TensorCase(name)
    facts, reals = case.kwargs, case["reals"]
    weights = {key: facts[key] for key in ("wgan_lambda", "wgan_epsilon", "wgan_target") if key in facts}

    def labels(which: str, step: int) -> torch.Tensor | None:
        return case[f"{which}.labels"][step] if f"{which}.labels" in case else None

    def train() -> None:
        generator, discriminator = networks(case)
        average = copy.deepcopy(generator)
        average.load_state_dict(convert.from_tf(generator.config, case.part("Gs/")))
        adam = facts["adam"]
        made = partial(TFAdam, lr=facts["lr"], betas=(adam["beta1"], adam["beta2"]), eps=adam["eps"])
        of_G, of_D = made(generator.parameters()), made(discriminator.parameters())
        for step in range(len(reals)):
            lod = float(case["lod"][step])
            for network in (generator, discriminator):
                network.set_lod(lod)
            with torch.no_grad():
                fakes = generator(case["D.latents"][step], labels("reals", step))
            of_D.zero_grad()
            mixing, c = case["D.mixing"][step], labels("reals", step)
            loss = discriminator_loss(discriminator, reals[step], fakes, mixing, c, **weights).total.mean()
            loss.backward()
            of_D.step()
            case.compare(rf"step{step}\.D_loss", lambda loss=loss: loss)
            ema.update(average, generator, facts["G_smoothing"])
            of_G.zero_grad()
            c = labels("G", step)
            loss = generator_loss(discriminator, generator(case["G.latents"][step], c), c).total.mean()
            loss.backward()
            of_G.step()
            case.compare(rf"step{step}\.G_loss", lambda loss=loss: loss)
            trained = {"G": generator, "D": discriminator, "Gs": average}
            found = {
                f"{net}/{key}": array
                for net, network in trained.items()
                for key, array in convert.to_tf(network.config, network.state_dict()).items()
            }
            # The case's own rule: Adam without momentum turns rounding of a gradient near 0 into steps of lr.
            slack = 2 * facts["lr"] * (step + 1)
            case.check_most(rf"step{step}\.(.+/.+)", found, share=0.005, slack=slack)

    with ops.use(path):
        on_either_side(case, train)
    case.finish()


@pytest.mark.parametrize("name", names_of("progan_net*", "progan_loss*"))
def test_variables_come_back_as_they_were(name: str):
    case = TensorCase(name)
    for prefix, network in zip(("G/", "D/"), networks(case), strict=True):
        back = convert.to_tf(network.config, network.state_dict())
        assert back.keys() == case.part(prefix).keys()
        for key, array in case.part(prefix).items():
            assert (back[key] == array).all(), key


@pytest.mark.parametrize("name", names_of("progan_loss*")[:1])
@pytest.mark.parametrize(
    ("value", "slope", "passes"), [(5e-7, 0.2, True), (-5e-7, 1.0, True), (1e-3, 0.2, False)]
)
def test_only_inputs_within_rounding_of_a_corner_may_take_the_other_side(
    name: str, value: float, slope: float, passes: bool
):
    def attempt() -> None:
        x = torch.tensor([value, 2.0], requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.nn.functional.leaky_relu(x, 0.2).sum(), x)
        assert gradient.tolist() == pytest.approx([slope, 1.0])

    if passes:
        on_either_side(TensorCase(name), attempt)
    else:
        with pytest.raises(AssertionError):
            on_either_side(TensorCase(name), attempt)
