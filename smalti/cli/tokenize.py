"""`smalti tokenize`: pictures, sounds, films and shapes to `.smt` files, or to arrays for other programs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.archives import ArchiveDraft
    from smalti.cli.files import Job
    from smalti.cli.signals import Noted
    from smalti.codecs.neural import NeuralCodec
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.tokens import Tokens

NO_NAME = "its name is no plain path of at most 255 bytes: it has none in the archive"
GROUP_SAMPLES = 2**24  # of sounds that are encoded together: six minutes at 48 kHz
GROUP_VERTICES = 2**20  # of shapes, likewise


@click.command("tokenize")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@options.together(
    options.model,
    click.option("--audio-model", metavar="MODEL", help="Write the sound of films too, with this model of sound.  [default: left out]"),
    click.option("-o", "--out", metavar="OUT", help="Result file, folder (ends in / or exists) or -.  [default: beside SRC]"),
    click.option("--archive", metavar="OUT.smt", help="One file of all SRC, from which each can be read alone; or -."),
    options.limit_bytes,
    click.option("--bpp", type=options.Rate(0, min_open=True), metavar="X", help="Files of at most X bits per pixel."),
    click.option(
        "--kbps", type=options.Rate(0, min_open=True), metavar="X", help="Files of at most X kilobits per second of sound or film."
    ),
    options.stages,
    options.prior,
    options.tone_passes,
    options.allocate,
    click.option("--format", "form", type=click.Choice(["smt", "npy", "json"]), default="smt", show_default=True, help="What to write."),
    options.trust_code,
    options.device,
    options.threads,
    options.batch,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    sources: tuple[str, ...], model: str | None, audio_model: str | None, out: str | None, archive: str | None, limit_bytes: int | None,
    bpp: float | None, kbps: float | None, stages: int | None, prior: str, tone_passes: int | None, allocate: bool, form: str, device: str,
    threads: int | None, batch: int, force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Turn pictures, sounds, films or shapes into token files: photo.jpg becomes photo.smt, a folder becomes a folder.

    SRC is a picture, a folder of pictures (with all folders in it), or - for standard input; with a model of sound, a sound file, a film
    with sound, or a folder of them; a film (.mp4 .mkv .webm .mov .y4m, with a model of films named .gif too), or a folder of them; a mesh
    or a cloud of points (.ply .stl .obj .off .glb .xyz), or a folder of them.

    A model gives tokens in stages, coarse to fine; all are kept, or as many as --bytes, --bpp, --kbps or --stages (one of them) allow.

    --archive OUT.smt writes all SRC into that one file, each under its name: photo.jpg, or of a folder the path in it. Many small pictures
    take less so: a few bytes each beside their tokens. --bytes, --bpp, --kbps and --stages hold for each item, as if it were a file of its
    own. `smalti detokenize OUT.smt` gives back all of them, with --key one; `smalti info` lists them.

    A film keeps its rate or its times, its sample aspect and, with --audio-model, its sound, in one file. Its bits per pixel are over all
    frames. Of a damaged one what could be read is written, and what is missing is said.

    Exit code 1: done, but a picture lost something visible (transparency, later frames, depth beyond 8 bits) or could not be read; stderr
    says which.
    """
    from smalti import api
    from smalti.archives import ArchiveDraft
    from smalti.cli.files import plan, write
    from smalti.cli.packing import plan_archive
    from smalti.cli.signals import modality, suffixes
    from smalti.media import DEFAULT_MODELS
    from smalti.tokenizers.contracts import Target

    given = [name for name, value in (("--bytes", limit_bytes), ("--bpp", bpp), ("--kbps", kbps), ("--stages", stages)) if value]
    if len(given) > 1:
        raise click.UsageError(f"one target at a time, found {' and '.join(given)}", click.get_current_context())
    _check_names(sources, out, form)
    target = Target(bytes=limit_bytes, bits_per_pixel=bpp, kbps=kbps, stages=stages)
    if form != "smt" and (limit_bytes or bpp or kbps):
        raise click.UsageError("--bytes, --bpp and --kbps are sizes of .smt files; choose --stages for arrays", click.get_current_context())
    if archive is not None and (out is not None or form != "smt"):
        raise click.UsageError(
            "--archive names the one file of all results, a .smt file; leave out --out and --format", click.get_current_context()
        )
    subject = modality(model, sources)
    if (kbps and subject in ("image", "shape")) or (bpp and subject in ("audio", "shape")):
        of, more = "sounds" if kbps else "pictures", {"image": "--bpp, ", "audio": "--kbps, "}.get(subject, "")
        raise click.UsageError(f"{given[0]} is a rate of {of}; give {more}--bytes or --stages", click.get_current_context())
    if archive is None:
        jobs = plan(sources, out, f".{form}", suffixes(subject), force, as_json)
    else:
        jobs = plan_archive(sources, archive, suffixes(subject), force, as_json)
    options.set_threads(threads)
    codec = api.codec(model or DEFAULT_MODELS[subject], device, prior, tone_passes, allocate, audio_model)
    target = codec.file_target(target) if form == "smt" else target
    draft = None if archive is None else ArchiveDraft()
    put = _file if draft is None else functools.partial(_item, draft)
    results: list[dict[str, Any]] = []
    with options.progress(len(jobs), "tokenizing", quiet or as_json) as bar:
        for group in _groups(jobs, batch, subject, codec):
            results += _written_together(group, codec, target, form, put, alone=len(jobs) == 1)
            bar.update(len(group))
            group.clear()  # or the next are read while these are held
    if draft is not None and archive is not None and results:
        packed = draft.data()
        write(archive, packed)
        _report_archive(archive, packed, results, as_json, quiet)
    else:
        _report(results, as_json, quiet)
    return options.exit_code(len(results), len(jobs) - len(results), any(item["lost"] for item in results))


