"""Settings of curves: every codec of the registry has some, ascending, and they are ones that it takes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from smalti.codecs import ladders
from smalti.codecs.registry import CODECS, SHAPE_CODECS, SOUND_CODECS, VIDEO_CODECS, resolve
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video

NAMES = [*CODECS, *SOUND_CODECS, *SHAPE_CODECS, *VIDEO_CODECS]


def signal_for(name: str) -> Signal:
    y, x = np.mgrid[0:72, 0:90]
    noise = np.random.default_rng(0).normal(0, 25, (72, 90, 3))
    picture = (np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 60 + 128 + noise).clip(0, 255).astype(np.uint8)
    if name in CODECS:
        return Image(picture)
    if name in VIDEO_CODECS:
        return Video([np.roll(picture, 3 * i, 1) for i in range(3)], Fraction(25))
    if name in SOUND_CODECS:
        t = np.arange(8000) / 16000
        wave = 0.3 * np.sin(2 * np.pi * 300 * t * (1 + t)) + np.random.default_rng(0).normal(0, 0.05, t.shape)
        return Audio(wave[None].astype(np.float32), 16000)
    u, v = np.meshgrid(np.linspace(0, 3, 12), np.linspace(0, 3, 12))
    places = np.stack([u, v, np.sin(2 * u) * np.cos(v)], -1).reshape(-1, 3)
    corner = (np.arange(11)[:, None] * 12 + np.arange(11)).ravel()
    return Shape(places, np.concatenate([corner[:, None] + [0, 1, 12], corner[:, None] + [1, 13, 12]]))


@pytest.mark.parametrize("name", NAMES)
def test_every_ladder_rises(name: str) -> None:
    settings = ladders.ladder(name)
    assert len({setting.label for setting in settings}) == len(settings)
    assert (len(settings) >= ladders.LEAST) == (ladders.short(name) is None)
    try:
        codec = resolve(name)
    except ModelError as error:
        assert ladders.absent(name) is not None
        pytest.skip(str(error))
    assert ladders.absent(name) is None
    assert ladders.version(codec)
    sizes = [len(codec.compress(signal_for(name), setting.target)) for setting in settings]
    assert sizes == sorted(set(sizes)), "each setting costs more than the one before"


def test_shrunk_codecs_have_the_ladder_and_the_version_of_the_whole() -> None:
    assert ladders.ladder("webp/4") == ladders.ladder("webp")
    for name in ("webp/4", "vp9/2"):
        assert ladders.version(resolve(name)) == ladders.version(resolve(name.partition("/")[0]))


def test_names_without_a_ladder() -> None:
    with pytest.raises(UsageError, match="did you mean 'webp'"):
        ladders.ladder("wepb")
    with pytest.raises(UsageError, match="did you mean 'webp'"):
        ladders.absent("wepb")


def test_what_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    reason, remedy = ladders.absent("jxl") or ("", "")
    assert "imagecodecs" in reason
    assert remedy == "pip install 'smalti[codecs]'"


def test_a_codec_of_smaller_pictures_is_of_the_family_of_its_own() -> None:
    assert getattr(resolve("jpeg/2"), "family", None) == "classical"
    assert getattr(resolve("hyperprior/2"), "family", None) == getattr(resolve("hyperprior"), "family", None) == "learned"
