"""Motion between two key pictures: a fixed table of shifts, the search for the one that explains the pictures between, and the warp.

An entry of the table says how far a block's content moved from the key before to the key behind, and where the pictures between are to
be taken from: both, the one before, or the one behind (for what is uncovered, what is covered, and for cuts). Bidirectional
prediction of video codecs (B-pictures of MPEG-1, ISO/IEC 11172-2), with blocks blended over their neighbours (overlapped block
motion compensation: Orchard and Sullivan, "Overlapped block motion compensation", 1994) and no search in the decoder, so that what a
file decodes to does not hang on which of two equal matches a machine prefers.

Shape letters: N groups, S pictures between two keys, M shifts, h and w blocks, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.errors import UsageError

BOTH, BEFORE, BEHIND = range(3)
MODES = 3
SHRINK = 4  # the search sees pictures at a quarter of their size: their own noise is not worth bits
MOVED = 0.004  # what leaving the zero shift must gain, in mean absolute error of brightness in [-1, 1] per picture
ONE_SIDED = 0.002  # the same for taking one side alone
SEARCH_SAMPLES = 2**22  # shifted samples in flight: about 100 MB


@dataclass(frozen=True)
class MotionConfig:
    """shifts: of one axis, in pixels from key to key; all pairs of them are in the table."""

    shifts: tuple[float, ...] = (0, -1, 1, -2, 2, -4, 4, -7, 7, -12, 12, -20, 20, -32, 32)

    def __post_init__(self) -> None:
        if not self.shifts or self.shifts[0] != 0 or len(set(self.shifts)) != len(self.shifts) or len(self.shifts) > 64:
            raise UsageError(f"shifts are up to 64 different numbers of pixels, the first of them 0, found {self.shifts}")

    @property
    def size(self) -> int:
        """Entries of the table: a mode for each pair of shifts; entry 0 is: nothing moves, both sides."""
        return MODES * len(self.shifts) ** 2


@dataclass(frozen=True)
class Found:
    """indices: int64 (N, h, w). error: (N, h, w), mean absolute error of brightness that is left."""

    indices: Tensor
    error: Tensor


def times(count: int, device: torch.device | None = None) -> Tensor:
    """When each of `count` pictures between two keys is shown, from 0 (the key before) to 1 (the key behind)."""
    return torch.arange(1, count + 1, device=device) / (count + 1)


def shifts_of(config: MotionConfig, indices: Tensor) -> Tensor:
    """(N, h, w) entries -> (N, 2, h, w): pixels down and right from key to key."""
    table = torch.tensor(config.shifts, dtype=torch.float32, device=indices.device)
    pair = indices // MODES
    return torch.stack([table[pair // len(table)], table[pair % len(table)]], 1)


def weights_of(indices: Tensor, when: Tensor) -> Tensor:
    """(N, h, w) entries, (S,) times -> (N, S, h, w): how much of each picture between comes from the key behind."""
    mode = (indices % MODES)[:, None]
    shown = when.view(1, -1, 1, 1)
    return torch.where(mode == BOTH, shown, (mode == BEHIND).to(shown.dtype))


@dataclass(frozen=True)
class Warped:
    """before, behind: (N, S, 3, H, W), the two keys moved to the time of each picture between. weight: (N, S, 1, H, W) of the latter."""

    before: Tensor
    behind: Tensor
    weight: Tensor


def warp(config: MotionConfig, before: Tensor, behind: Tensor, indices: Tensor, count: int) -> Warped:
    """Keys (N, 3, H, W) moved along entries (N, h, w) to the times of `count` pictures between."""
    size = before.shape[-2:]
    when = times(count, before.device)
    moved = F.interpolate(shifts_of(config, indices), size=size, mode="bilinear", align_corners=False)
    weight = F.interpolate(weights_of(indices, when), size=size, mode="bilinear", align_corners=False)
    from_before = [_sampled(before, -moved * t) for t in when.tolist()]
    from_behind = [_sampled(behind, moved * (1 - t)) for t in when.tolist()]
    return Warped(torch.stack(from_before, 1), torch.stack(from_behind, 1), weight[:, :, None])


def _sampled(pictures: Tensor, offset: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) read at each position plus offset (N, 2, H, W), down and right in pixels; beyond the border its own edge."""
    height, width = pictures.shape[-2:]
    rows = torch.arange(height, device=pictures.device, dtype=pictures.dtype)[:, None] + offset[:, 0]
    columns = torch.arange(width, device=pictures.device, dtype=pictures.dtype) + offset[:, 1]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def search(config: MotionConfig, before: Tensor, between: Tensor, behind: Tensor, block: int) -> Found:
    """The entry of each block of `block` x `block` pixels that explains best what lies between two keys.

    before, behind: (N, 3, H, W) in [-1, 1], sides in multiples of the block. between: (N, S, 3, H, W).
    """
    sides = [_small(pictures) for pictures in (before, behind)]
    middle = _small(between.flatten(0, 1)).unflatten(0, between.shape[:2])
    found = [_search_one(config, first, middle[n], last, block) for n, (first, last) in enumerate(zip(*sides, strict=True))]
    return Found(torch.stack([one.indices for one in found]), torch.stack([one.error for one in found]))


