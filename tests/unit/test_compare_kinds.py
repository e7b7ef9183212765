"""Comparisons of pictures, sounds, films and shapes by real codecs, small; the command, and what changed between two reports."""

from __future__ import annotations

import dataclasses
import json
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.codecs.media.audio import write_audio
from smalti.codecs.media.shapes import write_shape
from smalti.compare import judging, lineup, measuring, timing
from smalti.compare.difference import difference
from smalti.compare.items import Source, find
from smalti.compare.labels import of_all, read_groups, read_labels, read_texts
from smalti.compare.measuring import lag_of
from smalti.compare.pool import Pool
from smalti.compare.results import Report, load, save
from smalti.compare.timing import TimedFrames
from smalti.metrics import video
from smalti.tokenizers.contracts import Score, Target
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio, Shape, Signal, Video


def picture(path: Path, seed: int, side: int = 64) -> None:
    y, x = np.mgrid[:side, :side]
    pixels = 120 + 60 * np.sin((x + 7 * seed) / 9.0)[..., None] * np.cos(y / 13.0)[..., None] + np.random.default_rng(seed).normal(0, 4, 3)
    PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    picture(folder / "a.png", 0)
    picture(folder / "in" / "b.png", 1)
    return folder


def icosahedron() -> Shape:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2)
    return Shape(np.asarray(ball.vertices, np.float64), np.asarray(ball.faces, np.int64))


def test_pictures(photos: Path, tmp_path: Path) -> None:
    codecs = "jpeg:20,40,60,80,webp@20,60"
    steps: list[tuple[str, int, int]] = []
    report = smalti.compare(photos, codecs, tmp_path / "out", metrics=["psnr"], anchor="webp", step=lambda *step: steps.append(step))
    assert [(codec.name, codec.settings, codec.bd) for codec in report.codecs] == [
        ("webp", ("q20", "q60"), False), ("jpeg", ("q20", "q40", "q60", "q80"), True),
    ]  # fmt: skip
    assert {item.id for item in report.items} == {"a.png", "in/b.png"}
    assert report.items[0].units == 64 * 64
    jpeg = lineup.open_codec("jpeg")
    for row in report.rows:
        if row.codec == "jpeg":
            data = jpeg.compress(smalti.read(photos / row.item), smalti.Target(quality=int(row.setting[1:])))
            assert row.bytes == len(data)
    out = tmp_path / "out"
    shown = {crop.item for crop in report.crops}
    assert [crop.why for crop in report.crops] == ["worst", "best"]
    for row in report.rows:
        assert (row.decoded is not None) == (row.item in shown)
        if row.codec == "jpeg" and row.decoded is not None:
            data = jpeg.compress(smalti.read(photos / row.item), smalti.Target(quality=int(row.setting[1:])))
            seen: Any = smalti.read(out / row.decoded)
            assert np.array_equal(seen.pixels, jpeg.decompress(data).pixels)  # type: ignore[union-attr]
    assert load(out / "report.json").rows == report.rows
    page = (out / "report.html").read_text()
    assert "a.png" in page
    assert "http-equiv" in page
    for name, columns in (
        ("rows", "codec,setting,item,bytes"),
        ("curves", "codec,metric,setting,rate"),
        ("bd", "metric,anchor,codec,percent"),
    ):
        assert (out / f"{name}.csv").read_text().startswith(columns)
    assert len((out / "rows.csv").read_text().splitlines()) == 1 + len(report.rows)
    assert ("measuring", 4, 4) in steps


def test_our_own_files_say_where_their_bytes_go(photos: Path, tmp_path: Path) -> None:
    report = smalti.compare(photos / "a.png", "image-grid-16:1,2", tmp_path, metrics=["psnr"], tasks=[], page=False)
    assert [row.setting for row in report.rows] == ["1 stage", "2 stages"]
    for row in report.rows:
        assert row.header_bytes is not None
        assert row.payload_bytes is not None
        assert row.entropy_gap_bytes is not None
        assert row.header_bytes + row.payload_bytes == row.bytes
        assert abs(row.entropy_gap_bytes) <= 0.005 * row.payload_bytes + 8
    assert report.codecs[0].kind == "ours"
    assert list(report.manifest.models) == [report.codecs[0].version.partition(" ")[0]]


