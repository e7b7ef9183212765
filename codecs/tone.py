"""Tone: pictures coded so that what is decoded has their brightness and hues.

A decoder with few bits drifts: whole areas come out some steps too bright or too red, which the eye sees long before it misses texture.
So a picture is encoded, decoded, and encoded again with the means of the error over blocks, interpolated, taken off before; of all passes
the one whose block means are nearest the original's is kept. Files, decoders and networks know nothing of it. We found no publication of
this for learned tokenizers; it is analysis by synthesis as speech coders have done it since Atal and Remde (ICASSP 1982).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Tokens

PASSES = 2  # a third pass gains nothing that is seen
BLOCK_PIXELS = 64  # 16 x 16 tokens and more decide a block's mean; smaller blocks would ask for what the tokens can't say
MOST_PASSES = 16

Array = np.ndarray


def encode(tokenizer: Tokenizer, pictures: Sequence[Signal], passes: int = PASSES) -> list[Tokens]:
    """Tokens of each picture, in tone. passes: 0 to 16; 0 is `tokenizer.encode`, each one more costs an encoding and a decoding."""
    if not 0 <= passes <= MOST_PASSES:
        raise UsageError(f"tone passes are 0 to {MOST_PASSES}, found {passes}")
    return [_encode_one(tokenizer, picture, passes) for picture in pictures] if passes else tokenizer.encode(pictures)


def _encode_one(tokenizer: Tokenizer, picture: Signal, passes: int) -> Tokens:
    if not isinstance(picture, Image):
        raise SignalError(f"only pictures have a tone, found {type(picture).__name__}")
    (best,) = tokenizer.encode([picture])
    errors = block_errors(picture, _decoded(tokenizer, best))
    least, taken_off = _size(errors), errors
    for _ in range(passes):
        (tokens,) = tokenizer.encode([without(picture, taken_off)])
        errors = block_errors(picture, _decoded(tokenizer, tokens))
        taken_off = taken_off + errors
        if _size(errors) < least:
            best, least = tokens, _size(errors)
    return best


def block_errors(picture: Image, decoded: Image) -> Array:
    """Decoded minus original, mean per block of 64 x 64 pixels, in steps of 255: float64 (ceil(H / 64), ceil(W / 64), 3)."""
    starts = np.arange(0, picture.width, BLOCK_PIXELS)
    rows = []
    for band in _bands(picture.height):
        difference = Image(decoded.pixels[band]).eight_bits.astype(np.int32) - Image(picture.pixels[band]).eight_bits
        rows.append(np.add.reduceat(difference.sum(0), starts, 0) / len(difference))
    widths = np.diff([*starts, picture.width])
    return np.stack(rows) / widths[:, None]


def without(picture: Image, errors: Array) -> Image:
    """The picture with the errors of its blocks, linearly interpolated between their centres, taken off; as many bits as it had."""
    most = np.iinfo(picture.pixels.dtype).max
    result = np.empty_like(picture.pixels)
    left, right, weights = _between(np.arange(picture.width), errors.shape[1])
    for band in _bands(picture.height):
        above, below, part = _between(np.arange(band.start, min(band.stop, picture.height)), errors.shape[0])
        rows = errors[above] + part[:, None, None] * (errors[below] - errors[above])
        smooth = rows[:, left] + weights[:, None] * (rows[:, right] - rows[:, left])
        result[band] = np.clip(np.rint(picture.pixels[band] - smooth * (most / 255)), 0, most)
    return Image(result)


def _bands(height: int) -> Iterator[slice]:
    """Rows of blocks: a picture of 40 megapixels is never held in float."""
    return (slice(start, start + BLOCK_PIXELS) for start in range(0, height, BLOCK_PIXELS))


def _between(places: Array, blocks: int) -> tuple[Array, Array, Array]:
    """For pixels at places: the blocks whose centres lie before and behind, and how far on the way to the second."""
    at = np.clip((places + 0.5) / BLOCK_PIXELS - 0.5, 0, blocks - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, blocks - 1), at - first


def _size(errors: Array) -> float:
    return float(np.square(errors).mean())


def _decoded(tokenizer: Tokenizer, tokens: Tokens) -> Image:
    (decoded,) = tokenizer.decode([tokens])
    if not isinstance(decoded, Image):
        raise SignalError(f"only pictures have a tone, {tokenizer.name} decodes {type(decoded).__name__}")
    return decoded
