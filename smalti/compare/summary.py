"""Curves, BD rates, paired ratios and rank correlations of a comparison, from its rows and the scores of its tasks alone.

`metrics.rate_distortion` has the statistics. Here rows become arrays (settings, items), the same items in the same columns for all
codecs, NaN where a file or a score is missing. Rates are means of the items' rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smalti.compare import results
from smalti.compare.results import Report, finite
from smalti.metrics.rate_distortion import Rows, bootstrap_bd, decibels, mean_curve, paired_ratios, spearman_interval

Array = np.ndarray


@dataclass(frozen=True)
class _Table:
    """Of one codec by one metric or task. values: NaN where there is none; of a task without outcomes of items, None and `scores`."""

    settings: tuple[str, ...]
    rates: Array
    values: Array | None
    scores: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class _Judge:
    """A metric or a task."""

    name: str
    better: str
    transform: str | None
    is_task: bool


def summarized(report: Report) -> Report:
    """The report with its codecs' settings in order of rate, and with all that follows from its rows and scores."""
    report = _in_order(report)
    judges = [_Judge(m.name, m.better, m.transform, False) for m in report.metrics]
    judges += [_Judge(t.name, t.better, None, True) for t in report.tasks]
    rates = {codec.name: _rates(report, codec) for codec in report.codecs}
    tables = {(codec.name, judge.name): _table(report, codec, judge, rates[codec.name]) for codec in report.codecs for judge in judges}
    curves, bd, paired = [], [], []
    for judge in judges:
        curves += [
            curve for codec in report.codecs if (curve := _curve(codec.name, judge, tables[codec.name, judge.name], report.seed)).points
        ]
        able = [codec.name for codec in report.codecs if codec.bd and tables[codec.name, judge.name].values is not None]
        for anchor in able:
            for codec in able:
                pair = tables[anchor, judge.name], tables[codec, judge.name]
                bd.append(_bd(judge, anchor, codec, *pair, report.seed))
                if anchor != codec and not judge.is_task:
                    paired.append(_paired(judge, anchor, codec, *pair, report.seed))
    return replace(
        report, curves=tuple(curves), bd=tuple(bd), paired=tuple(paired), correlations=tuple(_correlations(report, tables, judges))
    )  # fmt: skip


def _in_order(report: Report) -> Report:
    """Settings ascending by their mean rate, those without a file last."""
    units = {item.id: item.units for item in report.items}
    by_setting: dict[tuple[str, str], list[float]] = {}
    for row in report.rows:
        by_setting.setdefault((row.codec, row.setting), []).append(results.rate_of(report, row, units))

    def ordered(codec: results.CodecInfo) -> results.CodecInfo:
        means = {s: float(np.mean(by_setting.get((codec.name, s), [np.inf]))) for s in codec.settings}
        return replace(codec, settings=tuple(sorted(codec.settings, key=lambda setting: means[setting])))

    codecs = tuple(ordered(codec) for codec in report.codecs)
    place = {(codec.name, setting): (i, j) for i, codec in enumerate(codecs) for j, setting in enumerate(codec.settings)}
    item = {entry.id: i for i, entry in enumerate(report.items)}
    rows = sorted(report.rows, key=lambda row: (*place[row.codec, row.setting], item[row.item]))
    return replace(report, codecs=codecs, rows=tuple(rows))


def _rates(report: Report, codec: results.CodecInfo) -> Array:
    """(settings, items)"""
    columns = {item.id: i for i, item in enumerate(report.items)}
    units = {item.id: item.units for item in report.items}
    lines = {setting: i for i, setting in enumerate(codec.settings)}
    out = np.full((len(lines), len(columns)), np.nan)
    for row in report.rows:
        if row.codec == codec.name:
            out[lines[row.setting], columns[row.item]] = results.rate_of(report, row, units)
    return out


def _table(report: Report, codec: results.CodecInfo, judge: _Judge, rates: Array) -> _Table:
    if judge.is_task:
        return _task_table(report, codec, judge, rates)
    columns = {item.id: i for i, item in enumerate(report.items)}
    lines = {setting: i for i, setting in enumerate(codec.settings)}
    values = np.full(rates.shape, np.nan)
    for row in report.rows:
        if row.codec == codec.name and (value := row.metrics.get(judge.name)) is not None:
            values[lines[row.setting], columns[row.item]] = value
    return _Table(codec.settings, rates, values)


