"""`smalti detokenize`: token files back to pictures, sounds, films and shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import documents, options
from smalti.cli.outputs import STILLS, write_signal

if TYPE_CHECKING:
    from smalti.cli.files import Job
    from smalti.cli.unpacking import Inputs
    from smalti.opened import Opened
    from smalti.tokenizers.contracts import Tokenizer
    from smalti.tokenizers.tokens import Tokens


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
    options.trust_code,
    options.file_prior,
    click.option(
        "-o",
        "--out",
        metavar="OUT",
        help="Result .png, .jpg, .webp, .wav, .flac, .mkv, .mp4, .gif, .ply, .stl, .obj, .off, .glb or .xyz, folder (ends in / or exists) "
        "or -; of an archive a folder.  [default: FILE.png, FILE.wav, FILE.mkv or FILE.ply; of an archive the folder FILE.out]",
    ),
    click.option(
        "--key", metavar="K", help="Of an archive only the item of this name, or this number (from 0); of a prepared folder, of this key."
    ),
    click.option(
        "--index", type=options.Whole(0), metavar="I", help="Of a prepared folder or a pack the document of this number (from 0)."
    ),
    click.option("--stages", type=options.Whole(1), metavar="K", help="Decode the first K stages only."),
    click.option("--bytes", "limit_bytes", type=options.Whole(1), metavar="N", help="Decode what a file of at most N bytes would hold."),
    click.option("--start", type=Seconds(), metavar="S", help="Decode a sound or film from this time on: seconds, as in 90 or 2.5s."),
    click.option("--end", type=Seconds(), metavar="S", help="Decode a sound or film up to this time."),
    click.option("--conceal", is_flag=True, help="Decode what is left of a damaged .smt file; what is likely stands in for the rest."),
    click.option("--frames", is_flag=True, help="Of films, a folder of numbered PNG files, sound.wav and timing.json each."),
    options.device,
    options.threads,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    files: tuple[str, ...], model: str | None, prior: str, out: str | None, key: str | None, index: int | None, stages: int | None,
    limit_bytes: int | None, start: float | None, end: float | None, conceal: bool, frames: bool, device: str, threads: int | None,
    force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Turn token files (.smt, or the .json and .npy of tokenize --format) back into pictures, sounds or films of exactly the size that went
    in, or into shapes in their own units and place.

    FILE may be a folder, or - for standard input. Of a folder OUT that `smalti prepare` made, or a pack OUT/packs/NAME, one document: give
    --key or --index. --stages or --bytes decode less: a coarser signal. A .npy array does not name its model: give --model.

    An archive (made by tokenize --archive) becomes a folder of its items under their names; with --key, one of them. Of a.jpg the result
    is a.png, or a.jpg.png where an item before it has that name. A name that would lead out of the folder, or is taken, is not followed:
    that item is called by its number. Each item is read alone, so that damage to one, or to the index, costs no other. Damage to one of the
    parameter sets at its beginning costs all items of that set.

    Shapes are meshes; .xyz gets points of their surface, 100,000 of them.

    Films are written without loss as .mkv (FFV1) or with --frames, for people as .mp4 (H.264), with their times, aspect and sound.
    A .gif has their times alone: sound, and an aspect other than 1, are told as lost.

    --start and --end decode a stretch of a sound or film: of long files, which are written in chunks, nothing else, so that damage
    elsewhere does not matter; it is told. Of a film the frames before that the first ones depend on are decoded too; their number is told.
    It begins with the picture that is shown at --start, which comes whole, and with the sound from where that picture begins.

    --conceal goes on where chunks of a file are damaged or missing: what the model's masked prior expects, or the nearest tokens that are
    left where it brings none, takes the place of lost ones; stages of which too little is left, or nothing of a step, are dropped. The
    short form of a file (most pictures), and a small item of an archive, stands or falls as a whole.

    Exit code 1: some of several files could not be decoded, or something was concealed or is damaged; stderr says which, and what.
    """
    from smalti.cli.files import PIPE, check, check_sources, expected
    from smalti.cli.signals import ENDINGS, held_by, told
    from smalti.cli.unpacking import Inputs, unpacked
    from smalti.tokenizers.errors import UsageError

    if stages and limit_bytes:
        raise click.UsageError("give --stages or --bytes, not both", click.get_current_context())
    if conceal and limit_bytes:
        raise click.UsageError("--conceal decodes what is left of a file, whatever its size; give --stages", click.get_current_context())
    timed = start is not None or end is not None
    if timed and (conceal or limit_bytes):
        raise click.UsageError("--start and --end go with neither --bytes nor --conceal", click.get_current_context())
    if prepared := [file for file in files if file != PIPE and (documents.is_prepared(file) or documents.is_pack(file))]:
        if len(files) > 1 or prior or limit_bytes or timed or conceal:
            raise UsageError(
                f"{prepared[0]}: a prepared folder goes alone, and with neither --prior, --bytes, --start, --end nor --conceal"
            )
        options.set_threads(threads)
        return documents.detokenize(prepared[0], key, index, out, model, stages, device, frames, force, as_json, quiet)
    if index is not None:
        raise UsageError(f"{files[0]}: --index is for a folder of `smalti prepare`; leave it out")
    inputs = Inputs(model, device, prior)
    held = functools.cache(lambda file: None if file == PIPE else held_by(file, model))

    def ending(file: str) -> str:
        if inputs.is_archive(file):
            return ".out" if out is None else ""  # without, photos.smt of the folder photos would go back into that
        if frames and held(file) == "video":
            return ""
        return ENDINGS[held(file) or "image"]

    planned = expected(files, out, ending, (".smt", ".json", ".npy"))
    check_sources(planned)
    found = unpacked(planned, inputs, out, key, len(files) == len(planned) == 1 and not Path(files[0]).is_dir())
    jobs = found.jobs
    check(jobs, force, as_json)
    for job in jobs:
        _check_suffix(job.target, held(job.source) if job.key is None else inputs.modality(job.source, int(job.key)), frames)
    options.set_threads(threads)
    for line in found.said:
        options.say(line)
    results: list[dict[str, Any]] = []
    with options.progress(len(jobs), "detokenizing", quiet or as_json) as bar:
        for job in jobs:
            done = options.attempt(
                len(jobs) == 1, _one, job, inputs, model, prior, stages, limit_bytes, (start, end), conceal, device, frames
            )
            results += [done] if done else []
            bar.update(1)
    for item in results:
        for line in item["said"] if not quiet else ():
            options.say(f"{_title(item)}: {line}")
        for line in item["lost"]:
            options.say(f"{_title(item)}: {line}")
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            options.say_done(item["target"], f"{told(item)} from {options.stages_of(item['stages'])}")
    return options.exit_code(len(results), len(jobs) - len(results), bool(found.said) or any(item["lost"] for item in results))


