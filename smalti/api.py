"""The Python API: what most programs need, in a few functions.

tokenizer = smalti.load("image-grid-16")           # encode(list of signals) -> list of tokens; decode(list of tokens) -> list of signals
tokens = tokenizer.encode([smalti.read("photo.jpg")])
smalti.save(tokens[0], "photo.smt", model=tokenizer)
tokens = smalti.open("photo.smt")
data = smalti.compress("photo.jpg", bits_per_pixel=0.05)
picture = smalti.decompress(data)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from smalti.codecs import notes as note_bits
from smalti.codecs.bitstream import File, StreamInfo, parse
from smalti.codecs.media.files import read_bytes, write_atomically
from smalti.codecs.neural import NeuralCodec, fingerprint_bytes, write_within
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior, Target, Tokenizer
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from smalti.tokenizers.zoo import ModelInfo

DEFAULT_MODEL = "image-grid-16"
OWN_PRIOR = bytes(4)  # how a file names its model's own prior
T = TypeVar("T")
PathOrBytes = str | os.PathLike[str] | bytes


def models() -> list[ModelInfo]:
    """The models that are shipped with this installation or lie below $SMALTI_MODELS."""
    return zoo.known()


def load(name: str | os.PathLike[str] = DEFAULT_MODEL, device: str = "auto") -> Tokenizer:
    """A tokenizer by name, name@number or model folder, on "cpu", "cuda" or "auto" (CUDA where there is one). Raises ModelError."""
    return zoo.load(os.fspath(name), _device(device))


def read(source: PathOrBytes) -> Image:
    """A picture from an image file or its bytes, as it is displayed; `notes` says what the file had beyond its pixels.

    Raises SignalError.
    """
    from smalti.codecs.media.images import read_image

    if not isinstance(source, str | os.PathLike | bytes):
        raise UsageError(f"a picture is a smalti.Image, or a path or the bytes of an image file; found {type(source).__name__}")
    return read_image(source)


def codec(model: str | os.PathLike[str] = DEFAULT_MODEL, device: str = "auto", prior: str = "") -> NeuralCodec:
    """Tokenizer and prior of a model as a codec. prior: "" for the model's own, "uniform", or a file of static tables."""
    info = zoo.find(os.fspath(model))
    return NeuralCodec(load_info(info, device), prior_of(info, prior), info.name, default_prior=not prior)


def prior_of(info: ModelInfo, prior: str = "") -> Prior:
    """A prior by name: "" is the model's own (its static tables, or uniform where it has none), "uniform", or a file of tables."""
    from smalti.codecs.priors.static import StaticPrior
    from smalti.codecs.priors.uniform import UniformPrior

    if prior == "uniform" or (not prior and not info.prior):
        return UniformPrior()
    path = Path(prior) if prior else info.folder / "prior.safetensors"
    if prior and not path.is_file():
        raise UsageError(f"no prior {prior!r}; give 'uniform' or a file of tables, or leave it out for the model's own")
    tables = StaticPrior.load(path)
    if not prior and tables.id.hex() != info.prior:
        raise ModelError(f"{path}: tables {tables.id.hex()}, the model asks for {info.prior}; restore the model folder")
    return tables


def open(source: PathOrBytes, model: str | os.PathLike[str] | None = None, stages: int | None = None) -> Tokens:
    """Tokens from a `.smt` file or its bytes: all that it holds, or its first `stages`.

    model: needed only for a model that `models()` does not list. Raises BitstreamError for damage, ModelError for an unknown model.
    """
    data = _data(source)
    return with_name(source, lambda: tokens_of(parse(data), model, stages))


def tokens_of(file: File, model: str | os.PathLike[str] | None = None, stages: int | None = None, device: str = "cpu") -> Tokens:
    """Tokens of a parsed file of one stream. device: where the tokenizer is loaded to, for whoever decodes next."""
    info = the_stream(file)
    if info.layout is not None:
        return file.tokens(None, prior_for(info, None), stages=stages)
    made_by = model_of(info.fingerprint, model)
    layout = load_info(made_by, device).layout(info.signal)
    return file.tokens(layout, prior_for(info, made_by), stages=stages)


def save(
    tokens: Tokens, path: str | os.PathLike[str], model: Tokenizer | str | os.PathLike[str] = DEFAULT_MODEL, notes: tuple[str, ...] = ()
) -> int:
    """Write tokens as a `.smt` file, whole or not at all; returns its size in bytes.

    model: the tokenizer (or its name) that made the tokens. notes: of the source picture, for `smalti info`.
    """
    by = codec(model, "cpu") if isinstance(model, str | os.PathLike) else _codec_of(model)
    expected, held = by.tokenizer.layout(tokens.layout.signal), len(tokens.arrays)
    if held not in expected.cuts or tokens.layout != expected.prefix(held):
        raise UsageError(f"these tokens are not {by.name}'s: found {tokens.layout}, expected a prefix of {expected}; name their own model")
    data = pack(tokens, by, notes)
    write_atomically(path, data)
    return len(data)


