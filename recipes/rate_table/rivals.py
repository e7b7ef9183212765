"""What classical codecs do with a picture and a number of bytes: every setting's best file that fits, judged."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL

from smalti.codecs.classical.search import best_quality
from smalti.codecs.registry import resolve
from smalti.metrics.registry import resolve as resolve_metric
from smalti.recipes.rate_table.ledger import Entry, Key, Ledger
from smalti.tokenizers.contracts import Codec, Metric, Target
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Image

SHRUNK = ("", "/2", "/4")
QUALITIES = range(1, 101)
# LPIPS by VGG costs six times AlexNet's: of each size it judges only the setting (the chroma subsampling) that AlexNet likes best.
# On two Kodak photos at two rates this cost AVIF and WebP nothing, and JPEG at most .008
SCREENED, SCREEN = "lpips-vgg", "lpips-alex"


@dataclass(frozen=True)
class Rival:
    """A codec with all that it may choose from; qualities: its scale, ascending."""

    name: str
    settings: tuple[str, ...]
    qualities: range = QUALITIES


def _settings(*codecs: str) -> tuple[str, ...]:
    return tuple(codec + shrunk for codec in codecs for shrunk in SHRUNK)


RIVALS = (
    Rival("AVIF", _settings("avif-420", "avif-444")),
    Rival("WebP", _settings("webp"), range(101)),
    Rival("JPEG", _settings("jpeg-420", "jpeg-444")),
)


@dataclass(frozen=True)
class Chosen:
    """The setting that a metric likes best among the files that fit."""

    setting: str
    quality: int
    bytes: int
    score: float


@dataclass(frozen=True)
class Answer:
    """A rival's, for one picture and one number of bytes.

    chosen: by metric, empty where nothing fits. smallest: bytes of the smallest file seen.
    """

    chosen: dict[str, Chosen]
    smallest: int


class Judges:
    """Metrics by name, loaded once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.metrics: dict[str, Metric] = {name: resolve_metric(name) for name in names}
        gray = Image(np.full((64, 64, 3), 128, np.uint8))
        self.better = {name: metric(gray, gray).better for name, metric in self.metrics.items()}

    def score(self, name: str, reference: Image, decoded: Any) -> float:
        """One score."""
        return self.metrics[name](reference, decoded).value

    def order(self, name: str, score: float) -> float:
        """A number that is the smaller the better."""
        return -score if self.better[name] == "higher" else score


class Bench:
    """Files of classical codecs for one picture, measured once and kept in the ledger."""

    def __init__(self, picture: Image, judges: Judges, ledger: Ledger) -> None:
        self.picture = picture
        self.judges = judges
        self.ledger = ledger
        self.digest = digest(picture)
        self._codecs: dict[str, Codec] = {}
        self._decoded: dict[Key, Any] = {}

    def answer(self, rival: Rival, room: float) -> Answer:
        """The best files of at most `room` bytes."""
        fitting: list[tuple[str, int]] = []
        for setting in rival.settings:
            try:
                fitting.append((setting, best_quality(functools.partial(self._size, setting), rival.qualities, room)))
            except UsageError:
                continue
        sizes = [entry.bytes for setting in rival.settings for entry in self._entries(setting, rival.qualities) if entry.bytes]
        chosen: dict[str, Chosen] = {}
        scores: dict[str, dict[tuple[str, int], float]] = {}
        for name in sorted(self.judges.metrics, key=lambda name: name == SCREENED):  # after those that screen for it
            scores[name] = {file: self._score(*file, name) for file in self._worth_judging(name, fitting, scores)}
            if scores[name]:
                setting, quality = self._sorted(name, scores[name])[0]
                size = self._size(setting, quality)
                assert size is not None
                chosen[name] = Chosen(setting, quality, size, scores[name][setting, quality])
        self._decoded.clear()
        return Answer(chosen, min(sizes, default=0))

    def _worth_judging(
        self, name: str, fitting: list[tuple[str, int]], scores: dict[str, dict[tuple[str, int], float]]
    ) -> list[tuple[str, int]]:
        if name != SCREENED or SCREEN not in scores:
            return fitting
        best: dict[str, tuple[str, int]] = {}
        for setting, quality in self._sorted(SCREEN, scores[SCREEN]):
            best.setdefault(setting.partition("/")[2], (setting, quality))
        return list(best.values())

    def _sorted(self, name: str, scores: dict[tuple[str, int], float]) -> list[tuple[str, int]]:
        return sorted(scores, key=lambda file: self.judges.order(name, scores[file]))

    def _entries(self, setting: str, qualities: range) -> list[Entry]:
        found = (self.ledger.get(self._key(setting, quality)) for quality in qualities)
        return [entry for entry in found if entry is not None]

    def _key(self, setting: str, quality: int) -> Key:
        return Key(self.digest, f"{setting} (Pillow {PIL.__version__})", quality)

    def _size(self, setting: str, quality: int) -> int | None:
        key = self._key(setting, quality)
        entry = self.ledger.get(key)
        if entry is None:
            try:
                entry = Entry(len(self._file(setting, quality)))
            except UsageError:
                entry = Entry(None)
            self.ledger.put(key, entry)
        return entry.bytes

    def _score(self, setting: str, quality: int, metric: str) -> float:
        key = self._key(setting, quality)
        entry = self.ledger.get(key) or Entry(None)
        if metric not in entry.scores:
            if key not in self._decoded:
                self._decoded[key] = self._codec(setting).decompress(self._file(setting, quality))
            score = self.judges.score(metric, self.picture, self._decoded[key])
            entry = self.ledger.put(key, Entry(entry.bytes, {**entry.scores, metric: score}))
        return entry.scores[metric]

    def _file(self, setting: str, quality: int) -> bytes:
        return self._codec(setting).compress(self.picture, Target(quality=quality or 1e-3))  # a target's quality lies above 0

    def _codec(self, setting: str) -> Codec:
        if setting not in self._codecs:
            self._codecs[setting] = resolve(setting)
        return self._codecs[setting]


def digest(picture: Image) -> str:
    """What a picture is known by in the ledger: its size and pixels."""
    return hashlib.sha256(str(picture.pixels.shape).encode() + picture.pixels.tobytes()).hexdigest()[:16]
