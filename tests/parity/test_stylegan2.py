"""StyleGAN2 against numbers of the official code, through both paths of the operations."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
import torch
from groups import Alone
from max_norm_cases import MaxNormCase, gradients, names_of, recorded

from reference_models import ops
from reference_models.stylegan2 import objective
from reference_models.stylegan2.convert import (
    config_from_official,
    discriminator_config_from_official,
    from_official,
)
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan2.generator import Generator
from reference_models.stylegan3.objective import blur_sigma
from reference_models.training.augmentation.ada import AdaController
from reference_models.training.ema import half_life_beta
from reference_models.training.optimisers import lazy

HANDLES = ("sg2_g_*", "sg2_d_*", "sg2_losses*")
PATHS = ("reference", "fast")


def generator(kwargs: dict[str, Any], weights: dict[str, torch.Tensor]) -> Generator:
    made = Generator(config_from_official(kwargs))
    made.load_state_dict(from_official(weights, made.config), strict=True)
    return made


def discriminator(
    kwargs: dict[str, Any], weights: dict[str, torch.Tensor], *, ada: bool = False
) -> Discriminator:
    made = Discriminator(discriminator_config_from_official(kwargs, ada=ada))
    made.load_state_dict(from_official(weights, made.config), strict=True)
    return made


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_generator"))
def test_generator(name: str, path: str):
    case = MaxNormCase(name)
    network = generator(case.facts["constructor_kwargs"], case.weights)
    z, c, cutoff = case["in.z"], case["in.c"], case.facts["truncation_cutoff"]
    assert network.num_ws == case.facts["num_ws"]
    with torch.no_grad(), ops.use(path):

        def styles(psi: str, cut: str | None = None) -> torch.Tensor:
            return network.mapping(z, c, truncation_psi=float(psi), truncation_cutoff=cutoff if cut else None)

        with recorded(network) as seen:
            ws = styles("1")
        case.compare(r"inter\.(mapping\.\w+)", lambda module: seen[module])
        case.compare(r"ws", lambda: ws)
        case.compare(r"ws_psi(-?[\d.]+?)(_cut)?", styles)
        case.compare(r"img_(const|none)", lambda mode: network.synthesis(ws, noise_mode=mode))
        case.compare(
            r"img_(const|none)_psi(-?[\d.]+?)(_cut)?",
            lambda mode, psi, cut: network(
                z, c, truncation_psi=float(psi), truncation_cutoff=cutoff if cut else None, noise_mode=mode
            ),
        )
        with recorded(network.synthesis) as seen:
            img = network.synthesis(case["in.ws_layers"])
        case.compare(r"img_const_ws_layers", lambda: img)
        case.compare(r"inter\.(b\d+)\.(x|img)", lambda block, what: seen[block]["x img".split().index(what)])
        case.compare(r"inter\.(b\d+\..+)", lambda module: seen[module])
        case.compare(
            r"img_const_ws_layers_unfused", lambda: network.synthesis(case["in.ws_layers"], fused=False)
        )
        network.mapping(z, c, update_emas=True)
        case.compare(r"w_avg_after_update", lambda: network.mapping.w_avg)
    case.finish()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_discriminator"))
def test_discriminator(name: str, path: str):
    case = MaxNormCase(name)
    network = discriminator(case.facts["constructor_kwargs"], case.weights)
    img, c = case["in.img"], case["in.c"]
    with torch.no_grad(), ops.use(path):
        case.compare(r"logits_first(\d+)", lambda n: network(img[: int(n)], c[: int(n)]))
        with recorded(network) as seen:
            logits = network(img, c)
        case.compare(r"logits", lambda: logits)
        case.compare(r"cmap", lambda: seen["mapping"])
        case.compare(r"inter\.(b\d+)\.(x|img)", lambda block, what: seen[block]["x img".split().index(what)])
        case.compare(r"inter\.(b\d+(?:\..+)?)", lambda module: seen[module])
    case.finish()


class Passing(torch.nn.Module):
    """A discriminator whose logits are its input."""

    def forward(self, img: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        return img


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_losses"))
def test_losses_and_gradients(name: str, path: str):
    case = MaxNormCase(name)
    facts = case.facts
    G = generator(facts["G_constructor_kwargs"], case.part("G."))
    D = discriminator(facts["D_constructor_kwargs"], case.part("D."))
    z, c, real = case["in.z"], case["in.c"], case["in.real_img"]
    sigma = blur_sigma(
        facts["blur"]["cur_nimg"],
        sigma0=facts["blur"]["blur_init_sigma"],
        fade_kimg=facts["blur"]["blur_fade_kimg"],
    )

    def report(phase: str, **values: torch.Tensor) -> None:
        tensors = {f"{name.replace('_', '/')}": value for name, value in values.items()}
        case.compare(
            rf"{phase}\.report\.Loss/(?!signs)(.+)",
            lambda what: tensors[
                what.replace("pl_penalty", "pl/penalty").replace("r1_penalty", "r1/penalty")
            ],
        )
        case.compare(rf"{phase}\.report\.Loss/signs/(.+)", lambda what: tensors[f"scores/{what}"].sign())

    def compare_gradients(phase: str, loss: torch.Tensor, network: torch.nn.Module, prefix: str) -> None:
        found = gradients(loss, network, prefix)
        assert case.compare(rf"{phase}\.grad\.(.+)", lambda parameter: found[parameter]) > 10

    with ops.use(path):
        draws = {"Gmain": None, "Gmain_mix": case["in.mix.u"], "Gmain_nomix": case["in.nomix.u"]}
        for phase, coin in draws.items():
            mixing = None
            if coin is not None:
                index = int(case["in.mix.cutoff"])
                cutoff = objective.mixing_cutoff(float(coin), index, G.num_ws)
                assert (cutoff == index) is (phase == "Gmain_mix")
                mixing = objective.Mixing(case["in.mix.z2"], cutoff)
            fake = objective.generate(G, z, c, mixing=mixing)
            main = objective.generator_loss(D, fake.img, c)
            report(phase, G_loss=main.loss, scores_fake=main.logits)
            compare_gradients(phase, main.loss.mean(), G, "G.")

        n = len(z) // facts["pl_batch_shrink"]
        fake = objective.generate(G, z[:n], c[:n])
        paths = objective.path_length_loss(
            fake,
            case["in.pl_noise_unit"],
            case["in.pl_mean"],
            weight=facts["pl_weight"],
            decay=facts["pl_decay"],
        )
        report("Greg", pl_penalty=paths.penalty, G_reg=paths.loss)
        case.compare(r"Greg\.pl_mean_after", lambda: paths.mean)
        compare_gradients("Greg", paths.loss.mean() * facts["G_reg_interval"], G, "G.")

        for phase, blurred in (("Dmain", 0.0), ("Dmain_blur", sigma)):
            before = G.mapping.w_avg.clone()
            with torch.no_grad():
                img = objective.generate(G, z, c, update_emas=True).img
            if phase == "Dmain":
                case.compare(r"Dmain\.G\.mapping\.w_avg_after", lambda: G.mapping.w_avg)
            assert not torch.equal(G.mapping.w_avg, before)
            judged = objective.discriminator_loss(D, img, real, c, c, blur_sigma=blurred)
            report(phase, D_loss=judged.loss, scores_fake=judged.fake_logits, scores_real=judged.real_logits)
            compare_gradients(phase, judged.fake_loss.mean() + judged.real_loss.mean(), D, "D.")

        r1 = objective.r1_loss(D, real, c, gamma=facts["r1_gamma"])
        report("Dreg", r1_penalty=r1.penalty, D_reg=r1.loss, scores_real=r1.logits)
        compare_gradients("Dreg", r1.loss.mean() * facts["D_reg_interval"], D, "D.")

        pixels = real.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(D(pixels, c).sum(), pixels)
        case.compare(r"pure\.r1_image_grad", lambda: slope)
        case.compare(r"pure\.r1_penalty", lambda: r1.penalty)
        logits = case["in.logits"]
        case.compare(r"pure\.softplus_neg", lambda: objective.generator_loss(Passing(), logits).loss)
        case.compare(
            r"pure\.softplus_pos", lambda: objective.discriminator_loss(Passing(), logits, logits).fake_loss
        )
        case.compare(r"blur\.taps(\d+)", lambda k: objective.blur_taps(float(case[f"in.blur.sigma{k}"])))
        case.compare(
            r"blur\.img(\d+)",
            lambda k: objective.blur(case["in.blur.img"], float(case[f"in.blur.sigma{k}"])),
        )
    case.compare(r"adam\.trajectory_interval(\d+|none)", lambda interval: adam(case, interval))
    case.finish()


def adam(case: MaxNormCase, interval: str) -> torch.Tensor:
    """Where Adam takes a parameter along recorded gradients, with the preset's rate and decays corrected."""
    row = next(
        row for row in case.facts["adam_lazy_rule"]["rows"] if str(row["interval"]).lower() == interval
    )
    lr, betas = lazy(row["lr"], tuple(row["betas"]), row["interval"])
    place = torch.nn.Parameter(case["in.adam.p0"].clone())
    optimiser = torch.optim.Adam([place], lr=lr, betas=betas, eps=1e-8)
    path = []
    for gradient in case["in.adam.grads"]:
        place.grad = gradient.clone()
        optimiser.step()
        path.append(place.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_losses"))
def test_lazy_regularisation_corrects_adam_as_the_table_says(name: str):
    for row in MaxNormCase(name).facts["adam_lazy_rule"]["rows"]:
        lr, betas = lazy(row["lr"], tuple(row["betas"]), row["interval"])
        assert lr == pytest.approx(row["lr_out"], rel=1e-12), row
        assert betas == pytest.approx(tuple(row["betas_out"]), rel=1e-12), row


@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_losses"))
def test_the_average_keeps_what_the_table_says(name: str):
    for row in MaxNormCase(name).facts["ema_rule"]["rows"]:
        beta = half_life_beta(row["batch_size"], row["ema_kimg"], row["ema_rampup"], row["cur_nimg"])
        assert beta == pytest.approx(row["beta"], rel=1e-12, abs=1e-12), row


@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_losses"))
def test_the_strength_of_augmentation_moves_as_the_table_says(name: str):
    rule = MaxNormCase(name).facts["ada_rule"]
    said = re.match(
        r"batch (\d+), interval (\d+), ada_kimg ([\d.]+), target ([\d.]+), start p=([\d.]+)", rule["note"]
    )
    assert said is not None, rule["note"]
    batch, interval = int(said[1]), int(said[2])
    controller = AdaController(
        p=float(said[5]), target=float(said[4]), interval=interval, kimg=float(said[3])
    )
    for row in rule["rows"]:
        mean = Fraction(str(row["mean_sign_real"]))
        # As many logits as make the mean exact, spread over the iterations.
        logits = torch.zeros(mean.denominator, 1)
        logits[: abs(mean.numerator)] = 3.0 if mean > 0 else -3.0
        for part in logits.tensor_split(interval):
            controller.observe(part)
            controller.adjust(batch, Alone())
        assert controller.p == pytest.approx(row["p_after"], rel=1e-12, abs=1e-15), row


@pytest.mark.parametrize("name", names_of("sg2_*", "sg2_losses"))
def test_the_blur_fades_as_the_table_says(name: str):
    for row in MaxNormCase(name).facts["blur_rule"]["rows"]:
        sigma = blur_sigma(row["cur_nimg"], sigma0=row["blur_init_sigma"], fade_kimg=row["blur_fade_kimg"])
        taps = objective.blur_taps(sigma)
        assert sigma == pytest.approx(row["sigma"], rel=1e-12, abs=1e-12), row
        assert (0 if taps is None else len(taps)) == row["taps"], row


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("pickle_sg2*", "pickle"))
def test_networks_of_official_files(name: str, path: str):
    """Recorded images from recorded tensors and arguments; test_pickles.py reads both from the file."""
    case = MaxNormCase(name)
    arguments = {net: kwargs for net, (_, kwargs) in case.facts["init_args_kwargs"].items()}
    with torch.no_grad(), ops.use(path):
        for net in ("G", "G_ema"):
            compare_images(case, net, generator(arguments[net], case.part(f"{net}.")))
        judge = discriminator(arguments["D"], case.part("D."), ada="synthesis_kwargs" in arguments["G"])
        case.compare(r"D\.logits", lambda: judge(case["in.img"], case["in.c"]))
    case.finish()


def compare_images(case: MaxNormCase, net: str, network: torch.nn.Module) -> None:
    z, c = case["in.z"], case["in.c"]
    case.compare(rf"{net}\.ws", lambda: network.mapping(z, c))
    case.compare(rf"{net}\.img_const", lambda: network(z, c))
    case.compare(rf"{net}\.img_const_psi(-?[\d.]+)", lambda psi: network(z, c, truncation_psi=float(psi)))
