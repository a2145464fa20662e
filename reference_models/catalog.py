"""The reference models by name, and how one is built with random weights. Imports torch when one is built."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError, lookup, nearest
from reference_models.presets import build_networks, changed, lookup_preset, split_overrides

if TYPE_CHECKING:
    from reference_models.training.task import Task

_RANDOM = re.compile(r"(?P<preset>[\w.-]+?)-random(?:@(?P<seed>\d+))?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """One reference model.

    Attributes:
        name: What users type; also the folder of its package.
        title: One line for listings.
        source: The paper, the official repository and its commit.
        likelihood: Whether it is one network trained by its likelihood (``model.Network`` of a
            ``config.NetworkConfig``), and not a generator against a discriminator (``generator.Generator`` of
            a ``config.GeneratorConfig``).
    """

    name: str
    title: str
    source: str
    likelihood: bool = False


MODELS: Mapping[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="progan",
            title="Progressive growing of GANs",
            source="Karras et al. 2018; tkarras/progressive_growing_of_gans@2504c3f",
        ),
        ModelEntry(name="stylegan", title="StyleGAN", source="Karras et al. 2019; NVlabs/stylegan@1e0d5c7"),
        ModelEntry(
            name="stylegan2",
            title="StyleGAN2 and StyleGAN2-ADA",
            source="Karras et al. 2020; NVlabs/stylegan2-ada-pytorch@d72cc7d",
        ),
        ModelEntry(
            name="stylegan3",
            title="StyleGAN3, configurations T and R",
            source="Karras et al. 2021; NVlabs/stylegan3@c233a91",
        ),
        ModelEntry(
            name="vdvae",
            title="Very deep VAE",
            source="Child 2021; openai/vdvae@ea35b49",
            likelihood=True,
        ),
        ModelEntry(
            name="nvae",
            title="NVAE, a deep hierarchical VAE",
            source="Vahdat and Kautz 2020; NVlabs/NVAE@9fc1a28",
            likelihood=True,
        ),
        ModelEntry(
            name="ncp_vae",
            title="VAE with a noise contrastive prior",
            source="Aneja et al. 2021, arXiv:2010.02917; no official code",
            likelihood=True,
        ),
        ModelEntry(
            name="srflow",
            title="SRFlow, super-resolution by a conditional flow; Glow without the condition",
            source="Lugmayr et al. 2020; andreas128/SRFlow@5a007ad",
            likelihood=True,
        ),
    )
}


def part(name: str, module: str) -> Any:  # noqa: ANN401 - a module
    """The module ``config``, ``generator``, ``evaluate`` … of the model ``name``.

    Raises:
        UsageError: There is no such model; the nearest are offered.
    """
    entry = lookup(name, MODELS, "model")
    return importlib.import_module(f"reference_models.{entry.name}.{module}")


def presets(name: str) -> Mapping[str, Any]:
    """The presets of a model: configs of its networks, by name."""
    found: Mapping[str, Any] = part(name, "config").PRESETS
    return found


def network_class(name: str) -> Any:  # noqa: ANN401 - a class
    """Class of the network of a model that is sampled from; it takes one config."""
    likelihood = lookup(name, MODELS, "model").likelihood
    return part(name, "model").Network if likelihood else part(name, "generator").Generator


def config_class(name: str) -> Any:  # noqa: ANN401 - a class
    """Class of the config of that network."""
    likelihood = lookup(name, MODELS, "model").likelihood
    return part(name, "config").NetworkConfig if likelihood else part(name, "config").GeneratorConfig


def model_rows() -> list[dict[str, Any]]:
    """A row a model, for listings."""
    return [
        {
            "name": entry.name,
            "presets": ", ".join(presets(entry.name)),
            "what": entry.title,
            "source": entry.source,
        }
        for entry in MODELS.values()
    ]


def build(name: str, *, preset: str = "tiny", seed: int = 0, **overrides: Any) -> Any:  # noqa: ANN401
    """A model with random weights.

    Args:
        name: Name of the model.
        preset: One of its presets.
        seed: Seed of the weights.
        **overrides: Fields of the config of the generator (or network) that differ from the preset's.

    Returns:
        The model's ``evaluate.Model``, on the CPU.

    Raises:
        UsageError: A name or a value is none that can be; the nearest names are offered.
    """
    import torch

    stored = lookup_preset(name, preset, presets(name))
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"the seed of the weights is {seed!r}; give a whole number from 0 to 2^63 - 1")
    config = stored.sampled
    known = [field.name for field in dataclasses.fields(config)]
    for field in overrides:
        if field not in known:
            what = "network" if MODELS[name].likelihood else "generator"
            raise UsageError(
                f"{name}'s {what} has no option {field!r} (nearest: {nearest(field, known)}); it has "
                f"{', '.join(known)}"
            )
    config = dataclasses.replace(config, **overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_class(name)(config)
    label = f"{name}:{preset}-random" + (f"@{seed}" if seed else "")
    changed = ",".join(f"{field}={value}" for field, value in overrides.items())
    return wrap(name, network, label=f"{label} ({changed})" if changed else label)


def make_task(
    name: str,
    preset: str,
    *,
    img_resolution: int | None = None,
    c_dim: int = 0,
    seed: int = 0,
    num_gpus: int = 1,
    overrides: Mapping[str, object] | None = None,
) -> Task:
    """The training of a preset, with random weights.

    Args:
        name: Name of the model.
        preset: One of its presets.
        img_resolution: Side of the images, where it differs from the preset's.
        c_dim: Classes; 0 for none.
        seed: Of the weights.
        num_gpus: Processes, which share every batch.
        overrides: Values by field of the recipe (nested ones by dots), ``generator.FIELD`` and
            ``discriminator.FIELD``, or ``network.FIELD``.

    Raises:
        UsageError: A name or a value is none that can be; the nearest names are offered.
    """
    networks, numbers = split_overrides(overrides)
    stored = lookup_preset(name, preset, part(name, "recipe").RECIPES)
    recipe = changed(stored, numbers, f"the recipe of {name}")
    sizes = presets(name)[preset]
    recipe.check_shares(num_gpus, img_resolution or sizes.sampled.img_resolution)
    kind = part(name, "trainer").TASK
    common: dict[str, object] = {} if img_resolution is None else {"img_resolution": img_resolution}
    classes = {"network": network_class(name)}
    if not MODELS[name].likelihood:
        classes = {"generator": kind.G_class, "discriminator": kind.D_class}
        common["c_dim"] = c_dim
    elif c_dim:
        raise UsageError(f"{name} learns no labels; leave --cond out")
    built = build_networks(classes, sizes, common=common, seed=seed, overrides=networks)
    task: Task = kind(*built, recipe)
    return task


def wrap(name: str, network: Any, *, label: str, enlarge: int = 1) -> Any:  # noqa: ANN401
    """A network as evaluations ask it, with the identity that fingerprints are made of.

    Args:
        name: Name of the model in the catalogue.
        network: What is sampled from.
        label: How messages and records name it.
        enlarge: Side of the square that a pixel becomes in its samples.
    """
    from reference_models.convert.files import tensors_sha256

    model = part(name, "evaluate").Model(network.eval().requires_grad_(False), name=label, enlarge=enlarge)
    model.identity = f"{name}|{network.config!r}|{tensors_sha256(network.state_dict())}"
    if enlarge != 1:
        model.identity += f"|enlarge={enlarge}"
    return model


def open_random(spec: str, *, device: str) -> Any | None:  # noqa: ANN401
    """The model behind ``NAME:PRESET-random[@SEED]``, or None where ``spec`` begins with no model's name.

    Raises:
        UsageError: The part after the name cannot be.
    """
    name, colon, rest = spec.partition(":")
    found = _RANDOM.fullmatch(rest)
    if name not in MODELS:
        if found is not None:
            lookup(name, MODELS, "model")  # raises, with the nearest names
        return None
    if not colon or found is None:
        raise UsageError(
            f"{spec}: write {name}:PRESET-random (or PRESET-random@SEED) for random weights, with a preset "
            "out of "
            f"{', '.join(presets(name))}; trained weights are named by the path of their checkpoint"
        )
    return build(name, preset=found["preset"], seed=int(found["seed"] or 0)).to(device)
