"""The loop that trains every reference model: iterations, log, pictures, evaluations, checkpoints.

Everything that is due falls due when the number of images passes a multiple of its period, so that a resumed
run does the same things at the same places as an uninterrupted one. The randomness of an iteration comes from
(seed, iteration, rank) alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from evalkit.errors import EvalkitError, TrainingError, UsageError
from reference_models.training import checkpoint, machine, outputs, resuming, state
from reference_models.training.config import RunConfig
from reference_models.training.data import DataFeed, TrainingData
from reference_models.training.distributed import ProcessGroup, connect
from reference_models.training.folder import RunFolder
from reference_models.training.health import Averages, Health, what_to_try
from reference_models.training.logs import Log, Screen, Silent
from reference_models.training.precision import PrecisionPolicy
from reference_models.training.signals import Stop
from reference_models.training.start import check_data
from reference_models.training.task import Evaluator, Iteration, Score, Task


class Result(NamedTuple):
    """What a training came to.

    Attributes:
        images: Images seen.
        scores: Those of the last evaluation, by metric.
        best: ``metric``, ``value``, ``kimg`` of the best evaluation; None without evaluations.
        network: The average of the generator.
        checkpoint: The newest checkpoint.
        stopped: The signal that ended it early, or None.
    """

    images: int
    scores: Mapping[str, Score]
    best: Mapping[str, Any] | None
    network: Path
    checkpoint: Path
    stopped: str | None


def iteration_seed(seed: int, index: int, rank: int) -> int:
    """Seed of everything random in one iteration of one process.

    Returns:
        The first 63 bits of the sha256 of ``evalkit-iteration|SEED|INDEX|RANK``.
    """
    found = hashlib.sha256(f"evalkit-iteration|{seed}|{index}|{rank}".encode()).digest()
    return int.from_bytes(found[:8], "big") >> 1


def train(
    task: Task,
    data: TrainingData,
    run: RunConfig,
    *,
    resume: str | None = None,
    evaluator: Evaluator | None = None,
    screen: Screen | Silent | None = None,
) -> Result:
    """Trains a model.

    Args:
        task: With random weights; it is trained in place.
        data: Images of its side.
        run: How long, where to, and what is due when.
        resume: ``auto`` (the newest sound checkpoint of ``run.output``, where there is one), the path of a
            checkpoint, or None for a folder in which nothing has begun.
        evaluator: Measures; needed where ``run.evals`` asks for it.
        screen: Where words and progress go; None is nowhere.

    Returns:
        Where it ended; a signal to stop ends it early, with everything saved.

    Raises:
        EvalkitError: What a user can mend, among it: a folder that is in use, cannot be written or holds
            another run, a checkpoint that does not fit, divergence, too little memory, a full disk.
    """
    device = machine.pick_device(run.device)
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(connect(device))
        stack.enter_context(machine.numerics(device, deterministic=run.deterministic))
        shown = screen if screen is not None and group.is_main else Silent()
        stack.callback(shown.close)
        trainer = _Trainer(task, data, run, evaluator, shown, group, device)
        trainer.open(stack, resume)
        with Stop() as stop:
            return trainer.run_to_the_end(stop)


class _Trainer:
    # One run of one process.

    def __init__(
        self,
        task: Task,
        data: TrainingData,
        run: RunConfig,
        evaluator: Evaluator | None,
        screen: Screen | Silent,
        group: ProcessGroup,
        device: torch.device,
    ) -> None:
        if run.evals and evaluator is None:
            raise UsageError(
                f"--eval {run.evals[0]} needs an evaluator, and none was handed in; train by the command "
                "evalkit train, or give train() one"
            )
        check_data(task, data, run)
        self.task, self.data, self.run, self.evaluator = task, data, run, evaluator
        self.screen, self.group, self.device = screen, group, device
        self.folder = RunFolder(Path(run.output))
        self.images, self.index = 0, 0
        self.best: dict[str, Any] | None = None
        self.scores: dict[str, Score] = {}
        self.averages, self.health = Averages(device), Health()
        self.saved: Path | None = None
        self.latest_values: dict[str, float] = {}

    # ------------------------------------------------------------------------------------------ opening

    def open(self, stack: contextlib.ExitStack, resume: str | None) -> None:
        """Takes the folder, moves the task to its device, and restores where that is asked."""
        run, group, task = self.run, self.group, self.task
        precision = PrecisionPolicy(run.precision)
        with precision.first_order(self.device):
            pass  # refuses what the device cannot, before anything is written

        def take_folder() -> None:
            self.folder.check_writable()
            stack.enter_context(self.folder.locked())
            if not resuming.goes_on_here(resume, self.folder):
                self.folder.check_fresh()

        group.on_main(take_folder)
        if self.evaluator is not None and run.evals:
            self.evaluator.check([each.metric for each in run.evals])
        task.set_precision(precision)
        task.to(self.device)
        self.feed = DataFeed(
            self.data,
            seed=run.seed,
            mirror_doubles=run.mirror and task.mirror_doubles,
            group=group,
            device=self.device,
            channels=task.img_channels,
        )
        self._restore(resume)
        group.broadcast(task.networks)
        if run.compile:
            task.compile()
        self.log = Log(self.folder.root, tensorboard=run.tensorboard, is_main=group.is_main)
        stack.callback(self.log.close)
        self.log.keep_until(self.images)
        group.on_main(self._begin)

    def _facts(self) -> dict[str, Any]:
        return {
            "run": self.run.as_json(),
            "task": dict(self.task.config()),
            "data": self.data.fingerprint,
            "machine": machine.describe(self.device, self.group.size),
        }

    def _restore(self, resume: str | None) -> None:
        found = resuming.find(resume, self.folder, self.group, self.screen)
        if found is None:
            return
        path, tensors, facts = found
        for line in resuming.compare(path, facts, self._facts()):
            self.screen.say(line)
        state.restore(self.task, tensors, facts, str(path))
        self.images, self.index, self.feed.position = facts["images"], facts["iteration"], facts["position"]
        # The best network of another folder is not here.
        self.best = facts["best"] if resuming.goes_on_here(resume, self.folder) else None
        self.health.counts = dict(facts["health"])
        self.averages.restore(facts["averages"])
        self.saved = path
        self.screen.say(f"resumed from {path} after {self.images / 1000:g} kimg")

    def _begin(self) -> None:
        self.folder.write_config(self._facts())
        if self.saved is None:
            outputs.draw_reals(self.folder, self.task, self.run, self.data)
            outputs.draw_fakes(self.folder, self.task, self.run, self.data, 0)

    # ------------------------------------------------------------------------------------------ training

    def run_to_the_end(self, stop: Stop) -> Result:
        """Iterates until the images are seen, or until a signal says to stop."""
        run, total = self.run, self.run.total_images
        held = torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0
        started = self._clock = time.perf_counter()
        self._clock_images = self.images
        stopped = False
        if self.images >= total:
            self.screen.say(f"nothing is left to do: {self.images / 1000:g} of {run.kimg:g} kimg are trained")
            self.group.on_main(self._save_network)
        batch, config = max(self.task.batch // self.group.size, 1), self.task.config()
        while self.images < total and not stopped:
            before = self.images
            with machine.explain_memory(self.device, config, batch, held):
                self._iterate()
            self._do_what_is_due(before)
            self.screen.progress(self.images, total, self.latest_values, time.perf_counter() - started)
            stopped = self.group.agree(stop.asked)
        if stopped and self.images < total:
            self._save()
            again = f" in {self.group.size} processes" if self.group.size > 1 else ""
            self.screen.say(
                f"stopped after {self.images / 1000:g} kimg, with everything saved; resume{again} with: "
                f"{run.command()}"
            )
        assert self.saved is not None
        return Result(
            self.images,
            self.scores,
            self.best,
            self.folder.network,
            self.saved,
            (stop.signal or "SIGTERM") if stopped and self.images < total else None,
        )

    def _iterate(self) -> None:
        rng = torch.Generator(self.device)
        rng.manual_seed(iteration_seed(self.run.seed, self.index, self.group.rank))
        report = self.task.iterate(
            Iteration(index=self.index, images=self.images, feed=self.feed, rng=rng, group=self.group)
        )
        self.averages.add(report.values)
        self.index += 1
        self.images += report.images

    def _do_what_is_due(self, before: int) -> None:
        run = self.run
        last = self.images >= run.total_images
        snapshot = last or self._passes(before, run.snapshot_images)
        metrics = [
            each.metric
            for each in run.evals
            if (snapshot if each.every_kimg is None else last or self._passes(before, each.every_kimg * 1000))
        ]
        if not (snapshot or metrics or self._passes(before, run.tick_images)):
            return
        row = self._tick()
        improved = bool(metrics) and self._evaluate(metrics, row)
        self.group.on_main(lambda: self.log.write(row))
        if snapshot or improved:
            self._save()
        if snapshot:
            self.group.on_main(self._draw)
        self._clock, self._clock_images = time.perf_counter(), self.images

    def _passes(self, before: int, period: float) -> bool:
        return self.images // period > before // period

    def _tick(self) -> dict[str, float | int | str]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - self._clock
        values = self.averages.means(self.group)
        if (wrong := self.health.diagnose(values)) is not None:
            raise self._diverged(wrong)
        self.latest_values = values
        row: dict[str, float | int | str] = {
            "images": self.images,
            "kimg": self.images / 1000,
            "iteration": self.index,
        }
        row |= values
        row["time/s_per_kimg"] = 1000 * seconds / max(self.images - self._clock_images, 1)
        row["time/unix"] = time.time()
        row |= machine.memory(self.device)
        machine.reset_peak(self.device)
        return row

    def _diverged(self, wrong: str) -> TrainingError:
        kept = f"the last good checkpoint is {self.saved}" if self.saved else "there is no checkpoint yet"
        return TrainingError(
            f"training diverged after {self.images / 1000:g} kimg: {wrong}; {kept}. Try, in another "
            f"--output: {what_to_try(self.task.config())}"
        )

    # ----------------------------------------------------------------------------------------- evaluation

    def _evaluate(self, metrics: list[str], row: dict[str, float | int | str]) -> bool:
        # Whether the first evaluation has never been better.
        scores = self._measure(metrics, row)
        self.scores = {score.metric: score for score in scores}
        for score in scores:
            row[f"metrics/{score.metric}"] = score.value
            if score.interval is not None:
                row[f"metrics/{score.metric}/low"], row[f"metrics/{score.metric}/high"] = score.interval
        first = self.run.evals[0].metric
        if first not in metrics or not scores:
            return False
        # A protocol of several numbers is judged by its first; it was asked for first.
        chosen = next((each for each in scores if each.metric == first), scores[0])
        same = self.best is not None and self.best["metric"] == chosen.metric  # --eval may have changed
        if same and not _better(chosen, self.best["value"]):  # type: ignore[index]
            return False
        self.best = {"metric": chosen.metric, "value": chosen.value, "images": self.images}
        self.best["kimg"] = self.images / 1000
        path = self.folder.best
        self.group.on_main(lambda: outputs.save_network(path, self.task, self.run, self.data, self.images))
        return True

    def _measure(self, metrics: list[str], row: dict[str, float | int | str]) -> list[Score]:
        assert self.evaluator is not None
        self._check_finite()
        self.screen.close()  # the terminal is the evaluator's for a while
        model = outputs.model_of(self.task, self.run, self.data, self.images)
        failure: EvalkitError | None = None
        scores: list[Score] = []
        try:
            scores = self.evaluator.measure(
                model,
                metrics=metrics,
                data=self.run.eval_data or self.run.data,
                num=self.run.eval_num,
                name=model.name,
                kimg=self.images / 1000,
                checkpoint_sha256=model.training["checkpoint_sha256"],
                output=self.folder.results,
            )
        except EvalkitError as error:
            failure = error
        if not self.group.agree(failure is not None):
            return scores
        # What was trained does not depend on how it is measured.
        self.group.on_main(lambda: self.log.write(row))
        self._save()
        raise failure or TrainingError(
            f"process {self.group.rank} stops because another one could not measure; read what that one says"
        )

    # --------------------------------------------------------------------------------------------- saving

    def _check_finite(self) -> None:
        if bad := state.not_finite(self.task.networks):
            raise self._diverged(f"{', '.join(bad[:3])} hold NaN or infinities")

    def _save(self) -> None:
        self._check_finite()
        averages = self.averages.state(self.group)
        self.group.on_main(lambda: self._write_checkpoint(averages))
        self.saved = checkpoint.path_of(self.folder.checkpoints, self.images)

    def _write_checkpoint(self, averages: dict[str, Any]) -> None:
        tensors, facts = state.collect(self.task)
        facts |= self._facts() | {
            "images": self.images,
            "iteration": self.index,
            "position": self.feed.position,
            "best": self.best,
            "averages": averages,
            "health": self.health.counts,
        }
        checkpoint.save(self.folder.checkpoints, self.images, tensors, facts)
        best = [] if self.best is None else [checkpoint.path_of(self.folder.checkpoints, self.best["images"])]
        checkpoint.prune(self.folder.checkpoints, self.run.keep, best)
        self._save_network()

    def _save_network(self) -> None:
        outputs.save_network(self.folder.network, self.task, self.run, self.data, self.images)

    def _draw(self) -> None:
        outputs.draw_fakes(self.folder, self.task, self.run, self.data, self.images)
        outputs.draw_curves(self.folder, self.log.rows())


def _better(score: Score, than: float) -> bool:
    return score.value > than if score.higher_is_better else score.value < than
