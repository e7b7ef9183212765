"""Tokens as .npy and .json for other programs, and back. JSON holds everything; .npy holds the array alone."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

FORMAT = "smalti.tokens.1"
MAX_BYTES = 2**28


def to_npy(tokens: Tokens) -> bytes:
    """int32 (stages, rows, columns); UsageError where stages differ in shape."""
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
    """Tokens of a (stages, rows, columns) or (rows, columns) integer array; the picture has whole strides, for the array does not know
    better."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BitstreamError(f"not a .npy array ({error})") from None
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise BitstreamError(f"expected integers (stages, rows, columns), found {array.dtype} {array.shape}")
    stride = getattr(tokenizer.config, "stride", None)
    if stride is None:
        raise UsageError(f"{tokenizer.name} has no grid; use .smt or .json")
    layout = tokenizer.layout((("height", array.shape[1] * stride), ("width", array.shape[2] * stride))).prefix(len(array))
    for stage, tokens in zip(layout.stages, array, strict=True):
        if tokens.min() < 0 or tokens.max() >= stage.vocab:
            raise BitstreamError(f"tokens lie in 0..{stage.vocab - 1} in {tokenizer.name}, found {tokens.min()}..{tokens.max()}")
    return Tokens(layout, tuple(np.ascontiguousarray(a, dtype=np.int32) for a in array))


def from_json(data: bytes) -> tuple[Tokens, bytes]:
    """(tokens, first 6 bytes of the model's fingerprint) of what `to_json` wrote; BitstreamError for anything else."""
    try:
        about: dict[str, Any] = json.loads(data)
        if about["format"] != FORMAT:
            raise BitstreamError(f"format {about['format']!r}, expected {FORMAT!r}")
        stages = tuple(Stage(s["name"], tuple((str(n), int(size)) for n, size in s["axes"]), int(s["vocab"])) for s in about["stages"])
        layout = Layout(stages, tuple(int(c) for c in about["cuts"]), tuple((str(k), int(v)) for k, v in about["signal"].items()))
        arrays = tuple(np.asarray(s["tokens"], dtype=np.int32) for s in about["stages"])
        return Tokens(layout, arrays), bytes.fromhex(about["fingerprint"])[:6]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, UsageError, RecursionError) as error:
        raise BitstreamError(f"not a file of `smalti tokenize --format json` ({type(error).__name__}: {error})") from None
