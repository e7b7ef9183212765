"""Films as `.smt` files: groups of frames, times, aspect and sound, and stretches of them, on a toy tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti import api
from smalti.codecs import films
from smalti.codecs.bitstream import Field, parse
from smalti.codecs.bitstream.streams import FIELDS, StreamInfo, read_fields, write_fields
from smalti.film_parts import film_part
from smalti.tokenizers.errors import BitstreamError, DamageWarning, UsageError
from smalti.tokenizers.signals import Array, Audio, Video

Cli = Callable[..., Any]
UNEVEN = tuple(Fraction(3 * i + i % 2, 90) for i in range(101))


def clip(count: int = 101, height: int = 44, width: int = 60) -> list[Array]:
    """A bright square that wanders over noise that changes."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 120, (count, height, width, 3)).astype(np.uint8)
    for i, frame in enumerate(frames):
        frame[10:30, i % 40 : i % 40 + 20] = 220
    return list(frames)


def film(times: Any = Fraction(25), aspect: Fraction = Fraction(1), audio: Audio | None = None, count: int = 101) -> Video:
    return Video(iter(clip(count)), times, aspect, audio)


def tone(seconds: float) -> Audio:
    t = np.arange(round(seconds * 16000)) / 16000
    return Audio((0.4 * np.sin(2000 * t)).astype(np.float32)[None], 16000)


def frames_of(signal: Any) -> Array:
    assert isinstance(signal, Video)
    return np.stack(list(signal.frames))


@pytest.mark.parametrize("times", [Fraction(30000, 1001), UNEVEN])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(16, 11)])
def test_a_film_keeps_its_times_and_aspect(film_model: Path, times: Any, aspect: Fraction) -> None:
    data = smalti.compress(film(times, aspect), film_model)
    back = smalti.decompress(data, film_model)
    assert isinstance(back, Video)
    assert (back.timing, back.aspect, back.audio) == (times, aspect, None)
    frames = frames_of(back)
    assert frames.shape == (101, 44, 60, 3)
    assert np.array_equal(frames, frames_of(back))  # they can be gone through again
    assert [field.name for field in parse(data).streams[0].fields] == ["timing"] * (times is UNEVEN) + ["aspect"] * (aspect != 1)
    assert all(field.critical for field in parse(data).streams[0].fields)
    codec = api.codec(film_model)
    assert np.array_equal(frames_of(codec.decompress(data)), frames)


def times_kept(times: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """As the side field gives them back, read as a file's."""
    fields = films.fields_of(Video([], times), len(times))
    size = (("frames", len(times)), ("width", 8), ("height", 8), ("rate_num", 1), ("rate_den", 1))
    found = films.timing_of(StreamInfo("video", bytes(6), signal=size, fields=read_fields(write_fields(fields))).checked())
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("gap", [5000, 10**5, 10**8])
def test_long_gaps_keep_their_length(gap: int) -> None:
    times = (Fraction(0), Fraction(1, 10**6), Fraction(gap) + Fraction(1, 10**6), Fraction(gap + 1))
    found = times_kept(times)
    assert max(abs(a - b) for a, b in zip(found, times, strict=True)) <= Fraction(gap, 2**31)


def test_many_uneven_frames_fit_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIELDS, films.TIMING, ("timing", 1, 2**12))
    times = tuple(Fraction(i * 33_000 + i * i % 997, 10**6) for i in range(2400))
    found = times_kept(times)
    assert max(abs(a - b) for a, b in zip(found, times, strict=True)) <= Fraction(1, 1000)


@pytest.mark.parametrize("times", [(0, 1, 2**33 + 1), (0, 2**32, 2**33), tuple(i * 300 + i % 2 for i in range(2**11 + 8))])
def test_times_that_fit_no_field_are_refused(times: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIELDS, films.TIMING, ("timing", 1, 2**12))
    with pytest.raises(UsageError, match=r"do not fit into 4096 bytes .* split the film"):
        films.fields_of(Video([], tuple(map(Fraction, times))), len(times))