def _check_names(sources: Sequence[str], out: str | None, form: str) -> None:
    """UsageError for token files as sources, and for results that are called pictures, sounds or shapes and are none."""
    from pathlib import Path

    from smalti.codecs.media.files import AUDIO_SUFFIXES, FILM_SUFFIXES, IMAGE_SUFFIXES, SHAPE_SUFFIXES
    from smalti.tokenizers.errors import UsageError

    known = (*IMAGE_SUFFIXES, *AUDIO_SUFFIXES, *FILM_SUFFIXES, *SHAPE_SUFFIXES)
    for source in sources:
        if Path(source).suffix.lower() == ".smt" and not Path(source).is_dir():
            raise UsageError(
                f"{source}: a token file already; `smalti detokenize` makes a picture of it, `smalti transcode` and `cut` others"
            )
    if out is not None and Path(out).suffix.lower() in known and not Path(out).is_dir():
        raise UsageError(f"{out}: the result is tokens and no {Path(out).suffix} file; give it a name that ends in .{form}")


def _groups(jobs: list[Job], batch: int, subject: str, codec: NeuralCodec) -> Iterator[list[tuple[Job, Noted | None]]]:
    """Jobs with their signals, None where one was refused, as many at a time as are encoded together: `batch`, or as large as one group.

    With several files one that fails is named and the rest go on.
    """
    from smalti.cli.signals import read_noted

    group: list[tuple[Job, Noted | None]] = []
    held = 0.0
    for job in jobs:
        found = options.attempt(len(jobs) == 1, read_noted, subject, job.source, codec.tokenizer, codec.sound is not None)
        group.append((job, found))
        held += _share(found)
        found = None
        if len(group) == batch or held >= 1:
            yield group
            group, held = [], 0.0
    if group:
        yield group


def _share(found: Noted | None) -> float:
    """Of the largest group, what a signal takes of memory; pictures are bounded by their number. Films go one by one."""
    if found is None or hasattr(found.signal, "pixels"):
        return 0.0
    if hasattr(found.signal, "samples"):
        return found.signal.samples.size / GROUP_SAMPLES
    return len(found.signal.vertices) / GROUP_VERTICES if hasattr(found.signal, "vertices") else 1.0


