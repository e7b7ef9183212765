"""Our models as codecs of comparisons: settings that exist and rise, clustered tables, bits of meshes."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.compare import ours
from smalti.testing import check_codec
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal


def picture() -> Image:
    y, x = np.mgrid[0:112, 0:144]
    noise = np.random.default_rng(0).normal(0, 20, (112, 144, 3))
    return Image((np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 80 + 128 + noise).clip(0, 255).astype(np.uint8))


def ball() -> Shape:
    """A grid bent round."""
    u, v = np.meshgrid(np.linspace(0.2, 2.9, 9), np.linspace(0, 5.5, 9))
    places = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], -1).reshape(-1, 3)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    return Shape(places, np.concatenate([corner[:, None] + [0, 1, 9], corner[:, None] + [1, 10, 9]]))


def sound() -> Audio:
    t = np.arange(8000) / 16000
    return Audio((0.3 * np.sin(2 * np.pi * 220 * t * (1 + t)))[None].astype(np.float32), 16000)


@pytest.mark.parametrize(
    ("name", "signal", "count"),
    [("image-grid-16", picture(), 6), ("image-grid-8", picture(), 5), ("audio-residual-16k", sound(), 7), ("mesh", ball(), 4)],
)
def test_rates_rise(name: str, signal: Signal, count: int) -> None:
    codec, settings = ours.codec(name), ours.ladder(name)
    assert len(settings) == count
    assert ours.short(name) is None
    files = [codec.compress(signal, setting.target) for setting in settings]
    assert sorted({len(data) for data in files}) == [len(data) for data in files]
    for data in (files[0], files[-1]):
        assert type(codec.decompress(data)) is type(signal)


def test_what_has_few_rates_says_so() -> None:
    assert [setting.label for setting in ours.ladder("audio-single-16k")] == ["1 stage"]
    assert ours.short("audio-single-16k") == "its tokens decode at 1 rate"
    assert ours.short("video-causal-16") == "its tokens decode at 2 rates"
    with pytest.raises(ModelError):
        ours.ladder("image-grid-17")


def test_prefixes_of_many_are_thinned_to_both_ends() -> None:
    assert ours.thinned((1, 2)) == (1, 2)
    found = ours.thinned(tuple(range(1, 19)))
    assert found[:3] == (1, 2, 3)
    assert found[-1] == 18
    assert len(found) <= ours.MOST


def test_another_process_reads_files_of_rungs() -> None:
    data = ours.codec("image-grid-8").compress(picture(), Target(quality=ours.RUNGS[1]))
    again = ours.codec("image-grid-8")  # whose tables are clustered anew
    assert isinstance(again.decompress(data), Image)
    other = ours.codec("image-grid-16").compress(picture(), Target(stages=1))
    with pytest.raises(ModelError, match="neither image-grid-8@1 nor one of its rungs"):
        again.decompress(other)


def test_sizes_of_tables_that_there_are_not() -> None:
    codec = ours.codec("image-grid-16")
    for quality in (1, 7.5, 1024):
        with pytest.raises(UsageError, match="expected a whole number of 2 to 1023"):
            codec.compress(picture(), Target(quality=quality))
    with pytest.raises(UsageError, match="expected 7 to 10"):
        ours.codec("mesh").compress(ball(), Target(quality=6))


def test_wrapped_models_conform() -> None:
    check_codec(ours.codec("image-grid-16"), [picture()])
    check_codec(ours.codec("mesh"), [ball()])
