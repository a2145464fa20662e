"""Equivariance against numbers of the official code: warps, filters, and the metrics of whole networks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from max_norm_cases import MaxNormCase, names_of

from evalkit.metrics.equivariance import warps
from evalkit.metrics.equivariance.eq import OPERATIONS, Operation, compare, draw_move, psnr
from golden_cases import Golden, find_cases, fitting
from reference_models.stylegan3.convert import config_from_official, from_official
from reference_models.stylegan3.evaluate import Model
from reference_models.stylegan3.generator import Generator

HANDLES = ("eq_transforms*", "eq_metrics_*", "metrics/equivariance_*")
ARRAYS = {name: path for name, path in find_cases().items() if name.startswith("metrics/")}


def flat_mask(mask: torch.Tensor) -> torch.Tensor:
    return mask[0, 0].to(torch.uint8)


@pytest.mark.parametrize("name", names_of("eq_transforms*", "eq_transforms"))
def test_transforms(name: str):
    case = MaxNormCase(name)
    moves: dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
        "integer_translation": lambda x, sub: warps.integer_shift(x, sub["tx"], sub["ty"]),
        "fractional_translation": lambda x, sub: warps.fractional_shift(x, sub["tx"], sub["ty"]),
        "fractional_rotation": lambda x, sub: warps.fractional_rotation(x, sub["angle"]),
        "fractional_pseudo_rotation": lambda x, sub: warps.fractional_pseudo_rotation(x, sub["angle"]),
    }
    for sub in case.facts["subcases"]:
        label = f"out.{sub['name']}"
        if sub["op"] in moves:
            moved, mask = moves[sub["op"]](case[sub["x"]], sub)
            case.check(f"{label}.y", moved)
            case.check(f"{label}.mask", flat_mask(mask))
        elif sub["op"] == "affine_bandlimit_filter":
            matrix = case[f"{label}.mat"].double().numpy()
            np.testing.assert_allclose(matrix, warps.rotation(sub["angle"]), atol=1e-6)
            kernel = warps.bandlimit_filter(matrix, up=sub["up"], a=sub["a"], reach=sub["amax"])
            case.check(f"{label}.f", torch.from_numpy(kernel))
            case.check(f"{label}.mat", torch.from_numpy(warps.rotation(sub["angle"])))
        elif sub["op"] == "sinc":
            case.check("out.sinc.y", torch.from_numpy(np.sinc(case[sub["x"]].double().numpy())))
        elif sub["op"] == "lanczos_window":
            window = warps.lanczos_window(case[sub["x"]].double().numpy(), sub["a"])
            case.check(f"{label}.y", torch.from_numpy(window))
    case.finish()


@pytest.mark.parametrize("name", names_of("eq_metrics_*", "eq_metrics"))
def test_networks(name: str):
    case = MaxNormCase(name)
    facts = case.facts
    network = Generator(config_from_official(facts["constructor_kwargs"]))
    network.load_state_dict(from_official(case.weights, network.config), strict=True)
    model = Model(network, name=name)
    sums = np.zeros((3, facts["num_batches"], facts["batch_size"], 2))
    for batch in range(facts["num_batches"]):
        w = model.map(case["in.z"][batch])
        made: list[tuple[torch.Tensor, torch.Tensor]] = []

        def synthesis(transform: torch.Tensor, w=w, made=made) -> torch.Tensor:
            made.append((transform, model.synthesise(w, transform=transform)))
            return made[-1][1]

        label = f"out.batch{batch}"
        original = model.synthesise(w)
        case.check(f"{label}.orig", original)
        for row, operation in enumerate(OPERATIONS):
            draws = {"int": "in.u_t_int", "frac": "in.u_t_frac", "rot": "in.u_angle"}[operation]
            move = draw_move(
                operation,
                np.atleast_1d(case[draws][batch].double().numpy()),
                translate_max=facts["translate_max"],
                rotate_max=facts["rotate_max"],
            )
            found = compare(synthesis, original, operation, move)
            transform, image = made[-1]
            part = f"{label}.{'eqr' if operation == 'rot' else f'eqt_{operation}'}"
            case.check(f"{part}.img", image)
            case.check(f"{part}.ref", found.expected)
            case.check(f"{part}.mask", flat_mask(found.mask))
            if operation == "rot":
                case.check(f"{label}.angle", move.angle)
                case.check(f"{part}.pseudo", found.made)
                case.check(f"{part}.transform", transform)
                for which, warp in (
                    ("ref", warps.fractional_rotation), ("pseudo", warps.fractional_pseudo_rotation)
                ):  # fmt: skip
                    case.check(f"{part}.{which}_mask", flat_mask(warp(original, move.angle)[1]))
            else:
                # What was written into the network is the inverse shift.
                case.check(f"{label}.t_{operation}", -transform[:2, 2])
            sums[row, batch] = found.sums()
    case.check("out.sq_err_sum", torch.from_numpy(sums[..., 0]))
    case.check("out.mask_sum", torch.from_numpy(sums[..., 1]))
    pooled = sums.sum(axis=(1, 2))
    case.check("out.psnr_db", torch.tensor([psnr(error, counted) for error, counted in pooled]))
    case.finish()


def toy(latents: torch.Tensor, resolution: int, sticking: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The closed-form generator of the case: waves that move with the input, one that sticks to columns."""
    w = torch.tanh(latents.double())
    place = (torch.arange(resolution) + 0.5).double() / resolution - 0.5
    y, x = torch.meshgrid(place, place, indexing="ij")
    column = torch.arange(resolution).double()

    def synthesis(transform: torch.Tensor) -> torch.Tensor:
        m = transform.double()
        u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        channels = [
            0.7 * torch.sin(2 * math.pi * 3 * (w[:, ch, None, None] * u + w[:, 3 + ch, None, None] * v) + ch)
            + sticking * torch.cos(0.9 * column + ch)
            for ch in range(3)
        ]
        return torch.stack(channels, dim=1).float()

    return synthesis


