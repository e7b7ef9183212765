"""How codebooks are used, counted over tokens: entries, perplexity, entropy, and what tokens say about one another.

Shared bits are mutual information. Counted from few pairs over many entries it is far too large (two independent tokens of 1024 entries
seem to share 5 bits after 10,000 pairs), so what the same pairs share when one side is shuffled is taken off: an estimate that is 0 for
independent tokens, and too small rather than too large for others. What tokens share is what a prior can save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray
CELL = 8  # pixels of an entry in the picture, fewer where there are many
SIDE = 256  # pixels of a stage in the picture, about
NEVER = (150, 30, 30)  # the colour of entries that nothing uses


@dataclass(frozen=True)
class StageUse:
    """One stage over all tokens: entries it has, tokens there are, entries that occur or don't, and the entropy of one token alone.

    perplexity: 2^entropy, how many equally frequent entries would be as varied. neighbour_bits: shared with the next token along the last
    axis; level_bits: with the token at the same place in the stage before. None where there are no such pairs.
    """

    size: int
    tokens: int
    used: int
    dead: int
    perplexity: float
    entropy_bits: float
    neighbour_bits: float | None
    level_bits: float | None


def use_of(tokens: Sequence[Tokens]) -> list[StageUse]:
    """Of every stage of tokens of one tokenizer; sizes may differ. Absent tokens count for nothing."""
    return [_stage_use(tokens, stage) for stage in range(len(tokens[0].arrays))] if tokens else []


def entropy_bits(counts: Array) -> float:
    """Of the distribution that counts describe."""
    total = counts.sum()
    p = counts[counts > 0] / total if total else np.ones(1)
    return max(0.0, float(-(p * np.log2(p)).sum()))  # not -0


def shared_bits(first: Array, second: Array, seed: int = 0) -> float:
    """Mutual information of pairs of integers, less what is shared by chance; at least 0."""
    shuffled = np.random.default_rng(seed).permutation(second)
    return max(0.0, _joint_bits(first, shuffled) - _joint_bits(first, second))


def picture(tokens: Sequence[Tokens]) -> Image:
    """A square per stage, side by side; in it a cell per entry in index order, bright where it is frequent, red where nothing uses it.

    Grey is logarithmic, middle grey the fair share. Where there are more entries than pixels, a pixel is the sum of neighbours.
    """
    squares = [_square(_present(tokens, stage), tokens[0].layout.stages[stage].vocab) for stage in range(len(tokens[0].arrays))]
    height = max(len(square) for square in squares)
    edge = np.full((height + 2 * CELL, CELL, 3), 255, np.uint8)
    columns = [edge]
    for square in squares:
        column = np.full((height + 2 * CELL, square.shape[1], 3), 255, np.uint8)
        column[CELL : CELL + len(square)] = square
        columns += [column, edge]
    return Image(np.concatenate(columns, 1))


def _stage_use(tokens: Sequence[Tokens], stage: int) -> StageUse:
    size = tokens[0].layout.stages[stage].vocab
    counts = np.unique(_present(tokens, stage), return_counts=True)[1]
    total = int(counts.sum())
    entropy = entropy_bits(counts)
    return StageUse(size, total, len(counts), size - len(counts), 2**entropy, entropy, _neighbours(tokens, stage), _levels(tokens, stage))


def _present(tokens: Sequence[Tokens], stage: int) -> Array:
    return np.concatenate([item.arrays[stage][_mask(item, stage)] for item in tokens])


def _mask(item: Tokens, stage: int) -> Array:
    present, shape = item.present[stage], item.arrays[stage].shape
    return np.ones(shape, bool) if present is None else np.broadcast_to(present, shape)  # a mask covers the last axes


def _neighbours(tokens: Sequence[Tokens], stage: int) -> float | None:
    if not tokens[0].arrays[stage].ndim:
        return None
    pairs = []
    for item in tokens:
        array, mask = item.arrays[stage], _mask(item, stage)
        both = mask[..., :-1] & mask[..., 1:]
        pairs.append((array[..., :-1][both], array[..., 1:][both]))
    return _shared(pairs)


def _levels(tokens: Sequence[Tokens], stage: int) -> float | None:
    if not stage or any(item.arrays[stage].shape != item.arrays[stage - 1].shape for item in tokens):
        return None
    held = [_mask(item, stage) & _mask(item, stage - 1) for item in tokens]
    return _shared([(item.arrays[stage - 1][mask], item.arrays[stage][mask]) for item, mask in zip(tokens, held, strict=True)])


def _shared(pairs: Sequence[tuple[Array, Array]]) -> float | None:
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return shared_bits(first, second) if len(first) else None


def _joint_bits(first: Array, second: Array) -> float:
    joint = first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second
    return entropy_bits(np.unique(joint, return_counts=True)[1])


def _square(found: Array, size: int) -> Array:
    """uint8 (side, side, 3)."""
    side = min(SIDE, math.ceil(math.sqrt(size)))
    entries = math.ceil(size / side**2)  # in one cell
    cells = np.bincount(found // entries, minlength=side**2)
    fair = max(len(found) * entries / size, 1e-9)
    with np.errstate(divide="ignore"):
        grey = np.clip(128 + 32 * np.log2(cells / fair), 24, 255)
    colours = np.where(cells[:, None] > 0, grey[:, None], NEVER)
    colours[math.ceil(size / entries) :] = 255  # beyond the last entry
    pixels = colours.reshape(side, side, 3).astype(np.uint8)
    scale = max(1, min(CELL, SIDE // side))
    return pixels.repeat(scale, 0).repeat(scale, 1)
