"""Bytes of real photos: what a file costs beyond its tokens, and what its tokens cost beyond the prior's price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smalti import api
from smalti.codecs.bitstream import inspect, write
from smalti.codecs.neural import NeuralCodec, info_of
from smalti.tokenizers import zoo
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

PHOTOS = ("kodim02", "kodim08", "kodim13", "kodim19")  # smooth, busy, busiest, upright


@pytest.fixture(scope="module")
def codec(model: str) -> NeuralCodec:
    return api.codec(model, "cpu")


@pytest.fixture(scope="module")
def pictures(codec: NeuralCodec, data_folder: Path) -> dict[str, tuple[Image, Tokens]]:
    images = [api.read(data_folder / "images" / "kodak" / f"{name}.png") for name in PHOTOS]
    return dict(zip(PHOTOS, zip(images, codec.tokenizer.encode(images), strict=True), strict=True))


@pytest.mark.parametrize("name", PHOTOS)
def test_solo_overhead(codec: NeuralCodec, pictures: dict[str, tuple[Image, Tokens]], name: str) -> None:
    picture, tokens = pictures[name]
    data = codec.pack(tokens, picture.notes)
    report = inspect(data)
    assert report.form == "solo"
    assert len(data) - dict(report.bytes)["payload"] <= 32


@pytest.mark.parametrize("name", PHOTOS)
def test_payload_is_worth_its_price(codec: NeuralCodec, pictures: dict[str, tuple[Image, Tokens]], name: str) -> None:
    for cut in pictures[name][1].layout.cuts:
        tokens = pictures[name][1].prefix(cut)
        payload = dict(inspect(codec.pack(tokens)).bytes)["payload"]
        price = sum(codec.prior.price(tokens)) / 8
        assert price - 8 <= payload <= 1.005 * price + 8  # an honest price is not above what the coder needs, either


@pytest.mark.parametrize("name", PHOTOS)
def test_chunked_overhead_and_payload(codec: NeuralCodec, pictures: dict[str, tuple[Image, Tokens]], name: str) -> None:
    picture, tokens = pictures[name]
    data = write(tokens, codec.prior, info_of(codec.tokenizer, picture, tokens), "chunked")
    report = inspect(data)
    assert report.file is not None
    chunks = len(report.file.content.parts)  # type: ignore[union-attr]
    payload = dict(report.bytes)["payload"]
    assert chunks >= 2
    assert len(data) - payload <= 48 + 12 * chunks
    assert payload <= 1.005 * sum(codec.prior.price(tokens)) / 8 + 8 * chunks
    assert api.open(data) == tokens


def test_the_first_stage_costs_at_most_042_bits_per_pixel(cli: Any, model: str, data_folder: Path, tmp_path: Path) -> None:
    if not zoo.find(model).prior:
        pytest.skip("the model has no prior of its own")
    sources = [data_folder / "images" / "kodak" / f"{name}.png" for name in PHOTOS]
    ran = cli("tokenize", *sources, "-o", tmp_path, "--stages", "1", "--json")
    assert ran.code == 0
    for item in ran.json:
        size = Path(item["target"]).stat().st_size
        assert item["bits_per_pixel"] == 8 * size / (item["width"] * item["height"]) <= 0.042
        assert item["stages"] == 1
