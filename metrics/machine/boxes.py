"""Boxes that detectors draw: how far two overlap, which of many stand for one thing, and whether two sets say the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture, best first.

    boxes: float64 (N, 4), left, top, right, bottom in pixels. scores: float64 (N,) in [0, 1]. classes: int64 (N,).
    """

    boxes: Array
    scores: Array
    classes: Array

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: Array) -> Detections:
        return Detections(self.boxes[which], self.scores[which], self.classes[which])


def overlaps(a: Array, b: Array) -> Array:
    """Intersection over union of each box of (N, 4) with each of (M, 4): (N, M), 0 where both are without area."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(0, high - low), -1)
    areas_a, areas_b = (np.prod(np.maximum(0, boxes[:, 2:] - boxes[:, :2]), -1) for boxes in (a, b))
    union = areas_a[:, None] + areas_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppressed(found: Detections, threshold: float) -> Detections:
    """Greedy non-maximum suppression: from the best score on, boxes of its class that overlap a kept one by more than that go."""
    ranked = found.take(np.argsort(-found.scores, kind="stable"))
    crowded = overlaps(ranked.boxes, ranked.boxes) > threshold
    crowded &= ranked.classes[:, None] == ranked.classes[None]
    gone = np.zeros(len(ranked), bool)
    for i in range(len(ranked)):
        if not gone[i]:
            gone[i + 1 :] |= crowded[i, i + 1 :]
    return ranked.take(np.flatnonzero(~gone))


def matches(truth: Detections, found: Detections, least: float) -> int:
    """How many of `found` stand for one of `truth`: of the same class, overlapping by `least` or more, each used once.

    From the best score on, each takes the free one that it overlaps most, as in the COCO evaluation.
    """
    if not len(truth) or not len(found):
        return 0
    shared = np.where(truth.classes[:, None] == found.classes[None], overlaps(truth.boxes, found.boxes), 0.0)
    count = 0
    for column in np.argsort(-found.scores, kind="stable"):
        row = int(shared[:, column].argmax())
        if shared[row, column] >= least:
            shared[row] = 0
            count += 1
    return count


def f1(truth: Detections, found: Detections, least: float = 0.5) -> float:
    """2 matches / (all boxes of both), in [0, 1]; 1 where neither has any."""
    both = len(truth) + len(found)
    return 2 * matches(truth, found, least) / both if both else 1.0
