"""Rate allocation: a picture's regions keep as many bands of tokens as lower its distortion most for the bits they cost.

Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers" (IEEE Trans. ASSP 36(9), 1988): each region's distortion is
brought to the lower convex hull of its curve over bits, and the steepest pieces of all hulls are bought first, which is optimal for
whole pieces. Bands that do not lower distortion are not bought, whatever room is left. Curves come from decoding the whole picture at a
few prefixes: what a region's bands change in its neighbours is not counted. A band costs what the prior asks for that band on average
over regions; masks count by the size of real files, to which the number of bands is fitted, and the longest prefix in all regions alike
is taken where it is better.

Distortion is the squared error of 8-bit RGB plus, once more, that of means over 8 x 8 pixels: tone and colour, which squared errors of
textures would outvote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

import numpy as np

from smalti.tokenizers.contracts import Prior, RegionalTokenizer
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Tokens

BLOCK_PIXELS = 8
# A shift of a whole block counts twice, white noise 1/64 more than once: tone weighs more, textures keep their say. Reasoned, not tuned.
BLOCK_WEIGHT = 1.0
# No region gets more than so many times the bands that fit in all regions alike: longer prefixes need not be decoded. With 3 the bound says
# nothing once a third of all bands fits, and below that it decodes at most three prefixes beyond the one alike. For time, not tuned.
REACH = 3
BATCH_PIXELS = 2**24  # decoded at a time

Array = np.ndarray


def allocated(tokenizer: RegionalTokenizer, picture: Image, tokens: Tokens, prior: Prior, fits: Callable[[Tokens], bool]) -> Tokens:
    """The tokens that `fits` has room for, each region with its own number of bands, at the least distortion.

    tokens: all that the tokenizer gave for the picture, or a prefix. fits: whether a file of tokens is within the target; more bands
    must not make it smaller by more than a few bytes. Where there is nothing to choose (one region, or all or not even the first
    prefix fits) the tokens come back as they are.
    """
    bands = _Bands(tokens)
    uniform = _last(len(tokens.layout.cuts), lambda count: fits(bands.alike(count)))
    if bands.regions == 1 or not 0 < uniform < len(tokens.layout.cuts):
        return tokens
    lengths = _lengths(min(len(tokens.layout.cuts), REACH * uniform), uniform)
    curves = _distortions(tokenizer, picture, [bands.alike(n) for n in lengths])
    order = _order(curves, np.array(lengths), _bits(tokens, prior))
    chosen = bands.deepened(order[: _last(len(order), lambda count: fits(bands.deepened(order[:count])))])
    alike = curves[lengths.index(uniform)].sum()
    return chosen if _distortions(tokenizer, picture, [chosen]).sum() <= alike else bands.alike(uniform)


@dataclass(frozen=True)
class _Bands:
    """Tokens whose stages, up to each decodable prefix, are a band; each region can hold its own number of them."""

    tokens: Tokens

    @property
    def grid(self) -> tuple[int, int]:
        rows, columns = self.tokens.layout.stages[0].shape[-2:]
        return rows, columns

    @property
    def regions(self) -> int:
        return self.grid[0] * self.grid[1]

    def alike(self, count: int) -> Tokens:
        """The first bands of all regions; without any, those of the shortest prefix."""
        return self.tokens.prefix(self.tokens.layout.cuts[max(count, 1) - 1])

    def deepened(self, order: Array) -> Tokens:
        """One band in each region, and one more as often as `order` names it."""
        depths = 1 + np.bincount(order, minlength=self.regions).reshape(self.grid)
        held = self.alike(int(depths.max()))
        arrays, present = [], []
        for number, array in enumerate(held.arrays):
            mask = depths > np.searchsorted(self.tokens.layout.cuts, number, "right")
            arrays.append(np.where(mask, array, 0).astype(np.int32))
            present.append(None if mask.all() else mask)
        return Tokens(held.layout, tuple(arrays), tuple(present))


def _order(curves: Array, lengths: Array, bits: Array) -> Array:
    """Regions in the order in which they get one band more, int64, as long as that gains.

    curves: distortion (lengths, regions). bits: of each band.
    """
    spent = np.concatenate([[0.0], np.cumsum(bits)])[lengths]
    bands = np.arange(1, lengths[-1])
    gains = np.stack([_slopes(spent, curve, lengths) for curve in curves.T], 1)  # (bands, regions)
    region, band = np.broadcast_arrays(np.arange(curves.shape[1]), bands[:, None])
    order = np.lexsort((region.ravel(), band.ravel(), -gains.ravel()))
    return region.ravel()[order[: np.count_nonzero(gains > 0)]]


def _slopes(spent: Array, curve: Array, lengths: Array) -> Array:
    """What distortion each band after the first takes off per bit, falling: along the lower convex hull, 0 where the curve rises."""
    slopes = np.zeros(lengths[-1] - 1)
    here = 0
    while here < len(lengths) - 1:
        falls = (curve[here] - curve[here + 1 :]) / np.maximum(spent[here + 1 :] - spent[here], 1e-9)
        if falls.max() <= 0:
            break
        there = here + 1 + int(np.flatnonzero(falls == falls.max())[-1])
        slopes[lengths[here] - 1 : lengths[there] - 1] = falls.max()
        here = there
    return slopes


def _bits(tokens: Tokens, prior: Prior) -> Array:
    """Bits of each band, mean over regions."""
    stages = np.cumsum([0.0, *prior.price(tokens)])
    return np.diff(stages[[0, *tokens.layout.cuts]]) / _Bands(tokens).regions


def _lengths(deepest: int, uniform: int) -> list[int]:
    """1, 2, 4, 8, ..., the deepest, and that of all regions alike: what to decode."""
    return sorted({2**i for i in range(deepest.bit_length())} | {uniform, deepest})


def _distortions(tokenizer: RegionalTokenizer, picture: Image, tokens: Sequence[Tokens]) -> Array:
    """float64 (tokens, regions). A large picture is gone before the next is decoded: `map` keeps none, a loop variable would."""
    return np.stack(list(map(partial(_distortion, tokenizer, picture), _decoded(tokenizer, tokens))))


def _decoded(tokenizer: RegionalTokenizer, tokens: Sequence[Tokens]) -> Iterator[Image]:
    """Pictures one by one; small ones are decoded several at a time, which networks do faster."""
    size = tokens[0].layout.size
    count = max(1, BATCH_PIXELS // max(size["height"] * size["width"], 1))
    for start in range(0, len(tokens), count):
        yield from filter(_is_image, tokenizer.decode(tokens[start : start + count]))


def _is_image(signal: Signal) -> TypeGuard[Image]:
    return isinstance(signal, Image)


def _distortion(tokenizer: RegionalTokenizer, picture: Image, decoded: Image) -> Array:
    """float64 (regions,), row by row."""
    side = tokenizer.region_pixels
    found = []
    for top in range(0, picture.height, side):
        for left in range(0, picture.width, side):
            place = (slice(top, top + side), slice(left, left + side))
            original = Image(picture.pixels[place]).eight_bits
            found.append(_error(decoded.pixels[place].astype(np.float64) - original))
    return np.array(found)


def _error(difference: Array) -> float:
    """Of one region's (h, w, 3)."""
    rows, columns = (np.arange(0, size, BLOCK_PIXELS) for size in difference.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(difference, rows, 0), columns, 1)
    counts = np.diff([*rows, difference.shape[0]])[:, None, None] * np.diff([*columns, difference.shape[1]])[:, None]
    return float(np.square(difference).sum() + BLOCK_WEIGHT * (np.square(sums) / counts).sum())


def _last(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number in 1..count that fits, where those above one that does not fit neither; 0 where none does."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
