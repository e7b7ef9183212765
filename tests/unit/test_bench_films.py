"""The film that speed is measured on."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from smalti.recipes.bench.films import KEPT, Repeated, measured, moving_photo
from smalti.tokenizers.signals import Video


class Counting:
    """A tokenizer that keeps films as they are."""

    def encode(self, films: list[Video]) -> list[Any]:
        return [SimpleNamespace(frames=list(film.frames)) for film in films]

    def decode(self, tokens: list[Any]) -> list[Video]:
        return [Video(item.frames, Fraction(1)) for item in tokens]


def test_frames_go_there_and_back() -> None:
    pictures = tuple(np.full((2, 2, 3), value, np.uint8) for value in range(3))
    assert [int(frame[0, 0, 0]) for frame in Repeated(pictures, 9)] == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert len(list(Repeated(pictures[:1], 4))) == 4


def test_the_photo_moves() -> None:
    pictures = moving_photo(256)
    assert 2 <= len(pictures) <= KEPT
    assert all(picture.shape == (256, 256, 3) for picture in pictures)
    assert np.array_equal(pictures[1][:-2, :-3], pictures[0][2:, 3:])
    with pytest.raises(SystemExit, match="does not fit"):
        moving_photo(2000)


def test_every_frame_is_counted() -> None:
    film = Video(Repeated(moving_photo(64), 20), Fraction(25))
    found = measured(cast(Any, Counting()), film, 20)
    assert min(found.values()) > 0
    with pytest.raises(AssertionError):
        measured(cast(Any, Counting()), film, 21)
