"""Linear separability from latents and logits, with its error bar. Reads rows; knows no model or device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.engine.procedures.distribution import Measured
from evalkit.engine.progress import Reporter, Silent
from evalkit.errors import MetricError
from evalkit.metrics.latent.separability import separability
from evalkit.metrics.rows import Rows
from evalkit.protocols.spec import ProtocolSpec, SeparabilityOptions
from evalkit.uncertainty.entropy import exponential_estimate


def measure_separability(
    spec: ProtocolSpec,
    tables: Mapping[str, Rows],
    seed: int,
    names: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> list[Measured]:
    """The score of every space of ``spec``.

    Args:
        spec: A protocol with `SeparabilityOptions`.
        tables: Rows of every space and of ``logits``, in the same order.
        seed: Seed of the draws: of the samples, and of the support vector machine where it draws.
        names: Of the attributes; their numbers where None.
        reporter: Where progress goes: fits of the official size take seconds each.

    Returns:
        One number a space. Its extras: ``entropy_<attribute>`` in bits and ``bits``, their sum;
        ``accuracy_<attribute>`` of the hyperplane, where there are two classes to tell; ``num_kept``, the
        samples behind each; ``num_one_class``, attributes that count as 0 because one class was kept.

    Raises:
        MetricError: Values are not finite, there are too few rows to keep a share of, or every attribute was
            kept in one class: the score would be 1, as of a perfect space, for nothing told.
    """
    assert isinstance(spec.options, SeparabilityOptions)
    logits = tables["logits"]
    num_keep = int(spec.options.keep * len(logits))
    found = []
    for space, name in zip(spec.options.spaces, spec.values, strict=True):
        with (reporter or Silent()).track(name, unit="attributes") as progress:
            result = separability(
                tables[space], logits, num_keep=num_keep, names=names, penalty=spec.options.penalty,
                seed=seed, progress=progress,
            )  # fmt: skip
        told = [each for each in result.attributes if not each.one_class]
        if not told:
            raise MetricError(
                f"{spec.name}: all {len(result.attributes)} attributes had one class among the {num_keep:,} "
                "samples their classifiers are surest of, so there is nothing to separate; take more samples "
                "(--num), or classifiers of what the model makes (--attributes)"
            )
        extras = {f"entropy_{each.name}": each.entropy for each in result.attributes}
        extras |= {f"accuracy_{each.name}": each.accuracy for each in told}
        extras |= {
            "bits": result.bits,
            "num_kept": float(num_keep),
            "num_one_class": float(len(result.attributes) - len(told)),
        }
        estimate = exponential_estimate(
            result.bits, result.influence, notes=result.notes, num_judged=num_keep,
            perfect=sum(each.accuracy == 1 for each in told),
        )  # fmt: skip
        found.append(Measured(metric=name, estimate=estimate, extras=extras, seed=seed))
    return found
