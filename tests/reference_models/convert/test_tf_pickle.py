"""TensorFlow pickles: files in the official structure, written by the tests, and hostile ones."""

from __future__ import annotations

import os
import pickle
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from tf_files import Stateful, official_class

from evalkit.errors import CheckpointError, EvalkitError
from reference_models.convert.tf_pickle import identify, read_tf_pickle
from reference_models.progan import convert as progan_convert
from reference_models.progan.config import GeneratorConfig as ProganConfig
from reference_models.progan.discriminator import Discriminator as ProganD
from reference_models.progan.generator import Generator as ProganG
from reference_models.stylegan import convert as stylegan_convert
from reference_models.stylegan.discriminator import Discriminator as StyleganD
from reference_models.stylegan.generator import Generator as StyleganG

PROGAN = {"num_channels": 3, "resolution": 16, "label_size": 2, "fmap_base": 64, "fmap_max": 10}
STYLEGAN = {
    "num_channels": 3, "resolution": 16, "label_size": 0, "latent_size": 8, "dlatent_size": 8,
    "mapping_layers": 2, "mapping_fmaps": 8, "fmap_base": 64, "fmap_max": 10, "truncation_psi": 0.7,
}  # fmt: skip
STYLEGAN_D = {"num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 10}


@pytest.fixture
def official():
    """Makes stand-ins of the official classes, under their own names, for as long as a test writes files."""
    with ExitStack() as stack:
        yield lambda module, name, base: stack.enter_context(official_class(module, name, base))


def state_of(network: torch.nn.Module, to_tf, kwargs: dict, marker: Path, **more: object) -> dict:
    """A network's state as the official classes write it; its source would leave a file behind."""
    return {
        "version": 2,
        "name": "G",
        "static_kwargs": dict(kwargs),
        "build_module_src": f"open({str(marker)!r}, 'w')\nraise SystemExit\n",
        "build_func_name": "G_paper",
        "variables": [
            (name, array if array.ndim else np.float32(array))
            for name, array in to_tf(network.config, network.state_dict()).items()
        ],
        **more,
    }


def progan_states(marker: Path) -> list[dict]:
    torch.manual_seed(0)
    generator = ProganG(progan_convert.config_from_official(PROGAN))
    average = ProganG(progan_convert.config_from_official(PROGAN))
    discriminator = ProganD(progan_convert.discriminator_config_from_official(PROGAN))
    return [
        state_of(network, progan_convert.to_tf, PROGAN, marker)
        for network in (generator, discriminator, average)
    ]


def stylegan_states(marker: Path, network: type, options: type) -> list[dict]:
    """G with its parts as networks of their own, D, and the average."""
    torch.manual_seed(0)
    states = []
    for kwargs, build in ((STYLEGAN, StyleganG), (STYLEGAN_D, StyleganD), (STYLEGAN, StyleganG)):
        config_of = (
            stylegan_convert.config_from_official
            if build is StyleganG
            else stylegan_convert.discriminator_config_from_official
        )
        state = state_of(build(config_of(kwargs)), stylegan_convert.to_tf, kwargs, marker, version=3)
        state["static_kwargs"] = options(kwargs)
        components = options()
        for part in ("mapping", "synthesis"):
            inner = [
                (n.removeprefix(f"{part}/"), a) for n, a in state["variables"] if n.startswith(f"{part}/")
            ]
            if inner:
                own = {**state, "name": f"G_{part}", "build_func_name": f"G_{part}", "variables": inner}
                components[part] = network({**own, "components": options()})
        state["variables"] = [
            (n, a) for n, a in state["variables"] if not n.startswith(("mapping/", "synthesis/"))
        ]
        states.append({**state, "components": components, "build_func_name": "G_style"})
    return states


def write(path: Path, network: type, states: list[object], protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tuple(network(state) for state in states), protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_progan(tmp_path: Path, official, protocol: int):
    marker = tmp_path / "marker"
    states = progan_states(marker)
    path = write(tmp_path / "file.pkl", official("tfutil", "Network", Stateful), states, protocol)
    networks = read_tf_pickle(path).networks
    assert list(networks) == ["G", "D", "G_ema"]
    assert identify(networks) == "progan"
    assert networks["G"].function == "G_paper"
    assert "SystemExit" in networks["G"].source
    for key, state in zip(networks, states, strict=True):
        assert list(networks[key].variables) == [name for name, _ in state["variables"]]
        for name, array in state["variables"]:
            np.testing.assert_array_equal(networks[key].variables[name], array)
    found = networks["G_ema"]
    config = progan_convert.config_from_official(found.static_kwargs)
    assert config == ProganConfig(img_resolution=16, c_dim=2, fmap_base=64, fmap_max=10)
    generator = ProganG(config)
    generator.load_state_dict(progan_convert.from_tf(config, found.variables))
    discriminator = ProganD(progan_convert.discriminator_config_from_official(networks["D"].static_kwargs))
    discriminator.load_state_dict(progan_convert.from_tf(discriminator.config, networks["D"].variables))
    assert generator(torch.zeros(1, 10), torch.eye(2)[:1]).shape == (1, 3, 16, 16)
    assert not marker.exists()


def test_stylegan(tmp_path: Path, official):
    marker = tmp_path / "marker"
    network = official("dnnlib.tflib.network", "Network", Stateful)
    options = official("dnnlib.util", "EasyDict", dict)
    path = write(tmp_path / "file.pkl", network, stylegan_states(marker, network, options))
    networks = read_tf_pickle(path).networks
    assert identify(networks) == "stylegan"
    assert "mapping/Dense0/weight" in networks["G_ema"].variables
    config = stylegan_convert.config_from_official(networks["G_ema"].static_kwargs)
    generator = StyleganG(config)
    generator.load_state_dict(stylegan_convert.from_tf(config, networks["G_ema"].variables))
    torch.manual_seed(0)
    others = (
        StyleganG(config),
        StyleganD(stylegan_convert.discriminator_config_from_official(STYLEGAN_D)),
        StyleganG(config),
    )
    z = torch.ones(1, 8)
    assert torch.equal(generator(z), others[2](z))
    discriminator = StyleganD(others[1].config)
    discriminator.load_state_dict(stylegan_convert.from_tf(discriminator.config, networks["D"].variables))
    assert torch.equal(discriminator(generator(z)), others[1](generator(z)))
    assert not marker.exists()


class Runs:
    """Reduces to a call of ``function``."""

    def __init__(self, function, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def spoiled(states: list[dict], kind: str, network: type, marker: Path) -> object:
    """A file's content, hostile or damaged in one way."""
    first = states[0]
    if kind == "command":
        first["static_kwargs"] = Runs(os.system, f"touch {marker}")
    elif kind == "eval in variables":
        first["variables"].append(("x", Runs(eval, f"open({str(marker)!r}, 'w')")))
    elif kind == "network in itself":
        inner = network({})
        inner.state = {**first, "components": {"again": inner}}
        first["components"] = {"again": inner}
    elif kind == "twice":
        first["variables"].append(first["variables"][1])
    elif kind == "object array":
        first["variables"].append(("x", np.array([None, "a"], dtype=object)))
    elif kind == "text for an array":
        first["variables"].append(("x", "text"))
    elif kind == "no pair":
        first["variables"].append("x")
    elif kind == "no list":
        first["variables"] = 5
    elif kind == "no version":
        del first["version"]
    elif kind == "options":
        first["static_kwargs"] = [1]
    elif kind == "components":
        first["components"] = [1]
    elif kind == "component's name":
        first["components"] = {3: network(dict(first))}
    elif kind == "component":
        first["components"] = {"mapping": 7}
    elif kind == "source":
        first["build_module_src"] = 7
    elif kind == "state":
        return (network([1]), network(states[1]), network(states[2]))
    elif kind == "deep":
        for _ in range(2):
            states[0] = {**states[0], "components": {"a": network({**states[0], "variables": []})}}
    elif kind == "in two places":
        one = network(first)
        return (one, one, network(states[2]))
    elif kind == "variables in two places":
        states[1]["variables"] = first["variables"]
    elif kind == "two":
        return (network(states[0]), network(states[1]))
    elif kind == "one":
        return network(states[0])
    elif kind == "dict":
        return {"G": network(states[0])}
    return tuple(network(state) for state in states)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("command", "system"),
        ("eval in variables", "eval"),
        ("network in itself", "component again: it stands in two places"),
        ("deep", "component a, component a: networks are nested deeper than 2"),
        ("in two places", "network D: it stands in two places"),
        ("variables in two places", "network D: it stands in two places"),
        ("twice", "variable '4x4/Dense/weight' occurs twice"),
        ("object array", "object"),
        ("text for an array", "variable 'x' is a str, not an array of numbers"),
        ("no pair", "a variable is a str; a name and an array were expected"),
        ("no list", "its variables are a int; a list"),
        ("no version", "its version is None"),
        ("options", "its options are a list; a dict with names"),
        ("components", "its components are a list, not a dict"),
        ("component's name", "a component is named 3, which is no text"),
        ("component", "component mapping: not a stored network"),
        ("source", "its build_module_src is a int; text was expected"),
        ("state", "network G: not a stored network"),
        ("two", "holds a tuple of 2 items; .*three networks"),
        ("one", "holds a single network; .*three networks"),
        ("dict", "holds a dict; .*three networks"),
    ],
)
def test_hostile_and_damaged_files(tmp_path: Path, official, kind: str, text: str):
    marker = tmp_path / "marker"
    network = official("dnnlib.tflib.network", "Network", Stateful)
    content = spoiled(progan_states(marker), kind, network, marker)
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(CheckpointError, match=text):
        read_tf_pickle(path)
    assert not marker.exists()


def test_cut_absent_and_foreign_files(tmp_path: Path, official):
    network = official("tfutil", "Network", Stateful)
    path = write(tmp_path / "file.pkl", network, progan_states(tmp_path / "marker"))
    whole = path.read_bytes()
    for length in [*range(0, 200, 7), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="file.pkl"):
            read_tf_pickle(path)
    with pytest.raises(CheckpointError, match="absent.pkl cannot be read"):
        read_tf_pickle(tmp_path / "absent.pkl")
    states = progan_states(tmp_path / "marker")
    states[2]["variables"] = [("lod", np.float32(0)), ("conv", np.zeros(3, np.float32))]
    networks = read_tf_pickle(write(path, network, states)).networks
    with pytest.raises(
        CheckpointError, match="none of ProGAN, StyleGAN and StyleGAN2; its first .*lod, conv"
    ):
        identify(networks)


def test_damaged_files_end_in_an_answer_or_in_the_one_error(tmp_path: Path, official):
    network = official("dnnlib.tflib.network", "Network", Stateful)
    marker = tmp_path / "marker"
    states = progan_states(marker)
    for state in states:  # the structure matters here, not the numbers
        state["variables"] = [(name, np.float32(np.mean(array))) for name, array in state["variables"][:4]]
    states[0]["components"] = {"mapping": network({**states[1], "variables": list(states[1]["variables"])})}
    whole = write(tmp_path / "file.pkl", network, states).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "mutated.pkl"
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            kind, place = rng.integers(4), int(rng.integers(len(data)))
            if kind == 0:
                data[place] = rng.integers(256)
            elif kind == 1:
                del data[place : place + int(rng.integers(1, 30))]
            elif kind == 2:
                start = int(rng.integers(len(whole)))
                data[place:place] = whole[start : start + int(rng.integers(1, 60))]
            else:
                data[place:place] = bytes(rng.integers(256, size=3, dtype=np.uint8))
        path.write_bytes(data)
        try:
            found = read_tf_pickle(path)
            if identify(found.networks) == "progan":
                config = progan_convert.config_from_official(found.networks["G_ema"].static_kwargs)
                progan_convert.from_tf(config, found.networks["G_ema"].variables)
        except EvalkitError:
            continue
    assert not marker.exists()


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], [1] * 300, "x" * 300, b"x", np.zeros(3)], ids=str)
def test_options_that_no_network_has(value: object):
    with pytest.raises(CheckpointError, match="option fmap_max is a .* that no published network has"):
        progan_convert.config_from_official({"fmap_max": value})
