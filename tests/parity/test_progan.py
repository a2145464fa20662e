"""ProGAN against the official graph: networks at every level of detail, losses and their gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tensor_cases import TensorCase, gradients_of, names_of

from reference_models import ops
from reference_models.progan import convert
from reference_models.progan.discriminator import Discriminator
from reference_models.progan.generator import Generator
from reference_models.progan.objective import discriminator_loss, generator_loss

HANDLES = ("progan_net*", "progan_loss*")
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
    with ops.use(path):
        weight = case.kwargs.get("G_loss", case.kwargs["D_loss"])["cond_weight"]
        labels = case["G_loss.labels"]
        fakes = generator(case["G_loss.latents"], labels)
        found = generator_loss(discriminator, fakes, labels, cond_weight=weight)
        # The official sum of (n, 1) and (n,) broadcasts; rebuilt here from the two parts.
        grid = found.scores[:, None] + found.labels if labels.shape[1] else found.scores[:, None]
        case.check("G_loss.per_sample", grid)
        case.check("G_loss.mean", found.total.mean())
        case.gradients(
            "G/",
            gradients_of(found.total.mean(), generator, partial(convert.to_tf, generator.config)),
        )

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
                to_tf = partial(convert.to_tf, discriminator.config)
                case.gradients("D/", gradients_of(loss.total.mean(), discriminator, to_tf))
    case.finish()


@pytest.mark.parametrize("name", names_of("progan_net*", "progan_loss*"))
def test_variables_come_back_as_they_were(name: str):
    case = TensorCase(name)
    for prefix, network in zip(("G/", "D/"), networks(case), strict=True):
        back = convert.to_tf(network.config, network.state_dict())
        assert back.keys() == case.part(prefix).keys()
        for key, array in case.part(prefix).items():
            assert (back[key] == array).all(), key
