"""What the masked prior's network is shown of a grid: all stages' tokens as far as they are known, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.priors.masked_steps import ranks, windows

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Look:
    """Some windows, and which of their positions are asked for.

    grids: int16 (B, K, side, side). chosen: bool (B, side, side). rows, columns: int64 (M,), where the chosen ones lie in the whole grid.
    """

    grids: Array
    chosen: Array
    rows: Array
    columns: Array


class View:
    """A grid of shape (rows, columns) of which nothing is known at first."""

    def __init__(self, config: MaskedConfig, shape: tuple[int, ...]) -> None:
        rows, columns = shape
        self.config, self.shape = config, (rows, columns)
        self.entries = np.full((len(config.steps), max(rows, config.side), max(columns, config.side)), config.outside, np.int16)
        self.entries[:, :rows, :columns] = config.unknown
        self.ranks = ranks(rows, columns)
        self.windows = windows(rows, columns, config.side, config.margin)

    def know(self, stage: int, array: Array, where: Array) -> None:
        """The stage's tokens, int (rows, columns), are known where `where`, bool of that shape, is True."""
        self.entries[stage, : self.shape[0], : self.shape[1]][where] = array[where]

    def within(self, step: tuple[int, int]) -> Array:
        """bool (rows, columns): the positions of a step, whose ranks are half-open."""
        return (step[0] <= self.ranks) & (self.ranks < step[1])

    def looks(self, step: tuple[int, int], held: Array) -> Iterator[Look]:
        """Windows that show every position of the step that is held, bool (rows, columns), once."""
        side = self.config.side
        asked = np.zeros(self.entries.shape[1:], bool)
        asked[: self.shape[0], : self.shape[1]] = held & self.within(step)
        together = self.config.windows_at_once
        for start in range(0, len(self.windows), together):
            grids, chosen, places = [], [], []
            for w in self.windows[start : start + together]:
                mine = np.zeros((side, side), bool)
                inner = np.s_[w.rows[0] - w.row : w.rows[1] - w.row, w.columns[0] - w.column : w.columns[1] - w.column]
                mine[inner] = asked[w.rows[0] : w.rows[1], w.columns[0] : w.columns[1]]
                if mine.any():
                    grids.append(self.entries[:, w.row : w.row + side, w.column : w.column + side])
                    chosen.append(mine)
                    places.append(np.argwhere(mine) + np.array((w.row, w.column)))
            if grids:
                rows, columns = np.concatenate(places).T
                yield Look(np.stack(grids), np.stack(chosen), rows, columns)
