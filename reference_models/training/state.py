"""All that training needs to go on, as named tensors and one JSON text, and back again, bit for bit.

Optimisers are stored by the names of the parameters they move, not by their places, so that a state cannot
slip onto another parameter. Whatever is no tensor (learning rates, ADA's p, the position in the data) is
JSON, whose floats are exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evalkit.errors import CheckpointError
from reference_models.training.task import Task


def collect(task: Task) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of a task.

    Returns:
        Tensors on the CPU by ``networks/NAME/…`` and ``optimisers/NAME/PARAMETER/…``, each with memory of its
        own; and what JSON holds: ``numbers`` and ``optimisers``.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in task.networks.items():
        for key, value in network.state_dict().items():
            tensors[f"networks/{name}/{key}"] = _own(value)
    optimisers: dict[str, Any] = {}
    for name, optimiser in task.optimisers.items():
        names, found = _names(task.networks, optimiser), optimiser.state_dict()
        groups = []
        for group in found["param_groups"]:
            groups.append({key: value for key, value in group.items() if key != "params"})
            groups[-1]["params"] = [names[index] for index in group["params"]]
        others: dict[str, dict[str, Any]] = {}
        for index, state in found["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimisers/{name}/{names[index]}/{key}"] = _own(value)
                else:
                    others.setdefault(names[index], {})[key] = value
        optimisers[name] = {"groups": groups, "others": others}
    return tensors, {"numbers": dict(task.numbers()), "optimisers": optimisers}


def restore(task: Task, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], where: str) -> None:
    """Gives a task the state that `collect` returned; it is on its device already.

    Args:
        task: Of the same config.
        tensors: As they were collected.
        facts: Likewise.
        where: How messages name the file.

    Raises:
        CheckpointError: The tensors are not those of this task.
    """
    wanted = {
        f"networks/{name}/{key}": tuple(value.shape)
        for name, network in task.networks.items()
        for key, value in network.state_dict().items()
    }
    given = {key: tuple(value.shape) for key, value in tensors.items() if key.startswith("networks/")}
    if wanted != given:
        odd = sorted(key for key in {*wanted, *given} if wanted.get(key) != given.get(key))
        raise CheckpointError(
            f"{where} holds the state of other networks: {len(odd)} tensors are missing, left over or of "
            f"another shape, {', '.join(odd[:5])} among them; resume with the model, preset and --set it was "
            "trained with"
        )
    for name, network in task.networks.items():
        network.load_state_dict(_below(tensors, f"networks/{name}/"))
    for name, optimiser in task.optimisers.items():
        stored, names = facts["optimisers"][name], _names(task.networks, optimiser)
        if [each["params"] for each in stored["groups"]] != [
            [names[index] for index in group["params"]] for group in optimiser.state_dict()["param_groups"]
        ]:
            raise CheckpointError(
                f"{where}: its optimiser {name} moves other parameters; it was written by another version of "
                "evalkit: start a new run"
            )
        optimiser.load_state_dict(_optimiser_state(name, stored, names, tensors))
    task.restore_numbers(facts["numbers"])


def digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """The sha256 over names, types, shapes and bytes of tensors, and over the JSON beside them."""
    total = hashlib.sha256(b"evalkit-training-1")
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    total.update(facts.encode())
    return total.hexdigest()


def as_json(facts: Mapping[str, Any]) -> str:
    """Facts as one line of JSON that keeps every bit of a float."""
    return json.dumps(facts, sort_keys=True, allow_nan=False)


def not_finite(networks: Mapping[str, nn.Module]) -> list[str]:
    """Names of the tensors of networks that hold NaN or an infinity."""
    return [
        f"{name}.{key}"
        for name, network in networks.items()
        for key, value in network.state_dict().items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]


def _own(value: Tensor) -> Tensor:
    # A copy: tensors that share memory cannot be stored, and training goes on while the file is written.
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _names(networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer) -> list[str]:
    # Names of the optimiser's parameters, in the order in which its state dict counts them.
    known = {id(p): f"{name}.{key}" for name, net in networks.items() for key, p in net.named_parameters()}
    return [known[id(p)] for group in optimiser.param_groups for p in group["params"]]


def _optimiser_state(
    name: str, stored: Mapping[str, Any], names: list[str], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    place = {each: index for index, each in enumerate(names)}
    state: dict[int, dict[str, Any]] = {}
    for key, value in _below(tensors, f"optimisers/{name}/").items():
        parameter, _, entry = key.rpartition("/")
        state.setdefault(place[parameter], {})[entry] = value
    for parameter, values in stored["others"].items():
        state.setdefault(place[parameter], {}).update(values)
    groups = [
        # JSON has lists only; optimisers hold tuples.
        {key: tuple(value) if isinstance(value, list) else value for key, value in group.items()}
        | {"params": [place[each] for each in group["params"]]}
        for group in stored["groups"]
    ]
    return {"state": state, "param_groups": groups}
