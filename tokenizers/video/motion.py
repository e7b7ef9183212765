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
    table = torch.tensor(config.shifts, dtype=torch.float32, device=before.device)
    step = max(1, SEARCH_SAMPLES // (len(table) * before.numel()))
    cost = torch.cat([_costs(rows / SHRINK, table / SHRINK, before, between, behind, block // SHRINK) for rows in table.split(step)])
    pairs = torch.cartesian_prod(table, table)
    toll = torch.zeros(len(pairs), MODES, 1, 1, device=before.device)
    toll[:, 1:] += ONE_SIDED
    toll[1:] += MOVED + MOVED * pairs[1:].abs().sum(1).div(64).view(-1, 1, 1, 1)
    best = (_spread(cost) + toll).flatten(0, 1).min(0)
    return Found(best.indices, cost.flatten(0, 1).gather(0, best.indices[None])[0])


def _costs(rows: Tensor, columns: Tensor, before: Tensor, between: Tensor, behind: Tensor, block: int) -> Tensor:
    """Mean absolute errors (M, MODES, h, w) of all pairs of shifts down and right, at the search's size."""
    total: list[Tensor] = []
    for t, picture in zip(times(len(between)).tolist(), between, strict=True):
        first, last = _shifted(before, -rows * t, -columns * t), _shifted(behind, rows * (1 - t), columns * (1 - t))
        errors = [torch.lerp(first, last, t).sub_(picture).abs_(), first.sub_(picture).abs_(), last.sub_(picture).abs_()]
        total = [known.add_(error) for known, error in zip(total, errors, strict=True)] if total else errors
    return torch.stack([F.avg_pool2d(error, block) for error in total], 1) / len(between)


def _shifted(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A picture (H', W') read at each position plus all pairs of offsets, beyond the border its own edge: (M, H', W').

    What `_sampled` gives for each pair, one axis after the other: a fifth of the time (1,350 shifts of 114 x 64 samples).
    """
    down = _read(picture.t(), rows)  # (W', R, H')
    return _read(down.permute(1, 2, 0), columns).transpose(1, 2).flatten(0, 1)


def _read(lines: Tensor, offsets: Tensor) -> Tensor:
    """Lines (..., n) read at each position plus offsets (K,): (..., K, n)."""
    size = lines.shape[-1]
    place = (torch.arange(size, device=lines.device) + offsets[:, None]).clamp(0, size - 1)
    left = place.floor()
    near = left.long()
    first = lines.index_select(-1, near.flatten())
    second = lines.index_select(-1, (near + 1).clamp(max=size - 1).flatten())
    return torch.lerp(first, second, (place - left).flatten()).unflatten(-1, place.shape)


def _spread(cost: Tensor) -> Tensor:
    """Errors of a block mixed with those of its neighbours, over which its motion is blended."""
    kernel = torch.tensor([1.0, 2.0, 1.0], device=cost.device)
    kernel = (kernel[:, None] * kernel / 16).view(1, 1, 3, 3)
    padded = F.pad(cost.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel)[:, 0].unflatten(0, cost.shape[:2])
