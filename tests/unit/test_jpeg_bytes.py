"""JPEG bytes as tokens: exactly what libjpeg decodes, without tables; and any bytes decode."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti import api
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.jpeg_bytes import JpegBytes, JpegBytesConfig, legal, scan_start
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

SIZES = [(1, 1), (16, 16), (33, 50), (64, 48)]


def picture(height: int, width: int) -> Image:
    """Waves with some noise, so that there is something to code."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + k) + np.cos(y / (3 + k)) for k in range(3)], -1)
    noise = np.random.default_rng(0).normal(0, 0.1, waves.shape)
    return Image(np.clip((waves + noise) * 60 + 128, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("config", [JpegBytesConfig(), JpegBytesConfig(80, 0)])
def test_decodes_as_the_whole_file_does(size: tuple[int, int], config: JpegBytesConfig) -> None:
    image, tokenizer = picture(*size), JpegBytes(config)
    (tokens,) = tokenizer.encode([image])
    (back,) = tokenizer.decode([tokens])
    buffer = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(
        buffer, "JPEG", quality=config.quality, subsampling=2, restart_marker_blocks=config.restart_blocks
    )
    assert isinstance(back, Image)
    assert np.array_equal(back.pixels, np.asarray(PIL.Image.open(buffer)))
    assert tokens.count == len(buffer.getvalue()) - scan_start(buffer.getvalue()) - 2
    assert tokens.layout.signal == (("height", size[0]), ("width", size[1]), ("bytes", tokens.count))


def test_a_restart_marker_stands_after_every_block() -> None:
    (tokens,) = JpegBytes().encode([picture(64, 48)])
    codes = tokens.arrays[0]
    marks = codes[1:][(codes[:-1] == 0xFF) & (codes[1:] != 0)]
    assert marks.tolist() == [0xD0 + k % 8 for k in range(4 * 3 - 1)]
    (plain,) = JpegBytes(JpegBytesConfig(restart_blocks=0)).encode([picture(64, 48)])
    assert not np.any((plain.arrays[0][:-1] == 0xFF) & (plain.arrays[0][1:] != 0))


def test_a_wrong_byte_is_forgotten_at_the_next_block() -> None:
    tokenizer = JpegBytes()
    (tokens,) = tokenizer.encode([picture(64, 64)])
    (whole,) = tokenizer.decode([tokens])
    codes = tokens.arrays[0].copy()
    codes[3] ^= 0x55
    (hurt,) = tokenizer.decode([Tokens(tokens.layout, (codes,))])
    assert isinstance(whole, Image)
    assert isinstance(hurt, Image)
    changed = np.any(whole.pixels != hurt.pixels, -1)
    assert changed[:16, :16].any()
    assert not changed[18:].any()  # chroma is smoothed over a pixel beyond
    assert not changed[:, 18:].any()


@given(st.binary(max_size=300), st.sampled_from(SIZES))
def test_whatever_a_model_writes_is_a_picture(data: bytes, size: tuple[int, int]) -> None:
    tokenizer = JpegBytes()
    layout = tokenizer.layout((("height", size[0]), ("width", size[1]), ("bytes", len(data))))
    (back,) = tokenizer.decode([Tokens(layout, (np.frombuffer(data, np.uint8).astype(np.int32),))])
    assert isinstance(back, Image)
    assert back.pixels.shape == (*size, 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0xFF, 0x00, 1], [0xFF, 0x00, 1]),
        ([0xFF, 0xD7, 0xFF, 0xD0], [0xFF, 0xD7, 0xFF, 0xD0]),
        ([0xFF, 0xD8, 5], [0xFF, 0x00, 5]),
        ([0xFF, 0xC4, 0xFF], [0xFF, 0x00, 0]),
        ([0xFF, 0xFF, 0xFF, 7], [0xFF, 0x00, 0xFF, 0x00]),
    ],
)
def test_markers_that_no_scan_has_are_taken_out(given: list[int], expected: list[int]) -> None:
    assert list(legal(np.array(given, np.uint8))) == expected


@pytest.mark.parametrize("config", [{"quality": 0}, {"quality": 96}, {"restart_blocks": -1}])
def test_impossible_configs_are_refused(config: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"quality lies in 1\.\.95"):
        JpegBytesConfig(**config)


def test_a_model_folder_of_it_loads(tmp_path: Path) -> None:
    zoo.save(JpegBytes(JpegBytesConfig(40)), tmp_path / "jpeg")
    loaded = zoo.load(str(tmp_path / "jpeg"))
    assert loaded.config == JpegBytesConfig(40)
    assert loaded.encode([picture(16, 16)]) == JpegBytes(JpegBytesConfig(40)).encode([picture(16, 16)])


def test_files_have_no_place_for_its_size(tmp_path: Path) -> None:
    (tokens,) = JpegBytes().encode([picture(16, 16)])
    with pytest.raises(UsageError, match="the size of image has width, height"):
        api.save(tokens, tmp_path / "a.smt", JpegBytes())
    assert list(tmp_path.iterdir()) == []
