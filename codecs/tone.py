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

PASSES = 2
BLOCK_PIXELS = 64  # 4 x 4 tokens and more decide a block's mean; smaller blocks would ask for what the tokens can't say
MOST_PASSES = 16

Array = np.ndarray


def encode(tokenizer: Tokenizer, pictures: Sequence[Signal], passes: int = PASSES) -> list[Tokens]:
    """Tokens of each picture, in tone with all their stages. passes: as in `improved`."""
    return improved(tokenizer, pictures, tokenizer.encode(pictures), passes)


def improved(
    tokenizer: Tokenizer, pictures: Sequence[Signal], tokens: Sequence[Tokens], passes: int = PASSES, stages: Sequence[int] = ()
) -> list[Tokens]:
    """Tokens in tone, from those that the tokenizer gave for the pictures.

    passes: 0 to 16; 0 leaves the tokens as they are, each one costs an encoding and a decoding. stages: for each picture how many its file
    will hold, since a prefix drifts otherwise than the whole; all where it is left out.
    """
    if not 0 <= passes <= MOST_PASSES:
        raise UsageError(f"tone passes are 0 to {MOST_PASSES}, found {passes}")
    best = list(tokens)
    if not passes or not best:
        return best
    images = [_picture(picture) for picture in pictures]
    held = stages or [len(item.arrays) for item in best]
    least = errors = _errors(tokenizer, images, best, held)
    taken_off = errors
    for _ in range(passes):
        found = tokenizer.encode([without(image, error) for image, error in zip(images, taken_off, strict=True)])
        errors = _errors(tokenizer, images, found, held)
        taken_off = [a + b for a, b in zip(taken_off, errors, strict=True)]
        better = [_size(a) < _size(b) for a, b in zip(errors, least, strict=True)]
        best = [a if is_better else b for a, b, is_better in zip(found, best, better, strict=True)]
        least = [a if is_better else b for a, b, is_better in zip(errors, least, better, strict=True)]
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


def _errors(tokenizer: Tokenizer, pictures: Sequence[Image], tokens: Sequence[Tokens], stages: Sequence[int]) -> list[Array]:
    decoded = tokenizer.decode([item.prefix(k) for item, k in zip(tokens, stages, strict=True)])
    return [block_errors(picture, _picture(other)) for picture, other in zip(pictures, decoded, strict=True)]


def _picture(signal: Signal) -> Image:
    if not isinstance(signal, Image):
        raise SignalError(f"only pictures have a tone, found {type(signal).__name__}")
    return signal