@pytest.mark.parametrize("field", [Field(4, bytes(2**20 + 1), True), Field(6, bytes(7), True), Field(1, b"")])
def test_fields_that_readers_refuse_are_not_written(field: Field) -> None:
    with pytest.raises(UsageError, match=r"side field \w+ has \d+ bytes, expected"):
        write_fields((field,))


def test_a_film_and_its_sound_lie_in_one_file(film_model: Path, sound_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(sound_model, tmp_path / "heard" / "1")
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path))
    heard = tone(4.04)
    data = smalti.compress(film(audio=heard), film_model, audio_model=sound_model)
    file = parse(data)
    assert [info.modality for info in file.streams] == ["video", "audio"]
    assert {part.stream for part in file.content.parts[:2]} == {0, 1} or len(file.content.parts) == 2  # type: ignore[union-attr]
    back = smalti.decompress(data, film_model)
    assert isinstance(back, Video)
    assert back.audio is not None
    alone = smalti.decompress(smalti.compress(heard, sound_model), sound_model)
    assert isinstance(alone, Audio)
    assert back.audio.samples.shape == heard.samples.shape
    assert np.abs(back.audio.samples - alone.samples).max() < 1e-4
    part = smalti.decompress(data, film_model, start=1, end=2)
    assert isinstance(part, Video)
    assert part.audio is not None
    assert part.audio.samples.shape == (1, 16000)
    assert np.abs(part.audio.samples - back.audio.samples[:, 16000:32000]).max() < 1e-4
    between = smalti.decompress(data, film_model, start=1.03, end=2)  # while the frame of 1.00 s is shown, which comes whole
    assert isinstance(between, Video)
    assert between.audio is not None
    assert np.array_equal(frames_of(between), frames_of(part))
    assert np.array_equal(between.audio.samples, part.audio.samples)
    late = smalti.decompress(smalti.compress(film(UNEVEN, audio=heard), film_model, audio_model=sound_model), film_model, start=1.05)
    assert isinstance(late, Video)
    assert late.audio is not None
    assert late.audio.samples.shape[1] == heard.samples.shape[1] - round(16000 * UNEVEN[31])  # at 94/90 s, the next at 96/90
    codec = api.codec(film_model, audio_model=sound_model)
    again = codec.decompress(data)
    assert isinstance(again, Video)
    assert again.audio is not None
    with pytest.raises(UsageError, match="2 streams, a codec reads one"):
        api.codec(film_model).decompress(data)
    monkeypatch.delenv("SMALTI_MODELS")
    with pytest.warns(DamageWarning, match="its sound is left out: written by model"):
        silent = smalti.decompress(data, film_model)
    assert isinstance(silent, Video)
    assert silent.audio is None


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1.0, 2.0), (2.02, 2.03), (3.9, None), (None, 0.04), (1.96, 4.04)])
@pytest.mark.parametrize("form", ["solo", "chunked"])
def test_a_stretch_equals_that_of_the_whole(film_model: Path, start: Any, end: Any, form: str) -> None:
    from smalti.codecs.bitstream import write

    codec = api.codec(film_model)
    (tokens,) = codec.encode([film()])
    info = replace(parse(codec.pack(tokens)).streams[0], grouped=False, unit=0)
    file = parse(write(tokens, codec.prior, info, form))
    assert file.form == form
    whole = frames_of(codec.tokenizer.decode([tokens])[0])
    part = film_part(file, 0, file.streams[0], codec.tokenizer, codec.prior, start, end, None)
    codec.tokenizer.drawn = 0  # type: ignore[attr-defined]
    found = frames_of(part.of(codec.tokenizer))
    first, stop = part.start, part.stop
    assert (first, stop) == (int(25 * (start or 0) + 1e-9), min(101, int(np.ceil(25 * (end or 99) - 1e-9))))
    assert np.array_equal(found, whole[first:stop])
    assert part.preroll <= 8  # a group and what the first frame's own has before it
    assert codec.tokenizer.drawn <= stop - first + 8  # type: ignore[attr-defined]