def _small(pictures: Tensor) -> Tensor:
    """(N, 3, H, W) -> brightness (N, H / SHRINK, W / SHRINK)."""
    return F.avg_pool2d(pictures.mean(1, keepdim=True), SHRINK)[:, 0]


def _search_one(config: MotionConfig, before: Tensor, between: Tensor, behind: Tensor, block: int) -> Found:
    """before, behind: (H', W') at the search's size; between: (S, H', W')."""
    count, height, width = between.shape
    table = torch.tensor(config.shifts, dtype=torch.float32, device=before.device)
    pairs = torch.cartesian_prod(table, table)
    step = max(1, SEARCH_SAMPLES // (count * height * width))
    costs = []
    for some in pairs.split(step):
        costs.append(_costs(some / SHRINK, before, between, behind, block // SHRINK))
    cost = torch.cat(costs)  # (M, MODES, h, w)
    toll = torch.zeros(len(pairs), MODES, 1, 1, device=before.device)
    toll[:, 1:] += ONE_SIDED
    toll[1:] += MOVED
    toll[1:] += MOVED * pairs[1:].abs().sum(1).div(64).view(-1, 1, 1, 1)
    best = (_spread(cost) + toll).flatten(0, 1).min(0)
    return Found(best.indices, cost.flatten(0, 1).gather(0, best.indices[None])[0])


def _costs(pairs: Tensor, before: Tensor, between: Tensor, behind: Tensor, block: int) -> Tensor:
    """Mean absolute errors (M, MODES, h, w) of shifts (M, 2) at the search's size."""
    when = times(len(between), before.device)
    first = _shifted(before, -pairs[:, None] * when[:, None])  # (M, S, H', W')
    last = _shifted(behind, pairs[:, None] * (1 - when)[:, None])
    both = torch.lerp(first, last, when[:, None, None].expand_as(first))
    errors = [F.avg_pool2d((drawn - between).abs_().mean(1), block) for drawn in (both, first, last)]
    return torch.stack(errors, 1)


def _shifted(picture: Tensor, offsets: Tensor) -> Tensor:
    """A picture (H', W') read at each position plus offsets (M, S, 2): (M, S, H', W')."""
    flat = offsets.flatten(0, 1)
    field = flat[:, :, None, None].expand(-1, -1, *picture.shape)
    return _sampled(picture.expand(len(flat), 1, -1, -1), field)[:, 0].unflatten(0, offsets.shape[:2])


def _spread(cost: Tensor) -> Tensor:
    """Errors of a block mixed with those of its neighbours, over which its motion is blended."""
    kernel = torch.tensor([1.0, 2.0, 1.0], device=cost.device)
    kernel = (kernel[:, None] * kernel / 16).view(1, 1, 3, 3)
    padded = F.pad(cost.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel)[:, 0].unflatten(0, cost.shape[:2])
