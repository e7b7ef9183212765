"""`smalti evaluate`: what a model costs and what it keeps, by real file bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.codecs.neural import NeuralCodec


@click.command("evaluate")
@click.argument("model")
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@options.together(
    click.option(
        "--lpips", "nets", multiple=True, type=click.Choice(["alex", "vgg"]), help="The same as --metric lpips-alex or lpips-vgg."
    ),
    click.option("--metric", "names", multiple=True, metavar="NAME", help="Judge by this metric besides the usual; may be given again."),
    click.option("--task", "tasks", multiple=True, metavar="NAME", help="Score the whole set by this task; may be given again."),
    click.option(
        "--bpp",
        multiple=True,
        type=click.FloatRange(0, min_open=True),
        metavar="R",
        help="Measure files of at most R bits per pixel; may be given again.",
    ),
    click.option(
        "--kbps",
        multiple=True,
        type=click.FloatRange(0, min_open=True),
        metavar="R",
        help="Measure files of at most R kilobits per second of sound; may be given again.",
    ),
    click.option(
        "--bytes",
        "limits",
        multiple=True,
        type=click.IntRange(1),
        metavar="N",
        help="Measure files of shapes of at most N bytes; may be given again.",
    ),
    options.allocate,
    click.option("--labels", metavar="FILE", help="JSON object of class numbers by file name, for accuracy and probes."),
    click.option("--transcripts", metavar="FILE", help="JSON object of texts by file name, for word-error-rate."),
    click.option("--use-picture", metavar="FILE", help="Write a picture of how often each codebook entry is used (PNG)."),
    options.prior,
    options.tone_passes,
    options.trust_code,
    options.device,
    options.threads,
    options.batch,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    model: str, data: tuple[str, ...], nets: tuple[str, ...], names: tuple[str, ...], tasks: tuple[str, ...], bpp: tuple[float, ...],
    kbps: tuple[float, ...], limits: tuple[int, ...], allocate: bool, labels: str | None, transcripts: str | None,
    use_picture: str | None, prior: str, tone_passes: int | None, device: str, threads: int | None, batch: int, force: bool, as_json: bool,
    quiet: bool,
) -> int:  # fmt: skip
    """Measure MODEL on DATA (pictures, with a model of sound sounds, with one of films films, with one of shapes meshes and clouds of
    points, or folders of them) at each of its numbers of stages, or at the rates of --bpp or --kbps, or the sizes of --bytes.

    Bits per pixel and kbps are those of whole files, headers included; kbps are all bits over all seconds. Codebook use is counted over
    all tokens: entries used, perplexity, entropy, and the bits that tokens share with neighbours and levels, less what chance shares.

    Metrics, means over pictures, are psnr (always), psnr-y, ssim, ms-ssim, ms-ssim-db, lpips-alex, lpips-vgg, dists and those of installed
    extensions; means over films, video-psnr, video-ssim, temporal-difference (always), video-psnr-y, video-ms-ssim, video-lpips-alex,
    temporal-lpips; means over sounds, mel-distance, mel-distance-4k, stoi, pesq-wb, si-sdr (always, where installed), stft-distance,
    zimtohrli, visqol, visqol-speech, speaker-similarity; means over shapes, f-score-1, f-score-2, chamfer, normal-consistency, volume-iou,
    surface-iou and d1-psnr (always). What a metric cannot score is left out and counted; a shape that decoded to nothing is scored.

    Tasks, of the whole set at once, are classification-agreement, classification-accuracy (both also with -top-5), linear-probe,
    linear-probe-kinds, object-detection-agreement, face-detection-agreement, character-error-rate, frechet-distance, kernel-distance of
    pictures, and word-error-rate (of those in --transcripts; else against what is heard in the originals) and sound-event-agreement of
    sounds; beside their scores stands the ceiling, that of the signals as they are. Their networks come by smalti fetch-judges.

    Exit code 1: some files could not be read; stderr says which.
    """
    from smalti import api
    from smalti.cli.files import Job, check
    from smalti.cli.signals import NAMES, modality, suffixes
    from smalti.codecs.media.files import list_files
    from smalti.tokenizers.errors import UsageError

    subject = modality(model, ())
    _check_options(
        model, subject,
        image={"--lpips": nets, "--labels": labels, **_given("--batch", "--tone-passes", "--allocate")},
        audio={"--transcripts": transcripts},
        shape={"--bytes": limits},
        image_or_video={"--bpp": bpp},
        audio_or_video={"--kbps": kbps},
        image_or_audio={"--task": tasks, "--use-picture": use_picture},
    )  # fmt: skip
    if transcripts and not tasks:
        raise UsageError("--transcripts is for a task, and none is given; add --task word-error-rate")
    if use_picture:
        check([Job(model, use_picture)], force, as_json, "--use-picture")
    kind = NAMES[subject]
    files = [path for item in data for path in (list_files(item, suffixes(subject)) if Path(item).is_dir() else [Path(item)])]
    if not files:
        raise UsageError(f"{', '.join(data)}: no {kind} in there; name another folder")
    numbers = _labels(labels) if labels else None
    options.set_threads(threads)
    codec = api.codec(model, device, prior, tone_passes, allocate)
    with options.progress(len(files), "evaluating", quiet or as_json) as bar:
        where = str(getattr(codec.tokenizer, "device", "cpu"))
        chosen, drawn = tuple(dict.fromkeys(tasks)), Path(use_picture) if use_picture else None
        if subject == "shape":
            result = _of_shapes(codec, files, names, bar.update, where, limits)
        elif subject == "video":
            result = _of_films(codec, files, names, bar.update, where, bpp, kbps)
        elif subject == "audio":
            result = _of_sounds(codec, files, names, bar.update, where, chosen, transcripts, drawn, kbps)
        else:
            metrics = list(dict.fromkeys(("psnr", *(f"lpips-{net}" for net in nets), *names)))
            result = _of_pictures(codec, files, metrics, batch, bar.update, where, chosen, numbers, drawn, bpp)
    for line in (*result["skipped"], *result.get("left_out", {}).values()):
        options.complain(line)
    if as_json:
        options.print_json(result)
    elif not quiet:
        _show(result, kind)
    return options.exit_code(result[kind], len(result["skipped"]))


def _check_options(model: str, subject: str, **by_subject: dict[str, Any]) -> None:
    """UsageError for an option that goes with models of another kind. by_subject: by one kind, or by one_or_other."""
    from smalti.tokenizers.errors import UsageError

    names = {"image": "pictures", "audio": "sound", "video": "films", "shape": "shapes"}
    for kinds, given in by_subject.items():
        goes_with = kinds.split("_or_")
        wrong = [name for name, value in given.items() if value and subject not in goes_with]
        if wrong:
            of = " and ".join(names[kind] for kind in goes_with)
            raise UsageError(f"{wrong[0]} is for models of {of}, and {model} is none; leave it out")


def _given(*names: str) -> dict[str, bool]:
    """Which options that have a default were given."""
    source = click.get_current_context().get_parameter_source
    default = click.core.ParameterSource.DEFAULT
    return {name: source(name[2:].replace("-", "_")) is not default for name in names}


def _of_pictures(
    codec: NeuralCodec, files: Sequence[Path], metrics: Sequence[str], batch: int, step: Callable[[int], Any], device: str,
    tasks: Sequence[str], labels: dict[str, int] | None, drawn: Path | None, bpp: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    from smalti.recipes.evaluation import evaluate
    from smalti.tokenizers.contracts import Target

    targets = [Target(bits_per_pixel=rate) for rate in bpp]
    return evaluate(codec, files, metrics, batch, step, device, tasks, labels, drawn, targets)


def _of_sounds(
    codec: NeuralCodec, files: Sequence[Path], metrics: Sequence[str], step: Callable[[int], Any], device: str, tasks: Sequence[str],
    transcripts: str | None, drawn: Path | None, kbps: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    from smalti.recipes.sound_evaluation import evaluate
    from smalti.recipes.sounds import read_texts
    from smalti.tokenizers.contracts import Target

    texts = read_texts(Path(transcripts)) if transcripts else None
    return evaluate(codec, files, metrics, step, device, tasks, texts, drawn, [Target(kbps=rate) for rate in kbps])


def _of_shapes(
    codec: NeuralCodec, files: Sequence[Path], metrics: Sequence[str], step: Callable[[int], Any], device: str, limits: Sequence[int]
) -> dict[str, Any]:
    from smalti.recipes.shape_evaluation import METRICS, evaluate
    from smalti.tokenizers.contracts import Target

    judged = list(dict.fromkeys((*METRICS, *metrics)))
    return evaluate(codec, files, judged, step, device, [Target(bytes=size) for size in limits])


def _of_films(
    codec: NeuralCodec, files: Sequence[Path], metrics: Sequence[str], step: Callable[[int], Any], device: str, bpp: Sequence[float],
    kbps: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    from smalti.recipes.video_evaluation import METRICS, evaluate
    from smalti.tokenizers.contracts import Target

    targets = [*(Target(bits_per_pixel=rate) for rate in bpp), *(Target(kbps=rate) for rate in kbps)]
    return evaluate(codec, files, list(dict.fromkeys((*METRICS, *metrics))), step, device, targets)


def _labels(file: str) -> dict[str, int]:
    import json

    from smalti.codecs.media.files import read_bytes
    from smalti.tokenizers.errors import UsageError

    try:
        labels = json.loads(read_bytes(file))
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict) or not all(type(number) is int and number >= 0 for number in labels.values()):
        raise UsageError(f"{file}: no labels, expected a JSON object of class numbers by file name")
    return labels


def _show(result: dict[str, Any], kind: str) -> None:
    sound = kind == "sounds"
    sized = ("bytes", "bits_per_pixel")
    rates = {"sounds": ("kbps", "payload_kbps"), "pictures": sized, "films": sized, "shapes": ("bytes", "faces")}[kind]
    over = f", {result['seconds']:.1f} s; kbps over all seconds, other" if sound else ";"
    click.echo(f"{result['model']} on {result[kind]} {kind}{over} means over {kind}; whole files")
    columns = [*result["rates"][0]["scores"], *result["tasks"]]
    widths = [max(11, len(name)) for name in columns]
    titled = ("bytes", "bits/pixel")
    titles = {"sounds": ("kbps", "payload"), "pictures": titled, "films": titled, "shapes": ("bytes", "faces")}[kind]
    click.echo(_row("stages", *titles, columns, widths))
    for rate in result["rates"]:
        first, second = (rate[name] for name in rates)
        scores = [f"{value:.4f}" for value in (*rate["scores"].values(), *rate["tasks"].values())]
        click.echo(
            _row(
                f"{rate['stages']:.3g}",
                f"{first:.3f}" if sound else f"{first:.0f}",
                f"{second:.0f}" if kind == "shapes" else f"{second:.4f}",
                scores,
                widths,
            )
        )
    for name, count in result["rates"][0].get("unscored", {}).items():
        click.echo(f"{name}: {count} of {result[kind]} {kind} cannot be scored, and are left out of its means")
    if count := result.get("without_text"):
        click.echo(f"{count} of {result[kind]} {kind} have no text, and are left out of the tasks")
    for name, task in result["tasks"].items():
        click.echo(f"{name}: {task['ceiling']:.4f} on the {kind} as they are; {task['better']} is better")
    for stage in result["codebooks"]:
        use = f"{stage['used']} of {stage['size']} entries used, {stage['dead']} dead, perplexity {stage['perplexity']:.0f}"
        bits = f"entropy {stage['entropy_bits']:.2f} bits, coded in {stage['coded_bits']:.2f} bits a token"
        click.echo(f"{stage['stage']}: {use}, {bits}{_shared(stage)}")


def _shared(stage: dict[str, Any]) -> str:
    """What its tokens say about others, where that was counted."""
    named = {"its right neighbour": stage["neighbour_bits"], "the level before": stage["level_bits"]}
    return "".join(f", {bits:.2f} shared with {name}" for name, bits in named.items() if bits is not None)


def _row(stages: str, size: str, rate: str, scores: list[str], widths: list[int]) -> str:
    return " ".join([f"{stages:>6} {size:>8} {rate:>10}", *(f"{score:>{width}}" for score, width in zip(scores, widths, strict=True))])
