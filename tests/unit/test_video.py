"""`video-causal`: nothing sees what is to come, streams equal the whole, and a still is a film of one picture."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio, Image, Video
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.video.causal import VideoCausal
from smalti.tokenizers.video.films import MAX_FRAME_PIXELS, rate_of
from smalti.tokenizers.video.motion import MotionConfig
from smalti.tokenizers.video.network import VideoCausalConfig, VideoCausalNet

SMALL = {"widths": (8, 8), "encoder_depths": (1, 1), "decoder_depths": (1, 2), "head_width": 8}
QUANTIZER = ResidualConfig(VQConfig(32, 4), levels=2)
CONFIG = VideoCausalConfig(QUANTIZER, MotionConfig((0, 2, -2, 5, -5)), temporal_width=8, blend_width=8, slack=0.3, **SMALL)
RATE = Fraction(25)


def trained(config: VideoCausalConfig) -> VideoCausal:
    """A network whose tables have seen something, and no layer of which is an identity any more."""
    torch.manual_seed(0)
    net = VideoCausalNet(config)
    for _ in range(10):
        net(torch.rand(2, 3, 1, 64, 64) * 2 - 1)
    for parameter in [*net.temporal.parameters(), *net.blend.parameters()]:
        torch.nn.init.normal_(parameter, std=0.05)
    return VideoCausal(net)


@pytest.fixture(scope="module")
def tokenizer() -> VideoCausal:
    return trained(CONFIG)


def moving(count: int, height: int = 40, width: int = 56, seed: int = 0) -> list[np.ndarray]:
    """A texture that slides, and gets brighter."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 200, (height // 4 + 2, width // 4 + count // 4 + 2, 3)).repeat(4, 0).repeat(4, 1)
    return [(texture[:height, i : i + width] + i % 50).astype(np.uint8) for i in range(count)]


def pictures(video: object) -> np.ndarray:
    assert isinstance(video, Video)
    return np.stack(list(video.frames))


def joined(parts: list[Tokens]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(stage) for stage in zip(*(part.arrays for part in parts), strict=True))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 13])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 56), (33, 17)])
def test_as_many_frames_and_pixels_come_out_as_went_in(tokenizer: VideoCausal, count: int, height: int, width: int) -> None:
    film = Video(iter(moving(count, height, width)), RATE)
    (tokens,) = tokenizer.encode([film])
    steps = 1 + -(-(count - 1) // 4)
    assert {stage.shape for stage in tokens.layout.stages} == {(steps, -(-height // 8), -(-width // 8))}
    for cut in tokens.layout.cuts:
        (back,) = tokenizer.decode([tokens.prefix(cut)])
        assert isinstance(back, Video)
        assert back.timing == RATE
        assert pictures(back).shape == (count, height, width, 3)
        assert np.array_equal(pictures(back), pictures(back)), "frames may be gone through again"


@pytest.mark.parametrize("changed", [1, 4, 5, 8, 12])
def test_nothing_sees_what_is_to_come(tokenizer: VideoCausal, changed: int) -> None:
    frames = moving(13)
    other = frames[:changed] + [np.random.default_rng(frame).integers(0, 256, (40, 56, 3), np.uint8) for frame in range(changed, 13)]
    (tokens,), (others,) = tokenizer.encode([Video(frames, RATE)]), tokenizer.encode([Video(other, RATE)])
    own = 1 + (changed - 1) // 4  # the step of the changed frame
    for stage, after in zip(tokens.arrays, others.arrays, strict=True):
        assert np.array_equal(stage[:own], after[:own])
    assert any(not np.array_equal(a[own:], b[own:]) for a, b in zip(tokens.arrays, others.arrays, strict=True))
    drawn = [pictures(video) for video in tokenizer.decode([tokens, others])]
    kept = 1 + 4 * (own - 1)
    assert np.array_equal(drawn[0][:kept], drawn[1][:kept])


def test_latents_of_frames_do_not_hang_on_others(tokenizer: VideoCausal) -> None:
    keys = torch.rand(3, 3, 32, 32) * 2 - 1
    together = tokenizer.net.encode(keys)
    for key, latent in zip(keys, together, strict=True):
        assert torch.allclose(tokenizer.net.encode(key[None])[0], latent, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7, 19, 100])
def test_a_stream_in_any_chunks_equals_the_whole(tokenizer: VideoCausal, chunk: int) -> None:
    frames = moving(19)
    (whole,) = tokenizer.encode([Video(frames, RATE)])
    (drawn,) = tokenizer.decode([whole])
    encoder, decoder = tokenizer.stream(RATE), tokenizer.stream_decoder()
    for _ in range(2):  # a stream starts anew after its end
        parts = [encoder.push(frames[start : start + chunk]) for start in range(0, 19, chunk)]
        found = [part for part in (*parts, encoder.flush()) if part is not None]
        assert all(np.array_equal(a, b) for a, b in zip(joined(found), whole.arrays, strict=True))
        assert sum(part.layout.size["frames"] for part in found) == 19
    assert encoder.flush() is None
    assert np.array_equal(np.concatenate([decoder.push(part) for part in found]), pictures(drawn))


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
def test_groups_at_a_time_change_nothing(tokenizer: VideoCausal, groups: int) -> None:
    """To float rounding: a network sees other batches."""
    film = Video(moving(22), RATE)
    (whole,) = tokenizer.encode([film])
    (drawn,) = tokenizer.decode([whole])
    other = VideoCausal(tokenizer.net)
    other.pass_groups = groups
    (tokens,) = other.encode([film])
    assert tokens == whole
    (back,) = other.decode([whole])
    assert np.abs(pictures(back).astype(int) - pictures(drawn)).max() <= 1


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 9), (1, 2), (5, 6), (30, 37), (33, 34), (20, 61), (60, 61), (7, 7)])
def test_a_stretch_equals_that_of_the_whole(tokenizer: VideoCausal, start: int, stop: int) -> None:
    (tokens,) = tokenizer.encode([Video(moving(61), RATE)])
    (whole,) = tokenizer.decode([tokens])
    frames = whole.frames[start:stop]  # type: ignore[union-attr, index]
    assert len(frames) == stop - start
    found = list(frames)
    assert len(found) == stop - start
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(found, pictures(whole)[start:stop], strict=True))


