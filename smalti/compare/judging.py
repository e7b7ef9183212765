"""By what it is judged: metrics and tasks by name, what each means, and the key under which its scores are kept.

A metric's key comes of what it makes of one small pair of signals that are always the same: where its code, its network or its convention
changes, so does what it says of them, and scores that were kept are taken again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smalti.compare import results
from smalti.compare.cache import key_of
from smalti.compare.lineup import absence
from smalti.compare.small import pair
from smalti.metrics import registry
from smalti.tokenizers.contracts import Metric, Score
from smalti.tokenizers.errors import SignalError, UsageError

METRICS = {
    "image": ("psnr", "ms-ssim", "lpips-alex"),
    "audio": ("mel-distance", "stoi", "pesq-wb", "si-sdr"),
    "video": ("video-psnr", "video-ssim", "video-lpips-alex", "temporal-difference"),
    "shape": ("f-score-1", "chamfer", "normal-consistency"),
}
TASKS = {"image": ("classification-agreement",), "audio": (), "video": (), "shape": ()}
READ = {"image": ("character-error-rate",), "audio": ("word-error-rate",), "video": (), "shape": ()}
ALIASES = {"lpips": "lpips-alex", "classification": "classification-agreement", "wer": "word-error-rate"}
_VIDEO_ALIASES = {name.removeprefix("video-"): name for name in registry.METRICS if name.startswith("video-")}
TOKEN_PROBE = "token-probe"  # of our codecs alone: it reads tokens, and no decoded signal
SATURATING = ("ssim", "ms-ssim", "video-ssim", "video-ms-ssim")  # near 1 a mean says nothing: curves are in dB


@dataclass(frozen=True)
class Judges:
    """metrics: name to key. means: what is known of each beforehand, by its score of the small pair."""

    metrics: dict[str, str]
    means: dict[str, Score]
    tasks: tuple[str, ...]
    absent: tuple[results.Absent, ...]


def of(kind: str, metrics: Sequence[str] | None, tasks: Sequence[str] | None, texts: bool = False) -> Judges:
    """Of these names, or the usual ones of a kind; a task may be named among metrics. texts: whether there are some, which the usual tasks
    then read. UsageError for a metric that nobody knows."""
    known = {*registry.known_tasks(), TOKEN_PROBE}
    wanted = [_full_name(kind, name) for name in (METRICS[kind] if metrics is None else metrics)]
    judged = [_full_name(kind, name) for name in tasks] if tasks is not None else []
    judged += [name for name in wanted if name in known]
    if tasks is None and metrics is None:
        judged += TASKS[kind]
    if tasks is None and texts:
        judged += READ[kind]
    keys, means, absent = {}, {}, []
    for name in dict.fromkeys(name for name in wanted if name not in known):
        try:
            score, keys[name] = _probed(kind, name)
        except UsageError:
            raise
        except Exception as error:  # a metric of others may raise anything
            absent.append(absence(name, error))
            continue
        if score is not None:
            means[name] = score
    return Judges(keys, means, tuple(dict.fromkeys(judged)), tuple(absent))


def check_tasks(tasks: Sequence[str], labels: bool, texts: bool) -> None:
    """Before anything is measured: UsageError for a task that nobody knows or that wants labels where there are none, and for labels or
    texts that no task wants."""
    wanted = {name: frozenset({"labels"}) if name == TOKEN_PROBE else registry.parameters_of_task(name) for name in tasks}
    for name, parameters in wanted.items():
        if "labels" in parameters and not labels:
            raise UsageError(f"task {name!r} needs labels, one class for each file; give them with --labels FILE, or leave the task out")
    for given, what in ((labels, "labels"), (texts, "texts")):
        if given and not any(what in parameters for parameters in wanted.values()):
            raise UsageError(f"--{what} is for a task that wants {what}, and none is named; add one with --tasks, or leave it out")


def _full_name(kind: str, name: str) -> str:
    name = ALIASES.get(name, name)
    return _VIDEO_ALIASES.get(name, name) if kind == "video" else name


@functools.cache
def metric(name: str) -> Metric:
    """The metric of a name, or of "package.module:factory"; one for each process. UsageError, ModelError."""
    return registry.resolve(name)


def _probed(kind: str, name: str) -> tuple[Score | None, str]:
    """(what a metric says of the small pair, None where it cannot score it; its key)."""
    judge = metric(name)
    try:
        score = judge(*pair(kind))
    except SignalError as error:
        return None, key_of(metric=name, said=str(error))
    value = f"{score.value:.5g}" if math.isfinite(score.value) else "none"  # a sum in another order is no other metric
    return score, key_of(metric=name, convention=score.convention, value=value)


def metric_infos(judges: Judges, scores: Mapping[str, Mapping[str, str]]) -> tuple[results.MetricInfo, ...]:
    """What each metric means, by what it said of items, or else of the small pair. scores: unit, better, convention by name."""
    infos = []
    for name in judges.metrics:
        said = scores.get(name)
        if said is None:
            if (mean := judges.means.get(name)) is None:
                said = {"unit": "", "better": "higher", "convention": "scored nothing"}
            else:
                said = {"unit": mean.unit, "better": mean.better, "convention": mean.convention}
        transform = "db" if name in SATURATING else None
        infos.append(results.MetricInfo(name, said["unit"], said["better"], said["convention"], transform))
    return tuple(infos)
