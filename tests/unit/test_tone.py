"""Brightness and hues come back by encoding again; see `codecs/tone.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from smalti.codecs import tone
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens


class Drifting:
    """Tokens are the pixels; decoding drifts: red by 9, and the right half by 20 in all channels. `decodings` counts."""

    name = "drifting"

    def __init__(self, drift: float = 1.0) -> None:
        self.drift, self.decodings = drift, 0

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        return [self._tokens(signal) for signal in signals if isinstance(signal, Image)]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        self.decodings += len(tokens)
        return [self._picture(item) for item in tokens]

    def _tokens(self, picture: Image) -> Tokens:
        stage = Stage("pixels", (("row", picture.height), ("col", picture.width), ("channel", 3)), 256)
        size = (("height", picture.height), ("width", picture.width))
        return Tokens(Layout((stage,), (1,), size), (picture.eight_bits.astype(np.int32),))

    def _picture(self, tokens: Tokens) -> Image:
        pixels = tokens.arrays[0].astype(np.float64)
        pixels[..., 0] += 9 * self.drift
        pixels[:, pixels.shape[1] // 2 :] += 20 * self.drift
        return Image(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def photo(height: int = 130, width: int = 200, dtype: type = np.uint8) -> Image:
    pixels = np.random.default_rng(0).integers(60, 180, (height, width, 3))
    return Image((pixels * (257 if dtype is np.uint16 else 1)).astype(dtype))


def drift(tokenizer: Drifting, picture: Image, passes: int) -> float:
    (tokens,) = tone.encode(tokenizer, [picture], passes)  # type: ignore[arg-type]
    (decoded,) = tokenizer.decode([tokens])
    assert isinstance(decoded, Image)
    return float(np.abs((decoded.eight_bits.astype(float) - picture.eight_bits).mean((0, 1))).max())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_drift_is_taken_off(dtype: type) -> None:
    assert drift(Drifting(), photo(dtype=dtype), 0) > 15
    assert drift(Drifting(), photo(dtype=dtype), 2) < 1


def test_no_passes_are_the_tokenizer_s_own_tokens() -> None:
    tokenizer = Drifting()
    (tokens,) = tone.encode(tokenizer, [photo()], 0)  # type: ignore[arg-type]
    assert np.array_equal(tokens.arrays[0], photo().pixels)
    assert tokenizer.decodings == 0


def test_a_pass_that_makes_it_worse_is_not_kept() -> None:
    class Stubborn(Drifting):
        def _picture(self, tokens: Tokens) -> Image:
            return Image(255 - tokens.arrays[0].astype(np.uint8))  # taking off makes it brighter still

    tokenizer = Stubborn()
    (tokens,) = tone.encode(tokenizer, [Image(photo().pixels // 4)], 3)  # type: ignore[arg-type]
    assert np.array_equal(tokens.arrays[0], photo().pixels // 4)


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (64, 64), (129, 1)])
def test_errors_are_means_of_blocks_of_any_picture(size: tuple[int, int]) -> None:
    picture = photo(*size)
    decoded = Drifting()._picture(Drifting()._tokens(picture))
    errors = tone.block_errors(picture, decoded)
    difference = decoded.pixels.astype(float) - picture.pixels
    assert errors.shape == (-(-size[0] // 64), -(-size[1] // 64), 3)
    assert np.allclose(errors[0, 0], difference[:64, :64].mean((0, 1)))
    assert np.allclose(errors[-1, -1], difference[(size[0] - 1) // 64 * 64 :, (size[1] - 1) // 64 * 64 :].mean((0, 1)))


def test_what_is_taken_off_is_linear_between_centres_of_blocks() -> None:
    grey = Image(np.full((64, 192, 3), 100, np.uint8))
    errors = np.zeros((1, 3, 3))
    errors[0, :, 1] = 0, 32, -32
    row = grey.pixels[0, :, 1].astype(int) - tone.without(grey, errors).pixels[0, :, 1]
    assert row[0] == 0
    assert row[31] == 0
    assert row[-1] == -32
    assert np.all(np.diff(row[32:96]) >= 0)
    assert np.all(np.diff(row[96:160]) <= 0)
    assert row[64] == 16
    assert abs(row[127]) <= 1


@pytest.mark.parametrize("passes", [-1, 17])
def test_impossible_numbers_of_passes_are_refused(passes: int) -> None:
    with pytest.raises(UsageError, match="tone passes are 0 to 16"):
        tone.encode(Drifting(), [photo()], passes)  # type: ignore[arg-type]