def _written_together(
    group: list[tuple[Job, Noted | None]], codec: NeuralCodec, target: Target, form: str,
    put: Callable[[Job, bytes], dict[str, Any]], alone: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Encode together, put where they belong one by one."""
    found = [(job, noted) for job, noted in group if noted is not None]
    encoded = _encoded(found, codec, target, alone)
    results = [
        options.attempt(alone, _one, job, noted, tokens, codec, target, form, put)
        for (job, noted), tokens in zip(found, encoded, strict=True)
        if tokens is not None
    ]
    return [item for item in results if item is not None]


def _encoded(found: list[tuple[Job, Noted]], codec: NeuralCodec, target: Target, alone: bool) -> list[Tokens | None]:
    """All at once; shapes and films, of which only the tokenizer can tell whether it takes them, one by one."""
    from smalti import api
    from smalti.cli.files import name_of

    if all(hasattr(noted.signal, "pixels") or hasattr(noted.signal, "samples") for _, noted in found):
        return list(codec.encode([noted.signal for _, noted in found], target))

    def encode(job: Job, noted: Noted) -> Tokens:
        return api.with_name(name_of(job.source), lambda: codec.encode([noted.signal], target)[0])

    return [options.attempt(alone, encode, job, noted) for job, noted in found]


def _one(
    job: Job, noted: Noted, tokens: Tokens, codec: NeuralCodec, target: Target, form: str, put: Callable[[Job, bytes], dict[str, Any]]
) -> dict[str, Any]:
    from smalti import api
    from smalti.cli.files import PIPE, name_of

    data = api.with_name(name_of(job.source), lambda: _written(tokens, noted, codec, target, form))
    nameless = job.key == "" and job.source != PIPE
    return put(job, data) | _result(noted, tokens, data, form, codec, (NO_NAME,) if nameless else ())


def _file(job: Job, data: bytes) -> dict[str, Any]:
    from smalti.cli.files import write

    write(job.target, data)
    return {"source": job.source, "target": job.target}


def _item(draft: ArchiveDraft, job: Job, data: bytes) -> dict[str, Any]:
    from smalti import api
    from smalti.cli.files import name_of

    key = str(job.key)
    return {"source": job.source, "item": api.with_name(name_of(job.source), lambda: draft.add(data, key)), "name": key}


def _written(tokens: Tokens, noted: Noted, codec: NeuralCodec, target: Target, form: str) -> bytes:
    from smalti.cli import arrays

    if form == "smt":
        return codec.pack(tokens, getattr(noted.signal, "notes", ()), target, noted.signal)
    stages = target.stages
    tokens = tokens.prefix(stages) if stages else tokens
    return arrays.to_npy(tokens) if form == "npy" else arrays.to_json(tokens, codec.name, codec.tokenizer.fingerprint)


def _result(noted: Noted, tokens: Tokens, data: bytes, form: str, codec: NeuralCodec, more: tuple[str, ...]) -> dict[str, Any]:
    from smalti.cli.signals import rate_of, size_of, way_of
    from smalti.codecs.bitstream import parse
    from smalti.codecs.media.video import problems_of
    from smalti.tokenizers.signals import Video

    size = size_of(noted.signal, tokens)
    if isinstance(noted.signal, Video):
        more = (*more, *problems_of(noted.signal))
    held = parse(data).stages() if form == "smt" else len(tokens.arrays)
    return {
        "model": codec.name,
        **size,
        "bytes": len(data),
        **rate_of(size, len(data)),
        "stages": held,
        "tokens": tokens.prefix(held).count,
        **way_of(tokens.prefix(held)),
        "notes": [*noted.notes, *more],
        "lost": [*noted.lost, *more],
    }


def _report(results: list[dict[str, Any]], as_json: bool, quiet: bool) -> None:
    _say_notes(results, quiet)
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            rate = f", {item['bits_per_pixel']:.4f} bits per pixel" if "bits_per_pixel" in item else ""
            rate += f", {item['kbps']:.3f} kbps" if "kbps" in item else ""
            what = f"{item['bytes']} bytes{rate}, {item['tokens']} tokens in {options.stages_of(item['stages'])}"
            options.say_done(item["target"], what + (f": {item['way']}" if "way" in item else ""))


def _report_archive(archive: str, packed: bytes, results: list[dict[str, Any]], as_json: bool, quiet: bool) -> None:
    _say_notes(results, quiet)
    if as_json:
        options.print_json({"target": archive, "bytes": len(packed), "items": results})
    elif not quiet:
        alone, tokens = sum(item["bytes"] for item in results), sum(item["tokens"] for item in results)
        many = f"{len(results)} item{'' if len(results) == 1 else 's'}"
        options.say_done(archive, f"{many}, {len(packed)} bytes ({alone} as files of their own), {tokens} tokens")


def _say_notes(results: list[dict[str, Any]], quiet: bool) -> None:
    from smalti.cli.files import name_of

    for item in results:
        notes = item["lost"] if quiet else item["notes"]
        if notes:
            options.say(f"{name_of(item['source'])}: {'; '.join(notes)}")
