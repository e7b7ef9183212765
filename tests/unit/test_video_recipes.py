"""The table of codecs of films, and films side by side, on a small clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from smalti.codecs.media.images import read_image
from smalti.codecs.media.video import read_video, write_video
from smalti.metrics import judges
from smalti.recipes import models, video_sheet, video_table
from smalti.tokenizers.contracts import Codec
from smalti.tokenizers.signals import Array, Video

pytest.importorskip("av")


def clip(count: int = 6) -> list[Array]:
    y, x = np.mgrid[0:66, 0:80]
    return [
        (np.stack([np.sin((x + 2 * i) / 9), np.cos((y - i) / 7), np.sin((x + y + i) / 15)], -1) * 90 + 128).astype(np.uint8)
        for i in range(count)
    ]


def test_the_table_goes_on_where_it_was(
    tmp_path: Path, film_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not judges.JUDGES["alex"].path.is_file():
        pytest.skip("needs AlexNet")
    monkeypatch.setattr(video_table, "FACTORS", (1,))
    (tmp_path / "clips").mkdir()
    for name, frames in (("a.mkv", clip(3)), ("b.mkv", clip(3)[::-1])):
        write_video(Video(frames, Fraction(25)), tmp_path / "clips" / name)
    asked = [
        str(tmp_path / "clips"), "--bpp", "1", "--rival", "x264", "--model", str(film_model), "--every", "2",
        "--cache", str(tmp_path / "cache.jsonl"), "-o", str(tmp_path / "table.md"),
    ]  # fmt: skip
    assert video_table.main(asked) == 0
    first = capsys.readouterr()
    assert first.err.count("LPIPS") == 4
    assert "Means over 2 clips" in first.out
    assert (tmp_path / "table.md").read_text() == first.out.removesuffix("\n")
    rows = [line for line in first.out.splitlines() if line.startswith(("| x264 |", f"| {film_model.name} |"))]
    assert len(rows) == 2
    assert all(0 < float(line.split("|")[3]) <= 1 for line in rows)
    with (tmp_path / "cache.jsonl").open("a") as file:
        file.write('\n{"key": "cut sh')
    assert video_table.main(asked) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (first.out, "")
    assert video_table.main([str(tmp_path / "clips"), "--bpp", ".0001", "--rival", "x264"]) == 0
    assert "none is so small" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert video_table.main([str(tmp_path / "empty"), "--bpp", "1"]) == 2


def test_what_is_kept_hangs_on_prior_options_and_encoder(film_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    codec = models.codec(str(film_model))
    other = SimpleNamespace(tokenizer=codec.tokenizer, prior=SimpleNamespace(id=b"othr"))
    keys = {video_table.which("m", {"m": codec}), video_table.which("m", {"m": cast(Codec, other)}), video_table.which("x264", {})}
    assert video_table.which("m", {"m": models.codec(str(film_model))}) in keys
    monkeypatch.setattr(av, "__version__", "0.1")
    keys.add(video_table.which("x264", {}))
    monkeypatch.setitem(video_table.RIVALS["x264"].options, "preset", "ultrafast")
    keys.add(video_table.which("x264", {}))
    monkeypatch.setattr(video_table, "FACTORS", (1,))
    keys.add(video_table.which("x264", {}))
    assert len(keys) == 6


def test_films_side_by_side(tmp_path: Path, film_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(Video(clip(), Fraction(25)), tmp_path / "a.mkv")
    out = tmp_path / "out" / "a"
    asked = [str(tmp_path / "a.mkv"), "--model", str(film_model), "--stages", "1", "--rival", "x264:1", "--columns", "3", "-o", str(out)]
    assert video_sheet.main(asked) == 0
    said = capsys.readouterr().out
    assert "1 stage, 0." in said
    picture = read_image(f"{out}.png")
    height, width = 66 + video_sheet.CAPTION, 3 * 80 + 2 * video_sheet.GAP
    assert picture.pixels.shape == (3 * height + 2 * video_sheet.GAP, width, 3)
    assert np.array_equal(picture.pixels[:66, :80], clip()[0])
    assert np.array_equal(picture.pixels[:66, -80:], clip()[5])
    film = read_video(f"{out}.mp4")
    frames = list(film.frames)
    assert (len(frames), film.timing) == (6, 25)
    assert frames[0].shape == (height, width, 3)
    for wrong in (["--rival", "x264"], ["--rival", "opus:.1"], []):
        assert video_sheet.main([str(tmp_path / "a.mkv"), "-o", str(out), *wrong]) == 2