def _task_table(report: Report, codec: results.CodecInfo, judge: _Judge, rates: Array) -> _Table:
    found = {score.setting: score for score in report.task_scores if score.codec == codec.name and score.task == judge.name}
    scores = tuple(found[s].value if s in found else None for s in codec.settings)
    outcomes = [found[s].per_item if s in found else None for s in codec.settings]
    if not outcomes or any(outcome is None for outcome in outcomes):
        return _Table(codec.settings, rates, None, scores)
    values = np.array([[np.nan if v is None else v for v in outcome] for outcome in outcomes if outcome is not None], np.float64)
    with np.errstate(invalid="ignore"):
        means = [float(np.nanmean(line)) if not np.isnan(line).all() else None for line in values]
    alike = all(a is not None and b is not None and abs(a - b) < 1e-9 for a, b in zip(means, scores, strict=True))
    # a score that is no mean of outcomes (errors over all words) has no curve of means
    return _Table(codec.settings, rates, values if alike else None, scores)


def _curve(codec: str, judge: _Judge, table: _Table, seed: int) -> results.Curve:
    points = []
    if table.values is None:
        for setting, line, value in zip(table.settings, table.rates, table.scores, strict=True):
            if value is not None and not np.isnan(line).all():
                points.append(results.Point(setting, float(np.nanmean(line)), finite(value), None, None))
        return results.Curve(codec, judge.name, tuple(points))
    found = mean_curve(Rows(table.rates, table.values), judge.transform, seed=seed) if table.rates.size else []
    for setting, point, line in zip(table.settings, found, table.rates, strict=True):
        rate = point.rate if point.rate is not None else (float(np.nanmean(line)) if not np.isnan(line).all() else None)
        if rate is not None:
            points.append(results.Point(setting, rate, _or_none(point.value), _or_none(point.low), _or_none(point.high)))
    return results.Curve(codec, judge.name, tuple(points))


def _or_none(value: float | None) -> float | None:
    return finite(value) if value is not None else None


def _bd(judge: _Judge, anchor: str, codec: str, a: _Table, b: _Table, seed: int) -> results.BD:
    found = bootstrap_bd(_usable(a), _usable(b), judge.better, judge.transform, seed=seed)
    return results.BD(
        judge.name, anchor, codec, _or_none(found.percent), _or_none(found.low), _or_none(found.high), _or_none(found.akima_percent),
        found.overlap, found.points, found.dropped, found.undefined_share, found.verdict, found.reason,
    )  # fmt: skip


def _usable(table: _Table) -> Rows:
    """Without settings that fewer than half as many items have numbers at as at the best one: an item counts where it has all of them, so
    a size that most items do not fit into would leave none."""
    assert table.values is not None
    numbers = np.isfinite(table.rates) & np.isfinite(table.values)
    counts = numbers.sum(1)
    kept = 2 * counts >= max(1, counts.max(initial=0))
    return Rows(table.rates[kept], np.where(numbers, table.values, np.nan)[kept])


def _paired(judge: _Judge, anchor: str, codec: str, a: _Table, b: _Table, seed: int) -> results.Paired:
    found = paired_ratios(_usable(a), _usable(b), judge.better, judge.transform, seed=seed)
    items = sum(ratio is not None for ratio in found.ratios)
    return results.Paired(judge.name, anchor, codec, _or_none(found.median), _or_none(found.low), _or_none(found.high), items)


def _correlations(report: Report, tables: Mapping[tuple[str, str], _Table], judges: Sequence[_Judge]) -> list[results.Correlation]:
    """Of each task with each metric: over items where both have a number for each, else over points."""
    found = []
    codecs = [codec.name for codec in report.codecs]
    for task in (judge for judge in judges if judge.is_task):
        for metric in (judge for judge in judges if not judge.is_task):
            pairs = [(tables[codec, task.name], tables[codec, metric.name]) for codec in codecs]
            x, y = _points(pairs, metric)
            if not len(x):
                continue
            value: Any = spearman_interval(x, y, (task.better, metric.better), seed=report.seed)
            ends = _or_none(value.low), _or_none(value.high)
            found.append(results.Correlation(task.name, metric.name, _or_none(value.spearman), *ends, value.points))
    return found


def _points(pairs: Sequence[tuple[_Table, _Table]], metric: _Judge) -> tuple[Array, Array]:
    """A task's and a metric's numbers: (points, items), or (points,) where the task has none for items."""
    itemized = all(task.values is not None for task, _ in pairs)
    x, y = [], []
    for task, judged in pairs:
        assert judged.values is not None
        for i in range(len(judged.settings)):
            if itemized and task.values is not None:
                x.append(task.values[i])
                y.append(judged.values[i])
            elif (score := task.scores[i] if task.scores else None) is not None and not np.isnan(judged.values[i]).all():
                x.append(np.asarray(score))
                mean = np.nanmean(judged.values[i])
                y.append(decibels(mean) if metric.transform else np.asarray(mean))
    return np.array(x, np.float64), np.array(y, np.float64)