def _check_suffix(target: str, modality: str | None, frames: bool = False) -> None:
    """UsageError where a file of that name can't be written. modality: None where it is not known yet. frames: films become folders."""
    from smalti.cli.files import PIPE
    from smalti.cli.signals import NAMES, written
    from smalti.tokenizers.errors import UsageError

    if frames and modality == "video":
        if target == PIPE:
            raise UsageError("a folder of frames does not go through a pipe; name a folder with -o")
        return
    known = (*written(modality), *(STILLS if modality == "video" else ()))
    if target != PIPE and Path(target).suffix.lower() not in known:
        what = NAMES[modality] if modality else "pictures, sounds, films and shapes"
        raise UsageError(f"{target}: {what} are written as {', '.join(known)}; choose such a name, or a folder (ending in /)")


def _one(
    job: Job, inputs: Inputs, model: str | None, prior: str, stages: int | None, limit_bytes: int | None,
    times: tuple[float | None, float | None], conceal: bool, device: str, frames: bool,
) -> dict[str, Any]:  # fmt: skip
    from smalti import api
    from smalti.codecs.neural import modality_of
    from smalti.tokenizers.errors import BitstreamError

    named: dict[str, Any] = {"source": job.source}
    if job.key is not None:
        number = int(job.key)
        named |= {"item": number, "name": inputs.archive(job.source).name(number)}
    title = _title(named)
    try:
        held = api.with_name(title, lambda: _held(job, inputs, model, prior, stages, limit_bytes, times, conceal, device))
    except BitstreamError as error:
        if conceal or not _is_left(job, inputs):
            raise
        raise BitstreamError(f"{error}; --conceal decodes what is left") from error
    _check_suffix(job.target, modality_of(held.tokens), frames)
    signal = api.with_name(title, held.decoded)
    return {
        **named,
        "target": job.target,
        **api.with_name(title, lambda: write_signal(job.target, signal, held.tokens, frames)),
        "stages": len(held.tokens.arrays),
        "model": held.tokenizer.name,
        "said": list(held.said),
        "lost": [*held.lost, *_nothing(signal), *_left_out(signal, job.target, frames)],
    }


def _is_left(job: Job, inputs: Inputs) -> bool:
    """Whether a source is a damaged file, or item, of which some chunks came through."""
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import BitstreamError

    try:
        if job.key is not None:
            return inputs.archive(job.source).file(int(job.key), lenient=True).is_left
        return parse(inputs.data(job.source), strict=False).is_left
    except BitstreamError:
        return False


def _nothing(signal: Any) -> list[str]:
    """A line where a shape has no surface, which the first stages alone may not say."""
    from smalti.codecs.media.shapes import is_empty
    from smalti.tokenizers.signals import Shape

    return ["it decodes to nothing; more stages may say more"] if isinstance(signal, Shape) and is_empty(signal) else []


