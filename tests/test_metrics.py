"""Scores are ratios of counts summed over the split, checked against plain loops over pixels."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from segrun.metrics import Scores, confusion
from segrun.types import VOID

NAMES = ("sky", "road", "car", "tree")


def pictures(count: int = 6, absent: int | None = None, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Predictions and truths of mixed sizes; the truth is void in places, the prediction right in most."""
    rng = np.random.default_rng(seed)
    labels = [c for c in range(len(NAMES)) if c != absent]
    pairs = []
    for _ in range(count):
        size = tuple(rng.integers(5, 15, 2))
        truth = rng.choice(labels, size, p=[0.7, *[0.3 / (len(labels) - 1)] * (len(labels) - 1)])
        guess = np.where(rng.random(size) < 0.6, truth, rng.choice(labels, size))
        truth[rng.random(size) < 0.2] = VOID
        pairs.append((torch.from_numpy(guess.astype(np.uint8)), torch.from_numpy(truth.astype(np.uint8))))
    return pairs


def scored(pairs: list[tuple[Tensor, Tensor]]) -> Scores:
    total = sum(confusion(guess, truth, len(NAMES)) for guess, truth in pairs)
    assert isinstance(total, Tensor)
    return Scores.of(total, NAMES)


def sets(pairs: list[tuple[Tensor, Tensor]], label: int) -> tuple[int, int, int]:
    """tp, fp, fn of a class, pixel by pixel."""
    tp = fp = fn = 0
    for guess, truth in pairs:
        for g, t in zip(guess.flatten().tolist(), truth.flatten().tolist(), strict=True):
            if t != VOID:
                tp += g == t == label
                fp += g == label != t
                fn += t == label != g
    return tp, fp, fn


def test_the_confusion_matrix_has_truth_by_row_and_prediction_by_column() -> None:
    truth = torch.tensor([[0, 0, 1, VOID]], dtype=torch.uint8)
    guess = torch.tensor([[0, 2, 1, 3]])
    assert confusion(guess, truth, 4).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_every_score_is_that_of_a_count_of_single_pixels() -> None:
    pairs = pictures()
    found = scored(pairs)
    for label in range(4):
        tp, fp, fn = sets(pairs, label)
        assert float(found.iou[label]) == pytest.approx(tp / (tp + fp + fn))
        assert float(found.dice[label]) == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert float(found.precision[label]) == pytest.approx(tp / (tp + fp))
        assert float(found.recall[label]) == pytest.approx(tp / (tp + fn))
    counts = [sets(pairs, label) for label in range(4)]
    assert found.miou == pytest.approx(sum(tp / (tp + fp + fn) for tp, fp, fn in counts) / 4)
    right, valid = sum(c[0] for c in counts), sum(int((truth != VOID).sum()) for _, truth in pairs)
    assert found.accuracy == pytest.approx(right / valid)


def test_batches_cannot_change_the_scores() -> None:
    pairs = pictures(6)
    whole = scored(pairs)
    joined = (torch.cat([p[i].flatten() for p in pairs])[None] for i in range(2))
    assert torch.equal(scored([tuple(joined)]).matrix, whole.matrix)
    averaged = sum(scored([pair]).miou for pair in pairs) / len(pairs)
    assert whole.miou != pytest.approx(averaged, abs=1e-3)  # the mistake would show


def test_void_pixels_count_for_nothing() -> None:
    pairs = pictures()
    changed = [(torch.where(truth == VOID, 1, guess), truth) for guess, truth in pairs]
    assert torch.equal(scored(changed).matrix, scored(pairs).matrix)
    assert int(scored(pairs).matrix.sum()) == sum(int((truth != VOID).sum()) for _, truth in pairs)


def test_a_class_absent_from_truth_and_prediction_is_left_out_and_named() -> None:
    pairs = pictures(absent=2)
    found = scored(pairs)
    assert found.absent_classes == ("car",)
    assert math.isnan(float(found.iou[2]))
    ious = [tp / (tp + fp + fn) for tp, fp, fn in (sets(pairs, label) for label in (0, 1, 3))]
    assert found.miou == found.miou_present == pytest.approx(sum(ious) / 3)


def test_a_class_predicted_but_not_there_scores_0_and_counts_in_miou_alone() -> None:
    truth, guess = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 2, 1, 1]])
    found = scored([(guess, truth)])
    assert found.iou[:3].tolist() == [0.5, 1, 0] and found.absent_classes == ("tree",)
    assert found.miou == pytest.approx(0.5)
    assert found.miou_present == pytest.approx(0.75)


def test_a_class_never_found_has_recall_0_and_no_precision() -> None:
    found = scored([(torch.tensor([[0, 0]]), torch.tensor([[0, 1]]))])
    assert found.recall[1] == 0 and found.iou[1] == 0
    assert found.summary()["per_class"]["road"]["precision"] is None  # type: ignore[index]


def test_nothing_but_void_gives_no_scores_and_no_error() -> None:
    found = scored([(torch.zeros(2, 2), torch.full((2, 2), VOID))])
    assert math.isnan(found.miou) and math.isnan(found.accuracy) and found.absent_classes == NAMES
    assert found.summary()["miou"] is None


def test_large_counts_stay_exact() -> None:
    matrix = torch.tensor([[2**53 - 1, 1], [0, 2**24 + 1]])
    found = Scores.of(matrix, ("a", "b"))
    assert float(found.iou[1]) == (2**24 + 1) / (2**24 + 2)
    assert found.summary()["confusion"] == matrix.tolist()


def test_the_summary_is_plain_json_with_null_for_no_score() -> None:
    summary = json.loads(json.dumps(scored(pictures(absent=1)).summary(), allow_nan=False))
    assert summary["absent"] == ["road"]
    assert summary["per_class"]["road"] == {"iou": None, "dice": None, "precision": None, "recall": None}
    ious = [row["iou"] for row in summary["per_class"].values() if row["iou"] is not None]
    assert summary["miou"] == pytest.approx(sum(ious) / 3, abs=1e-6)
