"""Residuals of latents against the key before: the encoder's loop is the decoder's sum, and nothing is what entry 0 says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smalti.recipes.claims import latent_residuals
from smalti.recipes.claims.latent_residuals import Comparison, Film, Item, Row, Way, compared, film_of, spread
from smalti.recipes.claims.residual_loop import Prediction, chosen, closed_loop, fitted, summed
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.video.motion import MODES, MotionConfig
from smalti.tokenizers.video.network import VideoCausalConfig, VideoCausalNet

MOTION = MotionConfig((0, 8, -8))
CONFIG = VideoCausalConfig(
    ResidualConfig(VQConfig(16, 4), levels=2),
    MOTION,
    widths=(8, 8),
    encoder_depths=(1, 1),
    decoder_depths=(1, 2),
    head_width=8,
    temporal_width=8,
    blend_width=8,
    slack=0.01,
)
SAME, MOVED = Prediction(), Prediction(MOTION, 8)


def latents(seed: int, steps: int = 6) -> Tensor:
    """Places that walk at random."""
    return torch.randn((steps, 4, 5, 7), generator=torch.Generator().manual_seed(seed)).cumsum(0)


def entries(steps: int = 6) -> Tensor:
    return torch.randint(MOTION.size, (steps, 5, 7), generator=torch.Generator().manual_seed(3))


def tables(levels: int = 2) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    return fitted(torch.randn(500, 4), levels, 16, 0.0)


@pytest.fixture(scope="module")
def net() -> VideoCausalNet:
    torch.manual_seed(0)
    net = VideoCausalNet(CONFIG)
    for _ in range(10):
        net(torch.rand(2, 3, 1, 64, 64) * 2 - 1)
    for parameter in net.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("prediction", [SAME, MOVED])
def test_the_encoders_loop_is_what_a_decoder_sums(prediction: Prediction) -> None:
    z, motion, books = latents(0), entries(), tables()
    coded = closed_loop(z, z[0] + 1, motion, books, 0.3, prediction)
    assert torch.equal(summed(z[0] + 1, motion, coded.entries, books, prediction), coded.latents)
    before = torch.stack([prediction(latent, moves) for latent, moves in zip(coded.latents, motion[1:], strict=False)])
    assert torch.equal(coded.residuals, z[1:] - before), "residuals are against what a decoder has, not against the originals"
    assert all(level.any() for level in coded.entries)


def test_errors_do_not_add_up_in_the_loop_and_do_without_a_level_of_it() -> None:
    z, motion, books = latents(1, 60), torch.zeros(60, 5, 7, dtype=torch.int64), tables()
    coded = closed_loop(z, z[0], motion, books, 0.0, SAME)
    truncated = summed(z[0], motion, coded.entries[:1], books, SAME)
    whole, short = ((drawn - z).square().mean((1, 2, 3)) for drawn in (coded.latents, truncated))
    assert whole[-10:].mean() < 2 * whole[1:11].mean()
    assert short[-10:].mean() > 3 * short[1:11].mean()


def test_a_still_film_is_all_entry_0_and_keeps_its_picture(net: VideoCausalNet) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    film = film_of(net, "still", np.stack([frame] * 9))
    first = Comparison(net, [film], [film]).dequantized(film, 2)[0]
    coded = closed_loop(first.expand(3, *first.shape), first, film.motion, tables(), 0.0, MOVED)
    assert not any(level.any() for level in coded.entries)
    drawn = net.decode_keys(coded.latents.transpose(0, 1)[None])[0]
    alone = net.decode_keys(first[None, :, None])[0]
    torch.testing.assert_close(drawn, alone.expand_as(drawn))


def test_latents_move_by_whole_places_along_the_motion() -> None:
    before = latents(2)[0]
    down = torch.full((5, 7), MODES * 3)  # the pair (8, 0): one place down, none to the right
    moved = MOVED(before, down)
    torch.testing.assert_close(moved[:, 1:], before[:, :-1])
    torch.testing.assert_close(moved[:, 0], before[:, 0])  # beyond the border its edge
    assert torch.equal(MOVED(before, torch.zeros_like(down)), before)
    assert torch.equal(SAME(before, down), before)


def test_entry_0_is_kept_while_nearly_as_near() -> None:
    table = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 5.0]])
    rows = torch.tensor([[0.9, 0.0], [1.2, 0.0], [0.0, 4.0]])  # entry 0 is nearer, by .8 farther, by 15 farther
    assert chosen(rows, table, 0.0).tolist() == [0, 1, 2]
    assert chosen(rows, table, 1.0).tolist() == [0, 0, 2]


def test_tables_begin_with_nothing_and_too_few_residuals_are_refused() -> None:
    assert [table.shape for table in tables()] == [(16, 4), (16, 4)]
    assert not any(table[0].any() for table in tables())
    (small,) = fitted(torch.randn(500, 4) * 0.01, 1, 16, 0.5)  # all within the slack: made of the longest
    assert small.shape == (16, 4)
    with pytest.raises(UsageError, match="14 residuals can't make 15 entries; name more films"):
        fitted(torch.randn(14, 4), 1, 16, 0.5)


def walk(net: VideoCausalNet, seed: int) -> Film:
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 255, (10, 40, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return film_of(net, str(seed), np.stack([texture[:40, 6 * i : 6 * i + 56] for i in range(13)]))


def test_ways_meet_at_the_models_bits_and_the_table_has_them_all(net: VideoCausalNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_residuals, "ROUNDS", 7)
    comparison = Comparison(net, [walk(net, seed) for seed in range(6)], [walk(net, seed) for seed in (8, 9)])
    seen: list[tuple[int, ...]] = []

    def judge(film: Film, drawn: Tensor) -> dict[str, object]:
        seen.append(tuple(drawn.shape))
        return {"psnr": (20.0, 21.0, 22.0, 23.0), "lpips": (0.1, 0.2, 0.3, 0.4), "difference": 1.0}

    rows = compared(comparison, judge)
    assert [(row.way[:9], row.levels) for row in rows] == [
        *[("each key ", "1"), ("residual,", "1"), ("residual,", "1"), ("each key ", "2")],
        *[("residual,", "2"), ("residual,", "2"), ("residual,", "1 of 2"), ("residual,", "1 of 2"), ("latents a", "")],
    ]
    assert set(seen) == {(4, 4, 5, 7)}
    rates = {(row.way, row.levels): sum(item.bits_per_pixel or 0 for item in row.items) for row in rows}
    for (_, levels), rate in rates.items():
        if levels in ("1", "2"):
            assert rate == pytest.approx(rates["each key by itself", levels], rel=0.1)
    assert rows[0].items[0].error[0] == pytest.approx(rows[1].items[0].error[0]), "the first key is the model's for all"
    assert max(rows[-1].items[0].error) == 0
    text = latent_residuals.table(rows).splitlines()
    assert len(text) == 2 * (2 + len(rows)) + 1
    assert "| 21.00 to 23.00 | 0.2000 to 0.4000 |" in text[2]


def test_the_models_own_way_is_priced_as_a_whole_film(net: VideoCausalNet) -> None:
    film = walk(net, 5)
    comparison = Comparison(net, [film], [film])
    own = comparison.own()
    prices = comparison.prior.price(comparison._tokens(film.motion, film.own))
    assert own.bits[0] == pytest.approx(tuple(np.cumsum(prices) / (13 * 40 * 56)))
    way = comparison.fit(Way("same", 1, SAME), 16, 0.01)
    loose, close = (comparison.priced(way, slack) for slack in (1e9, 0.0))
    assert loose.rate() < close.rate()
    assert not loose.coded[0].entries[0].any()


def test_clips_are_taken_evenly(tmp_path: Path) -> None:
    files = [tmp_path / str(n) for n in range(10)]
    assert spread(files, 0) == files
    assert [file.name for file in spread(files, 4)] == ["0", "2", "5", "7"]
    assert spread(files, 40) == files


def test_a_row_says_where_the_last_key_stands() -> None:
    item = Item("clip", 0.01, 0.02, (1.0, 2.0), (20.0, 30.0), (0.2, 0.4), 5.0)
    assert latent_residuals._line(Row("a way", "1", 0.8, (item,))) == (
        "| a way | 1 | 0.80 | 0.0100 | 0.0200 | 1.50 | 25.00 | 0.3000 | 5.00 | 30.00 to 30.00 | 0.4000 to 0.4000 |"
    )
