"""Tokens as .npy and .json for other programs, and back. JSON holds everything; .npy holds the array alone."""

from __future__ import annotations

import io
import json
import math
import operator
import tokenize
from typing import Any

import numpy as np

from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import MAX_VOCAB, Layout, Stage, Tokens

FORMAT = "smalti.tokens.1"
MAX_BYTES = 2**28
# what NumPy and Python raise where a header is no header
_NO_ARRAY = (ValueError, TypeError, OSError, EOFError, SyntaxError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def to_npy(tokens: Tokens) -> bytes:
    """int32 (stages, rows, columns), of sound (stages, channels, frames); UsageError where stages differ in shape."""
    shapes = {array.shape for array in tokens.arrays}
    if len(shapes) > 1 or any(mask is not None for mask in tokens.present):
        raise UsageError("these stages differ in shape or hold only some regions, so they are no single array; use --format json")
    buffer = io.BytesIO()
    np.save(buffer, np.stack(tokens.arrays), allow_pickle=False)
    return buffer.getvalue()


def to_json(tokens: Tokens, model: str, fingerprint: str) -> bytes:
    """Model, signal size, and every stage with its axes, vocabulary and tokens."""
    if any(mask is not None for mask in tokens.present):
        raise UsageError("tokens that hold only some regions are written as .smt")
    stages = [
        {"name": stage.name, "axes": [list(axis) for axis in stage.axes], "vocab": stage.vocab, "tokens": array.tolist()}
        for stage, array in zip(tokens.layout.stages, tokens.arrays, strict=True)
    ]
    about = {
        "format": FORMAT,
        "model": model,
        "fingerprint": fingerprint,
        "signal": tokens.layout.size,
        "cuts": list(tokens.layout.cuts),
        "stages": stages,
    }
    return (json.dumps(about) + "\n").encode()


def kind(data: bytes) -> str:
    """ "npy", "json" or "smt", by the first bytes; what is none of these is for the reader of .smt to refuse."""
    return "npy" if data.startswith(b"\x93NUMPY") else "json" if data[:64].lstrip().startswith(b"{") else "smt"


def from_npy(data: bytes, tokenizer: Tokenizer) -> Tokens:
    """Tokens of a (stages, rows, columns) or (rows, columns) integer array, of a sound (stages, channels, frames) or (channels, frames).

    The signal has whole strides or frames, a sound the model's own rate, for the array does not know better.
    """
    array = _array(data)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise BitstreamError(f"expected integers (stages, rows or channels, columns or frames), found {array.dtype} {array.shape}")
    layout = tokenizer.layout(_signal_of(array, tokenizer)).prefix(len(array))
    for stage, tokens in zip(layout.stages, array, strict=True):
        if tokens.min() < 0 or tokens.max() >= stage.vocab:
            raise BitstreamError(f"tokens lie in 0..{stage.vocab - 1} in {tokenizer.name}, found {tokens.min()}..{tokens.max()}")
    return Tokens(layout, tuple(np.ascontiguousarray(a, dtype=np.int32) for a in array))


def _signal_of(array: np.ndarray, tokenizer: Tokenizer) -> tuple[tuple[str, int], ...]:
    """The size of the signal that (stages, rows, columns) or (stages, channels, frames) come from."""
    config, (_, first, second) = tokenizer.config, array.shape
    if stride := getattr(config, "stride", None):
        return (("height", first * stride), ("width", second * stride))
    if hop := getattr(config, "hop", None):
        return (("samples", second * hop), ("rate", config.rate), ("channels", first))
    raise UsageError(f"{tokenizer.name} has no grid; use .smt or .json")


def _array(data: bytes) -> np.ndarray:
    """The array of a .npy file; its header is checked against the bytes that are there before anything is made of it."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise BitstreamError(f"a .npy file of version {version}; arrays of integers are written as 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > len(data) - file.tell():
            raise BitstreamError(f"the .npy header says {dtype} {shape}, the file has {len(data) - file.tell()} bytes of them")
        return np.load(io.BytesIO(data), allow_pickle=False)
    except _NO_ARRAY as error:
        raise BitstreamError(f"not a .npy array ({error})") from None


def _stage_tokens(values: Any) -> np.ndarray:
    """JSON numbers as int32; what is no integer is refused, not rounded."""
    array = np.asarray(values)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() > MAX_VOCAB):
        raise ValueError(f"tokens are integers in 0..{MAX_VOCAB}, found {array.dtype}")
    return array.astype(np.int32)


def from_json(data: bytes) -> tuple[Tokens, bytes]:
    """(tokens, first 6 bytes of the model's fingerprint) of what `to_json` wrote; BitstreamError for anything else."""
    try:
        about: dict[str, Any] = json.loads(data)
        if about["format"] != FORMAT:
            raise BitstreamError(f"format {about['format']!r}, expected {FORMAT!r}")
        whole = operator.index  # int() would take 3.9 for 3
        stages = tuple(Stage(s["name"], tuple((str(n), whole(size)) for n, size in s["axes"]), whole(s["vocab"])) for s in about["stages"])
        layout = Layout(stages, tuple(whole(c) for c in about["cuts"]), tuple((str(k), whole(v)) for k, v in about["signal"].items()))
        arrays = tuple(_stage_tokens(s["tokens"]) for s in about["stages"])
        return Tokens(layout, arrays), bytes.fromhex(about["fingerprint"])[:6]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError, RecursionError) as error:
        raise BitstreamError(f"not a file of `smalti tokenize --format json` ({type(error).__name__}: {error})") from None