def _left_out(signal: Any, target: str, frames: bool) -> tuple[str, ...]:
    """Lines on what the file of a film cannot hold."""
    from smalti.codecs.media.video_files.writing import losses
    from smalti.tokenizers.signals import Video

    return losses(signal, Path(target).suffix) if isinstance(signal, Video) and not frames else ()


def _title(item: dict[str, Any]) -> str:
    """What messages call the source of a result, or the item of an archive."""
    from smalti.archives import title
    from smalti.cli.files import name_of

    source = name_of(item["source"])
    return f"{source}: {title(item['item'], item['name'])}" if "item" in item else source


@dataclass(frozen=True)
class _Held:
    """Tokens that are decoded, who decodes them, and how; lines on what was done, and on each thing that is damaged or concealed."""

    tokens: Tokens
    tokenizer: Tokenizer
    decoded: Callable[[], Any]
    said: Sequence[str] = ()
    lost: Sequence[str] = ()


def _whole(tokens: Tokens, tokenizer: Tokenizer, lost: Sequence[str] = (), finish: Callable[[Any], Any] = lambda signal: signal) -> _Held:
    """What decodes as it is. finish: what is done to the signal then."""
    from smalti.film_parts import there

    held = there(tokens, tokenizer)
    return _Held(held, tokenizer, lambda: finish(tokenizer.decode([held])[0]), (), lost)


def _held(
    job: Job, inputs: Inputs, model: str | None, prior: str, stages: int | None, limit_bytes: int | None,
    times: tuple[float | None, float | None], conceal: bool, device: str,
) -> _Held:  # fmt: skip
    """What a job decodes, from what its bytes are: an array, JSON or a `.smt` file. The file's ending does not matter."""
    from smalti import api
    from smalti.cli import arrays
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import UsageError

    timed = times != (None, None)
    if job.key is not None:
        return _from_smt(inputs.archive(job.source).opened(int(job.key), timed or conceal), stages, limit_bytes, times, conceal)
    data = inputs.data(job.source)
    if (kind := arrays.kind(data)) == "smt":
        found = api.opened(parse(data, strict=not (timed or conceal)), model, device, prior)
        return _from_smt(found, stages, limit_bytes, times, conceal)
    if timed:
        raise UsageError(f"--start and --end are for .smt files, this is {kind}; leave them out")
    if conceal:
        raise UsageError(f"--conceal is for .smt files, this is {kind}; leave it out")
    if prior:
        raise UsageError(f"--prior is for .smt files, this is {kind}, which no prior coded; leave it out")
    if limit_bytes:
        raise UsageError(f"--bytes are sizes of .smt files, this is {kind}; give --stages")
    tokens, tokenizer = _from_array(data, kind, model, device)
    return _whole(tokens.prefix(stages) if stages else tokens, tokenizer)


def _from_smt(found: Opened, stages: int | None, limit_bytes: int | None, times: tuple[float | None, float | None], conceal: bool) -> _Held:
    from dataclasses import replace

    from smalti.codecs import films
    from smalti.codecs.bitstream import parse
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target

    tokenizer = found.decoder()
    lost = [found.silent] if found.silent else []
    if times != (None, None):
        lost[:0] = (f"damaged elsewhere: {problem}" for problem in found.file.problems)
        if found.info.modality == "video":
            film = found.film(*times, stages)
            return _Held(film.tokens, tokenizer, lambda: film.of(tokenizer, found.heard(*times)), [film.said()], lost)
        part = found.stretch(*times, stages)
        return _whole(part.tokens, tokenizer, lost, part.of)

    def dressed(signal: Any) -> Any:
        if found.info.modality != "video":
            return signal
        sound, wrong = found.all_heard(conceal)
        lost.extend(wrong)  # told once the film is written
        return replace(films.dressed(signal, found.info), audio=sound)

    if conceal:
        left = found.concealed(stages)
        lost[:0] = found.lost(left)
        return _whole(left.tokens, tokenizer, lost, dressed)
    if limit_bytes and limit_bytes < found.file.size and len(found.file.streams) > 1:  # a film and its sound give way together
        found = _within(found, limit_bytes)
    tokens = found.tokens(stages)
    if limit_bytes and limit_bytes < found.file.size:
        shorter = write_within(tokens, found.prior, found.info, Target(bytes=limit_bytes))
        tokens = tokens.prefix(parse(shorter).stages())
    return _whole(tokens, tokenizer, lost, dressed)


def _within(found: Opened, limit_bytes: int) -> Opened:
    """What `smalti cut --bytes` leaves of a film with sound."""
    from dataclasses import replace

    from smalti.cli.cut import shorter_file
    from smalti.codecs.bitstream import parse

    file = parse(shorter_file(found.file, limit_bytes, None, str(found.made_by.folder) if found.made_by else None, ""))
    sound = replace(found.sound, file=file, info=file.streams[1]) if found.sound else None
    return replace(found, file=file, info=file.streams[0], sound=sound)


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
