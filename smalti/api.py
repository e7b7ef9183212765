"""The Python API: what most programs need, in a few functions.

tokenizer = smalti.load("image-grid-16")           # encode(list of signals) -> list of tokens; decode(list of tokens) -> list of signals
tokens = tokenizer.encode([smalti.read("photo.jpg")])
smalti.save(tokens[0], "photo.smt", model=tokenizer)
tokens = smalti.open("photo.smt")
data = smalti.compress("photo.jpg", bits_per_pixel=0.05)
picture = smalti.decompress(data)
data = smalti.compress_archive({"a.jpg": "photos/a.jpg", "b.jpg": "photos/b.jpg"})     # many in one
picture = smalti.open_archive(data).decompress("b.jpg")
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from smalti import media
from smalti.codecs import films, tone
from smalti.codecs.bitstream import OWN_PRIOR, Change, File, StreamInfo, check_applied, is_archive, parse
from smalti.codecs.bitstream import transcode as recoded
from smalti.codecs.media.files import read_bytes, write_atomically
from smalti.codecs.neural import NeuralCodec, fingerprint_bytes, modality_of
from smalti.media import PathOrBytes
from smalti.opened import Opened, is_there, the_stream
from smalti.priors import prior_for, prior_of, wanted_prior
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior, Target, Tokenizer
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.peers.trust import is_trusted, trusted
from smalti.tokenizers.signals import Audio, Image, Shape, Video
from smalti.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from smalti.tokenizers.zoo import ModelInfo

DEFAULT_MODEL = "image-grid-16"
T = TypeVar("T")
MOST_KEPT = 4
_kept: dict[tuple[Path, int, str, bool], Tokenizer] = {}


def models() -> list[ModelInfo]:
    """The models that are shipped with this installation or lie below $SMALTI_MODELS."""
    return zoo.known()


def load(name: str | os.PathLike[str] = DEFAULT_MODEL, device: str = "auto", trust_code: bool = False) -> Tokenizer:
    """A tokenizer by name, name@number, model folder, or of a public model hf:FOLDER_OR_NAME, hub:NAME, file:PATH, on "cpu", "cuda" or
    "auto" (CUDA where there is one). trust_code: whether a public model that is a program, Cosmos' alone, may run. Raises ModelError."""
    with trusted(trust_code):
        return zoo.load(os.fspath(name), _device(device))


def read(source: PathOrBytes) -> Image | Audio | Video | Shape:
    """A picture from an image file or its bytes, as it is displayed (`notes` says what the file had beyond its pixels), a sound, a shape,
    or a film, whose frames are decoded when one goes through them.

    Raises SignalError.
    """
    return media.read(source)


def codec(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    device: str = "auto",
    prior: str = "",
    tone_passes: int | None = None,
    allocate: bool = True,
    audio_model: str | os.PathLike[str] | None = None,
) -> NeuralCodec:
    """Tokenizer and prior of a model as a codec. prior: "" for the model's own, or as `prior_named`. tone_passes, allocate:
    as in `NeuralCodec`; tone_passes None: 2, of public models 0, so that their tokens are their own. audio_model: of a model
    of films, the one that their sound is written with.
    """
    info = zoo.find(os.fspath(model))
    sound = _sound_codec(info, audio_model, device) if audio_model is not None else None
    if tone_passes is None:
        tone_passes = 0 if info.kind in zoo.PUBLIC else tone.PASSES
    return NeuralCodec(load_info(info, device), prior_of(info, prior, _device(device)), info.name, not prior, tone_passes, allocate, sound)


def _sound_codec(info: ModelInfo, audio_model: str | os.PathLike[str], device: str) -> NeuralCodec:
    heard = zoo.find(os.fspath(audio_model))
    if media.modality_of_kind(info.kind) != "video":
        raise UsageError(f"a model of sound goes with one of films, and {info.name} is none; leave the model of sound out")
    if media.modality_of_kind(heard.kind) != "audio":
        raise UsageError(f"{heard.name} is no model of sound; name one that is, as `smalti models` lists them")
    return codec(audio_model, device)


def open(
    source: PathOrBytes,
    model: str | os.PathLike[str] | None = None,
    stages: int | None = None,
    prior: str | os.PathLike[str] = "",
    key: int | str | None = None,
) -> Tokens:
    """Tokens from a `.smt` file or its bytes: all that it holds, or its first `stages`; of a film those of its pictures.

    model: needed only for a model that `models()` does not list. prior: the file of the prior that it was coded with, where the model
    does not bring it. key: of an archive, the number or the name of one item; `open_archive` is for several. Raises BitstreamError for
    damage or what this release cannot honour, ModelError for an unknown model or prior.
    """
    data = data_of(source)

    def tokens() -> Tokens:
        found = opened(_file(data, key), model, prior=prior)
        check_applied(found.info, films.APPLIED if found.info.modality == "video" else ())
        return found.tokens(stages)

    return with_name(source, tokens)


