"""A checkpoint to a model: which kind of file it is, which network it holds, and whether it fits, all of it.

Read are the pickles of the official PyTorch and TensorFlow tools (never run), the PyTorch files that ProGAN
and
StyleGAN were ported to, plain state dicts with official names, and this project's own safetensors beside
JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import CheckpointError
from reference_models.catalog import config_class, network_class, open_random, part, wrap

# A sample of 64 pixels a side becomes one of 4,096 at most.
_MOST_ENLARGED = 64


def open_model(spec: str, *, device: str = "cpu") -> Any | None:  # noqa: ANN401
    """The model behind ``NAME:PRESET-random`` or the path of a checkpoint; None where ``spec`` is neither.

    A PyTorch program (TorchScript, torch.export) or an ONNX file is no checkpoint of a reference model: it
    is None
    too.

    Raises:
        UsageError: A preset is unknown.
        CheckpointError: The file is a checkpoint and cannot be read, or does not fit.
    """
    if (found := open_random(spec, device=device)) is not None:
        return found
    path = Path(spec)
    if not path.is_file():
        return None
    # A file that is named like a checkpoint is one to its user: what is wrong with it has to be said.
    if kind_of(path) not in _READERS and path.suffix.lower() not in (".pkl", ".pickle"):
        return None
    return load_checkpoint(path).to(device)


def kind_of(path: Path) -> str:
    """What a file is: ``nvidia``, ``tf``, ``pytorch`` (state dicts), ``evalkit``, ``program`` or ``unknown``.

    A program is TorchScript, torch.export or ONNX.
    """
    from reference_models.convert.inspect import file_kind

    return file_kind(path)


def load_checkpoint(path: Path | str, *, network: str = "G_ema") -> Any:  # noqa: ANN401
    """The network of a checkpoint that is sampled from, as evaluations ask it, on the CPU.

    Args:
        path: The file.
        network: ``G_ema``, the average that is to be sampled from, or ``G``.

    Returns:
        The ``evaluate.Model`` of the reference model it belongs to.

    Raises:
        CheckpointError: The file cannot be read safely, is no checkpoint of a reference model, lacks the
            network, or its
            tensors do not fit: all that are missing, left over or of another shape are listed.
    """
    path = Path(path)
    found = _READERS[_checked_kind(path)](path, network)
    filled_network = filled(found.name, found.config, found.state)
    model = wrap(found.name, filled_network, label=str(path), enlarge=found.enlarge)
    model.training = found.training
    return model


def filled(name: str, config: Any, state: dict[str, Any]) -> Any:  # noqa: ANN401
    """The network of ``config`` with the tensors of ``state``, which must be all of its own."""
    network = _unfilled(name, config)
    network.load_state_dict(state, strict=True, assign=True)
    return network


def _unfilled(name: str, config: Any) -> Any:  # noqa: ANN401
    import torch

    with torch.device("meta"):
        return network_class(name)(config)


def _checked_kind(path: Path) -> str:
    from reference_models.convert.inspect import inspect_checkpoint

    if not path.is_file():
        raise CheckpointError(f"nothing is at {path}; check the path of the checkpoint")
    kind = kind_of(path)
    if kind not in _READERS:
        problem = inspect_checkpoint(path)["problem"]  # raises where the file is damaged
        raise CheckpointError(
            f"{path} is no checkpoint of a reference model"
            + (f": {problem}, and nothing of it was run" if problem else "")
            + "; accepted are the pickles of the official PyTorch and TensorFlow tools, PyTorch state dicts, "
            "and .safetensors that `evalkit checkpoint convert` wrote"
        )
    return kind


class Found(NamedTuple):
    """What a file holds of one network.

    Attributes:
        name: Name of the model.
        config: Config of the network.
        state: Its state dict.
        enlarge: Side of the square that a pixel becomes in samples.
        training: ``kimg`` and ``checkpoint_sha256`` where the file says how long it was trained.
    """

    name: str
    config: Any
    state: dict[str, Any]
    enlarge: int = 1
    training: Mapping[str, float | str] | None = None


def _nvidia(path: Path, network: str) -> Found:
    from evalkit.adapters.nvidia_pickle import read_nvidia_pickle

    networks = read_nvidia_pickle(path).networks
    if network not in networks:
        raise CheckpointError(
            f"{path} holds no network {network!r}; it holds {', '.join(networks) or 'none'}"
        )
    stored = networks[network]
    if stored.kind not in ("stylegan2", "stylegan3"):
        raise CheckpointError(
            f"{path}: {network} is a {stored.class_name}, neither StyleGAN2's nor StyleGAN3's generator; "
            "sample from G_ema"
        )
    convert = part(stored.kind, "convert")
    config = convert.config_from_official(stored.init_kwargs)
    return Found(stored.kind, config, convert.from_official(stored.tensors, config))


def _tf(path: Path, network: str) -> Found:
    from reference_models.convert.tf_pickle import identify, read_tf_pickle

    networks = read_tf_pickle(path).networks
    name = identify(networks)
    if network not in networks:
        raise CheckpointError(f"{path} holds no network {network!r}; it holds {', '.join(networks)}")
    found = networks[network]
    convert = part(name, "convert")
    if name == "stylegan2":
        config = convert.config_from_tf(found.static_kwargs, found.variables)
    else:
        config = convert.config_from_official(found.static_kwargs)
    return Found(name, config, convert.from_tf(config, found.variables))


def _pytorch(path: Path, network: str) -> Found:
    from reference_models.convert import ported
    from reference_models.convert.inspect import inspect_checkpoint

    known = inspect_checkpoint(path)["model"]
    if known in ("vdvae", "nvae", "srflow"):
        if network != "G_ema":
            raise CheckpointError(
                f"{path} holds one network, the one to sample from, and no network {network!r}; leave "
                "--network out"
            )
        return Found(known, *part(known, "convert").read_official(path))
    if known in ("stylegan2", "stylegan3"):
        raise CheckpointError(
            f"{path} holds a state dict of {known}, whose sizes the file does not say; give the pickle it "
            "came from, or "
            f"load it into reference_models.build({known!r}, …) and write that with "
            "reference_models.save_checkpoint"
        )
    states = ported.read_ported(path)
    if network not in states:
        raise CheckpointError(f"{path} holds no network {network!r}; it holds {', '.join(states)}")
    state = states[network]
    name = ported.identify(state, str(path))
    config = ported.progan_config(state) if name == "progan" else ported.stylegan_config(state)
    return Found(name, config, part(name, "convert").from_ported(config, state))


def _evalkit(path: Path, network: str) -> Found:
    from reference_models.convert.configs import config_from_json
    from reference_models.convert.files import read_checkpoint
    from reference_models.convert.state import checked_state, shapes_of

    if network != "G_ema":
        raise CheckpointError(
            f"{path} holds one network, the one it was converted from, and no network {network!r}; leave "
            "--network out"
        )
    stored = read_checkpoint(path)
    config = config_from_json(config_class(stored.model), stored.config, str(path))
    wanted = shapes_of(_unfilled(stored.model, config))
    enlarge = stored.extra.get("enlarge", 1)
    if not isinstance(enlarge, int) or isinstance(enlarge, bool) or not 1 <= enlarge <= _MOST_ENLARGED:
        raise CheckpointError(
            f"{path}: its JSON says enlarge={enlarge!r}, where a whole number from 1 to {_MOST_ENLARGED} can "
            "be; it was changed by hand: get it again"
        )
    training: dict[str, float | str] | None = None
    if stored.kimg is not None:
        training = {"kimg": stored.kimg, "checkpoint_sha256": stored.tensors_sha256}
    state = checked_state(stored.tensors, wanted, f"{path}, {stored.model}")
    return Found(stored.model, config, state, enlarge, training)


_READERS = {"nvidia": _nvidia, "tf": _tf, "pytorch": _pytorch, "evalkit": _evalkit}


def save_checkpoint(model: Any, path: Path | str) -> Path:  # noqa: ANN401
    """Writes a reference model as safetensors beside a JSON file with its config.

    Returns:
        The safetensors file.

    Raises:
        StoreError: The place cannot be written.
    """
    from reference_models.convert import files
    from reference_models.convert.configs import config_to_json

    network = model.network
    config = config_to_json(network.config)
    extra: dict[str, Any] = {"enlarge": model.enlarge} if model.enlarge != 1 else {}
    if model.training is not None:
        extra["kimg"] = model.training["kimg"]
    return files.save_checkpoint(Path(path), name_of(model), config, network.state_dict(), extra)


def name_of(model: Any) -> str:  # noqa: ANN401
    """The name in the catalogue of a reference model."""
    return type(model).__module__.split(".")[1]


def export_state_dict(model: Any, path: Path | str) -> Path:  # noqa: ANN401
    """Writes a reference model's tensors as a PyTorch state dict for other programs.

    ProGAN and StyleGAN, whose official files are TensorFlow's, get the names of the files they were widely
    ported to; all others the official ones.

    Returns:
        The file.

    Raises:
        StoreError: The place cannot be written.
    """
    import torch

    from evalkit.files import atomic_write

    convert = part(name_of(model), "convert")
    config, state = model.network.config, model.network.state_dict()
    if hasattr(convert, "to_official"):
        tensors = convert.to_official(state, config)
    else:
        tensors = convert.to_ported(config, state)
    with atomic_write(Path(path)) as file:
        torch.save(dict(tensors), file)
    return Path(path)
