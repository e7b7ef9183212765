"""Scores of what benches make of sounds: rows of one title each, means over sounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.recipes.sounds import TITLES, judges_of, scores_of
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Array, Audio


class Scored:
    """Scores by row, of each sound in the order of the metrics; sounds that a metric cannot score are left out."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        found, _ = judges_of(self.metrics)
        self._judges = {name: found[name] for name in self.metrics}
        self.rows: dict[str, list[list[float]]] = {}

    def add(self, title: str, original: Audio, wave: Array) -> None:
        """Judge float32 (T,) beside a sound of one channel."""
        found = scores_of(self._judges, original, Audio(wave[None], original.rate))
        values = [score.value for score in found.values() if score is not None]
        if len(values) == len(self.metrics):
            self.rows.setdefault(title, []).append(values)

    def table(self, what: str) -> str:
        """In Markdown; UsageError where nothing was scored."""
        if not self.rows:
            raise UsageError("no sound that all metrics can score; name a folder of speech")
        lines = [f"| {what} | {' | '.join(TITLES[name] for name in self.metrics)} |", "|---" * (1 + len(self.metrics)) + "|"]
        for title, scores in self.rows.items():
            lines.append(f"| {title} | {' | '.join(f'{mean:.3f}' for mean in np.mean(scores, 0))} |")
        return "\n".join(lines)