def opened(file: File, model: str | os.PathLike[str] | None = None, device: str = "cpu", prior: str | os.PathLike[str] = "") -> Opened:
    """The tokenizer and the prior of a parsed file, found by what it says. device: where the tokenizer is loaded to.

    model, prior: of a film those of its pictures. Where the model of its sound is not at hand, or nothing of it came, `silent` says so.
    """
    found = _opened(file, 0, the_stream(file), model, device, prior)
    if len(file.streams) == 1:
        return found
    if not is_there(file, 1):
        return replace(found, silent="its sound is left out: nothing of it is in the file")
    try:
        return replace(found, sound=_opened(file, 1, file.streams[1], None, device, ""))
    except ModelError as error:
        return replace(found, silent=f"its sound is left out: {error}")


def _opened(
    file: File, stream: int, info: StreamInfo, model: str | os.PathLike[str] | None, device: str, prior: str | os.PathLike[str]
) -> Opened:
    made_by = model_of(info.fingerprint, model) if info.layout is None else None
    device = _device(device)
    coded_with = prior_for(info, made_by, prior, device)
    return Opened(file, info, made_by, load_info(made_by, device) if made_by is not None else None, coded_with, device, stream)


def save(
    tokens: Tokens,
    path: str | os.PathLike[str],
    model: Tokenizer | str | os.PathLike[str] | None = None,
    notes: tuple[str, ...] = (),
    film: Video | None = None,
) -> int:
    """Write tokens as a `.smt` file, whole or not at all; returns its size in bytes.

    model: the tokenizer (or its name) that made the tokens; "image-grid-16" by default, of a film's "video-causal-16", of a shape's
    "shape".
    notes: of the source picture, for `smalti info`. film: that the tokens were made of; its times and its aspect go into the file.
    """
    model = media.DEFAULT_MODELS[modality_of(tokens)] if model is None else model
    by = codec(model, "cpu") if isinstance(model, str | os.PathLike) else _codec_of(model)
    expected, held = by.tokenizer.layout(tokens.layout.signal), len(tokens.arrays)
    if held not in expected.cuts or tokens.layout != expected.prefix(held):
        raise UsageError(f"these tokens are not {by.name}'s: found {tokens.layout}, expected a prefix of {expected}; name their own model")
    data = by.pack(tokens, notes, signal=film)
    write_atomically(path, data)
    return len(data)


def compress(
    signal: Image | Audio | Video | Shape | PathOrBytes,
    model: str | os.PathLike[str] | None = None,
    *,
    bytes: int | None = None,
    bits_per_pixel: float | None = None,
    kbps: float | None = None,
    stages: int | None = None,
    device: str = "auto",
    tone_passes: int | None = None,
    allocate: bool = True,
    audio_model: str | os.PathLike[str] | None = None,
) -> bytes:
    """A picture, sound, film or shape, or the file of one, as the bytes of a `.smt` file.

    model: "image-grid-16" by default, of a film "video-causal-16", of a shape "shape". audio_model: what a film's sound is written with,
    into the same file; without it the sound is left out.
    Give at most one target: bytes, bits_per_pixel or, of sounds and films, kbps of the whole file at most, or the number of stages; without
    any all stages are kept.
    tone_passes: how often the picture is encoded again so that its brightness and hues come back; 0 is fastest, 16 the most; None: 2, with
    public models 0.
    allocate: whether a size is spent on the regions of the picture where it lowers distortion most, with a model that has regions.
    Raises UsageError where not even the first stage fits, SignalError where the signal cannot be read.
    """
    target = Target(bytes=bytes, bits_per_pixel=bits_per_pixel, kbps=kbps, stages=stages)
    model = media.default_model(signal) if model is None else model
    given = signal if isinstance(signal, Image | Audio | Video | Shape) else read_for(model, signal)
    by = codec(model, device, tone_passes=tone_passes, allocate=allocate, audio_model=audio_model)
    return by.compress(given, target)


def read_for(model: str | os.PathLike[str], source: PathOrBytes) -> Image | Audio | Video | Shape:
    """What a model takes of a file: of a film, a model of sound takes the soundtrack."""
    return media.read_for(zoo.find(os.fspath(model)).kind, source)


def decompress(
    source: PathOrBytes,
    model: str | os.PathLike[str] | None = None,
    stages: int | None = None,
    device: str = "auto",
    prior: str | os.PathLike[str] = "",
    start: float | None = None,
    end: float | None = None,
    conceal: bool = False,
    key: int | str | None = None,
) -> Image | Audio | Video | Shape:
    """The picture, sound, film or shape of a `.smt` file or its bytes, from all its stages or the first; model, prior, key as `open`.

    start, end: seconds between which a sound or film is wanted; of long files no more is decoded, and the rest may be damaged. A film's
    frames are decoded when one goes through them.
    conceal: decode what is left of a damaged file; what the model's masked prior expects, or neighbours where it brings none, stands in
    the place of lost tokens, and stages of which too little is left are dropped. A DamageWarning, if anything was lost, says what. The
    short form of a file (most pictures) stands or falls as a whole: BitstreamError.
    """
    data = data_of(source)

    def signal() -> Image | Audio | Video | Shape:
        lenient = conceal or start is not None or end is not None
        return opened(_file(data, key, lenient), model, device, prior).signal(stages, start, end, conceal)

    return with_name(source, signal)


