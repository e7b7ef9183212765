"""What of a report's media gets into its page, for signals of every kind, and what is said where something does not."""

from __future__ import annotations

import base64
import dataclasses
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.codecs.media.audio import write_audio
from smalti.codecs.media.shapes import write_shape
from smalti.codecs.media.video import write_video
from smalti.compare import results
from smalti.compare.page import gallery, previews
from smalti.compare.page.document import render
from smalti.compare.page.facts import Facts
from smalti.compare.page.previews import Store
from smalti.tokenizers.signals import Audio, Shape, Video


def shown(report: results.Report, folder: Path, limit: int = previews.LIMIT) -> Any:
    return gallery.exhibits(Facts(report), folder, limit)


def pixels_of(uri: str) -> np.ndarray:
    head, _, data = uri.partition(";base64,")
    assert head.startswith("data:image/")
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_a_crop_is_kept_without_loss(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    (exhibit,), store = shown(report, tmp_path)
    assert store.left_out == []
    original, *versions = exhibit.versions
    assert len(versions) == 2 * 5
    whole = np.asarray(PIL.Image.open(tmp_path / "media" / "0-0.png"))
    assert np.array_equal(pixels_of(store.media[original.preview.picture]), whole[4:16, 4:20])
    start = exhibit.versions[exhibit.start]
    assert (start.row.codec, start.row.setting) == ("ours", "q1"), "the version that the choice speaks of"
    assert np.array_equal(pixels_of(store.media[start.preview.picture]), whole[4:16, 4:20] + 2)
    assert exhibit.context is not None


def test_a_box_fits_previews_of_another_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    (tmp_path / "media").mkdir()
    PIL.Image.fromarray(pixels).save(tmp_path / "media" / "a.png")
    store = Store(tmp_path, 10**6)
    found = previews.cropped(store, "media/a.png", (20, 8, 20, 16), (40, 60))
    assert found is not None
    assert np.array_equal(pixels_of(store.media[found.picture]), pixels[4:12, 10:20])
    for box in ((1000, 1000, 5, 5), (-9, -9, 2, 2), (59, 39, 100, 100)):
        outside = previews.cropped(store, "media/a.png", box, (40, 60))
        assert outside is not None
        assert min(outside.width, outside.height) >= 1


def test_what_has_no_room_is_named(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    (exhibit,), store = shown(report, tmp_path, limit=4000)
    assert store.spent <= 4000
    assert (exhibit.versions[exhibit.start].row.codec, exhibit.versions[exhibit.start].row.setting) == ("ours", "q1")
    assert {v.row.codec for v in exhibit.versions[1:]} == {"ours", "classic"}, "each codec has its turn"
    (line,) = store.left_out
    assert line == f"a.png: {11 - len(exhibit.versions)} versions, the page is full"
    assert line in render(report, tmp_path, 4000)
    assert shown(report, tmp_path, limit=0)[0] == []


def test_items_share_the_room(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    crops = tuple(dataclasses.replace(report.crops[0], why=why) for why in ("worst", "median", "best"))
    found, store = shown(dataclasses.replace(report, crops=crops), tmp_path, limit=12000)
    assert [len(exhibit.versions) > 2 for exhibit in found] == [True] * 3
    assert store.spent <= 12000


def test_media_that_cannot_be_read_are_named(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    (tmp_path / "media" / "0-1.png").unlink()
    (tmp_path / "media" / "0-3.png").write_bytes(b"\x89PNG no more")
    outside = tmp_path.parent / f"{tmp_path.name}.png"
    outside.write_bytes((tmp_path / "media" / "0-0.png").read_bytes())
    (tmp_path / "media" / "0-4.png").unlink()
    (tmp_path / "media" / "0-4.png").symlink_to(outside)
    (exhibit,), store = shown(report, tmp_path)
    assert len(exhibit.versions) == 1 + 10 - 5  # two codecs have the second and third of them
    assert any("0-1.png" in line and "no such file" in line for line in store.left_out)
    assert sum("0-3.png" in line for line in store.left_out) == 2
    assert sum("expected a file below media/" in line for line in store.left_out) == 2
    (tmp_path / "media" / "0-0.png").unlink()
    assert shown(report, tmp_path)[0] == []
    assert "No decoded previews" in render(report, tmp_path)


def test_sounds_with_their_spectrograms(make: Any, of_kind: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0}, pictures=False)
    (tmp_path / "media").mkdir()
    for k in range(3):
        wave = (0.3 / (k + 1) * np.sin(np.arange(4000) * 0.3)).astype(np.float32)
        write_audio(Audio(wave[None], 8000), tmp_path / "media" / f"{k}.flac")
    report = of_kind(report, "audio", {k: f"media/{k}.flac" for k in range(3)})
    (exhibit,), store = shown(report, tmp_path)
    assert len(exhibit.versions) == 3
    for k, version in enumerate(exhibit.versions):
        assert store.media[version.preview.played].startswith("data:audio/flac;base64,")
        assert base64.b64decode(store.media[version.preview.played].partition(",")[2]) == (tmp_path / "media" / f"{k}.flac").read_bytes()
        assert pixels_of(store.media[version.preview.picture]).shape[:2] == (version.preview.height, version.preview.width)
    loud, quiet = (pixels_of(store.media[version.preview.picture]).mean() for version in exhibit.versions[::2])
    assert quiet < loud, "as bright as the original is loud"
    page = render(report, tmp_path)
    assert page.count("<audio") == 2
    assert 'alt="spectrogram of a.png: Original"' in page


def test_films_as_contact_sheets(make: Any, of_kind: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0}, pictures=False)
    (tmp_path / "media").mkdir()
    for k in range(2):
        frames = [np.full((32, 48, 3), 20 * n + 5 * k, np.uint8) for n in range(9)]
        write_video(Video(frames, Fraction(25)), tmp_path / "media" / f"{k}.mp4")
    (exhibit,), store = shown(of_kind(report, "video", {k: f"media/{k}.mp4" for k in range(2)}), tmp_path)
    for version in exhibit.versions:
        sheet = pixels_of(store.media[version.preview.sheet])
        assert sheet.shape == (32, 5 * 48 + 4 * 4, 3)
        levels = [sheet[16, 24 + 52 * k].mean() for k in range(5)]
        first = levels[0]
        assert levels == pytest.approx([first + 40 * k for k in range(5)], abs=6), "moments spread from the first to the last"
        assert pixels_of(store.media[version.preview.picture]).mean() == pytest.approx(first + 80, abs=6)
        assert store.media[version.preview.played].startswith("data:video/mp4;base64,")


def test_shapes_on_turntables(make: Any, of_kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("embreex")
    monkeypatch.setattr(previews, "VIEWS", 3)
    monkeypatch.setattr(previews, "VIEW_SIZE", 24)
    report = make({"ours": 3.0, "classic": 0.0}, pictures=False)
    (tmp_path / "media").mkdir()
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
    faces = np.array(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )
    for k, size in enumerate((1.0, 0.5)):
        write_shape(Shape(corners * size, faces), tmp_path / "media" / f"{k}.ply")
    (exhibit,), store = shown(of_kind(report, "shape", {k: f"media/{k}.ply" for k in range(2)}), tmp_path)
    covered = []
    for version in exhibit.versions:
        strip = pixels_of(store.media[version.preview.picture])
        assert strip.shape == (24, 72, 3)
        assert (version.preview.width, version.preview.height, version.preview.views) == (24, 24, 3)
        covered.append((np.abs(strip.astype(int) - strip[0, 0]).max(-1) > 30).mean())
    assert covered[1] < 0.6 * covered[0], "the small one is seen as small as it is"


def test_turntables_that_are_pictures_already(make: Any, of_kind: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0}, pictures=False)
    (tmp_path / "media").mkdir()
    for k, width in enumerate((64, 64, 50)):
        PIL.Image.fromarray(np.full((16, width, 3), 90, np.uint8)).save(tmp_path / "media" / f"{k}.png")
    (exhibit,), store = shown(of_kind(report, "shape", {k: f"media/{k}.png" for k in range(3)}), tmp_path)
    assert [version.preview.views for version in exhibit.versions] == [4, 4]
    (line,) = store.left_out
    assert "50 x 16 pixels, expected a strip of square views" in line
