"""Bytes go to the regions of a picture where they lower distortion most."""

from __future__ import annotations

import itertools
import json
import math
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs import allocation
from smalti.codecs.allocation import allocated
from smalti.codecs.bitstream import parse
from smalti.codecs.media.images import write_image
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.uniform import UniformPrior
from smalti.recipes import models, regions
from smalti.recipes.joins import join_ratio
from smalti.recipes.regions import Coded, Pair, measure, summary
from smalti.testing import check_codec
from smalti.tokenizers.contracts import RegionalTokenizer, Target
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens

SIDE, BANDS, STEPS = 16, 16, 8
PLACES = sorted(((row, column, c) for row in range(SIDE) for column in range(SIDE) for c in range(3)), key=lambda p: (p[0] + p[1], p))
COSINES = np.array([[np.cos(np.pi * (x + 0.5) * k / SIDE) * np.sqrt((2 if k else 1) / SIDE) for x in range(SIDE)] for k in range(SIDE)])


class Cosines:
    """Tokens are the first coefficients of each region's cosine transform, those of low frequencies first; absent ones are 0."""

    name, config, fingerprint, region_pixels = "cosines", None, "00" * 32, SIDE

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        regions = tuple((axis, -(-size // SIDE)) for axis, (_, size) in zip(("row", "col"), signal, strict=True))
        stages = tuple(Stage(f"band{i}", (("step", STEPS), *regions), 512) for i in range(BANDS))
        return Layout(stages, tuple(range(1, BANDS + 1)), signal)

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        return [self._tokens(signal) for signal in signals if isinstance(signal, Image)]

    def _tokens(self, image: Image) -> Tokens:
        layout = self.layout((("height", image.height), ("width", image.width)))
        _, rows, columns = layout.stages[0].shape
        padding = ((0, rows * SIDE - image.height), (0, columns * SIDE - image.width), (0, 0))
        squares = np.pad(image.eight_bits.astype(float) - 128, padding, "edge").reshape(rows, SIDE, columns, SIDE, 3)
        found = np.einsum("ku,ruscv,lc->rsklv", COSINES, squares, COSINES)
        line = np.stack([found[..., row, column, c] for row, column, c in PLACES[: BANDS * STEPS]])
        tokens = np.clip(np.rint(line / 10), -256, 255).astype(np.int32) + 256
        return Tokens(layout, tuple(np.ascontiguousarray(band) for band in tokens.reshape(BANDS, STEPS, rows, columns)))

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        return [self._picture(item) for item in tokens]

    def _picture(self, tokens: Tokens) -> Image:
        _, rows, columns = tokens.layout.stages[0].shape
        found = np.zeros((rows, columns, SIDE, SIDE, 3))
        for band, (array, mask) in enumerate(zip(tokens.arrays, tokens.present, strict=True)):
            there = np.ones((rows, columns), bool) if mask is None else mask
            for step in range(STEPS):
                found[(..., *PLACES[band * STEPS + step])] = np.where(there, (array[step] - 256.0) * 10, 0)
        pixels = np.einsum("ku,rsklv,lc->ruscv", COSINES, found, COSINES).reshape(rows * SIDE, columns * SIDE, 3)
        size = tokens.layout.size
        return Image(np.clip(np.rint(pixels + 128), 0, 255).astype(np.uint8)[: size["height"], : size["width"]])


class Ramps(Cosines):
    """On grey pictures: each band but the first brings region 0 a level nearer, and every other region a level further away."""

    name = "ramps"

    def _picture(self, tokens: Tokens) -> Image:
        extra = depths(tokens) - 1
        levels = 128 + extra
        levels[0, 0] = 128 + BANDS - 1 - extra[0, 0]
        return Image(np.repeat(np.kron(levels, np.ones((SIDE, SIDE)))[..., None], 3, 2).astype(np.uint8))


def picture(height: int = 60, width: int = 128) -> Image:
    """Flat to the left, more and more textured to the right, where all detail is."""
    random = np.random.default_rng(0)
    coarse = np.kron(random.normal(0, 1, (-(-height // 4), -(-width // 4), 3)), np.ones((4, 4, 1)))[:height, :width]
    return Image(np.clip(120 + coarse * np.linspace(0, 60, width)[:, None], 0, 255).astype(np.uint8))


def distortion(image: Image, tokens: Tokens) -> float:
    (decoded,) = Cosines().decode([tokens])
    assert isinstance(decoded, Image)
    return float(allocation._distortion(Cosines(), image, decoded).sum())


def depths(tokens: Tokens) -> np.ndarray:
    grid = tokens.layout.stages[0].shape[-2:]
    return np.stack([np.ones(grid, bool) if mask is None else mask for mask in tokens.present]).sum(0)


@pytest.fixture
def codec() -> NeuralCodec:
    return NeuralCodec(Cosines(), UniformPrior(), tone_passes=0)


def test_the_stand_in_is_a_tokenizer_of_regions_and_its_codec_keeps_the_contract(codec: NeuralCodec) -> None:
    assert isinstance(Cosines(), RegionalTokenizer)
    check_codec(codec, [picture(30, 40), picture(10, 12)])


@pytest.mark.parametrize("count", [2, 4, 7])
def test_bytes_go_where_they_lower_distortion_most(codec: NeuralCodec, count: int) -> None:
    image = picture()
    (tokens,) = Cosines().encode([image])
    alike = tokens.prefix(count)
    codec.allocate = False
    room = len(codec.compress(image, Target(stages=count)))
    assert codec.compress(image, Target(bytes=room + 5)) == codec.compress(image, Target(stages=count))
    codec.allocate = True
    data = codec.compress(image, Target(bytes=room))
    assert len(data) <= room
    found = parse(data).tokens(Cosines().layout(tokens.layout.signal), UniformPrior())
    assert distortion(image, found) < 0.85 * distortion(image, alike)
    depth = depths(found)
    assert depth[:, 0].max() < count < depth[:, -1].min()
    assert depth.min() >= 1
    (expected,) = Cosines().decode([found])
    assert np.array_equal(codec.decompress(data).pixels, expected.pixels)  # type: ignore[attr-defined]


def grey() -> tuple[Image, Tokens]:
    image = Image(np.full((3 * SIDE, 4 * SIDE, 3), 128, np.uint8))
    (tokens,) = Ramps().encode([image])
    return image, tokens


def test_room_is_left_where_no_band_lowers_distortion() -> None:
    image, tokens = grey()
    found = allocated(Ramps(), image, tokens, UniformPrior(), lambda item: item.count <= tokens.prefix(6).count)
    assert depths(found).ravel().tolist() == [BANDS, *[1] * 11]
    (decoded,) = Ramps().decode([found])
    assert np.array_equal(decoded.pixels, image.pixels)  # type: ignore[attr-defined]


def test_bands_that_change_nothing_are_not_bought() -> None:
    image, tokens = grey()  # the cosines draw it with the first band
    found = allocated(Cosines(), image, tokens, UniformPrior(), lambda item: item.count <= tokens.prefix(4).count)
    assert found == tokens.prefix(1)


def test_one_decoded_picture_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large pictures; before, all prefixes' were."""
    drawn: list[weakref.ref[np.ndarray]] = []

    class Counted(Cosines):
        def _picture(self, tokens: Tokens) -> Image:
            assert not [item for item in drawn if item() is not None], "the picture before is still held"
            found = super()._picture(tokens)
            drawn.append(weakref.ref(found.pixels))
            return found

    monkeypatch.setattr(allocation, "BATCH_PIXELS", 1)
    image = picture()
    (tokens,) = Cosines().encode([image])
    allocated(Counted(), image, tokens, UniformPrior(), lambda item: item.count <= tokens.prefix(6).count)
    assert len(drawn) > 5


def test_bits_per_pixel_are_a_size_too(codec: NeuralCodec) -> None:
    image = picture()
    assert codec.compress(image, Target(bits_per_pixel=0.5)) == codec.compress(image, Target(bytes=0.5 * 60 * 128 / 8))  # type: ignore[arg-type]


def test_a_cut_is_pure_truncation(codec: NeuralCodec) -> None:
    image = picture()
    (found,) = codec.encode([image], Target(bytes=600))
    assert any(mask is not None for mask in found.present)
    (whole,) = Cosines().encode([image])
    for k in found.layout.cuts:
        short = found.prefix(k)
        assert np.array_equal(depths(short), np.minimum(depths(found), k))
        for array, all_there, mask in zip(short.arrays, whole.arrays, short.present, strict=False):
            assert np.array_equal(array, all_there if mask is None else np.where(mask, all_there, 0))


def test_where_there_is_nothing_to_choose_tokens_stay_as_they_are() -> None:
    (small, large) = Cosines().encode([picture(9, 16), picture()])
    always, never = (lambda _: True), (lambda _: False)
    for tokens, image, fits in ((small, picture(9, 16), never), (large, picture(), always), (large, picture(), never)):
        assert allocated(Cosines(), image, tokens, UniformPrior(), fits) is tokens
    only_first = allocated(Cosines(), picture(9, 16), small, UniformPrior(), lambda item: len(item.arrays) < 3)
    assert only_first is small


def test_a_score_of_nothing_has_no_percentage() -> None:
    """Pictures that come back exactly: a change of 0 is none, and one from 0 cannot be told in percent."""

    def pair(alike: float, allocated: float) -> Pair:
        return Pair("x", 0.1, Coded(10, alike, {}, None), Coded(10, allocated, {}, None))

    assert summary([pair(0, 0), pair(4, 2)]).changes["mse"].mean == -25
    assert summary([pair(0, 3), pair(4, 2)]).changes["mse"].mean == -50
    assert summary([pair(0, 3)]).changes["mse"].mean == math.inf


def test_it_is_never_worse_than_all_regions_alike_in_its_own_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here curves lie: distortion comes out as if the flattest regions gained most."""
    image = picture()
    (tokens,) = Cosines().encode([image])
    curves = allocation._order
    monkeypatch.setattr(allocation, "_order", lambda found, lengths, bits: curves(found[:, ::-1].copy(), lengths, bits))
    found = allocated(Cosines(), image, tokens, UniformPrior(), lambda item: item.count <= tokens.prefix(3).count)
    assert found == tokens.prefix(3)


def test_the_order_buys_what_an_exhaustive_search_would() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        curves = np.sort(random.uniform(0, 100, (4, 3)), 0)[::-1]  # lengths 1..4, three regions
        bits = random.uniform(1, 3, 4)
        order = allocation._order(curves, np.arange(1, 5), bits)
        assert sorted(order.tolist()) == [0] * 3 + [1] * 3 + [2] * 3  # all gain
        hulls = np.stack(
            [curve[0] - np.cumsum([0, *allocation._slopes(np.cumsum(bits), curve, np.arange(1, 5)) * bits[1:]]) for curve in curves.T]
        )
        for count in range(10):
            chosen = np.bincount(order[:count], minlength=3)
            spent = sum(bits[1 : 1 + extra].sum() for extra in chosen)
            least = min(
                sum(hulls[r, extra] for r, extra in enumerate(other))
                for other in itertools.product(range(4), repeat=3)
                if sum(bits[1 : 1 + extra].sum() for extra in other) <= spent + 1e-9
            )
            assert sum(hulls[r, extra] for r, extra in enumerate(chosen)) == pytest.approx(least)


def test_slopes_fall_along_the_lower_hull() -> None:
    """A band that gains little before one that gains much is bought with it; where a curve rises nothing is gained."""
    slopes = allocation._slopes(np.array([10.0, 20, 30, 40, 60]), np.array([100.0, 95, 50, 40, 45]), np.array([1, 2, 3, 4, 6]))
    assert slopes.tolist() == [2.5, 2.5, 1.0, 0.0, 0.0]


def test_few_prefixes_are_decoded() -> None:
    assert allocation._lengths(18, 6) == [1, 2, 4, 6, 8, 16, 18]
    assert allocation._lengths(3, 1) == [1, 2, 3]


def test_tone_counts_twice() -> None:
    checked = np.indices((16, 24)).sum(0)[..., None] % 2 * 2.0 - np.ones(3)
    assert allocation._error(checked) == pytest.approx(16 * 24 * 3)
    assert allocation._error(np.ones((16, 24, 3))) == pytest.approx(2 * 16 * 24 * 3)
    assert allocation._error(np.ones((9, 3, 3))) == pytest.approx(2 * 9 * 3 * 3)


# --- the recipe that measures it ----------------------------------------------------------------------------------------------------------


class Area:
    """A metric: mean absolute error."""

    name, better = "area", "lower"

    def __call__(self, reference: Image, decoded: Image) -> object:
        value = float(np.abs(reference.pixels.astype(float) - decoded.pixels).mean())
        return type("Score", (), {"value": value, "better": self.better})()


def test_a_pair_is_of_equal_bytes_and_allocation_gains_on_uneven_pictures(codec: NeuralCodec) -> None:
    pair = measure(codec, "a", picture(), 1.0, [Area()])  # type: ignore[list-item]
    assert pair.allocated.bytes <= pair.alike.bytes <= 60 * 128 / 8
    assert pair.allocated.mse < 0.9 * pair.alike.mse
    assert pair.allocated.scores["area"] < pair.alike.scores["area"]
    assert pair.alike.join is not None
    assert pair.alike.join > 1.2  # regions of the stand-in know nothing of each other


def test_what_cannot_be_measured_is_refused(codec: NeuralCodec) -> None:
    class Whole(Cosines):
        region_pixels = property(lambda self: (_ for _ in ()).throw(AttributeError()))  # type: ignore[assignment]

    with pytest.raises(UsageError, match="has no regions"):
        measure(NeuralCodec(Whole(), UniformPrior(), tone_passes=0), "a", picture(), 0.4, [])
    higher = Area()
    higher.better = "higher"
    with pytest.raises(UsageError, match="area is not"):
        measure(codec, "a", picture(), 0.4, [higher])  # type: ignore[list-item]


def test_changes_are_percent_of_each_picture() -> None:
    def pair(before: float, after: float, join: float | None) -> Pair:
        return Pair("a", 0.03, Coded(9, before, {"area": 1.0}, join), Coded(9, after, {"area": 1.5}, 2.0))

    found = summary([pair(10, 9, 1.0), pair(100, 80, None)])
    assert found.changes["mse"].mean == pytest.approx(-15)
    assert found.changes["area"].mean == pytest.approx(50)
    assert (found.join_alike, found.join_allocated) == (1.0, 2.0)


def test_joins_are_steps_across_over_steps_within() -> None:
    ramp = np.arange(12.0)
    ramp[4:] += 2
    ramp[8:] += 2  # steps of 3 across, of 1 within
    assert join_ratio(np.add.outer(ramp, ramp)[..., None], 4) == pytest.approx(3)
    assert join_ratio(np.ones((4, 4, 1)), 4) is None


@pytest.mark.parametrize("form", ["--json", ""])
def test_the_command(
    form: str, codec: NeuralCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(picture(), tmp_path / "a.png")
    monkeypatch.setattr(models, "codec", lambda name, tone_passes: codec)
    monkeypatch.setattr(regions, "resolve", lambda name: Area())
    monkeypatch.setattr(sys, "argv", ["regions", "any", str(tmp_path), "--rate", "1", *([form] if form else [])])
    assert regions.main() == 0
    out = capsys.readouterr().out
    if form:
        assert json.loads(out)["changes"]["mse"]["mean"] < -10
    else:
        assert "| mse | -" in out
        assert "joins: alike " in out
    monkeypatch.setattr(sys, "argv", ["regions", "any", str(tmp_path), "--rate", "0.0001"])
    assert regions.main() == 2
