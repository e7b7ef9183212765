"""Which codec is best at which rate, said only where 95 % intervals allow it.

At each rate the curves are read between their points (straight lines over the logarithm of the rate). The codec with the best mean wins
where its difference from every other that reaches the rate keeps its sign in 95 % of bootstrap draws over items, the same items drawn for
all codecs (so that hard items, which are hard for all, do not widen the interval). Elsewhere the codecs that cannot be told from the best
one are named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smalti.compare.page.facts import Facts, Judge
from smalti.metrics.rate_distortion.bootstrap import LEAST_ITEMS

Array = np.ndarray
RATES = 72
DRAWS = 500
PERCENT = 95.0


@dataclass(frozen=True)
class Stretch:
    """Rates low..high. best: one codec where it wins, more where they cannot be told apart, the best mean first. reached: codecs there."""

    low: float
    high: float
    best: tuple[str, ...]
    reached: int

    @property
    def winner(self) -> str | None:
        return self.best[0] if len(self.best) == 1 and self.reached > 1 else None


@dataclass(frozen=True)
class Ladder:
    """A codec's draws: rates and values (draws, settings), the means first, ascending in rate."""

    rates: Array
    values: Array

    def at(self, log_rates: Array) -> Array:
        """(draws, rates): values between the points; NaN where the curve of means does not reach."""
        found = np.stack([np.interp(log_rates, np.log(r), v) for r, v in zip(self.rates, self.values, strict=True)])
        reach = np.log(self.rates[0])
        found[:, (log_rates < reach[0] - 1e-9) | (log_rates > reach[-1] + 1e-9)] = np.nan
        return found


def stretches(facts: Facts, judge: Judge) -> list[Stretch]:
    """All rates that some curve reaches, from the lowest on; none without two curves."""
    ladders = ladders_of(facts, judge)
    if len(ladders) < 2:
        return []
    ends = [(float(ladder.rates[0, 0]), float(ladder.rates[0, -1])) for ladder in ladders.values()]
    grid = np.geomspace(min(low for low, _ in ends), max(high for _, high in ends), RATES)
    sign = -1.0 if judge.better == "lower" else 1.0
    values = np.stack([sign * ladder.at(np.log(grid)) for ladder in ladders.values()])
    names = list(ladders)
    found: list[Stretch] = []
    edges = np.sqrt(np.concatenate([[grid[0] ** 2], grid[1:] * grid[:-1], [grid[-1] ** 2]]))
    for k in range(RATES):
        best, reached = _best(values[:, :, k])
        if not best:
            continue
        last = found[-1] if found else None
        same = last is not None and set(last.best) == {names[i] for i in best} and (last.reached > 1) == (reached > 1)
        if last is not None and same and math.isclose(last.high, edges[k]):
            found[-1] = Stretch(last.low, float(edges[k + 1]), last.best, min(last.reached, reached))
        else:
            found.append(Stretch(float(edges[k]), float(edges[k + 1]), tuple(names[i] for i in best), reached))
    return found


def _best(values: Array) -> tuple[list[int], int]:
    """(codecs, draws) at one rate -> the best and those that cannot be told from it, and how many reach the rate."""
    here = [int(i) for i in np.flatnonzero(np.isfinite(values[:, 0]))]
    if not here:
        return [], 0
    order = sorted(here, key=lambda i: -values[i, 0])
    lead = values[order[0]]
    tail = (100 - PERCENT) / 2
    equal = [i for i in order[1:] if values.shape[1] < 2 or np.percentile(lead[1:] - values[i, 1:], tail) <= 0]
    return [order[0], *equal], len(here)


def ladders_of(facts: Facts, judge: Judge) -> dict[str, Ladder]:
    """By codec with two or more settings; none where fewer items are whole than verdicts need."""
    scores = _scores(facts, judge)
    several = {codec for codec, _ in scores if sum(other == codec for other, _ in scores) > 1}
    scores = {key: table for key, table in scores.items() if key[0] in several}
    whole = [k for k in range(len(facts.report.items)) if all(np.isfinite(t[k]).all() for t in scores.values())]
    if len(whole) < LEAST_ITEMS:
        return {}
    draws = np.random.default_rng(facts.report.seed).multinomial(len(whole), np.full(len(whole), 1 / len(whole)), DRAWS) / len(whole)
    weights = np.concatenate([np.full((1, len(whole)), 1 / len(whole)), draws])
    found = {}
    for codec in facts.names:
        own = [weights @ table[whole] for (name, _), table in scores.items() if name == codec]
        if len(own) < 2:
            continue
        rates, values = (np.stack([means[:, k] for means in own], 1) for k in (0, 1))
        if judge.transform == "db":
            values = -10 * np.log10(np.maximum(1 - values, 1e-12))
        order = np.argsort(rates, 1)
        found[codec] = Ladder(np.take_along_axis(rates, order, 1), np.take_along_axis(values, order, 1))
    return found


def _scores(facts: Facts, judge: Judge) -> dict[tuple[str, str], Array]:
    """By codec and setting (items, 2): rate and value, NaN where there is none; without settings that most items have no value of."""
    by_task = {(t.codec, t.setting): t for t in facts.report.task_scores if t.task == judge.name} if judge.is_task else {}
    found = {}
    for (codec, setting), rows in facts.rows_of.items():
        table = np.full((len(facts.report.items), 2), np.nan)
        score = by_task.get((codec, setting))
        for row in rows:
            k = facts.item_index[row.item]
            outcomes = score.per_item if score is not None else None
            value = (outcomes[k] if outcomes and k < len(outcomes) else None) if judge.is_task else row.metrics.get(judge.name)
            rate = facts.rate(row)
            table[k] = (rate if rate > 0 else np.nan), np.nan if value is None else value
        if score is not None and (
            score.value is None or not math.isclose(np.nanmean(table[:, 1]), score.value, rel_tol=0.02, abs_tol=0.005)
        ):
            continue  # the score is no mean of outcomes, so that draws over them would not be draws of it
        if np.isfinite(table).all(1).sum() * 2 > len(table):
            found[codec, setting] = table
    return found
