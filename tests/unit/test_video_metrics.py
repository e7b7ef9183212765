"""Metrics of films: against pictures' metrics frame by frame, values by hand, and films that pass once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from smalti.metrics import judges
from smalti.metrics.image import LPIPS, PSNR
from smalti.metrics.registry import resolve
from smalti.metrics.video import MOST_DECIBELS, TemporalDifference, measure, psnr
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Image, Video


def flat(*levels: int) -> Video:
    return Video([np.full((16, 16, 3), level, np.uint8) for level in levels], Fraction(25))


def noise(count: int, seed: int = 0) -> list[Array]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 70, 80, 3)).astype(np.uint8))


def test_means_over_frames() -> None:
    a, b = noise(3), noise(3, 1)
    score = psnr()(Video(a, Fraction(25)), Video(b, Fraction(25)))
    single = [PSNR()(Image(x), Image(y)).value for x, y in zip(a, b, strict=True)]
    assert score.value == pytest.approx(sum(single) / 3)
    assert (score.unit, score.better) == ("dB", "higher")
    assert score.convention.endswith("mean over frames, equal ones 100 dB")
    same = psnr()(Video(a, Fraction(25)), Video([a[0], *b[1:]], Fraction(25)))
    assert same.value == pytest.approx((MOST_DECIBELS + single[1] + single[2]) / 3)


def test_differences_of_frames_by_hand() -> None:
    judge = TemporalDifference()
    assert judge(flat(10, 20, 30), flat(110, 120, 130)).value == 0  # all changes are right
    assert judge(flat(10, 20, 30), flat(10, 24, 30)).value == pytest.approx(math.sqrt((4**2 + 4**2) / 2))
    assert judge(flat(0, 255), flat(255, 0)).value == 510


def test_perceived_changes_are_those_of_pictures() -> None:
    if not judges.JUDGES["alex"].path.is_file():
        pytest.skip("needs AlexNet")
    a, b = noise(3), [noise(1, 2)[0]] * 3
    judge = LPIPS("alex")
    changes = [judge(Image(a[i]), Image(a[i + 1])).value for i in range(2)]
    found = resolve("temporal-lpips")(Video(a, Fraction(25)), Video(b, Fraction(25)))  # the decoded one stands still
    assert found.value == pytest.approx(sum(changes) / 2, rel=1e-5)


def test_all_look_at_one_pass() -> None:
    passed: list[int] = []

    def once(frames: list[Array]) -> Iterator[Array]:
        for i, frame in enumerate(frames):
            passed.append(i)
            yield frame

    metrics = {"video-psnr": psnr(), "temporal-difference": TemporalDifference()}
    both = measure(metrics, Video(once(noise(5)), Fraction(25)), Video(once(noise(5, 1)), Fraction(25)))
    assert passed == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert both["video-psnr"].value == psnr()(Video(noise(5), Fraction(25)), Video(noise(5, 1), Fraction(25))).value
    few = measure(metrics, Video(noise(5), Fraction(25)), Video(noise(5, 1), Fraction(25)), every=2)
    picked = psnr()(Video(noise(5)[::2], Fraction(25)), Video(noise(5, 1)[::2], Fraction(25)))
    assert few["video-psnr"].value == picked.value


def test_refusals() -> None:
    one = flat(1)
    with pytest.raises(SignalError, match="need two frames or more"):
        TemporalDifference()(one, one)
    for a, b in ((flat(1, 2), one), (one, flat(1, 2))):
        with pytest.raises(SignalError, match="films differ in length"):
            psnr()(a, b)
    with pytest.raises(SignalError, match="films without frames"):
        psnr()(flat(), flat())
    with pytest.raises(SignalError, match="compare films, found Image and Video"):
        psnr()(Image(np.zeros((4, 4, 3), np.uint8)), one)
