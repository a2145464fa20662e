"""What a user asks of a training run, as frozen data, and what may change when it is taken up again."""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.errors import UsageError
from reference_models.layers.checks import (
    LARGEST_SIDE,
    check_choice,
    check_positive,
    check_side,
    check_whole,
)
from reference_models.training.fitting import FITS, SMALLEST_SIDE
from reference_models.training.precision import PRECISIONS

# Changing these between two parts of a run changes no number that training computes.
SAFE = frozenset(
    {
        "data", "output", "kimg", "snapshot_kimg", "keep", "evals", "eval_data", "eval_num", "grid",
        "device", "compile", "deterministic", "tensorboard",
    }
)  # fmt: skip
_SAFE_RECIPE = ("batch_gpu", "tick_kimg_")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSpec:
    """An evaluation while training goes on.

    Attributes:
        metric: Name of a protocol.
        every_kimg: Thousands of images between two; None is at every snapshot.
    """

    metric: str
    every_kimg: float | None = None

    @classmethod
    def parse(cls, text: str) -> EvalSpec:
        """Reads ``fd_mini@20kimg`` or ``fd_mini``.

        Raises:
            UsageError: The text is neither.
        """
        metric, at, period = text.strip().partition("@")
        accepted = "write a protocol and how often, such as fd_mini@20kimg, or a protocol alone"
        if not metric or any(letter.isspace() or letter == "," for letter in metric):
            raise UsageError(f"--eval {text!r}: {accepted}; give --eval once for each protocol")
        if not at:
            return cls(metric=metric)
        try:
            every = float(period.removesuffix("kimg"))
        except ValueError:
            every = math.nan
        if not (math.isfinite(every) and every > 0):
            raise UsageError(f"--eval {text!r}: {period!r} is no period; {accepted}")
        return cls(metric=metric, every_kimg=every)

    def __str__(self) -> str:
        return self.metric if self.every_kimg is None else f"{self.metric}@{self.every_kimg:g}kimg"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run.

    Attributes:
        model: Name in the catalogue.
        preset: Of the networks and the recipe.
        data: What `evalkit.sources.resolve` takes, as text.
        output: The folder of the run.
        kimg: How long to train, in thousands of images.
        seed: Of weights, of the order of the data, and of everything random.
        fit: How images are brought to the side of the networks.
        resolution: That side; None is the data's own, or the preset's where images are fitted.
        mirror: Whether mirrored images are used as well.
        cond: Whether the model learns the classes of the data.
        overrides: Fields of the recipe and of networks that differ from the preset's.
        snapshot_kimg: Thousands of images between two checkpoints; None is a tenth of ``kimg``, at most 200.
        keep: How many of the newest checkpoints stay.
        evals: Evaluations; the first one chooses the best network.
        eval_data: Images to compare with; None is ``data``.
        eval_num: Samples of an evaluation; None is the protocol's own number.
        grid: Samples in a picture.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Type of first-order passes.
        compile: Whether those are compiled.
        deterministic: Whether operations that differ from run to run are refused.
        tensorboard: Whether TensorBoard's files are written too.
    """

    model: str
    preset: str = "tiny"
    data: str
    output: str
    kimg: float
    seed: int = 0
    fit: str = "exact"
    resolution: int | None = None
    mirror: bool = False
    cond: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    snapshot_kimg: float | None = None
    keep: int = 3
    evals: tuple[EvalSpec, ...] = ()
    eval_data: str | None = None
    eval_num: int | None = None
    grid: int = 64
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False
    deterministic: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        what = "the training"
        check_positive(what, "kimg", self.kimg)
        check_whole(what, "seed", self.seed, 0, 2**63 - 1)
        check_whole(what, "keep", self.keep, 1)
        check_whole(what, "grid", self.grid, 1)
        check_choice(what, "fit", self.fit, FITS)
        check_choice(what, "precision", self.precision, PRECISIONS)
        if self.fit == "patches" and self.resolution is not None:
            check_whole(what, "resolution", self.resolution, SMALLEST_SIDE, LARGEST_SIDE)
        elif self.resolution is not None:
            check_side(what, self.resolution)
        if self.snapshot_kimg is not None:
            check_positive(what, "snapshot_kimg", self.snapshot_kimg)
        if self.eval_num is not None:
            check_whole(what, "eval_num", self.eval_num, 1, 10**9)
        if not self.evals and (self.eval_data is not None or self.eval_num is not None):
            raise UsageError(
                "--eval-data and --eval-num say how --eval measures, and there is no --eval; add one, such "
                "as --eval fd_mini@20kimg, or leave them out"
            )

    @property
    def total_images(self) -> int:
        """After how many images training ends."""
        return math.ceil(self.kimg * 1000)

    @property
    def snapshot_images(self) -> int:
        """Images between two checkpoints."""
        period = min(self.kimg / 10, 200.0) if self.snapshot_kimg is None else self.snapshot_kimg
        return max(round(period * 1000), 1)

    @property
    def tick_images(self) -> int:
        """Images between two lines of the log: a quarter of a snapshot's, at most 4,000."""
        return max(min(self.snapshot_images // 4, 4000), 1)

    def as_json(self) -> dict[str, Any]:
        """Its fields as JSON can hold them."""
        found = dataclasses.asdict(self)
        found["evals"] = [str(each) for each in self.evals]
        found["overrides"] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.overrides.items()
        }
        return found

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> RunConfig:
        """What `as_json` wrote.

        Raises:
            UsageError: A field is missing, unknown or of a value that cannot be.
        """
        try:
            values = dict(given)
            values["evals"] = tuple(EvalSpec.parse(each) for each in given.get("evals", ()))
            values["overrides"] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in given.get("overrides", {}).items()
            }
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise UsageError(f"this is no config of a training run: {error}") from error

    def command(self) -> str:
        """The command that takes this run up again."""
        plain = RunConfig(model=self.model, data=self.data, output=self.output, kimg=self.kimg)
        words = ["evalkit", "train", self.model]
        for name in ("data", "preset", "kimg", "output"):
            words += [f"--{name}", str(getattr(self, name))]
        for each in dataclasses.fields(self):
            name, value = each.name, getattr(self, each.name)
            if value == getattr(plain, name) or name in ("preset", "overrides", "evals"):
                continue
            flag = {"snapshot_kimg": "--snapshot"}.get(name, "--" + name.replace("_", "-"))
            words += [flag] if value is True else [flag, str(value)]
        words += [word for each in self.evals for word in ("--eval", str(each))]
        words += [word for name, value in self.overrides.items() for word in ("--set", f"{name}={value}")]
        return " ".join(_quoted(word) for word in [*words, "--resume", "auto"])


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Reads ``name=value`` words; values are Python's, and bare words are text.

    Raises:
        UsageError: A word has no ``=``, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise UsageError(
                f"--set {word}: write NAME=VALUE, such as batch=16 or schedule.lod_training_kimg=5"
            )
        if name.strip() in found:
            raise UsageError(f"--set {name.strip()} is given twice; give it once")
        try:
            found[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            found[name.strip()] = value.strip()
    return found


class Differences(NamedTuple):
    """How a run differs from what it was, each as ``name: before -> now``.

    Attributes:
        safe: Those that change nothing that is computed.
        unsafe: All others.
    """

    safe: list[str]
    unsafe: list[str]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Differences:
    """Compares two descriptions of a run.

    Args:
        before: ``run`` (`RunConfig.as_json`), ``task`` (`Task.config`) and ``data`` (the fingerprint).
        now: Likewise.
    """
    found = Differences([], [])
    for part in ("run", "task", "data"):
        old, new = _flat(before.get(part), part), _flat(now.get(part), part)
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                group, _, key = name.partition(".")
                # Overrides are in the task's config, where those that amount to nothing do not show.
                if name.startswith("run.overrides"):
                    continue
                safe = (group == "run" and key.partition(".")[0] in SAFE) or (
                    name.startswith("task.recipe.") and name.rpartition(".")[2].startswith(_SAFE_RECIPE)
                )
                line = f"{_short(name)}: {old.get(name)!r} -> {new.get(name)!r}"
                (found.safe if safe else found.unsafe).append(line)
    return found


def _flat(value: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return {k: v for key, each in value.items() for k, v in _flat(each, f"{name}.{key}").items()}
    return {name: list(value) if isinstance(value, tuple) else value}


def _short(name: str) -> str:
    return name.removeprefix("run.").removeprefix("task.")


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