@pytest.mark.parametrize(
    "name", [name for name in ARRAYS if fitting(name, ("metrics/equivariance_metric*",))]
)
def test_toy_metric(name: str):
    golden = Golden(ARRAYS[name])
    draws: dict[Operation, str] = {"int": "u_eqt_int", "frac": "u_eqt_frac", "rot": "u_eqr"}

    def measure(operation: Operation, sticking: str) -> float:
        total = np.zeros(2)
        for z, uniform in zip(golden["z_draws"], golden[draws[operation]], strict=True):
            synthesis = toy(torch.from_numpy(z), golden.number("resolution"), float(sticking))
            move = draw_move(operation, np.atleast_1d(uniform))
            total += compare(synthesis, synthesis(torch.eye(3)), operation, move).sums().sum(axis=0)
        return psnr(*total)

    golden.compare(r"stylegan3__eqt_int_k(.*)", lambda k: measure("int", k), atol=1e-3)
    golden.compare(r"stylegan3__eqt_frac_k(.*)", lambda k: measure("frac", k), atol=2e-2)
    golden.compare(r"stylegan3__eqr_k(.*)", lambda k: measure("rot", k), atol=2e-2)
    golden.finish()


@pytest.mark.parametrize("name", [name for name in ARRAYS if fitting(name, ("metrics/equivariance_ops*",))])
def test_toy_warps(name: str):
    golden = Golden(ARRAYS[name])
    image, other = torch.from_numpy(golden["img"]), torch.from_numpy(golden["img2"])
    shifts, angles = golden["translate_xy"], golden["angles_rad"]
    moves: dict[str, Callable[[int], tuple[torch.Tensor, torch.Tensor]]] = {
        "int_translate": lambda k: warps.integer_shift(image, *shifts[k]),
        "frac_translate": lambda k: warps.fractional_shift(image, *shifts[k]),
        "rotate": lambda k: warps.fractional_rotation(image, angles[k]),
        "pseudo_rotate": lambda k: warps.fractional_pseudo_rotation(other, angles[k]),
    }
    for warp, move in moves.items():
        golden.compare(rf"stylegan3__{warp}_mask_(\d+)", lambda k, move=move: flat_mask(move(int(k))[1]))
        golden.compare(rf"stylegan3__{warp}_img2?_(\d+)", lambda k, move=move: move(int(k))[0], atol=1e-4)
    golden.compare(
        r"stylegan3__affine_filter_angle(\d+)_up4",
        lambda k: warps.bandlimit_filter(warps.rotation(angles[int(k)]), up=4),
        atol=1e-6,
    )
    golden.compare(
        r"stylegan3__affine_filter_minus_angle(\d+)_up1",
        lambda k: warps.bandlimit_filter(warps.rotation(-angles[int(k)]), up=1),
        atol=1e-6,
    )

    def pooled() -> float:
        total = np.zeros(2)
        for k in range(len(angles)):
            turned, mask = moves["rotate"](k)
            kept, inside = moves["pseudo_rotate"](k)
            both = (mask * inside).double()
            total += (
                float(((turned - kept).double().square() * both).sum()),
                float(both.sum()) * image.shape[1],
            )
        return psnr(*total)

    golden.compare("stylegan3__eqr_psnr_pooled_over_angles", pooled, atol=1e-4)
    golden.finish()
