"""`smalti detokenize`: token files back to pictures and sounds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.cli.files import Job
    from smalti.codecs.bitstream.salvage import Loss
    from smalti.tokenizers.audio.excerpt import Stretch
    from smalti.tokenizers.contracts import Tokenizer
    from smalti.tokenizers.tokens import Tokens

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SOUND_SUFFIXES = (".wav", ".flac")


class Seconds(click.ParamType):
    """A time that is not negative, "s" behind it or not."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = float(str(value).removesuffix("s"))
        except ValueError:
            found = -1.0
        if not 0 <= found < 1e9:
            self.fail(f"{value!r} is no time in seconds, as in 90 or 2.5s", param, ctx)
        return found


@click.command("detokenize")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.together(
    options.file_model,
    options.file_prior,
    click.option(
        "-o",
        "--out",
        metavar="OUT",
        help="Result .png, .jpg, .webp, .wav or .flac, folder (ends in / or exists) or -.  [default: FILE.png or FILE.wav]",
    ),
    click.option("--stages", type=click.IntRange(1), metavar="K", help="Decode the first K stages only."),
    click.option("--bytes", "limit_bytes", type=click.IntRange(1), metavar="N", help="Decode what a file of at most N bytes would hold."),
    click.option("--start", type=Seconds(), metavar="S", help="Decode a sound from this time on: seconds, as in 90 or 2.5s."),
    click.option("--end", type=Seconds(), metavar="S", help="Decode a sound up to this time."),
    click.option("--conceal", is_flag=True, help="Decode what is left of a damaged .smt file; what is likely stands in for the rest."),
    options.device,
    options.threads,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    files: tuple[str, ...], model: str | None, prior: str, out: str | None, stages: int | None, limit_bytes: int | None,
    start: float | None, end: float | None, conceal: bool, device: str, threads: int | None, force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Turn token files (.smt, or the .json and .npy of tokenize --format) back into pictures or sounds of exactly the size that went in.

    FILE may be a folder, or - for standard input. --stages or --bytes decode less: a coarser signal. A .npy array does not name its
    model: give --model.

    --start and --end decode a stretch of a sound: of long files, which are written in chunks, nothing else, so that damage elsewhere
    does not matter; it is told.

    --conceal goes on where chunks of a file are damaged or missing: what the model's masked prior expects, or the nearest tokens that are
    left where it brings none, takes the place of lost ones; stages of which too little is left, or nothing of a step, are dropped. The
    short form of a file (most pictures) stands or falls as a whole.

    Exit code 1: some of several files could not be decoded, or something was concealed or is damaged; stderr says which, and what.
    """
    from smalti.cli.files import plan
    from smalti.cli.signals import holds_sound

    if stages and limit_bytes:
        raise click.UsageError("give --stages or --bytes, not both", click.get_current_context())
    if conceal and limit_bytes:
        raise click.UsageError("--conceal decodes what is left of a file, whatever its size; give --stages", click.get_current_context())
    timed = start is not None or end is not None
    if timed and (conceal or limit_bytes):
        raise click.UsageError("--start and --end go with neither --bytes nor --conceal", click.get_current_context())
    sounds = functools.cache(lambda file: holds_sound(file, model))
    jobs = plan(files, out, lambda file: ".wav" if sounds(file) else ".png", (".smt", ".json", ".npy"), force, as_json)
    for job in jobs:
        _check_suffix(job.target, sounds(job.source))
    options.set_threads(threads)
    results: list[dict[str, Any]] = []
    with options.progress(len(jobs), "detokenizing", quiet or as_json) as bar:
        for job in jobs:
            done = options.attempt(len(jobs) == 1, _one, job, model, prior, stages, limit_bytes, (start, end), conceal, device)
            results += [done] if done else []
            bar.update(1)
    for item in results:
        for line in item["lost"]:
            options.say(f"{item['source']}: {line}")
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            size = f"{item['width']} x {item['height']}" if "width" in item else f"{item['samples']} samples at {item['rate']} Hz"
            options.say_done(item["target"], f"{size} from {options.stages_of(item['stages'])}")
    return options.exit_code(len(results), len(jobs) - len(results), any(item["lost"] for item in results))


def _check_suffix(target: str, sound: bool | None) -> None:
    """UsageError where a file of that name can't be written. sound: None where it is not known yet."""
    from smalti.cli.files import PIPE
    from smalti.tokenizers.errors import UsageError

    known = (*SUFFIXES, *SOUND_SUFFIXES) if sound is None else SOUND_SUFFIXES if sound else SUFFIXES
    if target != PIPE and Path(target).suffix.lower() not in known:
        what = {None: "pictures and sounds", True: "sounds", False: "pictures"}[sound]
        raise UsageError(f"{target}: {what} are written as {', '.join(known)}; choose such a name, or a folder (ending in /)")


def _one(
    job: Job, model: str | None, prior: str, stages: int | None, limit_bytes: int | None, times: tuple[float | None, float | None],
    conceal: bool, device: str,
) -> dict[str, Any]:  # fmt: skip
    from smalti import api
    from smalti.cli.files import PIPE, name_of, read, write
    from smalti.cli.signals import size_of
    from smalti.codecs.media.audio import encode_audio, encode_into
    from smalti.codecs.media.images import encode_image
    from smalti.tokenizers.signals import Audio, Image

    data = read(job.source)
    lost: list[str] = []
    stretch = None
    if times != (None, None):
        tokens, tokenizer, stretch, lost = api.with_name(name_of(job.source), lambda: _stretch(data, model, prior, stages, times, device))
    elif conceal:
        tokens, tokenizer, lost = api.with_name(name_of(job.source), lambda: _concealed(data, model, prior, stages, device))
    else:
        tokens, tokenizer = api.with_name(name_of(job.source), lambda: _tokens(data, model, prior, stages, limit_bytes, device))
    _check_suffix(job.target, "samples" in tokens.layout.size)
    (signal,) = api.with_name(name_of(job.source), lambda: tokenizer.decode([tokens]))
    assert isinstance(signal, Image | Audio)
    if stretch is not None and isinstance(signal, Audio):
        signal = stretch.of(signal)
    if isinstance(signal, Image):
        write(job.target, encode_image(signal, Path(job.target).suffix if job.target != PIPE else ".png", job.target))
    elif job.target == PIPE:
        write(PIPE, encode_audio(signal, ".wav"))
    else:
        write(job.target, lambda file: encode_into(file, signal, Path(job.target).suffix, job.target))
    return {
        "source": job.source,
        "target": job.target,
        **size_of(signal),
        "stages": len(tokens.arrays),
        "model": tokenizer.name,
        "lost": lost,
    }


def _tokens(
    data: bytes, model: str | None, prior: str, stages: int | None, limit_bytes: int | None, device: str
) -> tuple[Tokens, Tokenizer]:
    """Tokens and their tokenizer, from what the bytes are: an array, JSON or a `.smt` file. The file's ending does not matter."""
    from smalti.cli import arrays
    from smalti.tokenizers.errors import UsageError

    kind = arrays.kind(data)
    if kind == "smt":
        return _from_smt(data, model, prior, stages, limit_bytes, device)
    if prior:
        raise UsageError(f"--prior is for .smt files, this is {kind}, which no prior coded; leave it out")
    if limit_bytes:
        raise UsageError(f"--bytes are sizes of .smt files, this is {kind}; give --stages")
    tokens, tokenizer = _from_array(data, kind, model, device)
    return tokens.prefix(stages) if stages else tokens, tokenizer


def _from_smt(
    data: bytes, model: str | None, prior: str, stages: int | None, limit_bytes: int | None, device: str
) -> tuple[Tokens, Tokenizer]:
    from smalti import api
    from smalti.codecs.bitstream import parse
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target

    found = api.opened(parse(data), model, device, prior)
    tokenizer = found.decoder()
    tokens = found.tokens(stages)
    if limit_bytes and limit_bytes < len(data):
        shorter = write_within(tokens, found.prior, found.info, Target(bytes=limit_bytes))
        tokens = tokens.prefix(parse(shorter).stages())
    return tokens, tokenizer


def _stretch(
    data: bytes, model: str | None, prior: str, stages: int | None, times: tuple[float | None, float | None], device: str
) -> tuple[Tokens, Tokenizer, Stretch, list[str]]:
    """Tokens of a part of a sound, their tokenizer, what of them is wanted, and a line on each problem elsewhere in the file."""
    from smalti import api
    from smalti.cli import arrays
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import UsageError

    if (kind := arrays.kind(data)) != "smt":
        raise UsageError(f"--start and --end are for .smt files, this is {kind}; leave them out")
    file = parse(data, strict=False)
    found = api.opened(file, model, device, prior)
    part = found.stretch(*times, stages)
    return part.tokens, found.decoder(), part, [f"damaged elsewhere: {problem}" for problem in file.problems]


def _concealed(data: bytes, model: str | None, prior: str, stages: int | None, device: str) -> tuple[Tokens, Tokenizer, list[str]]:
    """Tokens with neighbours in the place of lost ones, their tokenizer, and a line on each thing that was lost."""
    from smalti import api
    from smalti.cli import arrays
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import UsageError

    kind = arrays.kind(data)
    if kind != "smt":
        raise UsageError(f"--conceal is for .smt files, this is {kind}; leave it out")
    file = parse(data, strict=False)
    found = api.opened(file, model, device, prior)
    tokenizer = found.decoder()
    result = found.concealed(stages)
    lines = [_lost(loss, found.info.stages) for loss in result.losses]
    return result.tokens, tokenizer, [*file.problems, *lines]


def _lost(loss: Loss, stages: int) -> str:
    stage = f"stage {loss.stage + 1} of {stages}"
    if loss.dropped:
        return f"{stage} left out"
    return f"{stage} concealed in {loss.axis}s {loss.start} to {loss.stop - 1} of {loss.count}"


def _from_array(data: bytes, kind: str, model: str | None, device: str) -> tuple[Tokens, Tokenizer]:
    from smalti import api
    from smalti.cli import arrays
    from smalti.tokenizers.errors import UsageError

    if len(data) > arrays.MAX_BYTES:
        raise UsageError(f"more than {arrays.MAX_BYTES} bytes of tokens; use .smt for signals this large")
    if kind == "json":
        tokens, fingerprint = arrays.from_json(data)
        return tokens, api.load_info(api.model_of(fingerprint, model), device)
    if model is None:
        raise UsageError("an array does not say which model made it; name one with --model")
    tokenizer = api.load(model, device)
    return arrays.from_npy(data, tokenizer), tokenizer
