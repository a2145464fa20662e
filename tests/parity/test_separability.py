"""Linear separability against the official code: kept samples, joint tables, entropies, scores."""

from __future__ import annotations

import numpy as np
import pytest
from tensor_cases import TensorCase, names_of

from evalkit.metrics.latent.separability import (
    AttributeSeparability,
    attribute,
    conditional_entropy,
    most_confident,
    probabilities,
    separability,
)
from golden_cases import Golden, find_cases, fitting

HANDLES = ("metrics/linear_separability*", "stylegan1_ls*")
ARRAYS = {name: path for name, path in find_cases().items() if fitting(name, HANDLES[:1])}


@pytest.mark.parametrize("name", names_of("stylegan1_ls*"))
def test_official_samples(name: str):
    """Everything from the official float32 softmax; the scores once more from the logits alone."""
    case = TensorCase(name)
    num_keep = case.kwargs["num_keep"]
    num = len(case.kwargs["attributes"])
    predictions = [case.arrays[f"predictions.{index}"] for index in range(num)]
    for index, given in enumerate(predictions):
        np.testing.assert_allclose(probabilities(case.arrays[f"logits.{index}"]), given, rtol=2e-6, atol=1e-9)
    found: dict[tuple[str, str], AttributeSeparability] = {
        (str(index), space): attribute(case.arrays[space], given, num_keep, str(index))
        for index, given in enumerate(predictions)
        for space in ("latents", "dlatents")
    }
    case.compare(r"attr(\d+)\.kept", lambda index: most_confident(predictions[int(index)], num_keep))
    case.compare(
        r"attr(\d+)\.targets_kept",
        lambda index: predictions[int(index)][most_confident(predictions[int(index)], num_keep)].argmax(
            axis=1
        ),
    )
    case.compare(r"attr(\d+)\.(d?latents)\.joint", lambda index, space: found[index, space].joint)
    case.compare(
        r"attr(\d+)\.(d?latents)\.cond_entropy", lambda index, space: np.array(found[index, space].entropy)
    )
    case.compare(
        r"formula\.cond_entropy",
        lambda: np.array([conditional_entropy(table) for table in case.arrays["formula.joint"]]),
    )
    logits = np.stack([case.arrays[f"logits.{index}"] for index in range(num)], axis=1)
    spaces = {"z": case.arrays["latents"], "w": case.arrays["dlatents"]}
    case.compare(
        r"score\.([zw])",
        lambda space: np.array(separability(spaces[space], logits, num_keep=num_keep).score),
    )
    case.finish()
    one_class = [each.one_class for (index, space), each in found.items() if space == "latents"]
    assert one_class == [what == "const" for what in case.kwargs["attributes"]]


@pytest.mark.skipif(not ARRAYS, reason="no golden cases of linear separability; set $EVALKIT_GOLDEN")
@pytest.mark.parametrize("name", ARRAYS or ["none"])
def test_arrays(name: str):
    golden = Golden(ARRAYS[name])
    logits, num_keep = golden["logits"], golden.number("num_keep")
    found = {space: separability(golden[space], logits, num_keep=num_keep) for space in ("z", "w")}
    golden.compare("stylegan__ls_([zw])", lambda space: found[space].score, rtol=2e-2)
    golden.compare(
        "rule__kept_indices",
        lambda: [most_confident(probabilities(column), num_keep) for column in logits.T],
    )
    pairs = list(zip(found["z"].attributes, found["w"].attributes, strict=True))
    golden.compare(
        "stylegan__joint_tables_attr_space_row_col",
        lambda: [[each.joint for each in pair] for pair in pairs],
        atol=0.0031,
    )
    golden.compare(
        "stylegan__cond_entropy_bits", lambda: [[each.entropy for each in pair] for pair in pairs], atol=0.02
    )
    entropies = [conditional_entropy(table) for table in golden["tables"]]
    golden.compare("stylegan__tables_cond_entropy_bits", lambda: entropies, rtol=1e-5, atol=1e-9)
    targets = golden["tables"].sum(axis=1)
    of_targets = [
        -sum(share * np.log2(share) for share in row if share > 0) for row in targets.astype(np.float64)
    ]
    golden.compare(
        "stylegan__tables_mutual_information_bits",
        lambda: np.subtract(of_targets, entropies),
        rtol=1e-5,
        atol=1e-9,
    )
    golden.compare("stylegan__tables_score", lambda: 2 ** sum(entropies), rtol=1e-5)
    golden.finish()