def pack(tokens: Tokens, by: NeuralCodec, notes: tuple[str, ...] = (), target: Target = Target()) -> bytes:
    """The file of a picture's tokens, within a target."""
    prior_id = OWN_PRIOR if by.default_prior else by.prior.id
    info = StreamInfo(
        "image", fingerprint_bytes(by.tokenizer), prior_id, len(tokens.arrays), tokens.layout.signal, note_bits.to_bits(notes)
    )
    return write_within(tokens, by.prior, info, target)


def compress(
    picture: Image | PathOrBytes,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    bytes: int | None = None,
    bits_per_pixel: float | None = None,
    stages: int | None = None,
    device: str = "auto",
) -> bytes:
    """A picture, or picture file, as the bytes of a `.smt` file.

    Give at most one target: bytes or bits_per_pixel of the whole file at most, or the number of stages; without any all stages are kept.
    Raises UsageError where not even the first stage fits, SignalError where the picture cannot be read.
    """
    target = Target(bytes=bytes, bits_per_pixel=bits_per_pixel, stages=stages)
    signal = picture if isinstance(picture, Image) else read(picture)
    return codec(model, device).compress(signal, target)


def decompress(source: PathOrBytes, model: str | os.PathLike[str] | None = None, stages: int | None = None, device: str = "auto") -> Image:
    """The picture of a `.smt` file or its bytes, from all its stages or the first `stages`."""
    data = _data(source)
    return with_name(source, lambda: _picture_of(parse(data), model, stages, device))


def _picture_of(file: File, model: str | os.PathLike[str] | None, stages: int | None, device: str) -> Image:
    info = the_stream(file)
    made_by = model_of(info.fingerprint, model)
    tokens = tokens_of(file, model, stages, device)
    (picture,) = load_info(made_by, device).decode([tokens])
    assert isinstance(picture, Image)
    return Image(picture.pixels, note_bits.from_bits(info.notes))


def the_stream(file: File) -> StreamInfo:
    """The one stream of a still picture's file; UsageError for files of several."""
    if len(file.streams) != 1:
        raise UsageError(f"the file holds {len(file.streams)} streams; this release reads files of one picture")
    return file.streams[0]


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
        there = ", ".join(f"{m.name} ({zoo.fingerprint_of(m)[:12]})" for m in zoo.known() if m.weights.is_file()) or "none"
        raise ModelError(
            f"written by model {fingerprint.hex()}, which is not installed (there is {there}); "
            "name its folder as the model, or put it below a folder of $SMALTI_MODELS"
        )
    return found


def with_name(source: PathOrBytes, action: Callable[[], T]) -> T:
    """Run an action; an error of ours gets the file's name in front."""
    try:
        return action()
    except SmaltiError as error:
        if isinstance(source, bytes) or str(error).startswith(f"{source}: "):
            raise
        raise type(error)(f"{source}: {error}") from error


def _data(source: PathOrBytes) -> bytes:
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


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, name: str, device: str, modified: int) -> Tokenizer:
    return zoo.load(str(folder) if name == folder.name else name, device)


def load_info(info: ModelInfo, device: str = "auto") -> Tokenizer:
    """The tokenizer of a model, kept in memory for the next call."""
    device = _device(device)
    return _loaded(info.folder, info.name, device, info.weights.stat().st_mtime_ns if info.weights.is_file() else 0)


def prior_for(info: StreamInfo, made_by: ModelInfo | None) -> Prior:
    """The prior that a stream was coded with; ModelError where it is neither uniform nor its model's own."""
    from smalti.codecs.priors.uniform import UniformPrior

    if info.prior_id == UniformPrior.id or made_by is None:
        return UniformPrior()
    own = prior_of(made_by)
    if info.prior_id not in (OWN_PRIOR, own.id):
        raise ModelError(
            f"coded with prior {info.prior_id.hex()}, which {made_by.name} does not bring; it was fitted elsewhere: ask for its tables"
        )
    return own


def _codec_of(tokenizer: Tokenizer) -> NeuralCodec:
    """The codec of a tokenizer in memory: with its model's own prior where it is a known model, uniform where not."""
    from smalti.codecs.priors.uniform import UniformPrior

    info = zoo.by_fingerprint(fingerprint_bytes(tokenizer))
    if info is None:
        return NeuralCodec(tokenizer, UniformPrior())
    return NeuralCodec(tokenizer, prior_of(info), info.name, default_prior=True)
