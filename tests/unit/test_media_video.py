"""Films in and out: real files with rotation, uneven times and sound, and small ones made here."""

from __future__ import annotations

import io
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.video import MAX_FRAMES, looks_like_video, problems_of, read_noted, read_video, take, write_video
from smalti.codecs.media.video_files import containers, timing
from smalti.codecs.media.video_files.frames import Turn
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Array, Audio, Video

av = pytest.importorskip("av")
EVAL = Path(os.environ.get("SMALTI_DATA", "../shared")) / "data" / "video" / "eval"
UNEVEN = tuple(Fraction(time, 1000) for time in (0, 40, 70, 180, 200, 300, 330, 400, 470, 560))


def clip(count: int = 10, height: int = 48, width: int = 64) -> list[Array]:
    """Smooth colours that move to the left."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    wide = np.array(PIL.Image.fromarray(small).resize((width + count, height), PIL.Image.Resampling.BICUBIC))
    return [np.ascontiguousarray(wide[:, i : i + width]) for i in range(count)]


def sound(seconds: float = 0.4, rate: int = 44100) -> Audio:
    t = np.arange(round(seconds * rate)) / rate
    return Audio(np.stack([0.5 * np.sin(2760 * t), 0.3 * np.sin(1500 * t)]).astype(np.float32), rate)


def original(name: str) -> Path:
    path = EVAL / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def test_a_turned_film_of_uneven_times_comes_upright_with_its_sound() -> None:
    found = read_noted(original("moviepy-fire2-rot180-vfr-original.mp4"))
    frames = list(found.video.frames)
    assert (len(frames), frames[0].shape, frames[0].dtype) == (25, (720, 1280, 3), np.uint8)
    assert isinstance(found.video.timing, tuple)
    steps = {b - a for a, b in zip(found.video.timing, found.video.timing[1:], strict=False)}
    assert {round(float(step), 2) for step in steps} == {0.08, 0.09, 0.1}
    assert found.video.audio is not None
    alone = read_audio(original("moviepy-fire2-rot180-vfr-original.mp4")).samples
    hole = 8471 - 1024  # its first block is to be heard for 8471 samples and has 1024
    heard = found.video.audio.samples
    assert not heard[:, 1024:8471].any()
    assert np.array_equal(np.delete(heard, np.s_[1024 : 1024 + hole], 1)[:, : alone.shape[1]], alone)
    assert found.notes == ("rotation applied",)
    assert problems_of(found.video) == ()
    with av.open(str(original("moviepy-fire2-rot180-vfr-original.mp4"))) as film:
        stored = next(film.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(stored[::-1, ::-1].astype(int) - frames[0]).mean() < 2  # PyAV's scaler has less exact settings


def test_a_quarter_turn_exchanges_the_sides() -> None:
    film = read_video(original("nasa-13013-rot90-original.mp4"))
    frames = list(film.frames)
    assert (len(frames), frames[0].shape) == (17, (480, 270, 3))
    assert (film.timing, film.aspect, film.audio) == (Fraction(30000, 1001), 1, None)
    with av.open(str(original("nasa-13013-rot90-original.mp4"))) as other:
        frame = next(other.decode(video=0))
    assert np.abs(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90).astype(int) - frames[0]).mean() < 2


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), Turn()),
        ((-1, 0, 0, 1), Turn(columns=True)),
        ((1, 0, 0, -1), Turn(rows=True)),
        ((0, 1, 1, 0), Turn(True)),
        ((0, -1, 1, 0), Turn(True, rows=True)),
        ((0, 1, -1, 0), Turn(True, columns=True)),
        ((2, 1, 1, 2), Turn()),
    ],
)
def test_display_matrices(matrix: tuple[int, ...], turn: Turn) -> None:
    from smalti.codecs.media.video_files.frames import turn_of

    a, b, c, d = (value * 65536 for value in matrix)
    data = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    side = type("Side", (), {"type": type("Kind", (), {"name": "DISPLAYMATRIX"}), "__bytes__": lambda self: data})
    assert turn_of(type("Frame", (), {"side_data": [side()]})) == turn
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    if turn == Turn(True, rows=True):
        assert np.array_equal(turn.of(pixels), np.rot90(pixels))


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
@pytest.mark.parametrize("times", [Fraction(30000, 1001), Fraction(25), UNEVEN])
def test_lossless_files_keep_everything(tmp_path: Path, size: tuple[int, int], times: Any) -> None:
    frames, heard = clip(10, *size), sound()
    assert write_video(Video(iter(frames), times, Fraction(4, 3), heard), tmp_path / "a.mkv") == 10
    back = read_video(tmp_path / "a.mkv")
    assert (back.timing, back.aspect) == (times, Fraction(4, 3))
    for _ in range(2):  # frames can be gone through again
        assert all(np.array_equal(a, b) for a, b in zip(frames, back.frames, strict=True))
    assert back.audio is not None
    assert back.audio.rate == heard.rate
    assert np.array_equal(back.audio.samples, heard.samples)


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
@pytest.mark.parametrize("times", [Fraction(30000, 1001), UNEVEN])
def test_files_for_people(tmp_path: Path, size: tuple[int, int], times: Any) -> None:
    frames = clip(10, *size)
    write_video(Video(frames, times, Fraction(4, 3), sound()), tmp_path / "a.mp4")
    back = read_video(tmp_path / "a.mp4")
    assert (back.timing, back.aspect) == (times, Fraction(4, 3))
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(frames, back.frames, strict=True)]
    assert max(errors) < (45 if size[0] % 2 == 0 else 12)  # halved chroma of strong colours
    assert back.audio is not None
    assert abs(back.audio.seconds - 0.4) < 0.001


def test_animations(tmp_path: Path) -> None:
    frames = clip()
    assert write_video(Video(frames, UNEVEN), tmp_path / "a.gif") == 10
    found = read_noted(tmp_path / "a.gif")
    assert found.video.timing == UNEVEN
    assert found.notes == ()
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, found.video.frames, strict=True)) < 10
    clear = [PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 0 if i else 255)) for i in range(3)]
    clear[1].save(tmp_path / "clear.gif", save_all=True, append_images=clear[2:], disposal=2, duration=100)
    film = read_noted(tmp_path / "clear.gif")
    assert film.notes == ("transparency flattened on white",)
    assert all((pixels == 255).all() for pixels in film.video.frames)


def test_folders_of_frames(tmp_path: Path) -> None:
    frames = clip(3)
    assert write_video(Video(frames, Fraction(24000, 1001), Fraction(2), sound()), f"{tmp_path}/out/") == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"frame-00000{i}.png" for i in range(3)), "sound.wav", "timing.json",
    ]  # fmt: skip
    assert np.array_equal(np.array(PIL.Image.open(tmp_path / "out" / "frame-000002.png")), frames[2])
    assert json.loads((tmp_path / "out" / "timing.json").read_text()) == {"rate": "24000/1001", "aspect": "2"}
    assert read_audio(tmp_path / "out" / "sound.wav").samples.shape == sound().samples.shape


def test_a_folder_holds_the_frames_of_one_film(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_video(Video(clip(5), Fraction(25), audio=sound()), f"{out}/")
    (out / "mine.png").write_bytes(b"kept")
    write_video(Video(clip(2), Fraction(25)), f"{out}/")
    assert sorted(path.name for path in out.iterdir()) == ["frame-000000.png", "frame-000001.png", "mine.png", "timing.json"]
    (out / "timing.json").unlink()
    with pytest.raises(UsageError, match=r"holds frames such as frame-000000.png and no timing.json"):
        write_video(Video(clip(1), Fraction(25)), f"{out}/")


def test_raw_film(tmp_path: Path) -> None:
    head = b"YUV4MPEG2 W8 H4 F30000:1001 Ip A4:3 C444\n"
    planes = [np.full((3, 4, 8), value, np.uint8) for value in (16, 128, 235)]
    for plane in planes:
        plane[1:] = 128
    (tmp_path / "a.y4m").write_bytes(head + b"".join(b"FRAME\n" + plane.tobytes() for plane in planes))
    film = read_video(tmp_path / "a.y4m")
    assert (film.timing, film.aspect) == (Fraction(30000, 1001), Fraction(4, 3))
    assert [int(frame.mean()) for frame in film.frames] == [0, 130, 255]


@pytest.mark.parametrize(("matrix", "spread"), [(1, 1), (5, 1), (5, 2), (1, 2)])
def test_colours_follow_the_file(tmp_path: Path, matrix: int, spread: int) -> None:
    frames = clip(1)
    with av.open(str(tmp_path / "a.mkv"), "w") as film:
        track = film.add_stream("libx264", rate=25)
        context = track.codec_context
        context.width, context.height, context.pix_fmt, context.options = 64, 48, "yuv444p", {"qp": "0"}
        context.colorspace, context.color_range = matrix, spread
        frame = av.VideoFrame.from_ndarray(frames[0], format="rgb24").reformat(
            format="yuv444p", dst_colorspace=matrix, dst_color_range=spread
        )
        for packet in (*track.encode(frame), *track.encode(None)):
            film.mux(packet)
    (back,) = read_video(tmp_path / "a.mkv").frames
    assert np.abs(frames[0].astype(int) - back).max() <= 3


def test_what_a_broken_film_still_has_is_read(tmp_path: Path) -> None:
    frames = clip(30)
    write_video(Video(frames, Fraction(25), audio=sound(1.2)), tmp_path / "a.mkv")
    whole = (tmp_path / "a.mkv").read_bytes()
    found = read_noted(whole[: len(whole) // 2])
    held = list(found.video.frames)
    assert 5 < len(held) < 25
    assert all(np.array_equal(a, b) for a, b in zip(frames, held, strict=False))
    assert found.lost[0].startswith("cut short: 0.")
    assert found.video.audio is not None
    with pytest.raises(SignalError, match=r"^a film: damaged or cut short \(.*\), expected a whole Matroska or WebM film; get it again$"):
        read_video(whole[:100], "a film")

    write_video(Video(clip(60), Fraction(25)), tmp_path / "b.mp4")
    data = bytearray((tmp_path / "b.mp4").read_bytes())
    noise = np.random.default_rng(1).integers(1, 256, len(data) // 5)
    for i, flip in enumerate(noise, len(data) // 4):
        data[i] ^= int(flip)
    film = read_video(bytes(data))
    assert len(list(film.frames)) == 60  # in their places
    assert any("did not decode; the one before stands in" in line for line in problems_of(film))
    with pytest.raises(SignalError, match="damaged or cut short"):
        read_video(bytes(data[: len(data) // 2]))  # an MP4 has what says where frames are at its end


def test_a_film_cut_short_behind_its_index(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as film:
        track = film.add_stream("libx264", rate=25)
        track.codec_context.width, track.codec_context.height = 64, 48
        track.codec_context.pix_fmt = "yuv420p"
        for pixels in (*clip(50), None):
            for packet in track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24") if pixels is not None else None):
                film.mux(packet)
    data = (tmp_path / "a.mp4").read_bytes()
    found = read_noted(data[: len(data) * 3 // 4])
    held = len(list(found.video.frames))
    assert 10 < held < 50
    assert found.lost[0].startswith("cut short: ")
    assert found.lost[0].endswith(" of 50 frames are there")


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no film at all, only words")
    (tmp_path / "empty.mkv").write_bytes(b"")
    for name, what in (("text.mp4", r"no film that can be read \(begins b'no film '\)"), ("empty.mkv", r"empty \(0 bytes\)")):
        with pytest.raises(SignalError, match=f"{name}: {what}"):
            read_video(tmp_path / name)
    with pytest.raises(SignalError, match="no such file"):
        read_video(tmp_path / "none.mp4")
    with pytest.raises(UsageError, match=r"unknown suffix .\.avi. for a film, expected one of \.mkv, \.mp4, \.gif"):
        write_video(Video(clip(1), Fraction(25)), tmp_path / "a.avi")
    with pytest.raises(UsageError, match="no frames to write"):
        write_video(Video([], Fraction(25)), tmp_path / "a.mkv")
    with pytest.raises(UsageError, match="one size"):
        write_video(Video([*clip(1), *clip(1, 8, 8)], Fraction(25)), tmp_path / "a.mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.mkv", "text.mp4"]
    write_video(Video(clip(5), Fraction(25)), tmp_path / "a.mkv")
    monkeypatch.setattr("smalti.codecs.media.video.MAX_FRAMES", 4)
    with pytest.raises(SignalError, match="more than 4 frames"):
        read_video(tmp_path / "a.mkv")
    monkeypatch.setattr("smalti.codecs.media.video.MAX_FRAMES", MAX_FRAMES)
    monkeypatch.setattr("smalti.codecs.media.video.MAX_FRAME_PIXELS", 1000)
    with pytest.raises(SignalError, match="frames of 64 x 48 pixels, expected"):
        read_video(tmp_path / "a.mkv")
    monkeypatch.undo()
    monkeypatch.setattr(containers, "MAX_FRAME_PIXELS", 1000)  # what a track turns out to hold, whatever it announced
    with pytest.raises(SignalError, match=r"none of its 5 frames can be decoded \(ffv1\)"):
        read_video(tmp_path / "a.mkv")


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as film:
        track = film.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        for packet in (*track.encode(frame), *track.encode(None)):
            film.mux(packet)
    with pytest.raises(SignalError, match="no track of pictures"):
        read_video(tmp_path / "a.mkv")


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("step", [Fraction(3600), Fraction(1500)])
def test_slow_films_keep_their_times(tmp_path: Path, suffix: str, step: Fraction) -> None:
    for times in ((Fraction(0), step), (Fraction(0), step, 3 * step)):
        write_video(Video(clip(len(times)), times), tmp_path / f"a.{suffix}")
        found = read_video(tmp_path / f"a.{suffix}").timing
        assert [timing.time_of(found, i) for i in range(len(times))] == list(times)
        assert timing.mean_rate(times, len(times)) == (len(times) - 1) / times[-1]
    assert timing.seconds((Fraction(0), step), 2) == 2 * step


def test_a_gif_of_slow_frames(tmp_path: Path) -> None:
    write_video(Video(clip(2), (Fraction(0), Fraction(600))), tmp_path / "a.gif")
    assert timing.time_of(read_video(tmp_path / "a.gif").timing, 1) == 600
    with pytest.raises(UsageError, match=r"shows a frame for up to 655.35 s, found 3600.0 s"):
        write_video(Video(clip(2), (Fraction(0), Fraction(3600))), tmp_path / "b.gif")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(
    "film",
    [
        Video(clip(2), Fraction(2**40 + 1, 3)),
        Video(clip(2), Fraction(25), Fraction(2**31 + 11, 2**31)),
        Video(clip(2), (Fraction(0), Fraction(2**62))),
    ],
)
def test_numbers_that_no_container_holds_are_refused(tmp_path: Path, suffix: str, film: Video) -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        write_video(film, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_rates_have_terms_that_are_held() -> None:
    for rate in (Fraction(1, 3600), Fraction(2**50 + 1, 2**50), Fraction(1, 2**40), Fraction(2**40), Fraction(2**31 - 1, 2**31 - 2)):
        held = timing.held_rate(rate)
        assert 0 < held.numerator < 2**31
        assert held.denominator < 2**31
        assert held == rate or not 2**-31 < rate < 2**31 or abs(held / rate - 1) < Fraction(1, 2**29)


def test_a_clock_that_is_broken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(Video(clip(3), (Fraction(0), Fraction(1), Fraction(5))), tmp_path / "a.mkv")
    monkeypatch.setattr("smalti.codecs.media.video.MAX_SECONDS", 4)
    with pytest.raises(SignalError, match="lie over 5 s, expected 4 at most"):
        read_video(tmp_path / "a.mkv")


def heard_at(path: Path, pictures: float, blocks: list[float]) -> tuple[Array, tuple[str, ...]]:
    """The sound, read back, of a film whose pictures begin at a time, with a second of loud sound at each of some times."""
    av = pytest.importorskip("av")
    packets = []
    with av.open(str(path), "w") as film:
        track, heard = film.add_stream("mpeg4", rate=25), film.add_stream("pcm_s16le", rate=8000)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        heard.codec_context.layout = "mono"
        for i in range(75):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(25 * pictures) + i, Fraction(1, 25)
            packets += track.encode(frame)
        packets += track.encode(None)
        for time in blocks:
            for i in range(0, 8000, 800):
                block = av.AudioFrame.from_ndarray(np.full((1, 800), 9000, np.int16), "s16", "mono")
                block.sample_rate, block.pts, block.time_base = 8000, round(8000 * time) + i, Fraction(1, 8000)
                packets += heard.encode(block)
        packets += heard.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            film.mux(packet)
    reading = read_noted(path)
    assert reading.video.audio is not None, reading.lost
    return reading.video.audio.samples[0], reading.lost


@pytest.mark.parametrize(
    ("suffix", "pictures", "blocks", "loud"),  # PCM in MOV has no holes
    [
        ("mkv", 0, [0.0, 1.0, 2.0], [(0, 24000)]),
        ("mkv", 0, [1.0], [(8000, 16000)]),
        ("mov", 0, [1.0], [(8000, 16000)]),
        ("mkv", 1, [0.0, 1.0, 2.0], [(0, 16000)]),
        ("mov", 1, [0.0, 1.0, 2.0], [(0, 16000)]),
        ("mkv", 0, [0.0, 2.0], [(0, 8000), (16000, 24000)]),
        ("mkv", 1, [0.5, 2.0], [(0, 4000), (8000, 16000)]),
    ],
)
def test_sound_keeps_its_place_beside_the_pictures(
    tmp_path: Path, suffix: str, pictures: float, blocks: list[float], loud: list[tuple[int, int]]
) -> None:
    samples, lost = heard_at(tmp_path / f"a.{suffix}", pictures, blocks)
    expected = np.zeros(loud[-1][1], bool)
    for start, end in loud:
        expected[start:end] = True
    assert samples.shape == expected.shape
    assert np.array_equal(samples > 0.2, expected)
    assert not lost


def test_sound_from_before_the_pictures_alone_is_left_out_with_a_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ends before the first picture"):
        heard_at(tmp_path / "a.mkv", 2, [0.0])


def test_any_source(tmp_path: Path) -> None:
    write_video(Video(clip(3), Fraction(25)), tmp_path / "a.mkv")
    data = (tmp_path / "a.mkv").read_bytes()
    for source in (data, io.BytesIO(data), str(tmp_path / "a.mkv")):
        assert len(list(read_video(source).frames)) == 3
    assert looks_like_video(data)
    assert looks_like_video(tmp_path / "a.mkv")
    assert looks_like_video("not there.MP4")
    assert not looks_like_video(b"GIF89a")
    assert not looks_like_video(b"\x89PNG\r\n\x1a\n0000")
    part = take(Video(clip(10), UNEVEN, audio=sound()), 3, 2)
    assert [np.array_equal(a, b) for a, b in zip(part.frames, clip(10)[2:5], strict=True)] == [True] * 3
    assert (part.timing, part.audio) == (tuple(time - UNEVEN[2] for time in UNEVEN[2:5]), None)


def test_rates_of_coarse_clocks() -> None:
    for rate in (Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(25, 2)):
        places = [round(i / rate * 1000) for i in range(400)]
        assert timing.timing_of(places, Fraction(1, 1000), (rate,)) == rate
        assert timing.timing_of(places, Fraction(1, 1000), (None, Fraction(7))) == rate
    places[200] += 3
    assert timing.timing_of(places, Fraction(1, 1000), (rate,))[200] == Fraction(places[200], 1000)  # type: ignore[index]
    assert timing.timing_of([5], Fraction(1, 1000), ()) == 25
    assert timing.mean_rate(UNEVEN, 10) == Fraction(9) / UNEVEN[-1]
    assert timing.seconds(Fraction(25), 50) == 2