def test_a_stretch_reads_only_its_groups(film_model: Path) -> None:
    codec = api.codec(film_model)
    large = Video([np.tile(frame, (6, 8, 1)) for frame in clip()], Fraction(25))
    data = bytearray(codec.compress(Video(large.frames, Fraction(5))))  # 20 s: in chunks
    file = parse(bytes(data))
    assert file.form == "chunked"
    assert file.segments() > 8
    whole = frames_of(codec.decompress(bytes(data)))
    data[len(data) // 10] ^= 1
    for start, end in ((10, 12), (15.1, 15.3)):
        part = smalti.decompress(bytes(data), film_model, start=start, end=end)
        assert np.array_equal(frames_of(part), whole[int(start * 5) : int(np.ceil(end * 5))])
    with pytest.raises(BitstreamError):
        smalti.decompress(bytes(data), film_model)
    with pytest.warns(DamageWarning, match="concealed in times"):
        mended = smalti.decompress(bytes(data), film_model, conceal=True)
    assert (frames_of(mended)[-40:] == whole[-40:]).all()


def test_a_file_that_ends_early_is_a_shorter_film(film_model: Path) -> None:
    codec = api.codec(film_model)
    large = Video([np.tile(frame, (6, 8, 1)) for frame in clip()], Fraction(5), Fraction(2))
    whole_file = parse(codec.compress(large))
    whole = frames_of(codec.decompress(codec.compress(large)))
    back = smalti.decompress(whole_file.truncate(4), film_model)
    held = frames_of(back)
    assert 4 < len(held) < 101
    assert len(held) % 4 == 1
    assert np.array_equal(held, whole[: len(held)])
    assert isinstance(back, Video)
    assert back.aspect == 2


def test_what_is_wrong_with_a_film_and_its_sound_is_said_once(
    film_model: Path, sound_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    shutil.copytree(sound_model, tmp_path / "heard" / "1")
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path))
    heard = Audio(np.tile(tone(20).samples, (6, 1)), 16000)
    large = Video([np.tile(frame, (6, 8, 1)) for frame in clip()], Fraction(5), audio=heard)
    data = bytearray(smalti.compress(large, film_model, audio_model=sound_model))
    assert parse(bytes(data)).content.parts[-1].stream == 1  # type: ignore[union-attr]
    for place in (len(data) // 2, len(data) - 40):
        data[place] ^= 1
    problems = parse(bytes(data), strict=False).problems
    assert len(problems) >= 2
    with pytest.warns(DamageWarning) as caught:
        smalti.decompress(bytes(data), film_model, conceal=True)
    said = "\n".join(str(warning.message) for warning in caught)
    (tmp_path / "a.smt").write_bytes(data)
    done = cli("detokenize", tmp_path / "a.smt", "-m", film_model, "--conceal", "-o", tmp_path / "a.mkv")
    assert done.code == 1
    for text in (said, done.err):
        assert [text.count(problem) for problem in problems] == [1] * len(problems)
        assert "sound: stage 1 of 4 concealed in times" in text


@pytest.mark.parametrize("rate", [16000, 22050])
def test_a_film_that_ends_early_has_the_sound_that_came(
    film_model: Path, sound_model: Path, tmp_path: Path, monkeypatch: Any, rate: int
) -> None:
    shutil.copytree(sound_model, tmp_path / "heard" / "1")
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path))
    codec = api.codec(film_model, audio_model=sound_model)
    large = Video([np.tile(frame, (6, 8, 1)) for frame in clip()], Fraction(5))
    noise = np.random.default_rng(0).uniform(-1, 1, (6, rate * 20)).astype(np.float32)
    file = parse(codec.compress(replace(large, audio=Audio(noise, rate))))
    streams = [part.stream for part in file.content.parts]  # type: ignore[union-attr]
    assert streams.count(1) > 2
    lengths = []
    for count in range(max(streams.index(0), streams.index(1)) + 1, len(streams) + 1):
        back = smalti.decompress(file.truncate(count), film_model)
        assert isinstance(back, Video)
        assert back.audio is not None
        lengths.append(back.audio.samples.shape[1])
        assert lengths[-1] == min(noise.shape[1], steps_of_sound(file.truncate(count), codec) * 160 * rate // 16000)
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == noise.shape[1]
    file = parse(codec.compress(replace(large, audio=Audio(noise[:1], rate))))
    streams = [part.stream for part in file.content.parts]  # type: ignore[union-attr]
    with pytest.warns(DamageWarning, match="its sound is left out: nothing of it is in the file"):
        silent = smalti.decompress(file.truncate(streams.index(1)), film_model)
    assert isinstance(silent, Video)
    assert silent.audio is None
    assert len(frames_of(silent)) == 101


def steps_of_sound(data: bytes, codec: Any) -> int:
    """Steps of time of the sound in a file."""
    file = parse(data)
    layout = codec.sound.tokenizer.layout(file.streams[1].signal)
    return int(file.tokens(layout, codec.sound.prior, 1).layout.stages[0].axes[1][1])


def test_targets(film_model: Path) -> None:
    coarse = smalti.compress(film(), film_model, stages=1)
    fine = smalti.compress(film(), film_model)
    assert parse(coarse).stages() == 1
    assert len(coarse) < len(fine)
    pixels = 101 * 44 * 60
    for given in ({"bytes": len(fine) - 1}, {"bits_per_pixel": 8 * (len(fine) - 1) / pixels}, {"kbps": 8 * (len(fine) - 1) / 4.04 / 1000}):
        assert smalti.compress(film(), film_model, **given) == coarse  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the smallest file of this signal has"):
        smalti.compress(film(), film_model, bytes=50)


def test_times_that_files_hold() -> None:
    for times in (UNEVEN, (Fraction(0), Fraction(1, 3), Fraction(1, 3)), tuple(Fraction(i * i, 1000) for i in range(50))):
        (field,) = films.fields_of(Video([], times), len(times))
        assert len(field.data) < 4 + 2 * len(times)
        size = (("frames", len(times)), ("height", 8), ("width", 8), ("rate_num", 25), ("rate_den", 1))
        info = info_with(size, field)
        assert films.timing_of(info) == times
        for data in (field.data[:-1], b"\0" + field.data[1:], field.data + b"\1"):
            with pytest.raises(BitstreamError):
                films.timing_of(info_with(size, replace(field, data=data)))
    fine = tuple(Fraction(i, 7919) + Fraction(i, 104729) for i in range(20))
    (field,) = films.fields_of(Video([], fine), 20)
    near = films.timing_of(info_with((("frames", 20), *size[1:]), field))
    assert isinstance(near, tuple)
    assert max(abs(a - b) for a, b in zip(near, fine, strict=True)) < Fraction(1, 10**6)
    with pytest.raises(UsageError, match="do not descend"):
        films.fields_of(Video([], (Fraction(1), Fraction(0))), 2)
    with pytest.raises(UsageError, match="found 1 times and 2 frames"):
        films.fields_of(Video([], (Fraction(1),)), 2)
    with pytest.raises(BitstreamError, match="aspect is 0/1"):
        films.aspect_of(info_with(size, Field(6, bytes(4) + b"\1\0\0\0", True)))


def test_what_no_file_holds_is_refused_before_a_frame_is_read() -> None:
    def unread() -> Any:
        raise AssertionError("a frame was read")
        yield

    for timing, aspect in (((Fraction(1), Fraction(0)), Fraction(1)), (Fraction(25), Fraction(2**17))):
        with pytest.raises(UsageError, match=r"do not descend|aspect of a sample is a positive number"):
            smalti.compress(Video(unread(), timing, aspect), "video-causal-16")


def info_with(size: tuple[tuple[str, int], ...], *fields: Field) -> Any:
    from smalti.codecs.bitstream import StreamInfo

    return StreamInfo("video", bytes(6), signal=size, fields=fields)