def test_a_segment_that_begins_later_decodes_as_a_film_from_its_key_on(tokenizer: VideoCausal) -> None:
    """After as many groups as the network sees, it draws what the whole draws."""
    (tokens,) = tokenizer.encode([Video(moving(61), RATE)])
    (whole,) = tokenizer.decode([tokens])
    step, reach = 5, tokenizer.reach
    part = tokens.segment(step, 16)
    size = (("frames", 4 * (16 - step - 1) + 1), *tokens.layout.signal[1:])
    (back,) = tokenizer.decode([Tokens(tokenizer.layout(size), part.arrays)])
    later = 4 * reach
    assert np.abs(pictures(back)[later:].astype(int) - pictures(whole)[4 * step + later :]).max() <= 1


def test_a_still_is_a_film_of_one_picture_and_an_image_models(tokenizer: VideoCausal) -> None:
    image = ImageGrid.from_config(ImageGridConfig(QUANTIZER, **SMALL))
    net = VideoCausalNet(CONFIG)
    net.load_state_dict(net.from_image(image.net.state_dict()))
    inflated, still = VideoCausal(net), Image(moving(1)[0])
    (tokens,), (one,), (own,) = inflated.encode([still]), inflated.encode([Video([still.pixels], RATE)]), image.encode([still])
    assert all(np.array_equal(a, b) for a, b in zip(tokens.arrays, one.arrays, strict=True))
    assert all(np.array_equal(a[0], b) for a, b in zip(tokens.arrays[1:], own.arrays, strict=True))
    assert not tokens.arrays[0].any(), "a still says nothing of motion"
    (drawn,), (picture,) = inflated.decode([tokens]), image.decode([own])
    assert isinstance(picture, Image)
    assert np.abs(pictures(drawn)[0].astype(int) - picture.pixels).max() <= 1


