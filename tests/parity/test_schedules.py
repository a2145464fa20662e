"""The growing schedules of ProGAN and StyleGAN against the official ones, and images by level of detail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensor_cases import TensorCase, names_of

from reference_models.training.ema import half_life_beta
from reference_models.training.schedules import (
    PROGAN_TICK_KIMG,
    STYLEGAN_TICK_KIMG,
    GrowingSchedule,
    process_reals,
    pyramid,
    resets,
)

HANDLES = ("progan_schedule*", "stylegan1_schedule*")


def schedule_of(given: dict[str, Any], ticks: Any) -> GrowingSchedule:
    tables = {
        name: {int(side): number for side, number in value.items()}
        for name, value in given.items()
        if isinstance(value, dict)
    }
    return GrowingSchedule(**{"tick_kimg_dict": ticks, **given, **tables})


def loop(schedule: GrowingSchedule, config: dict[str, Any]) -> tuple[list[dict[str, float]], int]:
    """Rows of the schedule while training, and the images seen at the end."""
    rows: list[dict[str, float]] = []
    images, lod = 0, None
    facts = {"resolution_log2": config["resolution_log2"], "num_gpus": config["num_gpus"]}
    while images < config["total_kimg"] * 1000 and len(rows) < config.get("row_limit", np.inf):
        stage = schedule.at(images, **facts)
        row = {"cur_nimg": images, "lrate": stage.G_lrate, "reset_optimizers": resets(lod, stage.lod)}
        rows.append(stage._asdict() | row)
        lod = stage.lod
        images += config["minibatch_repeats"] * config["D_repeats"] * stage.minibatch
    return rows, images


@pytest.mark.parametrize("name", names_of(*HANDLES))
def test_schedules(name: str):
    case = TensorCase(name)
    ticks = PROGAN_TICK_KIMG if "progressive" in case.facts["repo"] else STYLEGAN_TICK_KIMG
    for config in case.facts["configs"]:
        schedule, prefix = schedule_of(config["sched"], ticks), config["name"]
        if "total_kimg" in config:
            rows, images = loop(schedule, config)
            case.check(f"{prefix}.final_nimg", np.asarray(images, dtype=np.int64))
        else:
            rows = []
            for kimg in case.arrays[f"{prefix}.kimg"]:
                facts = {"resolution_log2": config["resolution_log2"], "num_gpus": config["num_gpus"]}
                stage = schedule.at(kimg * 1000, **facts)
                rows.append(stage._asdict() | {"Gs_beta": half_life_beta(stage.minibatch, 10, None, 0)})
        assert rows, f"{prefix}: the schedule was never looked at"
        case.compare(
            rf"{prefix}\.(\w+)",
            lambda what, rows=rows: np.array([row[what] for row in rows], dtype=np.float64),
        )
    if "pyramid.image" in case:
        levels = pyramid(case["pyramid.image"])
        case.compare(r"pyramid\.lod(\d+)", lambda level: levels[int(level)])
    case.compare(
        r"process\.lod=(.*)\.out",
        lambda lod: process_reals(
            case[f"process.lod={lod}.uint8"],
            float(lod),
            case[f"process.lod={lod}.mirror_u"] if f"process.lod={lod}.mirror_u" in case else None,
        ),
    )
    case.finish()
