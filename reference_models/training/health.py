"""Means of what iterations report, and whether training is still alive.

A training is dead when a number is NaN or infinite, or when for many lines of the log D has told all images
apart without loss, or no two of them. Means and counts are part of a checkpoint, so that a line of the log is
the same whether a run was interrupted or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reference_models.training.task import Group

# Lines of the log for which D may be without any use.
PATIENCE = 50
_CERTAIN, _NO_LOSS, _NO_DIFFERENCE = 0.999, 1e-3, 1e-6


class Averages:
    """Means of scalars between two lines of the log, kept on the device so that nothing waits for it."""

    def __init__(self, device: torch.device) -> None:
        """Starts without values."""
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Takes the values of an iteration."""
        for name, value in values.items():
            value = torch.as_tensor(value, device=self._device).detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self, group: Group) -> dict[str, float]:
        """Means since the last call, over all processes, by name in order; forgets them."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        means = torch.stack([self._sums[name] / self._counts[name] for name in names])
        found = dict(zip(names, group.mean(means).tolist(), strict=True))
        self._sums, self._counts = {}, {}
        return found

    def state(self, group: Group) -> dict[str, Any]:
        """What `restore` takes back, over all processes: sums by name, and counts."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = group.mean(torch.stack([self._sums[name] for name in names])).tolist()
        return {name: [total, self._counts[name]] for name, total in zip(names, sums, strict=True)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned."""
        for name, (total, count) in state.items():
            self._sums[name] = torch.tensor(total, dtype=torch.float64, device=self._device)
            self._counts[name] = count


class Health:
    """Watches the lines of the log."""

    def __init__(self) -> None:
        """Has seen nothing."""
        self.counts = {"sure": 0, "blind": 0}

    def diagnose(self, values: Mapping[str, float]) -> str | None:
        """What is wrong, as words of an error; None where nothing is.

        Args:
            values: Of one line of the log.
        """
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            return f"{', '.join(f'{name} is {values[name]}' for name in bad)}"
        loss, signs = values.get("loss/D"), values.get("signs/real")
        sure = loss is not None and signs is not None and signs > _CERTAIN and abs(loss) < _NO_LOSS
        real, fake = values.get("scores/real"), values.get("scores/fake")
        blind = real is not None and fake is not None and abs(real - fake) <= _NO_DIFFERENCE * abs(real)
        for name, is_so in (("sure", sure), ("blind", blind)):
            self.counts[name] = self.counts[name] + 1 if is_so else 0
        if self.counts["sure"] >= PATIENCE:
            return (
                f"the discriminator has told every real image from every generated one for {PATIENCE} lines "
                "of the log (loss/D is 0), so that the generator learns nothing"
            )
        if self.counts["blind"] >= PATIENCE:
            return (
                f"the discriminator has given real and generated images the same score for {PATIENCE} lines "
                "of the log, so that the generator learns nothing"
            )
        return None


def what_to_try(config: Mapping[str, Any]) -> str:
    """Changes of a recipe that help against divergence, as options.

    Args:
        config: `Task.config`.
    """
    recipe = config.get("recipe", {})
    rates = {name: recipe[name] for name in ("G_lrate", "D_lrate") if name in recipe}
    schedule = recipe.get("schedule", {})
    rates |= {
        f"schedule.{name}": schedule[name] for name in ("G_lrate_base", "D_lrate_base") if name in schedule
    }
    found = []
    if rates:
        words = " ".join(f"--set {name}={value / 2:g}" for name, value in rates.items())
        found.append(f"lower learning rates ({words})")
    if "r1_gamma" in recipe:
        found.append(f"a stronger R1 penalty (--set r1_gamma={recipe['r1_gamma'] * 4:g})")
    if recipe.get("augment") == "none":
        found.append("augmentation, where the data are few (--set augment=bgc)")
    return ", ".join([*found, "--precision float32 where it was a half type"])
