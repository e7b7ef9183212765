"""Metrics and tasks by name: "module:factory"; other distributions add theirs by entry points `smalti.metrics` and `smalti.tasks`.

A metric scores one pair of signals, a task a whole set of them. A factory is called without arguments, or with `device` ("cpu", "cuda")
and, a task's, with `labels` (one class number for each signal), `texts` (what is said or written in each) and `groups` (a name for each:
signals of one group are never on both sides of a split), where it has parameters of those names.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from smalti.tokenizers.contracts import Metric, Task
from smalti.tokenizers.errors import ModelError, UsageError

METRICS = {
    "psnr": "smalti.metrics.image:PSNR",
    "psnr-y": "smalti.metrics.image:LumaPSNR",
    "ssim": "smalti.metrics.structural:SSIM",
    "ms-ssim": "smalti.metrics.structural:MultiScaleSSIM",
    "ms-ssim-db": "smalti.metrics.structural:MultiScaleSSIMDecibels",
    "lpips-alex": "smalti.metrics.image:lpips_alex",
    "lpips-vgg": "smalti.metrics.image:lpips_vgg",
    "dists": "smalti.metrics.dists:DISTS",
    "mel-distance": "smalti.metrics.audio:MelDistance",
    "mel-distance-4k": "smalti.metrics.audio:mel_distance_4k",
    "stft-distance": "smalti.metrics.audio:STFTDistance",
    "stft-distance-4k": "smalti.metrics.audio:stft_distance_4k",
    "si-sdr": "smalti.metrics.audio:SISDR",
    "si-sdr-4k": "smalti.metrics.audio:si_sdr_4k",
    "pesq-wb": "smalti.metrics.perceived:pesq_wb",
    "pesq-nb": "smalti.metrics.perceived:pesq_nb",
    "stoi": "smalti.metrics.perceived:STOI",
    "stoi-4k": "smalti.metrics.perceived:stoi_4k",
    "zimtohrli": "smalti.metrics.perceived:Zimtohrli",
    "zimtohrli-4k": "smalti.metrics.perceived:zimtohrli_4k",
    "visqol": "smalti.metrics.perceived:ViSQOL",
    "visqol-4k": "smalti.metrics.perceived:visqol_4k",
    "visqol-speech": "smalti.metrics.perceived:visqol_speech",
    "visqol-speech-4k": "smalti.metrics.perceived:visqol_speech_4k",
    "speaker-similarity": "smalti.metrics.speaker:load",
    "speaker-similarity-4k": "smalti.metrics.speaker:load_4k",
    "f-score-1": "smalti.metrics.shape:f_score_1",
    "f-score-2": "smalti.metrics.shape:f_score_2",
    "chamfer": "smalti.metrics.shape:ChamferL1",
    "normal-consistency": "smalti.metrics.shape:NormalConsistency",
    "volume-iou": "smalti.metrics.shape:VolumeIoU",
    "surface-iou": "smalti.metrics.shape:SurfaceIoU",
    "d1-psnr": "smalti.metrics.shape:D1PSNR",
    "video-psnr": "smalti.metrics.video:psnr",
    "video-psnr-y": "smalti.metrics.video:psnr_y",
    "video-ssim": "smalti.metrics.video:ssim",
    "video-ms-ssim": "smalti.metrics.video:ms_ssim",
    "video-lpips-alex": "smalti.metrics.video:lpips_alex",
    "temporal-difference": "smalti.metrics.video:TemporalDifference",
    "temporal-lpips": "smalti.metrics.video:TemporalLPIPS",
}

TASKS = {
    "classification-agreement": "smalti.metrics.machine.classification:agreement",
    "classification-agreement-top-5": "smalti.metrics.machine.classification:agreement_of_five",
    "classification-accuracy": "smalti.metrics.machine.classification:accuracy",
    "classification-accuracy-top-5": "smalti.metrics.machine.classification:accuracy_of_five",
    "linear-probe": "smalti.metrics.machine.probes:of_pictures",
    "linear-probe-from-decoded": "smalti.metrics.machine.probes:of_pictures_from_decoded",
    "linear-probe-kinds": "smalti.metrics.machine.probes:of_kinds",
    "linear-probe-kinds-from-decoded": "smalti.metrics.machine.probes:of_kinds_from_decoded",
    "object-detection-agreement": "smalti.metrics.machine.detection:objects",
    "face-detection-agreement": "smalti.metrics.machine.detection:faces",
    "character-error-rate": "smalti.metrics.machine.reading:character_error_rate",
    "word-error-rate": "smalti.metrics.machine.recognition:word_error_rate",
    "word-error-rate-4k": "smalti.metrics.machine.recognition:word_error_rate_4k",
    "spoken-digits": "smalti.metrics.machine.digits:spoken_digits",
    "spoken-digits-from-decoded": "smalti.metrics.machine.digits:spoken_digits_from_decoded",
    "sound-event-agreement": "smalti.metrics.machine.sound_events:agreement",
    "shape-classes": "smalti.metrics.machine.shapes:classes",
    "shape-classes-from-decoded": "smalti.metrics.machine.shapes:classes_from_decoded",
    "frechet-distance": "smalti.metrics.distributions:frechet",
    "kernel-distance": "smalti.metrics.distributions:kernel",
    "frechet-video-distance": "smalti.metrics.video_distributions:load",
}


def known() -> dict[str, str]:
    """All metrics, ours and those of other distributions; a name of ours stays ours."""
    return {point.name: point.value for point in entry_points(group="smalti.metrics")} | METRICS


def known_tasks() -> dict[str, str]:
    """All tasks, ours and those of other distributions; a name of ours stays ours."""
    return {point.name: point.value for point in entry_points(group="smalti.tasks")} | TASKS


def resolve(name: str, device: str = "cpu") -> Metric:
    """The metric of a name; UsageError where nobody knows it, ModelError where it or its network is not at hand."""
    factory, parameters = _factory("metric", name, known())
    return factory(device=device) if "device" in parameters else factory()


def resolve_task(
    name: str,
    device: str = "cpu",
    labels: Sequence[int] | None = None,
    texts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Task:
    """The task of a name; UsageError where nobody knows it or it wants labels, ModelError where it or its network is not at hand.

    texts, groups: a task that takes them does without where there are none.
    """
    factory, parameters = _factory("task", name, known_tasks())
    arguments: dict[str, Any] = {"device": device} if "device" in parameters else {}
    if "labels" in parameters:
        if labels is None:
            raise UsageError(f"task {name!r} needs labels, one class number for each signal; found none")
        arguments["labels"] = labels
    for key, value in (("texts", texts), ("groups", groups)):
        if key in parameters and value is not None:
            arguments[key] = value
    return factory(**arguments)


def parameters_of_task(name: str) -> frozenset[str]:
    """What a task is made with: of `device`, `labels`, `texts`, `groups`; UsageError, ModelError."""
    return _factory("task", name, known_tasks())[1]


def _factory(kind: str, name: str, table: dict[str, str]) -> tuple[Callable[..., Any], frozenset[str]]:
    """What makes the thing of that name, or of "package.module:factory", which nobody need have registered; and its parameters' names."""
    if ":" in name:
        table = {name: name}
    if name not in table:
        near = difflib.get_close_matches(name, table, 1)
        raise UsageError(f"no {kind} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"))
    module, _, attribute = table[name].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{kind} {name!r} cannot be imported from {table[name]}: {error}; install what it needs") from None
    return factory, frozenset(inspect.signature(factory).parameters)
