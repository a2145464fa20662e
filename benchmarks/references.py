"""Trains the small reference networks of this repository again, measures them, and files both.

`make references` runs it. Each network is trained by ``evalkit train``, as any user would, on the training
half of the handwritten digits at their own 8x8, and measured by ``evalkit.evaluate`` against the half that
training never saw, which is what the quickstart does with its models. It lies among the benchmarks because it
needs all three packages and leaves results that are committed; ``leaderboards`` may import no model.

    python benchmarks/references.py --jobs 2               # train two at a time, measure, file
    python benchmarks/references.py --check                # train, measure, compare with what is on file
    python benchmarks/references.py --check --measure      # the same of the networks on file, in a minute

A run that was stopped goes on where it stopped. Each training uses one thread, so that its sums are the same
whatever the number of cores; ``--jobs`` trains several side by side. On another kind of processor training
draws other bits, so ``--check`` asks whether the 95 % intervals of the old and the new number overlap, and
exits with 1 where they do not.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import ROOT
from evalkit.files import write_text
from evalkit.records.schema import Record
from evalkit.records.store import RecordStore, read_records, slug
from reference_networks import (
    EQUIVARIANCE,
    FILED,
    METRICS,
    NUM,
    NUM_MOVED,
    NUM_RESTORED,
    REFERENCES,
    RESTORED,
    SCALE,
    TEST,
    TRAIN,
    Reference,
    named,
)
from reference_pages import interval, readme, table


def command(reference: Reference, folder: Path, kimg: float, device: str) -> list[str]:
    """The words that train it into ``folder``."""
    changed = [word for setting in reference.settings for word in ("--set", setting)]
    changed += [] if reference.restores else ["--eval", "fd_mini"]
    return [
        "train", reference.model, "--preset", reference.preset, "--data", TRAIN, "--fit", reference.fit,
        *changed, "--kimg", f"{kimg:g}", "--seed", "0", "--device", device,
        "--output", str(folder), "--resume", "auto",
    ]  # fmt: skip


def publish(reference: Reference, run: Path, folder: Path) -> None:
    """Copies what a finished run left into ``folder``: network, config, curves and samples."""
    network = run / "network"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in (".safetensors", ".json"):
        shutil.copyfile(network.with_suffix(ending), folder / f"{reference.name}{ending}")
    config = json.loads((run / "config.json").read_text())
    config["run"]["output"] = reference.name  # where it lay on this machine is of no use to others
    config["seconds"] = round(seconds(run / "log.jsonl"), 1)
    write_text(folder / f"{reference.name}.run.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    shutil.copyfile(run / "curves.png", folder / f"{reference.name}.curves.png")
    newest = max((run / "samples").glob("fakes-*.png"))
    shutil.copyfile(newest, folder / f"{reference.name}.samples.png")


def seconds(log: Path) -> float:
    """Seconds of training behind a log, without evaluations and pictures."""
    total = seen = 0.0
    for line in log.read_text().splitlines():
        row = json.loads(line)
        total += (row["kimg"] - seen) * row["time/s_per_kimg"]
        seen = row["kimg"]
    return total


def measure(
    reference: Reference, networks: Path, records: Path, device: str, limit: int | None = None
) -> list[Record]:
    """Measures the network in ``networks`` and files records that name no place on this machine.

    Beside one that restores, enlargements by rule of the same images are measured.

    Args:
        reference: The network.
        networks: Its folder.
        records: Where records are filed.
        device: Where networks run.
        limit: So many images instead of all.
    """
    import reference_models

    model = reference_models.load_checkpoint(networks / f"{reference.name}.safetensors")
    model.name = f"{reference.name}.safetensors"
    evaluated = _restored if reference.restores else _drawn
    made = [portable(record) for record in evaluated(reference, model, device, limit)]
    for board, name in {(each.data.name, each.samples.name) for each in made if each.data}:
        shutil.rmtree(records / slug(board) / slug(name), ignore_errors=True)  # an older network's
    store = RecordStore(records)
    for record in made:
        store.append(record)
    return made


def _drawn(reference: Reference, model: object, device: str, limit: int | None) -> list[Record]:
    import evalkit
    from evalkit.engine.progress import reporter

    asked = {METRICS: NUM, **({",".join(EQUIVARIANCE): NUM_MOVED} if reference.is_large else {})}
    if reference.bounds:
        asked[reference.bounds] = NUM
    return [
        record
        for title, settings in {reference.title: {}, **reference.also}.items()
        for metrics, num in asked.items()
        for record in evalkit.evaluate(
            model=model, data=TEST, data_limit=limit, metrics=metrics, num=min(num, limit or num),
            name=named(title), data_name="digits", sampling=settings, output=None, device=device,
            reporter=reporter(),
        )
    ]  # fmt: skip


def _restored(reference: Reference, model: object, device: str, limit: int | None) -> list[Record]:
    import evalkit
    from evalkit.engine.progress import reporter

    return evalkit.evaluate_restoration(
        sr_model=model, hr=TEST, scale=SCALE, data_limit=limit, metrics=RESTORED, samples=NUM_RESTORED,
        name=named(reference.title), data_name="digits", output=None, device=device, reporter=reporter(),
    )  # fmt: skip


def portable(record: Record) -> Record:
    """The record without paths of this machine in its provenance."""
    told = dict(record.provenance)
    told["argv"] = ["benchmarks/references.py"]
    if told.get("weights_file"):
        told["weights_file"] = Path(str(told["weights_file"])).name
    return dataclasses.replace(record, provenance=told)


def differences(filed: Sequence[Record], fresh: Sequence[Record]) -> list[str]:
    """What keeps fresh records from confirming those on file; a sentence each."""
    old = {(record.samples.name, record.metric): record for record in filed}
    new = {(record.samples.name, record.metric): record for record in fresh}
    found = []
    for key in sorted(old.keys() | new.keys()):
        what = f"{key[0]}, {key[1]}"
        if key not in old or key not in new:
            found.append(f"{what}: is {'not on file' if key not in old else 'on file alone'}")
            continue
        a, b = old[key], new[key]
        setting = [
            name
            for name, left, right in (
                ("protocol", a.protocol.get("digest"), b.protocol.get("digest")),
                ("weights of the extractor", a.extractor, b.extractor),
                ("real images", a.data and a.data.fingerprint, b.data and b.data.fingerprint),
                ("number of samples", a.samples.num, b.samples.num),
            )
            if left != right
        ]
        if setting:
            found.append(f"{what}: another {' and another '.join(setting)}")
        elif (a.value is None) != (b.value is None) or (
            a.value is not None and not overlap(interval(a), interval(b))
        ):
            found.append(f"{what}: {_told(a)} on file, {_told(b)} now")
    return found


def _told(record: Record) -> str:
    return "no number" if record.value is None else f"{record.value:g} {interval(record)}"


def overlap(left: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether two intervals have a number in common."""
    return left[0] <= right[1] and right[0] <= left[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, measures, and files or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=FILED, help="folder of networks and records")
    parser.add_argument("--work", type=Path, default=Path("reference-runs"), help="folder of the runs")
    parser.add_argument("--only", nargs="*", choices=sorted(REFERENCES), help="these alone")
    parser.add_argument("--check", action="store_true", help="file nothing in --output; compare with it")
    parser.add_argument("--measure", action="store_true", help="train nothing; measure what lies in --output")
    parser.add_argument("--kimg", type=float, help="train so long instead, to try the script out")
    parser.add_argument("--limit", type=int, help="measure with so many images instead, to try it out")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, one thread each")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    arguments = parser.parse_args(argv)
    chosen = [REFERENCES[name] for name in arguments.only or REFERENCES]
    if arguments.measure:  # those that are there
        chosen = [
            each for each in chosen if (each.home(arguments.output) / f"{each.name}.safetensors").exists()
        ]
    target: Path = arguments.work / "check" if arguments.check else arguments.output
    networks: Path = arguments.output if arguments.measure else target
    # A check trains anew: finished runs of the networks on file would be compared with themselves.
    runs: Path = arguments.work / "check-runs" if arguments.check else arguments.work
    fresh: list[Record] = []
    if not arguments.measure:

        def train(reference: Reference) -> int:
            kimg = arguments.kimg or reference.kimg
            words = command(reference, runs / reference.name, kimg, arguments.device)
            program = [sys.executable, str(ROOT / "run_eval.py"), *words]
            return subprocess.call(program, env={**os.environ, "OMP_NUM_THREADS": "1"})

        with ThreadPoolExecutor(max(arguments.jobs, 1)) as pool:
            codes = list(pool.map(train, chosen))
        if any(codes):  # they have said why
            return 1
        for reference in chosen:
            kimg = json.loads((runs / reference.name / "network.json").read_text())["kimg"]
            if kimg < (arguments.kimg or reference.kimg):
                print(f"{reference.name} was stopped after {kimg:g} kimg; start the same command again")
                return 1
    for reference in chosen:
        if not arguments.measure:
            publish(reference, runs / reference.name, reference.home(target))
        records = reference.home(target) / "records"
        home = reference.home(networks)
        fresh += measure(reference, home, records, arguments.device, arguments.limit)
        if not arguments.check:
            home = reference.home(arguments.output)
            write_text(home / "README.md", readme(home))
    homes = dict.fromkeys(reference.home(arguments.output) for reference in chosen)
    if not arguments.check:
        for home in homes:
            print(table(home))
        return 0
    names = {name for each in chosen for name in each.names}
    on_file = [home / "records" for home in homes]
    filed = [record for folder in on_file if folder.is_dir() for record in read_records(folder)]
    filed = [record for record in filed if record.samples.name in names]
    found = differences(filed, fresh)
    for line in found:
        print(line)
    print(f"{len(fresh)} numbers of {len(chosen)} networks: {len(found)} differ from those on file")
    return 1 if found or not fresh else 0


if __name__ == "__main__":
    sys.exit(main())
