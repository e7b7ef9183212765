"""Motion: the search finds what moved, warps follow it, and blocks take sides where one key alone knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.video import motion
from smalti.tokenizers.video.keyed import Keyed
from smalti.tokenizers.video.motion import BEFORE, BEHIND, BOTH, MODES, MotionConfig
from smalti.tokenizers.video.temporal import Blend, TemporalBlock

CONFIG = MotionConfig((0, -8, 8, -16, 16))
SIDE = 96


def scene(down: float, right: float, seed: int = 0) -> torch.Tensor:
    """(5, 3, SIDE, SIDE): smooth noise that moves by that much from the first to the last."""
    rng = np.random.default_rng(seed)
    waves = [(rng.normal(size=2) * 0.25, rng.uniform(0, 6.3), rng.normal()) for _ in range(40)]
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    frames = []
    for t in np.linspace(0, 1, 5):
        y, x = rows - t * down, columns - t * right
        frames.append(sum(a * np.sin(k[0] * y + k[1] * x + p) for k, p, a in waves) / 10)
    return torch.from_numpy(np.stack(frames)).float()[:, None].repeat(1, 3, 1, 1).clamp(-1, 1)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (8, 0), (-16, 8), (16, 16)])
def test_the_search_finds_what_moved_and_the_warp_follows(down: int, right: int) -> None:
    film = scene(down, right)
    found = motion.search(CONFIG, film[:1], film[None, 1:4], film[4:], 16)
    inner = found.indices[:, 1:-1, 1:-1]
    shifts = motion.shifts_of(CONFIG, inner)
    assert (shifts[:, 0] == down).float().mean() > 0.9
    assert (shifts[:, 1] == right).float().mean() > 0.9
    moved = motion.warp(CONFIG, film[:1], film[4:], found.indices, 3)
    drawn = torch.lerp(moved.before, moved.behind, moved.weight.expand_as(moved.before))
    inner_error = (drawn[0] - film[1:4])[..., 24:-24, 24:-24].abs().mean()
    faded = torch.lerp(film[:1], film[4:], motion.times(3).view(-1, 1, 1, 1))
    assert inner_error < 0.02
    if down or right:
        assert inner_error < 0.3 * (faded - film[1:4])[..., 24:-24, 24:-24].abs().mean()


@pytest.mark.parametrize(("mode", "seen"), [(BEFORE, 0), (BEHIND, 4)])
def test_blocks_take_the_side_that_knows(mode: int, seen: int) -> None:
    """A cut right behind the first key, or right before the last."""
    one, other = scene(0, 0, 1)[0], scene(0, 0, 2)[0]
    before, behind = (one, other) if mode == BEFORE else (other, one)
    found = motion.search(CONFIG, before[None], one.expand(1, 3, -1, -1, -1), behind[None], 16)
    assert (found.indices == mode).float().mean() > 0.9
    moved = motion.warp(CONFIG, before[None], behind[None], torch.full_like(found.indices, mode), 3)
    assert torch.equal(moved.weight, torch.full_like(moved.weight, float(mode == BEHIND)))


def test_entry_zero_is_a_fade_in_place() -> None:
    zero = torch.zeros(1, 2, 3, dtype=torch.int64)
    assert not motion.shifts_of(CONFIG, zero).any()
    assert torch.allclose(motion.weights_of(zero, motion.times(3))[0, :, 0, 0], torch.tensor([0.25, 0.5, 0.75]))
    assert BOTH == 0
    assert CONFIG.size == MODES * 25


def test_shifts_of_the_search_are_those_of_the_warp() -> None:
    torch.manual_seed(0)
    picture = torch.rand(20, 24)
    rows, columns = torch.tensor([0.0, 1.25, -3.5]), torch.tensor([0.5, -7.0, 0.0, 2.0])
    pairs = torch.cartesian_prod(rows, columns)[:, :, None, None].expand(-1, -1, 20, 24)
    slow = motion._sampled(picture.expand(12, 1, -1, -1), pairs)[:, 0]
    assert torch.allclose(motion._shifted(picture, rows, columns), slow, atol=1e-5)


def test_searching_a_few_shifts_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    film = scene(8, -8)
    whole = motion.search(CONFIG, film[:1], film[None, 1:4], film[4:], 16).indices
    monkeypatch.setattr(motion, "SEARCH_SAMPLES", 1)
    assert torch.equal(motion.search(CONFIG, film[:1], film[None, 1:4], film[4:], 16).indices, whole)


def test_taps_in_pieces_equal_the_whole_and_see_the_past_alone() -> None:
    torch.manual_seed(0)
    block = TemporalBlock(4, 6)
    x = torch.randn(7, 4, 3, 5)
    assert torch.equal(block(x, 1), x), "as new it changes nothing"
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    whole = block(x, 1)
    for cuts in ((7,), (1, 6), (3, 2, 2), (1,) * 7):
        memory = Memory()
        pieces = [block(part, 1, memory) for part in x.split(list(cuts))]
        assert torch.allclose(torch.cat(pieces), whole, atol=1e-6)
    other = x.clone()
    other[4:] = torch.randn(3, 4, 3, 5)
    assert torch.equal(block(other, 1)[:4], whole[:4])
    two = block(torch.cat([x, other]), 2)
    assert torch.allclose(two[:7], whole, atol=1e-6), "films of a batch do not see one another"


def test_a_new_blend_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    film = torch.rand(2, 3, 32, 32)
    moved = motion.warp(CONFIG, film[:1], film[1:], torch.randint(CONFIG.size, (1, 2, 2)), 3)
    drawn = Blend(8)(moved, motion.times(3))
    assert torch.allclose(drawn, torch.lerp(moved.before, moved.behind, moved.weight.expand_as(moved.before)), atol=1e-6)


def test_prefixes_of_a_keyed_quantizer_are_those_of_its_levels() -> None:
    torch.manual_seed(0)
    quantizer = Keyed(ResidualConfig(VQConfig(16, 4), levels=3), CONFIG).eval()
    z = torch.randn(2, 4, 3, 2, 2)
    found = quantizer(z)
    moved = torch.zeros(2, 3, 2, 2, dtype=torch.int64)
    assert torch.equal(quantizer.dequantize((moved, *found.indices)), found.z_q)
    layout = quantizer.layout((3, 2, 2), ("time", "row", "col"))
    assert [stage.name for stage in layout.stages] == ["motion", "level0", "level1", "level2"]
    assert layout.cuts == (2, 3, 4)
    assert torch.equal(quantizer.dequantize((moved, found.indices[0])), quantizer.key.dequantize(found.indices[:1]))
    settled = quantizer.settle(z[0].transpose(0, 1), None, 0.0)
    assert all(torch.equal(a, b[0]) for a, b in zip(settled, found.indices, strict=True))


@pytest.mark.parametrize("codebook", [VQConfig(16, 4), FSQConfig((5, 5, 3, 3))])
def test_entries_are_kept_while_they_are_nearly_as_near(codebook: VQConfig | FSQConfig) -> None:
    torch.manual_seed(0)
    quantizer = Keyed(ResidualConfig(codebook, levels=2), CONFIG).eval()
    z = torch.randn(5, 4, 6, 6)
    nearest = tuple(torch.stack([quantizer(latent[None]).indices[level][0] for latent in z]) for level in range(2))
    settled = quantizer.settle(z, None, 1e-9)
    assert all(torch.equal(a, b) for a, b in zip(settled, nearest, strict=True)), "without slack the nearest"
    frozen = quantizer.settle(z, None, 1e9)
    assert all((level == level[:1]).all() for level in frozen), "with all of it the first"
    before = tuple(level[-1] for level in settled)
    assert all(torch.equal(level[0], past) for level, past in zip(quantizer.settle(z[-1:], before, 1e-9), before, strict=True))
