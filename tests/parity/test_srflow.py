"""SRFlow's network against the official program: layers, encoder, flow both ways, initialisation, presets."""

from __future__ import annotations

import csv
import dataclasses
import json
from typing import Any

import pytest
import torch
from output_cases import OutputCase
from tensor_cases import names_of

from golden_cases import FOLDER
from reference_models.convert.state import shapes_of
from reference_models.layers import flow, gaussian
from reference_models.layers.draws import GivenDraws
from reference_models.srflow import convert, objective
from reference_models.srflow.config import PRESETS, NetworkConfig
from reference_models.srflow.flow import ConditionalAffine, FlowStep
from reference_models.srflow.model import Network
from reference_models.srflow.rrdb import RRDBNet, halved, stacked

HANDLES = ("srflow_net*", "srflow_layers*", "srflow_actnorm_init*", "srflow_presets*")


def network_of(case: OutputCase) -> Network:
    names = ("scale", "nf", "nb", "gc", "K", "L", "n_noaff", "hidden", "quant")
    sizes = {name: case.hyper[name] for name in names}
    network = Network(NetworkConfig(**sizes, blocks=tuple(case.hyper["blocks"])))
    network.load_state_dict(convert.from_official(case.weights, network.config), strict=True)
    return network


@pytest.mark.parametrize("name", names_of("srflow_layers*"))
def test_layers(name: str):
    case = OutputCase(name)
    hyper, z, cond, before = case.hyper, case["in.z"], case["in.cond"], case["in.logdet"]
    channels, hidden, eps = hyper["channels"], hyper["hidden"], hyper["affine_eps"]
    config = NetworkConfig(nf=hyper["cond_channels"], blocks=(), hidden=hidden, affine_eps=eps)
    assert hyper["actnorm_scale"] == 1.0

    def filled(layer: torch.nn.Module, prefix: str) -> Any:
        layer.load_state_dict(case.below(f"{prefix}."), strict=True)
        return layer.eval()

    layers: dict[str, flow.FlowLayer] = {
        "actnorm": filled(flow.ActNorm(channels), "actnorm"),
        "invconv": filled(flow.InvertibleConv1x1(channels), "invconv"),
        "affine": filled(ConditionalAffine(channels, config), "affine"),
        "flowstep": filled(FlowStep(channels, config, transition=False), "flowstep"),
        "flowstep_nocoupling": filled(FlowStep(channels, config, transition=True), "flowstep_nocoupling"),
    }

    def passed(layer: str, way: str, part: str) -> torch.Tensor:
        made, logdet = layers[layer](z, cond) if way == "fwd" else layers[layer].reverse(z, cond)
        return made if part == "z" else before + logdet

    case.compare(r"(actnorm|invconv|affine|flowstep|flowstep_nocoupling)\.(fwd|rev)\.(z|logdet)", passed)

    squeeze, x = flow.Squeeze(), case["in.squeeze.x"]
    case.compare(r"squeeze\.y", lambda: squeeze(x)[0])
    case.compare(r"unsqueeze\.y", lambda: squeeze.reverse(squeeze(x)[0])[0])

    affine = layers["affine"]
    assert isinstance(affine, ConditionalAffine)
    assert affine.fFeatures is not None
    injected = affine.fFeatures(z, cond)[0]
    values = {
        "feature": affine.fFeatures.values(cond),
        "self": affine.fAffine.of(injected[:, : channels // 2], cond),
    }
    case.compare(r"affine\.(feature|self)\.(scale|shift)", lambda of, part: getattr(values[of], part))

    split = filled(flow.Split(channels), "split")
    off = split(z)
    case.compare(r"split\.fwd\.z1", lambda: off.z)
    case.compare(r"split\.fwd\.eps", lambda: off.eps)
    case.compare(r"split\.fwd\.logdet", lambda: before + off.logdet)
    prior = dict(zip(("mean", "logs"), split.prior(off.z), strict=True))
    case.compare(r"split\.prior\.(mean|logs)", prior.__getitem__)
    joined, back = split.reverse(off.z, off.eps)
    case.compare(r"split\.rev\.z", lambda: joined)
    case.compare(r"split\.rev\.logdet", lambda: before + off.logdet + back)

    outputs = case.weights["conv2d.weight"].shape[0]
    convs = {
        "conv2d": flow.NormedConv(channels, outputs, 3),
        "conv2d_1x1": flow.NormedConv(channels, outputs, 1),
        "conv2dzeros": flow.ZeroConv(channels, case.weights["conv2dzeros.weight"].shape[0]),
    }
    case.compare(r"(conv2d|conv2d_1x1|conv2dzeros)\.y", lambda of: filled(convs[of], of)(z))
    case.compare(r"gauss\.logp_std", lambda: flow.standard_log_density(z))
    of_given = gaussian.log_density(z, case["in.g.mean"], case["in.g.logs"]).sum((1, 2, 3))
    case.compare(r"gauss\.logp", lambda: of_given)

    fresh = flow.ActNorm(channels)
    normalised, logdet = fresh(case["in.init.x"])
    case.compare(r"init\.y", lambda: normalised)
    case.compare(r"init\.logdet", lambda: before + logdet[0])
    case.compare(r"init\.(bias|logs)", lambda part: getattr(fresh, part))
    case.finish()


@pytest.mark.parametrize("name", names_of("srflow_net*"))
def test_whole_network(name: str):
    case = OutputCase(name)
    network = network_of(case).eval()
    config, hr, lr = network.config, case["in.hr"], case["in.lr"]
    pixels = hr.shape[2] * hr.shape[3]
    torch.testing.assert_close(hr, case["in.hr_uint8"].float() / 255)
    torch.testing.assert_close(lr, case["in.lr_uint8"].float() / 255)

    encoder = network.RRDB
    assert encoder is not None
    trunk = encoder.trunk(lr)
    features = {
        2**i: each for i, each in enumerate(encoder.enlarged(trunk.last, config.scale.bit_length() - 1))
    }
    features[0] = halved(trunk.last)
    chosen = [trunk.blocks[index] for index in config.blocks]
    case.compare(r"rrdb\.last_lr_fea", lambda: trunk.last)
    case.compare(r"rrdb\.fea_up(\d+)", lambda size: features[int(size)])
    case.compare(r"rrdb\.block_(\d+)", lambda index: trunk.blocks[int(index)])
    case.compare(r"rrdb\.out", lambda: encoder(lr))
    case.compare(r"cond\.fea_up(\d+)", lambda size: stacked(features[int(size)], chosen))

    layers: list[dict[str, torch.Tensor]] = []

    def keep(module: torch.nn.Module, given: Any, result: Any) -> None:
        total = layers[-1]["logdet"] if layers else 0
        found = {"z": result[0], "logdet": total + result[1]}
        layers.append({**found, "eps": result[2]} if len(result) > 2 else found)

    hooks = [layer.register_forward_hook(keep) for layer in network.flowUpsamplerNet.layers]
    plain = network.encode(hr, lr)
    for hook in hooks:
        hook.remove()
    case.compare(r"fwd\.layer(\d+)\.(z|logdet|eps)", lambda index, part: layers[int(index)][part])
    facts = case.facts["flow_layers"]
    assert [each["channels_after"] for each in facts] == [each["z"].shape[1] for each in layers]
    assert case.facts["final_z_channels"] == plain.latents[-1].shape[1]

    levels = config.levels_of_noise
    noisy = network.encode(objective.with_noise(hr, case["noise.noise.0"], levels), lr)
    offsets = {"plain": 0.0, "noisy": objective.released_offset(pixels, levels)}

    def of_pass(kind: str, part: str) -> torch.Tensor:
        found, offset = {"plain": plain, "noisy": noisy}[kind], offsets[kind]
        return {
            "z": found.latents[-1],
            "logdet": found.logdet + offset,
            "nll": objective.bits_per_pixel(found.log_prob + offset, pixels),
        }[part]

    case.compare(r"(plain|noisy)\.(z|nll|logdet)", of_pass)
    case.compare(r"epses\.(\d+)", lambda index: plain.latents[int(index)])
    conds = network.condition(lr)
    cycle, logdet = network.flowUpsamplerNet.reverse(plain.latents, conds)
    case.compare(r"cycle\.sr", lambda: cycle)
    case.compare(r"cycle\.logdet", lambda: logdet)
    case.compare(r"cycle\.max_abs_error", lambda: (cycle - hr).abs().max())

    shapes = config.latent_shapes(*hr.shape[2:])

    def drawn(heat: str, part: str) -> torch.Tensor:
        recorded = case.numbered(f"noise.heat{heat}.")
        # The program draws no last latent at heat 0.
        normal = recorded if float(heat) else [torch.zeros(len(hr), *shapes[-1]), *recorded]
        if part == "sr":
            return network.sample(GivenDraws(normal=normal), lr, float(heat))
        latents = [float(heat) * each for each in normal]
        if part == "z":
            return latents[0]
        return network.flowUpsamplerNet.reverse(latents[::-1], conds)[1]

    case.compare(r"heat([\d.]+)\.(z|sr|logdet)", drawn)

    loss = objective.bits_per_pixel(plain.log_prob, pixels).mean()
    parameters = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    grads = dict(zip(parameters, found, strict=True))
    unused = [key for key, grad in grads.items() if grad is None]
    assert set(unused) == set(case.facts["parameters_without_gradient"])
    case.compare(r"grad_norm\.(.+)", lambda key: grads[key].norm())
    case.finish()


@pytest.mark.parametrize("name", names_of("srflow_actnorm_init*"))
def test_initialisation_by_the_first_batch(name: str):
    case = OutputCase(name)
    network, hr = network_of(case).train(), case["in.hr"]
    found = network.encode(hr, case["in.lr"])
    case.compare("z", lambda: found.latents[-1])
    case.compare("logdet", lambda: found.logdet)
    case.compare("nll", lambda: objective.bits_per_pixel(found.log_prob, hr.shape[2] * hr.shape[3]))
    case.compare(r"state\.(.+)", network.state_dict().__getitem__)
    case.finish()


def published(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name / "presets.json").read_text(encoding="utf-8"))


def table(name: str, preset: str) -> dict[str, str]:
    with (FOLDER / name / f"state_dict_{preset}.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["shape"] for row in csv.DictReader(file)}


def written(shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    return {name: "x".join(map(str, shape)) for name, shape in shapes.items()}


PUBLISHED = [(name, preset) for name in names_of("srflow_presets*") for preset in published(name)]


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_published_presets(name: str, preset: str):
    facts, model = published(name)[preset], preset.split("_", 1)[1].lower().replace("_", "-")
    config = PRESETS[model].network
    assert (config.scale, config.nf, config.gc) == (facts["scale"], facts["nf"], facts["gc"])
    if preset.startswith("RRDB_"):
        with torch.device("meta"):
            network: torch.nn.Module = RRDBNet(dataclasses.replace(config, nb=facts["nb"]))
    else:
        assert (config.nb, config.K, config.L) == (facts["nb"], facts["K"], facts["L"])
        assert list(config.blocks) == facts["stackRRDB_blocks"]
        assert config.cond_channels == facts["cond_channels"]
        assert (config.n_noaff, config.hidden) == (
            facts["additionalFlowNoAffine"],
            facts["coupling_hidden_channels"],
        )
        assert (config.affine_eps, config.quant) == (facts["affine_eps"], facts["quant"])
        assert config.img_resolution == facts["GT_size"]
        *_, last = config.latent_shapes(config.img_resolution, config.img_resolution)
        side = config.img_resolution // facts["final_z_downscale_vs_HR"]
        assert last == (facts["final_z_channels"], side, side)
        with torch.device("meta"):
            network = Network(config)
        layers = network.flowUpsamplerNet.layers
        kinds = {"Squeeze": "SqueezeLayer", "FlowStep": "FlowStep", "Split": "Split2d"}
        assert [kinds[type(each).__name__] for each in layers] == [each["type"] for each in facts["layers"]]
    assert sum(each.numel() for each in network.parameters()) == facts["n_parameters"]
    assert written(shapes_of(network)) == table(name, preset)
    assert len(network.state_dict()) == facts["n_tensors"]
