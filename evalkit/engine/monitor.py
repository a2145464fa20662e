"""Measures a generator while it trains: what a training loop asks for, answered by whole evaluations.

A loop knows no metric; whoever puts the program together hands it a `TrainingMonitor`, which has the shape of
`reference_models.training.task.Evaluator`. Features of the real images are kept and found again at the next
call. Those of the samples are of no further use and would fill a disk within one long training: they lie in
a hidden folder beside the results while they are computed, and are deleted then.

Under ``torchrun`` the processes share the work as in any evaluation. Process 0 computes the scores and sends
them to the others as JSON, and its failure too, so that none waits for what does not come.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.engine.distributed import world
from evalkit.engine.judges import readiness
from evalkit.engine.progress import Reporter, Silent
from evalkit.engine.run import evaluate
from evalkit.errors import EvalkitError, MetricError, TrainingError, WeightsError
from evalkit.protocols import catalog
from evalkit.records.schema import Record, Training

if TYPE_CHECKING:
    import torch


class Score(NamedTuple):
    """One number that an evaluation gave.

    Attributes:
        metric: Its name.
        value: The number.
        interval: 95 % interval, where there is one.
        higher_is_better: Direction.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None
    higher_is_better: bool


class TrainingMonitor:
    """Measures a generator while it trains, and files records that say after how many images."""

    def __init__(
        self,
        *,
        device: str = "auto",
        weights_dir: Path | str | None = None,
        cache_dir: Path | str | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        """Says how networks run.

        Args:
            device: ``auto`` is where the generator is; else ``cpu``, ``cuda`` or ``cuda:N``.
            weights_dir: Folder of weight files.
            cache_dir: Where features of the real images are kept.
            reporter: Where progress goes; nowhere where None.
        """
        self.device, self.weights_dir = device, weights_dir
        self.cache_dir, self.reporter = cache_dir, reporter

    def check(self, metrics: Sequence[str]) -> None:
        """Refuses protocols that cannot be run, before training starts.

        Args:
            metrics: Names of protocols or groups of them.

        Raises:
            UsageError: A name is unknown; the nearest are offered.
            WeightsError: Weights are missing, partial or wrong; the message says what to do.
        """
        for spec in catalog.select(list(metrics)):
            state = readiness(spec, self.weights_dir)
            if not state.ok:
                raise WeightsError(f"{spec.name} cannot be measured: {state.detail}")

    def measure(
        self,
        model: Any,  # noqa: ANN401 - known by shape (`evalkit.adapters.capabilities`)
        *,
        metrics: Sequence[str],
        data: Any,  # noqa: ANN401 - what `evalkit.sources.resolve` takes
        num: int | None,
        name: str,
        kimg: float,
        checkpoint_sha256: str,
        output: Path,
    ) -> list[Score]:
        """Measures and files records, which carry ``kimg`` and ``checkpoint_sha256``.

        Args:
            model: What makes the samples, of the seeds 0, 1, ….
            metrics: Names of protocols or groups of them.
            data: Real images to compare with.
            num: Samples; where None what the protocols ask for, or one for every real image (50,000 at most).
            name: Name of the samples in tables.
            kimg: Thousands of images that training has seen.
            checkpoint_sha256: Digest of the generator's weights.
            output: Results folder; the same on every process.

        Returns:
            The scores in the order of ``metrics``, on every process; none of a metric that does not apply to
            the model, or is not defined on what it makes as yet.

        Raises:
            EvalkitError: The evaluation cannot be run; the message says why.
            TrainingError: Process 0 could not measure, and says why.
        """
        output = Path(output)
        # Beside the results and not among them: whoever reads those meanwhile finds records alone.
        apart = output.with_name(f".{output.name}-samples")
        failure: EvalkitError | None = None
        scores: list[Score] = []
        try:

            def measured(names: Sequence[str]) -> list[Record]:
                try:
                    return evaluate(
                        model=model, metrics=names, data=data, num=num, name=name, output=output,
                        training=Training(kimg=kimg, checkpoint_sha256=checkpoint_sha256),
                        device=_device_of(model) if self.device == "auto" else self.device,
                        weights_dir=self.weights_dir, cache_dir=self.cache_dir, samples_cache_dir=apart,
                        reporter=self.reporter,
                    )  # fmt: skip
                except MetricError as error:
                    specs = catalog.select(list(names))
                    if all(spec.capability is None for spec in specs):
                        raise
                    # A young generator may make nothing that a metric of it is defined on; it goes on.
                    if len(specs) == 1:
                        (self.reporter or Silent()).say(f"no score this time: {error}")
                        return []
                    return [record for spec in specs for record in measured([spec.name])]

            scores = [_score(record) for record in measured(metrics) if record.value is not None]
        except EvalkitError as error:
            failure = error  # raised below: process 0 sends its scores to all, and would wait for this one
        if (said := _from_main(None if failure else scores, model)) is not None:
            scores = said
        if world().is_main:
            shutil.rmtree(apart, ignore_errors=True)
        if failure is not None:
            raise failure
        return scores


def _score(record: Record) -> Score:
    assert record.value is not None
    return Score(record.metric, record.value, record.ci95, record.higher_is_better)


def _device_of(model: Any) -> str:  # noqa: ANN401
    return str(getattr(model, "device", "auto"))


def _from_main(scores: list[Score] | None, model: Any) -> list[Score] | None:  # noqa: ANN401
    # The scores of process 0, None there where it failed; None where there is one process. As JSON in a
    # tensor: no object of another process is unpickled, and floats come back digit for digit.
    import torch

    if world().size == 1 or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    nccl = torch.distributed.get_backend() == "nccl"
    device: torch.device | str = getattr(model, "device", "cuda") if nccl else "cpu"
    text = json.dumps(scores).encode()
    length = torch.tensor([len(text)], dtype=torch.int64, device=device)
    torch.distributed.broadcast(length, src=0)
    if not world().is_main:
        text = bytes(int(length))
    sent = torch.tensor(list(text), dtype=torch.uint8, device=device)
    torch.distributed.broadcast(sent, src=0)
    torch.distributed.barrier()  # process 0 sends without waiting, and deletes what others may still read
    found = json.loads(bytes(sent.cpu().tolist()))
    if found is None:
        if world().is_main:
            return None
        raise TrainingError(
            f"process {world().rank} stops because process 0 could not measure; read what that one says"
        )
    return [
        Score(metric, value, None if interval is None else (interval[0], interval[1]), higher)
        for metric, value, interval, higher in found
    ]
