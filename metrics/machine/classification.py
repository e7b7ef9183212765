"""Classification of decoded pictures by the network of `metrics.classifier`.

Agreement asks whether the classifier says of the decoded picture what it says of the original; it needs no labels and its ceiling is 1.
Accuracy asks whether it is right; originals themselves set its ceiling, and the loss is the difference to that, not to 1. Either may look
at the first class alone, or take it as found where it is among the first five.
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
    """Share of pictures whose first class on the original is among the first `top` on the decoded one, in [0, 1]."""

    def __init__(self, network: Classifier, top: int = 1) -> None:
        self.network = network
        self.top = top
        self.name = "classification-agreement" + _suffix(top)

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        held = self.per_item(references, decoded)
        return Score(float(held.mean()), "", "higher", f"top-1 of the original in the top {self.top}, {classifier.NAME}")

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> np.ndarray:
        """1 where it agrees, else 0; float64 (N,)."""
        check_sets(references, decoded)
        return _among(self.network(references).classes, self.network(decoded).ranked[:, : self.top])

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


class ClassificationAccuracy:
    """Share of pictures whose label is among the first `top` classes, in [0, 1].

    labels: ImageNet class numbers, one for each reference in order.
    """

    def __init__(self, network: Classifier, labels: Sequence[int], top: int = 1) -> None:
        self.network = network
        self.labels = np.asarray(labels, np.int64)
        self.top = top
        self.name = "classification-accuracy" + _suffix(top)

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        right = self.per_item(references, decoded)
        return Score(float(right.mean()), "", "higher", f"top-{self.top} of ImageNet's 1000 classes, {classifier.NAME}")

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> np.ndarray:
        """1 where it is right, else 0; float64 (N,)."""
        check_sets(references, decoded)
        if len(references) != len(self.labels):
            raise SignalError(f"{len(references)} pictures for {len(self.labels)} labels; give one label for each")
        return _among(self.labels, self.network(decoded).ranked[:, : self.top])

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def agreement(device: str = "cpu") -> ClassificationAgreement:
    """Agreement as seen by the ImageNet classifier."""
    return ClassificationAgreement(classifier.load(device))


def agreement_of_five(device: str = "cpu") -> ClassificationAgreement:
    """The same, among its first five."""
    return ClassificationAgreement(classifier.load(device), classifier.RANKED)


def accuracy(labels: Sequence[int], device: str = "cpu") -> ClassificationAccuracy:
    """Accuracy of the ImageNet classifier."""
    return ClassificationAccuracy(classifier.load(device), labels)


def accuracy_of_five(labels: Sequence[int], device: str = "cpu") -> ClassificationAccuracy:
    """The same, among its first five."""
    return ClassificationAccuracy(classifier.load(device), labels, classifier.RANKED)


def _suffix(top: int) -> str:
    return "" if top == 1 else f"-top-{top}"


def _among(classes: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    found: np.ndarray = (classes[:, None] == ranked).any(1).astype(np.float64)
    return found
