"""The run: items, contenders and judges become rows, scores of tasks, previews and a report.

    scan items -> measure (item x codec, in parallel, kept as they come) -> tasks -> statistics -> gallery -> report.json, CSV, page

What was measured before, by this release's keys, is not measured again; what fails is said in the report and does not stop the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import reason
from smalti.compare import gallery, judging, labels, lineup, measuring, pool, results, summary, tables, tasks
from smalti.compare.cache import Cache, file_place, key_of
from smalti.compare.items import RATES, Source, find
from smalti.compare.judging import Judges
from smalti.compare.lineup import Contender, Lineup, Setting
from smalti.compare.manifest import manifest_of
from smalti.compare.results import FILE, MEDIA, SCHEMA, Failure, Item, Report, Row, TaskInfo, TaskScore
from smalti.tokenizers.errors import SignalError, UsageError

CACHE = "cache"
Step = Callable[[str, int, int], None]  # (what is done, how many are, of how many)


@dataclass(frozen=True)
class Plan:
    """What a run is asked for. codecs, metrics, tasks: None for the usual ones. rates: settings of each ladder at most. anchor: what the
    page compares with first. processes: at a time. resume: take what an earlier run into the same folder has measured."""

    data: tuple[str, ...]
    out: str
    codecs: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    rates: int | None = None
    anchor: str | None = None
    limit: int | None = None
    labels: str | None = None
    texts: str | None = None
    processes: int = 1
    resume: bool = True
    page: bool = True
    seed: int = 0


def run(plan: Plan, step: Step = lambda what, done, total: None) -> Report:
    """The report, which then lies in the folder; UsageError and SignalError where nothing can be compared."""
    sources = find(plan.data, plan.limit)
    kind = sources[0].kind
    field_ = lineup.of(kind, plan.codecs, plan.rates)
    names = [contender.name for contender in field_.contenders]
    if plan.anchor is not None and plan.anchor not in names:
        raise UsageError(f"anchor {plan.anchor!r} is none of the codecs ({', '.join(names)}); name one of them with --anchor")
    if plan.anchor is not None:
        field_ = replace(field_, contenders=tuple(sorted(field_.contenders, key=lambda contender: contender.name != plan.anchor)))
    known = _Known(
        labels.read_labels(plan.labels) if plan.labels else None,
        labels.read_groups(plan.labels) if plan.labels else None,
        labels.read_texts(plan.texts) if plan.texts else None,
    )
    judges = judging.of(kind, plan.metrics, plan.tasks, known.texts is not None)
    judging.check_tasks(judges.tasks, known.labels is not None, known.texts is not None)
    known.of(sources)  # says which is missing
    out = Path(plan.out)
    cache = Cache(out / CACHE, fresh=not plan.resume)
    with pool.Pool(plan.processes) as workers:
        return _Run(plan, kind, sources, field_, judges, known, out, cache, step, workers).report()


@dataclass(frozen=True)
class _Known:
    """Of items, by name: class numbers, groups, texts."""

    labels: dict[str, int] | None
    groups: dict[str, str] | None
    texts: dict[str, str] | None

    def of(self, sources: Sequence[Source]) -> dict[str, Any]:
        """Those of some items in order; UsageError where one is missing."""
        tables = {"labels": self.labels, "groups": self.groups, "texts": self.texts}
        return {name: labels.of_all(table, sources, name.removesuffix("s")) for name, table in tables.items()}


class _Run:
    """One run; rows and failures gather here."""

    def __init__(
        self, plan: Plan, kind: str, sources: Sequence[Source], field_: Lineup, judges: Judges, known: _Known, out: Path, cache: Cache,
        step: Step, workers: pool.Pool,
    ) -> None:  # fmt: skip
        self.plan, self.kind, self.out, self.cache, self.step = plan, kind, out, cache, step
        self.lineup, self.judges, self.workers = field_, judges, workers
        self.known = known
        self.failures: list[Failure] = []
        self.absent = [*field_.absent, *judges.absent]
        self.items: dict[str, Item] = {}
        self.sources = {source.id: source for source in sources}
        self.records: dict[tuple[str, str, str], dict[str, Any]] = {}  # by codec, setting, item

    def report(self) -> Report:
        self._scan()
        self._measure()
        infos, scores = self._tasks()
        report = summary.summarized(self._gathered(infos, scores))
        report = self._with_gallery(report)
        self._write(report)
        return report

    def _each(self, what: str, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """(job, result), with progress."""
        self.step(what, 0, len(jobs))
        for done, (number, result) in enumerate(self.workers.each(function, jobs), 1):
            yield jobs[number], result
            self.step(what, done, len(jobs))

    def _scan(self) -> None:
        found: dict[str, Item] = {}
        jobs = list(self.sources.values())
        for source, result in self._each("reading", measuring.scan, jobs):
            item = None if isinstance(result, pool.Died) else result.item
            if item is None:
                self.failures.append(Failure(None, None, source.id, "read", result.error))
            else:
                found[source.id] = item
        if not found:
            raise SignalError(f"none of {len(jobs)} files can be read; {self.failures[0].error}")
        self.items = {source.id: found[source.id] for source in jobs if source.id in found}

    def _key(self, contender: Contender, setting: Setting, item: Item) -> str:
        target = {name: value for name, value in vars(setting.target).items() if value is not None}
        codec = [contender.name, contender.version, contender.sample]
        return key_of(item=item.sha256, codec=codec, setting=target)

    def _measure(self) -> None:
        jobs = []
        for item in self.items.values():
            for contender in self.lineup.contenders:
                wants = [want for setting in contender.settings if (want := self._want(contender, setting, item)) is not None]
                if wants:
                    jobs.append(measuring.Job(self.sources[item.id], contender, tuple(wants), str(self.cache.folder)))
        for job, result in self._each("measuring", measuring.measure, jobs):
            if isinstance(result, pool.Died):
                self.failures.append(Failure(job.contender.name, None, job.source.id, "worker", result.error))
                continue
            for outcome in result:
                self._keep(job, outcome)
                self.failures += [failure for failure in outcome.failures if not failure.stage.startswith("metric")]
        self._collect()

    def _want(self, contender: Contender, setting: Setting, item: Item) -> measuring.Want | None:
        """What is missing of a unit; None where nothing is."""
        record = self.cache.get(self._key(contender, setting, item))
        whole = record is not None and file_place(self.cache.folder, record["digest"]).is_file()
        scored = record.get("scores", {}) if record is not None and whole else {}
        missing = tuple(name for name, key in self.judges.metrics.items() if key not in scored)
        if whole and not missing:
            return None
        return measuring.Want(setting, missing, record["digest"] if record is not None and whole else "")

    def _keep(self, job: measuring.Job, outcome: measuring.Outcome) -> None:
        """Put an outcome into the cache, with what is there already."""
        setting = next(s for s in job.contender.settings if s.label == outcome.setting)
        key = self._key(job.contender, setting, self.items[job.source.id])
        before = self.cache.get(key)
        record = outcome.record or (before if outcome.scores else None)
        if record is None:
            for failure in outcome.failures:
                if failure.stage.startswith("metric"):
                    self.failures.append(failure)
            return
        kept = before.get("scores", {}) if before is not None and outcome.record is None else {}
        scores = kept | {self.judges.metrics[name]: score for name, score in outcome.scores.items()}
        self.cache.put(key, {**record, "scores": scores})
        # what a metric raised that is not kept, since it may not raise it again
        self.failures += [
            failure for failure in outcome.failures
            if failure.stage.startswith("metric ") and failure.stage.partition(" ")[2] not in outcome.scores
        ]  # fmt: skip

    def _collect(self) -> None:
        """Records of all units, and what metrics could not score."""
        for contender in self.lineup.contenders:
            for setting in contender.settings:
                for item in self.items.values():
                    record = self.cache.get(self._key(contender, setting, item))
                    if record is None:
                        continue
                    self.records[contender.name, setting.label, item.id] = record
                    for name, key in self.judges.metrics.items():
                        if error := record["scores"].get(key, {}).get("error"):
                            self.failures.append(Failure(contender.name, setting.label, item.id, f"metric {name}", error))
        if not self.records:
            first = self.failures[0].error if self.failures else "no codec has a setting"
            raise UsageError(f"nothing could be measured; {first}")

    def _tasks(self) -> tuple[tuple[TaskInfo, ...], tuple[TaskScore, ...]]:
        infos, scores = [], []
        for name in self.judges.tasks:
            info, ceiling = self._ceiling(name)
            if info is not None:
                infos.append(info)
                scores += self._task_scores(name, ceiling)
        return tuple(infos), tuple(scores)

    def _ceiling(self, name: str) -> tuple[TaskInfo | None, dict[str, Any]]:
        ((_, outcome),) = self._each(f"{name}, originals", tasks.score, [self._task_job(name, list(self.items))])
        score = None if isinstance(outcome, pool.Died) else outcome.score
        if score is None:
            if getattr(outcome, "absent", False):
                self.absent.append(lineup.absence(name, ValueError(outcome.error)))
            else:
                self.failures.append(Failure(None, None, None, f"task {name}", outcome.error))
            return None, {}
        info = TaskInfo(name, score["unit"], score["better"], score["convention"], score["value"], score["protocol"])
        return info, score

    def _task_job(self, name: str, ids: Sequence[str], **of: Any) -> tasks.TaskJob:
        sources = tuple(self.sources[item] for item in ids)
        return tasks.TaskJob(name, sources, folder=str(self.cache.folder), **self.known.of(sources), **of)

    def _task_scores(self, name: str, ceiling: dict[str, Any]) -> list[TaskScore]:
        """Of all codecs and settings; kept under all that a score depends on, with what the task says of the originals."""
        jobs, keys, found = [], {}, {}
        for contender in self.lineup.contenders:
            if name == judging.TOKEN_PROBE and contender.kind != "ours":
                continue
            for setting in contender.settings:
                ids = [item for item in self.items if (contender.name, setting.label, item) in self.records]
                if not ids:
                    continue
                digests = tuple(self.records[contender.name, setting.label, item]["digest"] for item in ids)
                job = self._task_job(name, ids, contender=replace(contender, settings=(setting,)), digests=digests)
                place = (contender.name, setting.label)
                hashes = [self.items[item].sha256 for item in ids]
                keys[place] = key_of(
                    task=name, ceiling=ceiling, items=hashes, digests=digests, codec=[contender.name, contender.version],
                    labels=job.labels, texts=job.texts, groups=job.groups,
                )  # fmt: skip
                if (record := self.cache.get(keys[place])) is not None:
                    found[place] = record
                else:
                    jobs.append(job)
        for job, outcome in self._each(name, tasks.score, jobs):
            place = (job.contender.name, job.contender.settings[0].label)
            if isinstance(outcome, pool.Died) or outcome.score is None:
                self.failures.append(Failure(*place, None, f"task {name}", outcome.error))
                continue
            found[place] = {"value": outcome.score["value"], "per_item": outcome.per_item}
            self.cache.put(keys[place], found[place])
        return [self._spread(name, place, found[place]) for place in keys if place in found]

    def _spread(self, name: str, place: tuple[str, str], record: dict[str, Any]) -> TaskScore:
        """Outcomes of items in the places of all items."""
        per_item = record["per_item"]
        if per_item is not None:
            outcomes = iter(per_item)
            per_item = tuple(next(outcomes) if (*place, item) in self.records else None for item in self.items)
        return TaskScore(name, *place, record["value"], per_item)

    def _gathered(self, infos: tuple[TaskInfo, ...], scores: tuple[TaskScore, ...]) -> Report:
        said: dict[str, dict[str, str]] = {}
        rows = []
        for (codec, setting, item), record in self.records.items():
            values = {}
            for name, key in self.judges.metrics.items():
                score = record["scores"].get(key, {})
                values[name] = score.get("value")
                if "unit" in score:
                    said.setdefault(name, score)
            plain = {name: record.get(name) for name in Row.__dataclass_fields__ if name in record and name != "metrics"}
            rows.append(Row(codec=codec, setting=setting, item=item, metrics=values, **{**_EMPTY, **plain}))
        contenders = self.lineup.contenders
        return Report(
            schema=SCHEMA,
            kind=self.kind,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=self.plan.seed,
            manifest=manifest_of(self.plan, contenders),
            rate=RATES[self.kind],
            items=tuple(self.items.values()),
            metrics=judging.metric_infos(self.judges, said),
            tasks=infos,
            codecs=tuple(lineup.info_of(contender) for contender in contenders),
            absent=tuple(self.absent),
            failures=tuple(self.failures),
            rows=tuple(rows),
            task_scores=scores,
        )

    def _with_gallery(self, report: Report) -> Report:
        by_name = {contender.name: contender for contender in self.lineup.contenders}
        digests = {place: record["digest"] for place, record in self.records.items()}
        folder = str(self.cache.folder)
        try:
            (self.out / MEDIA).mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.out / MEDIA}: cannot be made ({reason(error)}); choose another place with -o") from None
        chosen = [
            gallery.BoxJob(crop, self.sources[crop.item], by_name[crop.codec], digests[crop.codec, crop.setting, crop.item], folder)
            for crop in gallery.crops(report)
        ]
        boxed = {job.crop: job.crop if isinstance(crop, pool.Died) else crop for job, crop in self._each("crops", gallery.boxed, chosen)}
        crops = [boxed[job.crop] for job in chosen]
        large = [crop for crop in crops if crop.box and self.items[crop.item].units > gallery.MOST_PIXELS]
        parts = {crop.item: crop.box for crop in large if crop.box}
        crops = [replace(crop, box=None) if crop.item in parts else crop for crop in crops]
        jobs = gallery.jobs(crops, parts, self.sources, self.lineup.contenders, digests, self.cache.folder, self.out)
        originals: dict[str, str] = {}
        decoded: dict[tuple[str, str, str], str] = {}
        failures = list(report.failures)
        for job, result in self._each("previews", gallery.preview, jobs):
            if isinstance(result, pool.Died):
                failures.append(Failure(None, None, job.source.id, "preview", result.error))
                continue
            failures += result.failures
            for setting, path in result.paths.items():
                if job.contender is None:
                    originals[job.source.id] = path
                else:
                    decoded[job.contender.name, setting, job.source.id] = path
        return replace(
            report,
            items=tuple(replace(item, media=originals.get(item.id)) for item in report.items),
            rows=tuple(replace(row, decoded=decoded.get((row.codec, row.setting, row.item))) for row in report.rows),
            crops=tuple(crops),
            failures=tuple(failures),
        )

    def _write(self, report: Report) -> None:
        results.check(report)
        results.save(report, self.out / FILE)
        tables.write(report, self.out)
        if self.plan.page:
            write_page(self.out)


def write_page(folder: Path) -> Path:
    """Make the page of the report in a folder, from its JSON and its media alone; where it lies. UsageError where there is none."""
    from smalti.compare import page

    return page.write_page(folder)


_EMPTY: dict[str, Any] = {
    "bytes": 0, "header_bytes": None, "payload_bytes": None, "entropy_gap_bytes": None, "encode_seconds": 0.0, "decode_seconds": 0.0,
    "lag_samples": None,
}  # fmt: skip


def processes_by_default() -> int:
    """As many as there are cores for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
