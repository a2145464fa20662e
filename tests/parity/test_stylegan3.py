"""StyleGAN3 against numbers of the official code, through both paths of the operations."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from max_norm_cases import MaxNormCase, names_of, recorded

from golden_cases import FOLDER
from reference_models import ops
from reference_models.stylegan2.convert import from_official as discriminator_from_official
from reference_models.stylegan2.discriminator import Discriminator
from reference_models.stylegan3.config import PRESETS
from reference_models.stylegan3.convert import (
    config_from_official,
    discriminator_config_from_official,
    from_official,
)
from reference_models.stylegan3.generator import Generator
from reference_models.stylegan3.layers import SynthesisInput, SynthesisLayer
from reference_models.stylegan3.plan import InputPlan, LayerPlan, plan

HANDLES = ("sg3_*",)
PATHS = ("reference", "fast")
GENERATORS = names_of("sg3_*", "sg3_generator")
TABLES = sorted(FOLDER.glob("sg3_tables*/*.csv"))


def generator(kwargs: dict[str, Any], weights: dict[str, torch.Tensor]) -> Generator:
    made = Generator(config_from_official(kwargs))
    made.load_state_dict(from_official(weights, made.config), strict=True)
    return made


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", GENERATORS)
def test_generator(name: str, path: str):
    case = MaxNormCase(name)
    network = generator(case.facts["constructor_kwargs"], case.weights)
    z, c, cutoff = case["in.z"], case["in.c"], case.facts["truncation_cutoff"]
    assert network.num_ws == case.facts["num_ws"]
    assert list(network.synthesis.layer_names) == case.facts["layer_names"]
    with torch.no_grad(), ops.use(path):

        def cut(psi: str, cut: str | None) -> dict[str, Any]:
            return {"truncation_psi": float(psi), "truncation_cutoff": cutoff if cut else None}

        case.compare(r"ws", lambda: network.mapping(z, c))
        case.compare(r"ws_psi(-?[\d.]+?)(_cut)?", lambda *how: network.mapping(z, c, **cut(*how)))
        case.compare(r"img", lambda: network(z, c))
        case.compare(r"img_psi(-?[\d.]+?)(_cut)?", lambda *how: network(z, c, **cut(*how)))
        with recorded(network.synthesis) as seen:
            img = network.synthesis(case["in.ws_layers"])
        case.compare(r"img_ws_layers", lambda: img)
        case.compare(r"inter\.(\w+)", lambda module: seen[module])
        case.compare(
            r"img_ws_layers_transform(\d+)",
            lambda k: network.synthesis(case["in.ws_layers"], transform=case["in.transforms"][int(k)]),
        )
        case.compare(r"img_update_emas", lambda: network(z, c, update_emas=True))
        case.compare(r"after_update\.(.+)", lambda buffer: network.get_buffer(buffer))
    case.finish()


@pytest.mark.parametrize("name", GENERATORS)
def test_layers_are_laid_out_as_recorded(name: str):
    facts = MaxNormCase(name).facts
    if "layers" in facts:
        compare_table(facts["layers"], facts["constructor_kwargs"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("sg3_*", "sg3_input"))
def test_input(name: str, path: str):
    case = MaxNormCase(name)
    for module, facts in case.facts["modules"].items():
        size = facts["size"]
        network = SynthesisInput(
            facts["w_dim"],
            InputPlan(
                channels=facts["channels"],
                size=(size, size) if isinstance(size, int) else tuple(size),
                rate=facts["sampling_rate"],
                bandwidth=facts["bandwidth"],
            ),
        )
        network.load_state_dict(case.part(f"{module}."), strict=True)
        with torch.no_grad(), ops.use(path):
            for k, transform in enumerate(case[f"in.{module}.transforms"]):
                compare_input(case, f"{module}.x_transform{k}", network, case[f"in.{module}.w"], transform)
    case.finish()


def compare_input(
    case: MaxNormCase, name: str, network: SynthesisInput, w: torch.Tensor, transform: torch.Tensor
) -> None:
    given = network(w, transform)
    case.check(f"out.{name}", given)
    network.transform.copy_(transform)
    assert torch.equal(given, network(w))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("sg3_*", "sg3_layers"))
def test_layers(name: str, path: str):
    case = MaxNormCase(name)
    for module, facts in case.facts["modules"].items():
        laid_out = layer_plan(facts)
        derived = case.facts["derived"][module]
        assert list(laid_out.padding) == derived["padding_xlo_xhi_ylo_yhi"]
        for ours, theirs in {
            "up": "up_factor", "down": "down_factor", "up_taps": "up_taps", "down_taps": "down_taps",
            "tmp_rate": "tmp_sampling_rate", "is_radial": "down_radial", "conv_kernel": "conv_kernel",
        }.items():  # fmt: skip
            assert getattr(laid_out, ours) == derived[theirs], (module, ours)
        network = SynthesisLayer(
            facts["w_dim"],
            laid_out,
            conv_clamp=facts.get("conv_clamp", 256),
            magnitude_ema_beta=facts.get("magnitude_ema_beta", 0.999),
        )
        for kind in ("up_filter", "down_filter"):
            made = getattr(network, kind)
            assert (None if made is None else list(made.shape)) == derived[f"{kind}_shape"]
            case.compare(rf"{module}\.{kind}", lambda made=made: made)
        network.load_state_dict(case.part(f"{module}."), strict=True)
        with torch.no_grad(), ops.use(path):
            compare_layer(case, module, network)
    case.finish()


def compare_layer(case: MaxNormCase, module: str, network: SynthesisLayer) -> None:
    x, w = case[f"in.{module}.x"], case[f"in.{module}.w"]
    case.compare(rf"{module}\.styles", lambda: network.affine(w))
    case.compare(rf"{module}\.y", lambda: network(x, w))
    case.compare(rf"{module}\.y_update_emas", lambda: network(x, w, update_emas=True))
    case.compare(rf"{module}\.magnitude_ema_after", lambda: network.magnitude_ema)


def layer_plan(facts: dict[str, Any]) -> LayerPlan:
    def size(value: int | list[int]) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else (value[0], value[1])

    return LayerPlan(
        in_channels=facts["in_channels"],
        out_channels=facts["out_channels"],
        in_size=size(facts["in_size"]),
        out_size=size(facts["out_size"]),
        in_rate=facts["in_sampling_rate"],
        out_rate=facts["out_sampling_rate"],
        in_cutoff=facts["in_cutoff"],
        out_cutoff=facts["out_cutoff"],
        in_half_width=facts["in_half_width"],
        out_half_width=facts["out_half_width"],
        is_torgb=facts["is_torgb"],
        is_critical=facts["is_critically_sampled"],
        kernel=facts.get("conv_kernel", 3),
        filter_size=facts.get("filter_size", 6),
        lrelu_upsampling=facts.get("lrelu_upsampling", 2),
        radial=facts.get("use_radial_filters", False),
    )


def compare_table(rows: list[dict[str, Any]], kwargs: dict[str, Any]) -> None:
    laid_out = plan(config_from_official(kwargs))
    assert [row["layer"] for row in rows] == ["input", *laid_out.layers]
    first = laid_out.input
    found = (first.channels, first.size, first.rate, first.bandwidth)
    side = int(rows[0]["out_size"])
    expected = (int(rows[0]["out_channels"]), (side, side))
    assert found == (*expected, float(rows[0]["out_sampling_rate"]), float(rows[0]["out_cutoff"]))
    for index, (row, layer) in enumerate(zip(rows[1:], laid_out.layers.values(), strict=True)):
        whole = {
            "w_index": index + 1,
            "in_channels": layer.in_channels,
            "out_channels": layer.out_channels,
            "in_sampling_rate": layer.in_rate,
            "out_sampling_rate": layer.out_rate,
            "tmp_sampling_rate": layer.tmp_rate,
            "up_factor": layer.up,
            "down_factor": layer.down,
            "up_taps": layer.up_taps,
            "down_taps": layer.down_taps,
            "conv_kernel": layer.conv_kernel,
        }
        assert whole == {name: int(row[name]) for name in whole}, row["layer"]
        for name, sizes in {"in_size": layer.in_size, "out_size": layer.out_size}.items():
            assert sizes == (int(row[name]),) * 2, (row["layer"], name)
        assert layer.padding == (int(row["pad_lo"]), int(row["pad_hi"])) * 2
        flags = {
            "is_critically_sampled": layer.is_critical, "is_torgb": layer.is_torgb,
            "use_radial": layer.is_radial,
        }  # fmt: skip
        assert {name: str(flag) for name, flag in flags.items()} == {name: str(row[name]) for name in flags}
        exact = {
            "in_cutoff": layer.in_cutoff,
            "out_cutoff": layer.out_cutoff,
            "in_half_width": layer.in_half_width,
            "out_half_width": layer.out_half_width,
            "in_stopband": layer.in_cutoff + layer.in_half_width,
            "out_stopband": layer.out_cutoff + layer.out_half_width,
        }
        for name, value in exact.items():
            assert value == pytest.approx(float(row[name]), rel=1e-12, abs=1e-9), (row["layer"], name)


@pytest.mark.parametrize("path", TABLES, ids=[path.stem for path in TABLES])
def test_sg3_tables(path: Path):
    """The plan, and every name and shape of the network that a published table describes."""
    tables = json.loads((path.parent / "case.json").read_text(encoding="utf-8"))["files"]
    facts = tables[path.name]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    compare_table(rows, facts["constructor_kwargs"])
    config = config_from_official(facts["constructor_kwargs"])
    with torch.device("meta"):
        network = Generator(config)
    assert network.num_ws == facts["num_ws"]
    assert sum(p.numel() for p in network.parameters()) == facts["num_parameters"]
    assert sum(p.numel() for p in network.synthesis.parameters()) == facts["num_parameters_synthesis"]
    assert sum(b.numel() for b in network.buffers()) == facts["num_buffer_elements"]
    assert {n: tuple(t.shape) for n, t in network.state_dict().items()} == shapes_of_table(rows, config)
    if path.stem in PRESETS:  # a table of another network has no preset to be held against
        preset = PRESETS[path.stem].generator
        same = {name: getattr(preset, name) for name in config.__slots__ if name != "magnitude_ema_beta"}
        assert same == {name: getattr(config, name) for name in same}


def shapes_of_table(rows: list[dict[str, str]], config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes by the table, without the plan."""
    w, c = config.w_dim, int(rows[0]["out_channels"])
    shapes: dict[str, tuple[int, ...]] = {"mapping.w_avg": (w,)}
    for index in range(config.mapping.num_layers):
        shapes[f"mapping.fc{index}.weight"] = (w, config.z_dim if index == 0 else w)
        shapes[f"mapping.fc{index}.bias"] = (w,)
    first = {
        "weight": (c, c), "affine.weight": (4, w), "affine.bias": (4,), "transform": (3, 3), "freqs": (c, 2),
        "phases": (c,),
    }  # fmt: skip
    shapes |= {f"synthesis.input.{name}": shape for name, shape in first.items()}
    for row in rows[1:]:
        i, o, k = (int(row[name]) for name in ("in_channels", "out_channels", "conv_kernel"))
        up, down = int(row["up_taps"]), int(row["down_taps"])
        layer: dict[str, tuple[int, ...]] = {
            "weight": (o, i, k, k), "bias": (o,), "affine.weight": (i, w), "affine.bias": (i,),
            "magnitude_ema": (),
        }  # fmt: skip
        if up > 1:
            layer["up_filter"] = (up,)
        if down > 1:
            layer["down_filter"] = (down, down) if row["use_radial"] == "True" else (down,)
        shapes |= {f"synthesis.{row['layer']}.{name}": shape for name, shape in layer.items()}
    return shapes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", names_of("pickle_sg3*", "pickle"))
def test_networks_of_official_files(name: str, path: str):
    """Recorded images from recorded tensors and arguments; test_pickles.py reads both from the file."""
    case = MaxNormCase(name)
    arguments = {net: kwargs for net, (_, kwargs) in case.facts["init_args_kwargs"].items()}
    with torch.no_grad(), ops.use(path):
        for net in ("G", "G_ema"):
            compare_images(case, net, generator(arguments[net], case.part(f"{net}.")))
        judge = Discriminator(discriminator_config_from_official(arguments["D"]))
        judge.load_state_dict(discriminator_from_official(case.part("D."), judge.config), strict=True)
        case.compare(r"D\.logits", lambda: judge(case["in.img"], case["in.c"]))
    case.finish()


def compare_images(case: MaxNormCase, net: str, network: torch.nn.Module) -> None:
    z, c = case["in.z"], case["in.c"]
    case.compare(rf"{net}\.ws", lambda: network.mapping(z, c))
    case.compare(rf"{net}\.img_const", lambda: network(z, c))
    case.compare(rf"{net}\.img_const_psi(-?[\d.]+)", lambda psi: network(z, c, truncation_psi=float(psi)))