def test_what_does_not_change_keeps_its_entries(tokenizer: VideoCausal) -> None:
    """Noise of the camera is not worth bits; with slack 0 each key has the nearest entries."""
    rng = np.random.default_rng(0)
    still = moving(1)[0].astype(int)
    frames = [(still + rng.integers(-6, 7, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(33)]

    def changes(slack: float) -> float:
        net = VideoCausalNet(replace(CONFIG, slack=slack))
        net.load_state_dict(tokenizer.net.state_dict())
        (tokens,) = VideoCausal(net).encode([Video(frames, RATE)])
        if not slack:
            levels = net.eval().quantizer(net.encode(torch.stack([torch.from_numpy(f).permute(2, 0, 1) / 127.5 - 1 for f in frames[::4]])))
            assert all(np.array_equal(a, b.numpy()) for a, b in zip(tokens.arrays[1:], levels.indices, strict=True))
        return float(np.mean([np.diff(stage, axis=0) != 0 for stage in tokens.arrays[1:]]))

    assert changes(0.5) < 0.5 * changes(0.0)


def test_save_and_load(tokenizer: VideoCausal, tmp_path: Path) -> None:
    zoo.save(tokenizer, tmp_path, half=False)
    loaded = zoo.load(str(tmp_path))
    film = Video(moving(6), RATE)
    (tokens,) = tokenizer.encode([film])
    assert loaded.encode([film]) == [tokens]
    assert np.array_equal(pictures(loaded.decode([tokens])[0]), pictures(tokenizer.decode([tokens])[0]))
    assert loaded.config == CONFIG


def test_memory_is_that_of_a_group(tokenizer: VideoCausal) -> None:
    """Two minutes pass, read once and drawn as they are gone through: as floats their pixels would take 147 MB."""
    count = 3000

    def frames() -> Iterator[np.ndarray]:
        for i in range(count):
            yield np.full((64, 64, 3), i % 200, np.uint8)

    tokenizer.encode([Video(list(frames())[:9], RATE)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tokens,) = tokenizer.encode([Video(frames(), RATE)])
    seen = sum(1 for _ in tokenizer.decode([tokens])[0].frames)  # type: ignore[union-attr]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count} frames: peak grew by {grown:.0f} MiB")
    assert seen == count
    assert grown < 50


def test_refusals(tokenizer: VideoCausal) -> None:
    small, large = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)
    wrong = [Video([], RATE), Video([small, large], RATE), Video([small.astype(np.float32)], RATE), Video([small], Fraction(0))]
    for film in [*wrong, Video([small], (Fraction(0), Fraction(1))), Audio(np.zeros((1, 4), np.float32), 8000)]:
        with pytest.raises(SignalError):
            tokenizer.encode([film])
    huge = np.broadcast_to(np.uint8(0), (MAX_FRAME_PIXELS // 1024 + 1, 1024, 3))
    with pytest.raises(SignalError, match="make the film smaller"):
        tokenizer.encode([Video([huge], RATE)])
    for size in ((("height", 8), ("width", 8)), (("frames", 1), ("height", 8), ("width", 0), ("rate_num", 1), ("rate_den", 1))):
        with pytest.raises(UsageError):
            tokenizer.layout(size)
    (tokens,) = tokenizer.encode([Video(moving(5), RATE)])
    decoder = tokenizer.stream_decoder()
    decoder.push(tokens)
    with pytest.raises(UsageError, match="one size"):
        decoder.push(tokenizer.encode([Video(moving(5, 24, 24), RATE)])[0])
    with pytest.raises(UsageError, match="encoder's stream"):
        decoder.push(tokens.segment(0, 0))
    for changes in ({"group": 1}, {"slack": -1.0}, {"temporal_blocks": 3}, {"blend_width": 0}, {"widths": (8,)}):
        with pytest.raises(UsageError):
            replace(CONFIG, **changes)
    with pytest.raises(UsageError):
        MotionConfig((1, 0))


def test_rates_of_times_of_their_own() -> None:
    times = tuple(Fraction(i, 10) for i in (0, 1, 3, 4))
    assert rate_of(Video([], times), 4) == Fraction(30, 4)
    assert rate_of(Video([], (Fraction(2),)), 1) == 1
    assert all(b - a for a, b in pairwise(times))
