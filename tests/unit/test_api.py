"""The Python API as the README shows it, and what it says to wrong arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.codecs import notes


def picture(height: int, width: int) -> smalti.Image:
    rng = np.random.default_rng(height)
    return smalti.Image(rng.integers(0, 256, (height, width, 3), np.uint8))


def test_the_way_of_the_readme(samples: Any, tmp_path: Path) -> None:
    tokenizer = smalti.load("image-grid-16")
    photo = smalti.read(samples.photo)
    (tokens,) = tokenizer.encode([photo])
    assert [array.shape for array in tokens.arrays] == [(4, 5), (4, 5)]
    size = smalti.save(tokens, tmp_path / "a.smt", model=tokenizer)
    assert size == (tmp_path / "a.smt").stat().st_size
    assert (tmp_path / "a.smt").read_bytes() == smalti.compress(samples.photo, tone_passes=0)
    assert smalti.compress(samples.photo) == samples.solo.read_bytes()
    assert smalti.open(tmp_path / "a.smt") == tokens
    (coarse,) = tokenizer.decode([tokens.prefix(1)])
    (fine,) = tokenizer.decode([tokens])
    assert np.array_equal(smalti.decompress(tmp_path / "a.smt").pixels, fine.pixels)
    assert np.array_equal(smalti.decompress(str(tmp_path / "a.smt"), stages=1).pixels, coarse.pixels)
    assert np.array_equal(smalti.decompress((tmp_path / "a.smt").read_bytes()).pixels, fine.pixels)
    on_cpu = smalti.decompress(tmp_path / "a.smt", device="cpu").pixels
    assert np.abs(on_cpu.astype(int) - fine.pixels).max() <= 2  # over devices: DESIGN, determinism


def test_lists_of_mixed_sizes(model: str) -> None:
    tokenizer = smalti.load(model)
    pictures = [picture(1, 1), picture(17, 33), picture(40, 20), picture(17, 33)]
    encoded = tokenizer.encode(pictures)
    assert [tokens.layout.size for tokens in encoded] == [{"height": p.height, "width": p.width} for p in pictures]
    for alone, tokens in zip(pictures, encoded, strict=True):
        assert smalti.open(smalti.compress(alone)).layout == tokens.layout
    mixed = [encoded[0], encoded[1].prefix(1), encoded[2], encoded[3]]
    for tokens, decoded in zip(mixed, tokenizer.decode(mixed), strict=True):
        assert isinstance(decoded, smalti.Image)
        assert (decoded.height, decoded.width) == (tokens.layout.size["height"], tokens.layout.size["width"])
        (single,) = tokenizer.decode([tokens])
        assert np.abs(decoded.pixels.astype(int) - single.pixels).max() <= 2  # batches may round otherwise: DESIGN, determinism
    assert tokenizer.encode([]) == tokenizer.decode([]) == []


def test_prefixes_are_saved_as_prefixes(samples: Any, tmp_path: Path) -> None:
    tokens = smalti.open(samples.solo)
    smalti.save(tokens.prefix(1), tmp_path / "a.smt", notes=(notes.GRAY,))
    assert smalti.open(tmp_path / "a.smt") == tokens.prefix(1) == smalti.open(samples.chunked, stages=1) != tokens
    assert smalti.decompress(tmp_path / "a.smt").notes == (notes.GRAY,)


def test_targets(samples: Any) -> None:
    whole = len(smalti.compress(samples.photo))
    assert len(smalti.compress(samples.photo, bits_per_pixel=8 * (whole - 1) / (80 * 56))) < whole
    assert smalti.compress(samples.photo, bytes=whole) == smalti.compress(samples.photo, stages=2) == smalti.compress(samples.photo)
    plain = smalti.compress(samples.photo, tone_passes=0)  # in tone, other stages are other tokens
    assert smalti.open(smalti.compress(samples.photo, stages=1, tone_passes=0)) == smalti.open(plain, stages=1)


def test_sources_of_every_kind(samples: Any) -> None:
    data = samples.photo.read_bytes()
    assert smalti.compress(smalti.read(data)) == smalti.compress(data) == smalti.compress(str(samples.photo))


def test_sixteen_bits(model: str) -> None:
    deep = smalti.Image(picture(20, 20).pixels.astype(np.uint16) * 257)
    # without tone: what it takes off is rounded to as many bits as the picture has
    assert smalti.open(smalti.compress(deep, tone_passes=0)) == smalti.open(smalti.compress(picture(20, 20), tone_passes=0))


def test_another_model(samples: Any, tmp_path: Path) -> None:
    tiny = smalti.load(samples.tiny)
    (tokens,) = tiny.encode([picture(16, 24)])
    smalti.save(tokens, tmp_path / "a.smt", model=tiny)
    smalti.save(tokens, tmp_path / "b.smt", model=samples.tiny)
    for name in ("a.smt", "b.smt"):
        assert smalti.open(tmp_path / name, model=samples.tiny) == tokens
        assert smalti.decompress(tmp_path / name, model=str(samples.tiny)).pixels.shape == (16, 24, 3)
        with pytest.raises(smalti.ModelError, match=rf"{name}: written by model .* which is not installed"):
            smalti.open(tmp_path / name)
    with pytest.raises(smalti.UsageError, match="not image-grid-16@"):
        smalti.save(tokens, tmp_path / "c.smt")
    with pytest.raises(smalti.ModelError, match="written by model"):
        smalti.open(samples.solo, model=samples.tiny)
    assert not (tmp_path / "c.smt").exists()


def test_wrong_arguments(samples: Any, tmp_path: Path) -> None:
    tokens = smalti.open(samples.solo)
    for wrong, match in (
        (lambda: smalti.load(device="tpu"), "auto, cpu and cuda"),
        (lambda: smalti.compress(samples.photo, bytes=9, stages=1), "one target"),
        (lambda: smalti.compress(samples.photo, bytes=0), "positive"),
        (lambda: smalti.compress(samples.photo, bits_per_pixel=-1), "positive"),
        (lambda: smalti.compress(samples.photo, bytes=9), "smallest file"),
        (lambda: smalti.compress(samples.photo, stages=3), "1, 2"),
        (lambda: smalti.compress(np.zeros((8, 8, 3), np.uint8)), "found ndarray"),  # type: ignore[arg-type]
        (lambda: smalti.read(None), "found NoneType"),  # type: ignore[arg-type]
        (lambda: smalti.open(7), "found int"),  # type: ignore[arg-type]
        (lambda: smalti.decompress([samples.solo]), "found list"),  # type: ignore[arg-type]
        (lambda: smalti.open(samples.solo, stages=3), "holds 2 stages, asked for 3"),
        (lambda: smalti.open(samples.solo, stages=0), "1, 2"),
        (lambda: smalti.save(tokens, tmp_path / "no" / "a.smt"), "does not exist"),
        (lambda: smalti.save(tokens, tmp_path), "a folder"),
        (lambda: smalti.save(tokens, tmp_path / "a.smt", notes=("unheard of",)), "unknown note"),
    ):
        with pytest.raises(smalti.UsageError, match=match):
            wrong()
    with pytest.raises(smalti.ModelError, match=r"did you mean 'image-grid-(8|16)'"):
        smalti.load("image-grid")
    with pytest.raises(smalti.SignalError, match="no such file"):
        smalti.read(tmp_path / "a.png")
    with pytest.raises(smalti.SignalError, match="no such file"):
        smalti.open(tmp_path / "a.smt")
    assert not list(tmp_path.iterdir())


def test_errors_name_the_file(samples: Any, tmp_path: Path) -> None:
    (tmp_path / "a.smt").write_bytes(samples.solo.read_bytes()[:-1])
    for call in (smalti.open, smalti.decompress):
        with pytest.raises(smalti.BitstreamError, match=r"a\.smt: the file is damaged"):
            call(tmp_path / "a.smt")
        with pytest.raises(smalti.ModelError, match=r"foreign\.smt: written by model"):
            call(samples.foreign)


def test_models_are_listed(model: str) -> None:
    assert model in {info.name.partition("@")[0] for info in smalti.models()}
