"""Classification of decoded pictures by the network of `metrics.classifier`.

Agreement asks whether the classifier says of the decoded picture what it says of the original; it needs no labels and its ceiling is 1.
Accuracy asks whether it is right; originals themselves set its ceiling, and the loss is the difference to that, not to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.metrics import classifier
from smalti.metrics.classifier import Classifier
from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Signal


class ClassificationAgreement:
    """Share of pictures whose first class stays what it was on the original, in [0, 1]."""

    name = "classification-agreement"

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded)
        same = self.network(references).classes == self.network(decoded).classes
        return Score(float(same.mean()), "", "higher", f"top-1 as on the original, {classifier.NAME}")

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


class ClassificationAccuracy:
    """Share of pictures whose first class is their label, in [0, 1]. labels: ImageNet class numbers, one for each reference in order."""

    name = "classification-accuracy"

    def __init__(self, network: Classifier, labels: Sequence[int]) -> None:
        self.network = network
        self.labels = np.asarray(labels, np.int64)

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded)
        if len(references) != len(self.labels):
            raise SignalError(f"{len(references)} pictures for {len(self.labels)} labels; give one label for each")
        right = self.network(decoded).classes == self.labels
        return Score(float(right.mean()), "", "higher", f"top-1 of ImageNet's 1000 classes, {classifier.NAME}")

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def agreement(device: str = "cpu") -> ClassificationAgreement:
    """Agreement as seen by the ImageNet classifier."""
    return ClassificationAgreement(classifier.load(device))


def accuracy(labels: Sequence[int], device: str = "cpu") -> ClassificationAccuracy:
    """Accuracy of the ImageNet classifier."""
    return ClassificationAccuracy(classifier.load(device), labels)