def test_tokens_are_probed_without_decoding(tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    for i in range(12):
        pixels = np.full((32, 32, 3), 30 if i % 2 else 220, np.uint8) + np.random.default_rng(i).integers(0, 9, (32, 32, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
    labels.write_text("".join(f"{i:02d}.png\t{i % 2}\n" for i in range(12)))
    files = sorted(tmp_path.glob("*.png"))
    more = {"metrics": ["psnr"], "tasks": ["token-probe"], "labels": labels, "page": False}
    report = smalti.compare(files, "image-grid-16:1,jpeg:50", tmp_path / "out", **more)
    (task,), (score,) = report.tasks, report.task_scores
    assert (task.name, task.ceiling, task.better) == ("token-probe", None, "higher")
    assert "nothing decoded" in task.protocol
    assert (score.codec, score.setting, score.value, score.per_item) == ("image-grid-16", "1 stage", 1.0, (1.0,) * 12)
    assert {curve.codec for curve in report.curves if curve.metric == "token-probe"} == {"image-grid-16"}


def test_sounds(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the package av")
    time = np.arange(16000) / 16000
    wave = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + np.random.default_rng(0).normal(0, 0.01, 16000)).astype(np.float32)
    write_audio(Audio(wave[None], 16000), tmp_path / "a.wav")
    report = smalti.compare(tmp_path / "a.wav", "opus:12,24,flac", tmp_path / "out", metrics=["si-sdr"], page=False)
    assert (report.kind, report.rate.unit, report.items[0].size) == ("audio", "kbps", {"seconds": 1.0, "rate": 16000.0, "channels": 1.0})
    rows = {(row.codec, row.setting): row for row in report.rows}
    assert rows["flac", "lossless"].lag_samples == 0
    assert rows["opus", "q24"].payload_bytes is not None
    assert rows["opus", "q24"].bytes > rows["opus", "q12"].bytes
    assert {codec.name: codec.kind for codec in report.codecs} == {"opus": "classical", "flac": "lossless"}
    heard: Any = smalti.read(tmp_path / "out" / (report.items[0].media or ""))
    assert np.abs(heard.samples - wave).max() < 1e-4


def test_films(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the package av")
    from smalti.codecs.media.video import write_video

    x = np.mgrid[:64, :96][1]
    frames = [np.stack([np.uint8((x * 2 + 8 * t + c * 30) % 256) for c in range(3)], -1) for t in range(6)]
    write_video(Video(frames, Fraction(25)), tmp_path / "a.mkv")
    report = smalti.compare(tmp_path / "a.mkv", "x264:20,40", tmp_path / "out", metrics=["psnr", "temporal-difference"], page=False)
    assert (report.kind, report.failures) == ("video", ())
    assert report.items[0].size == {"frames": 6.0, "height": 64.0, "width": 96.0, "fps": 25.0}
    assert [metric.name for metric in report.metrics] == ["video-psnr", "temporal-difference"]
    low, high = report.rows
    assert low.bytes < high.bytes
    assert (low.metrics["video-psnr"] or 0) < (high.metrics["video-psnr"] or 0)
    assert report.curves[0].points[0].rate == pytest.approx(8 * low.bytes / (6 * 64 * 96))
    assert (report.items[0].media or "").endswith(".mp4")


def test_shapes_of_a_zip(tmp_path: Path) -> None:
    pytest.importorskip("DracoPy", reason="needs the package dracopy")
    import zipfile

    ball = icosahedron()
    write_shape(ball, tmp_path / "ball.ply")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.write(tmp_path / "ball.ply", "balls/ball.ply")
    report = smalti.compare(tmp_path / "all.zip", "draco:4,6,8,10", tmp_path / "out", metrics=["chamfer"], page=False)
    assert (report.kind, report.rate.unit, report.items[0].id) == ("shape", "bytes per shape", "balls/ball.ply")
    assert report.items[0].size == {"vertices": float(len(ball.vertices)), "faces": 320.0}
    distances = [row.metrics["chamfer"] or 0 for row in report.rows]
    assert distances == sorted(distances, reverse=True)
    assert all(curve.points[0].rate == report.rows[0].bytes for curve in report.curves)
    seen: Any = smalti.read(tmp_path / "out" / (report.items[0].media or ""))
    assert len(seen.faces) == 320


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("jpeg", [("jpeg", [])]),
        ("jpeg:10, 30,x264/2:20", [("jpeg", ["q10", "q30"]), ("x264/2", ["q20"])]),
        ("webp@5,avif", [("webp", ["q5"]), ("avif", [])]),
        ("audio-residual-16k:1,4,8", [("audio-residual-16k", ["1 stage", "4 stages", "8 stages"])]),
        ("image-grid-16@1,image-line:.02bpp,300b", [("image-grid-16@1", []), ("image-line", ["0.02 bpp", "300 bytes"])]),
        ("audio-residual-16k:1.5kbps,k2", [("audio-residual-16k", ["1.5 kbps", "2 stages"])]),
        ("my.codecs:Mine:3,q4", [("my.codecs:Mine", ["q3", "q4"])]),
        ("image-grid-16+zlib:2", [("image-grid-16+zlib", ["2 stages"])]),
    ],
)
def test_names_and_settings(words: str, found: list[tuple[str, list[str]]]) -> None:
    assert [(name, [setting.label for setting in settings]) for name, settings in lineup.parse(words)] == found


def test_settings_that_are_none() -> None:
    with pytest.raises(UsageError, match="has no unit"):
        lineup.parse("jpeg:q20kbps")
    with pytest.raises(UsageError, match="whole number"):
        lineup.parse("image-line:1.5")


def test_files_of_one_name_are_told_apart(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    picture(tmp_path / "more" / "a.png", 5)
    found = find([str(photos), str(tmp_path / "more"), str(photos / "a.png")])
    assert [source.id for source in found] == ["a.png", "in/b.png", "a.png (2)"]
    assert [source.id for source in find([str(photos)], limit=1)] == ["a.png"]


def test_labels_in_all_their_forms(tmp_path: Path) -> None:
    source = [Source("b.wav", "audio", str(tmp_path / "a" / "b.wav")), Source("c.ply", "shape", str(tmp_path / "eval.zip"), "c.ply")]
    place = tmp_path / "labels"
    for text, labels, groups in (
        ("b.wav\t3\teve\nc.ply\t4\tadam\n", (3, 4), ("eve", "adam")),
        ("file\tindex\tclass\nb.wav\t3\tfish\nc.ply\t4\tbird\n", (3, 4), None),
        ('{"a/b.wav": "fish", "eval/c.ply": "bird"}', (1, 0), None),
        ('{"items": [{"file": "a/b.wav", "digit": 7, "speaker": "x"}, {"file": "c.ply", "digit": 1, "speaker": "y"}]}', (7, 1), ("x", "y")),
    ):
        place.write_text(text)
        assert of_all(read_labels(str(place)), source, "label") == labels
        assert of_all(read_groups(str(place)), source, "group") == groups
    place.write_text("b.wav\tgood day\n")
    assert read_texts(str(place)) == {"b.wav": "good day"}
    with pytest.raises(UsageError, match=r"b\.wav and 1 more: no text under this name: .* found names such as 'other/b\.wav'; add it"):
        of_all({"other/b.wav": "good day"}, source, "text")
    for text in ("", '{"b.wav": -1}', '{"b.wav": 1.5}', "[]", "{"):
        place.write_text(text)
        with pytest.raises(UsageError, match=r"no labels|no JSON|class -1"):
            read_labels(str(place))


def test_a_lag_is_found() -> None:
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.1, (1, 4000)).astype(np.float32)
    for lag in (-37, 0, 250):
        assert lag_of(Audio(wave, 8000), Audio(np.roll(wave, lag, 1), 8000)) == lag
    assert lag_of(Audio(wave, 8000), Audio(np.zeros_like(wave), 8000)) is None
    assert lag_of(Audio(wave, 8000), Audio(rng.normal(0, 0.1, (1, 4000)).astype(np.float32), 8000)) is None


def test_frames_pass_as_they_are() -> None:
    frames = TimedFrames([np.full((2, 2, 3), k, np.uint8) for k in range(3)])
    assert [int(pixels[0, 0, 0]) for pixels in frames] == [0, 1, 2]
    assert len(list(frames)) == 3
    assert frames.seconds >= 0


def test_a_pool_of_one_keeps_the_order() -> None:
    with Pool(1) as pool:
        assert list(pool.each(abs, [-3, 2, -1])) == [(0, 3), (1, 2), (2, 1)]


def test_equal_signals_stay_in_the_means(photos: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (64, 64), (128, 128, 128)).save(photos / "flat.png")  # which JPEG keeps as it is
    report = smalti.compare(photos, "jpeg:20,40,60,80", tmp_path / "out", metrics=["psnr"], tasks=[], page=False)
    values = {row.item: row.metrics["psnr"] for row in report.rows if row.setting == "q80"}
    assert values["flat.png"] == 100
    assert 20 < min(value or 0 for value in values.values()) < 60
    (point,) = [point for curve in report.curves for point in curve.points if point.setting == "q80"]
    assert point.value == pytest.approx(np.mean([value or 0 for value in values.values()]))


@pytest.fixture
def reports(photos: Path, tmp_path: Path) -> tuple[Report, Path]:
    """One, and where it lies."""
    more = {"metrics": ["psnr"], "tasks": [], "page": False}
    report = smalti.compare(photos, "jpeg:20,40,60,80,webp:10,30,50,70", tmp_path / "out", **more)
    return report, tmp_path / "out" / "report.json"


def test_what_changed(reports: tuple[Report, Path], cli: Any) -> None:
    report, path = reports
    ran = cli("compare", "--diff", path, path.parent)
    assert (ran.code, ran.out) == (0, "")
    row, curve = report.rows[0], report.curves[0]
    high = curve.points[0].high or 0
    moved = dataclasses.replace(curve, points=(dataclasses.replace(curve.points[0], value=high + 1), *curve.points[1:]))
    within = dataclasses.replace(curve, points=(*curve.points[:-1], dataclasses.replace(curve.points[-1], value=curve.points[-1].low)))
    manifest = dataclasses.replace(report.manifest, packages={**report.manifest.packages, "pillow": "99"})
    other = dataclasses.replace(
        report,
        rows=(dataclasses.replace(row, bytes=row.bytes * 2, encode_seconds=9.0), *report.rows[1:-1]),
        curves=(moved, *report.curves[1:]),
        manifest=manifest,
        created="later",
    )
    said = difference(report, other)
    pillow = report.manifest.packages["pillow"]
    assert f"package pillow: {pillow} -> 99" in said
    assert f"bytes of {row.item} by jpeg {row.setting}: {row.bytes} -> {2 * row.bytes} (+100.0 %)" in said
    assert "1 file that a codec wrote is only in the first report" in said
    assert any(line.startswith(f"psnr of jpeg at {row.setting}: ") and line.endswith("beyond the interval") for line in said)
    assert len(said) == 4
    assert difference(report, dataclasses.replace(report, curves=(within, *report.curves[1:]), created="later")) == []
    save(other, path.parent / "other.json")
    ran = cli("compare", "--diff", path, path.parent / "other.json", "--json")
    assert (ran.code, len(ran.json)) == (1, 4)
    same = cli("compare", "--diff", path, path)
    assert (same.code, same.out, same.err) == (0, "", "nothing changed beyond the intervals\n")
    assert cli("compare", "--diff", path, path, "-q").err == ""
    with pytest.raises(UsageError, match="image and audio"):
        difference(report, dataclasses.replace(report, kind="audio"))
    hostile = dataclasses.replace(report.items[0], id="a\x1b[31m\n.png")
    save(dataclasses.replace(report, items=(*report.items, hostile)), path.parent / "other.json")
    assert cli("compare", "--diff", path, path.parent / "other.json").out == "item a\ufffd[31m\ufffd.png: new\n"
    assert "takes two reports" in cli("compare", "--diff", path).refusal()


def test_the_command(photos: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made"
    arguments = ("compare", photos, "--codecs", "jpeg:30,60", "-o", out, "--metrics", "psnr", "--tasks", "none", "-j", 1)
    ran = cli(*arguments)
    assert (ran.code, ran.err) == (0, "")
    assert "2 items, rates in bits per pixel" in ran.out
    assert f"{out / 'report.html'}: the report" in ran.out
    found = cli(*arguments, "--json").json
    assert (found["schema"], len(found["rows"])) == ("smalti-compare/1", 4)
    assert found["rows"] == json.loads((out / "report.json").read_text())["rows"]
    (out / "report.html").unlink()
    assert cli("compare", out, "--page-only").code == 0
    assert (out / "report.html").is_file()
    (photos / "c.png").write_bytes(b"nothing")
    ran = cli(*arguments, "-q")
    assert (ran.code, ran.out) == (1, "")
    assert "c.png: read:" in ran.err
    (photos / "c.png").unlink()
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    judging.metric.cache_clear()
    usual = cli("compare", photos, "--codecs", "jpeg:30,60", "-o", out, "--tasks", "none", "--no-page")
    named = cli(*arguments, "--metrics", "psnr,lpips")
    judging.metric.cache_clear()
    assert (usual.code, named.code) == (1, 1)  # ms-ssim scores no picture so small
    assert all("lpips-alex is not at hand: " in ran.err and "smalti fetch-judges alex" in ran.err for ran in (usual, named))
    assert usual.err.count("ms-ssim needs sides of 161") == 1
    assert "did you mean 'webp'" in cli("compare", photos, "--codecs", "wepb").refusal()


def test_what_changed_is_said_in_one_order(reports: tuple[Report, Path]) -> None:
    report = dataclasses.replace(reports[0], curves=(), bd=())
    packages = {f"package{k:02}": "1" for k in range(20)}
    before = dataclasses.replace(report, manifest=dataclasses.replace(report.manifest, packages=packages))
    after = dataclasses.replace(report, manifest=dataclasses.replace(report.manifest, packages={}))
    assert difference(before, after) == sorted(f"package {name}: gone" for name in packages)
    assert difference(after, before) == sorted(f"package {name}: new" for name in packages)
    moved = tuple(dataclasses.replace(c, points=tuple(dataclasses.replace(p, value=99.0) for p in c.points)) for c in reports[0].curves)
    lines = difference(dataclasses.replace(report, curves=reports[0].curves), dataclasses.replace(report, curves=moved))
    assert [line.partition(":")[0] for line in lines] == [f"psnr of {c} at q{q}" for c, q in (
        ("jpeg", 20), ("jpeg", 40), ("jpeg", 60), ("jpeg", 80), ("webp", 10), ("webp", 30), ("webp", 50), ("webp", 70),
    )]  # fmt: skip


def test_a_search_that_is_kept_counts_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Searching:
        name = "searching"
        kept = 0

        def compress(self, signal: Signal, target: Target = Target()) -> bytes:
            clock[0] += 1.0
            if self.kept < (target.bytes or 0):
                self.kept = 300 if (target.bytes or 0) <= 300 else 900
                clock[0] += self.kept / 10
            return bytes(target.bytes or 0)

        def decompress(self, data: bytes) -> Signal:
            raise NotImplementedError

    monkeypatch.setattr(timing, "time", types.SimpleNamespace(process_time=lambda: clock[0]))
    files = measuring._Files(Searching(), icosahedron())
    made = [files.make(Target(bytes=size)) for size in (100, 200, 600, 700)]
    assert [(len(file.value), file.seconds) for file in made] == [(100, 31.0), (200, 31.0), (600, 91.0), (700, 91.0)]


def test_a_metric_of_films_that_breaks_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(judges: Any, *films: Any) -> Any:
        if len(judges) > 1:
            raise RuntimeError("a bug")
        return measured(judges, *films)

    measured = video.measure
    monkeypatch.setattr(video, "measure", broken)
    film = Video(tuple(np.full((32, 32, 3), k, np.uint8) for k in (10, 20)), Fraction(25))
    codec: Any = types.SimpleNamespace(decompress=lambda data: Video(tuple(frame + 1 for frame in film.frames), Fraction(25)))
    found = dict(measuring._pass(film, measuring._Decoded(codec, b"", film), ("video-psnr", "temporal-difference")))
    assert isinstance(found["video-psnr"], Score)
    assert found["video-psnr"].value == pytest.approx(20 * np.log10(255))
    assert isinstance(found["temporal-difference"], Score)