def transcode(
    source: PathOrBytes,
    prior: str | os.PathLike[str] = "",
    model: str | os.PathLike[str] | None = None,
    source_prior: str | os.PathLike[str] = "",
) -> bytes:
    """The same tokens under another prior: the bytes of a `.smt` file of the same form, archives too.

    prior: "" for the model's own, "static" for its static tables, or as `prior_named`. model and source_prior as model and
    prior for `open`. Raises as `open` does, UsageError where the model has no such prior.
    """
    found: dict[tuple[bytes, bytes], tuple[ModelInfo | None, Prior, Prior]] = {}

    def choose(info: StreamInfo) -> Change:
        key = (info.fingerprint if info.layout is None else b"", info.prior_id)
        if key not in found:
            made_by = model_of(info.fingerprint, model) if info.layout is None else None
            found[key] = made_by, prior_for(info, made_by, source_prior), wanted_prior(made_by, os.fspath(prior))
        made_by, old, new = found[key]
        layout = load_info(made_by, "cpu").layout(info.signal) if made_by is not None else None
        return Change(layout, old, new, new.id if prior else OWN_PRIOR)

    return with_name(source, lambda: recoded(data_of(source), choose))


def model_of(fingerprint: bytes, model: str | os.PathLike[str] | None = None) -> ModelInfo:
    """The model of a fingerprint's first 6 bytes, or the given one if it is that; ModelError names what is installed."""
    if model is not None:
        given = zoo.find(os.fspath(model))
        own = zoo.fingerprint_of(given)[:12]
        if own != fingerprint.hex():
            raise ModelError(f"written by model {fingerprint.hex()}, but {given.name} is {own}; leave the model out to find the right one")
        return given
    found = zoo.by_fingerprint(fingerprint)
    if found is None:
        there = ", ".join(f"{m.name} ({_short_fingerprint(m)})" for m in zoo.known()) or "none"
        raise ModelError(
            f"written by model {fingerprint.hex()}, which is not installed (there is {there}); "
            "name it as the model (-m FOLDER, hf:FOLDER or file:PATH), or put it below a folder of $SMALTI_MODELS"
        )
    return found


def _short_fingerprint(info: ModelInfo) -> str:
    try:
        return zoo.fingerprint_of(info)[:12]
    except ModelError:
        return "damaged"


def with_name(source: PathOrBytes, action: Callable[[], T]) -> T:
    """Run an action; an error of ours gets the file's name in front."""
    try:
        return action()
    except SmaltiError as error:
        if isinstance(source, bytes) or str(error).startswith(f"{source}: "):
            raise
        raise type(error)(f"{source}: {error}") from error


def _file(data: bytes, key: int | str | None, lenient: bool = False) -> File:
    """A file of one signal, or one item of an archive; UsageError where the other was meant. lenient: parsed not strictly."""
    from smalti.archives import SignalArchive

    if is_archive(data):
        archive = SignalArchive(data)
        if key is None:
            raise UsageError(f"an archive of {len(archive)} signals; name one of them with key, or use smalti.open_archive")
        return archive.file(archive.number(key), lenient)
    if key is not None:
        raise UsageError("a file of one signal and no archive; leave key out")
    return parse(data, strict=not lenient)


def data_of(source: PathOrBytes) -> bytes:
    """The bytes of a path, or bytes as they are."""
    if not isinstance(source, str | os.PathLike | bytes):
        raise UsageError(f"a token file is a path or the bytes of a .smt file; found {type(source).__name__}")
    return source if isinstance(source, bytes) else read_bytes(source)


def _device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"devices are auto, cpu and cuda, found {device!r}")
    if device == "cpu":
        return device
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_info(info: ModelInfo, device: str = "auto") -> Tokenizer:
    """The tokenizer of that very model folder; the last few are kept in memory for the next call."""
    device = _device(device)
    key = (info.weights, info.weights.stat().st_mtime_ns if info.weights.is_file() else 0, device, is_trusted())
    if key not in _kept:
        while len(_kept) >= MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = zoo.load_model(info, device)
    return _kept[key]


def _codec_of(tokenizer: Tokenizer) -> NeuralCodec:
    """The codec of a tokenizer in memory: with its model's own prior where it is a known model, uniform where not."""
    from smalti.codecs.priors.uniform import UniformPrior

    folder = getattr(tokenizer, "folder", None)
    info = zoo.find(str(folder)) if folder is not None else zoo.by_fingerprint(fingerprint_bytes(tokenizer))
    if info is None:
        return NeuralCodec(tokenizer, UniformPrior())
    return NeuralCodec(tokenizer, prior_of(info), info.name, default_prior=True)
