"""Linear probes: what a simple learner can still be taught from, or can still read, in decoded signals.

A probe is a logistic regression (scikit-learn) on fixed features, each scaled to unit variance on what it learns from, all classes weighing
the same. Two protocols, as in "Machine Perceptual Quality" (arXiv 2401.07957): a probe learned from originals and tried on decoded signals,
as a model in use meets them, and one learned from decoded signals and tried on originals, as a model that is trained on a compressed
collection. Its third finding is that the second may lose nothing, or gain; whether it does is in the interval.

Items are split into three parts by a seeded rule, each tried by the probe that learned from the other two, so every item has an outcome.
Where groups are named (the speakers of digits, say) a group stays in one part. Classes of fewer than three items cannot be split and are
not scored. Parts are the same for all codecs.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Signal

Array = np.ndarray
Features = Callable[[Sequence[Signal]], Array]  # signals -> float64 (N, D)

FOLDS = 3
STRENGTH = 0.01  # of the fit against the penalty, scikit-learn's C
STEPS = 2000
FROM_DECODED = "-from-decoded"  # in the names of tasks of the second protocol
KEPT = 12  # probes: those of the originals serve all codecs


@dataclass(frozen=True, eq=False)
class Split:
    """Items in three parts. labels: int64 (N,). part: int64 (N,), -1 of items that are not scored."""

    labels: Array
    part: Array

    def __post_init__(self) -> None:
        if (classes := self.classes) < 2:
            raise UsageError(
                f"a probe tells classes apart that have {FOLDS} items or more, found {classes} such among {len(self.labels)} items; "
                f"give more items, or coarser labels"
            )

    @property
    def classes(self) -> int:
        """How many are scored."""
        return len(np.unique(self.labels[self.part >= 0]))

    def rounds(self) -> Iterator[tuple[Array, Array]]:
        """(learned from, tried on) of each part, as indices."""
        for part in range(FOLDS):
            tried = np.flatnonzero(self.part == part)
            if len(tried):
                yield np.flatnonzero((self.part >= 0) & (self.part != part)), tried


def split(labels: Sequence[int], groups: Sequence[str] | None = None, seed: int = 0) -> Split:
    """Parts with about the same share of each class; UsageError where there are fewer than two classes or three groups to split."""
    numbers = np.asarray(labels, np.int64)
    if groups is not None and len(groups) != len(numbers):
        raise UsageError(f"{len(numbers)} labels for {len(groups)} groups; name one group for each item")
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    usable = np.flatnonzero(counts[places] >= FOLDS)
    part = np.full(len(numbers), -1, np.int64)
    if (counts >= FOLDS).sum() >= 2:
        for number, tried in enumerate(_parts(numbers[usable], None if groups is None else np.asarray(groups)[usable], seed)):
            part[usable[tried]] = number
    return Split(numbers, part)


def _parts(labels: Array, groups: Array | None, seed: int) -> Iterator[Array]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    elif len(np.unique(groups)) < FOLDS:
        raise UsageError(f"{len(np.unique(groups))} groups cannot be split into {FOLDS} parts; name more, or none")
    else:
        parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups)
    yield from (tried for _, tried in parts)


class ProbeTask:
    """Share of items that a probe classifies right, in [0, 1]; ceiling: learned from originals and tried on them."""

    def __init__(
        self,
        name: str,
        features: Features,
        labels: Sequence[int],
        groups: Sequence[str] | None = None,
        from_decoded: bool = False,
        seed: int = 0,
        about: str = "",
    ) -> None:
        """labels, groups: one for each reference in order. about: what the features are. UsageError as in `split`."""
        self.name = name + (FROM_DECODED if from_decoded else "")
        self.protocol = "learned from decoded, tried on originals" if from_decoded else "learned from originals, tried on decoded"
        self.split = split(labels, groups, seed)
        self._features = features
        self._from_decoded = from_decoded
        scored = (self.split.part >= 0).sum()
        by = "items" if groups is None else "groups of items"
        told = f"{FOLDS} parts by {by}, {self.split.classes} classes, {scored} items"
        self._meaning = f"logistic regression on {about or 'features'}, {self.protocol}, {told}"

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        return Score(float(np.nanmean(self.per_item(references, decoded))), "", "higher", self._meaning)

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Array:
        """1 where it is right, else 0, NaN of classes that are too small to split; float64 (N,)."""
        check_sets(references, decoded)
        if len(references) != len(self.split.labels):
            raise SignalError(f"{len(references)} signals for {len(self.split.labels)} labels; give one label for each")
        originals, others = self._features(references), self._features(decoded)
        return outcomes(self.split, *((others, originals) if self._from_decoded else (originals, others)))

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def outcomes(parts: Split, learned: Array, tried: Array) -> Array:
    """1 where the probe is right, else 0, NaN where there is none; learned, tried: features (N, D) of the same items."""
    found = np.full(len(parts.labels), np.nan)
    for learn, test in parts.rounds():
        probe = fitted(learned[learn], parts.labels[learn])
        found[test] = probe.predict(tried[test]) == parts.labels[test]
    return found


_probes: OrderedDict[bytes, Any] = OrderedDict()


def fitted(features: Array, labels: Array) -> Any:
    """A probe that learned from features (N, D) and labels (N,); the latest are kept by what they learned from."""
    sha = hashlib.sha256(np.ascontiguousarray(features).data)
    sha.update(np.ascontiguousarray(labels).data)
    key = sha.digest()
    if key not in _probes:
        _probes[key] = _fit(features, labels)
        if len(_probes) > KEPT:
            _probes.popitem(last=False)
    _probes.move_to_end(key)
    return _probes[key]


def _fit(features: Array, labels: Array) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=STEPS, class_weight="balanced"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly there tells as much
        return probe.fit(features, labels)


def of_pictures(labels: Sequence[int], groups: Sequence[str] | None = None, device: str = "cpu", from_decoded: bool = False) -> ProbeTask:
    """On features of the ImageNet classifier; ModelError where it is missing."""
    from smalti.metrics import classifier

    network = classifier.load(device)
    about = f"features of {classifier.NAME}"
    return ProbeTask("linear-probe", lambda signals: network(signals).features, labels, groups, from_decoded, about=about)


def of_pictures_from_decoded(labels: Sequence[int], groups: Sequence[str] | None = None, device: str = "cpu") -> ProbeTask:
    """The same by the second protocol."""
    return of_pictures(labels, groups, device, True)


# of ImageNet's 1000 classes in torchvision's order, (first, last): WordNet has them side by side, but for some
KINDS = (
    ("fish", ((0, 6), (389, 397))),
    ("birds", ((7, 24), (80, 100), (127, 146))),
    ("reptiles and amphibians", ((25, 68),)),
    ("invertebrates", ((69, 79), (107, 126), (300, 329))),
    ("dogs and wolves", ((151, 280),)),
    ("other mammals", ((101, 106), (147, 150), (281, 299), (330, 388))),
    ("things", ((398, 923), (999, 999))),
    ("food and plants", ((924, 969), (984, 998))),
    ("places and people", ((970, 983),)),
)


@functools.cache
def kind_table() -> Array:
    """int64 (1000,): the number in `KINDS` of each class."""
    table = np.full(1000, -1, np.int64)
    for number, (_, ranges) in enumerate(KINDS):
        for first, last in ranges:
            table[first : last + 1] = number
    return table


def of_kinds(labels: Sequence[int], groups: Sequence[str] | None = None, device: str = "cpu", from_decoded: bool = False) -> ProbeTask:
    """Of pictures by nine kinds of things, for sets with few pictures of each class; UsageError for labels that are not ImageNet's."""
    numbers = np.asarray(labels, np.int64)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < 1000):
        raise UsageError(f"kinds are of ImageNet's classes 0..999, found {numbers.min()}..{numbers.max()}")
    task = of_pictures(kind_table()[numbers].tolist(), groups, device, from_decoded)
    task.name = task.name.replace("linear-probe", "linear-probe-kinds")
    return task


def of_kinds_from_decoded(labels: Sequence[int], groups: Sequence[str] | None = None, device: str = "cpu") -> ProbeTask:
    """The same by the second protocol."""
    return of_kinds(labels, groups, device, True)
