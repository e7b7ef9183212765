"""Every kind of picture through the command line and back: the displayed size returns, and what was dropped is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from smalti.codecs import notes

VISIBLE = {notes.ALPHA, notes.LATER_FRAMES, notes.DEPTH}
ODD = (
    "bilevel.png", "cmyk_adobe.jpg", "exif_orientation_5.jpg", "exif_orientation_6.jpg", "exif_orientation_6.webp", "gray.jpg",
    "gray_bad_exif.jpg", "icc_exif_xmp.jpg", "palette.png", "palette_4x4.png", "palette_animated.gif", "palette_trns.png", "rgb16.png",
    "rgb_trns.png", "rgba.png", "rgba.webp", "rgba_soft.png",
)  # fmt: skip


def round_trip(cli: Any, source: Path, folder: Path) -> tuple[tuple[int, int], list[str], int]:
    """(size that came back, notes said, exit code of tokenize); checks that notes are said once, and again by info."""
    smt, png = folder / "a.smt", folder / "a.png"
    ran = cli("tokenize", source, "-o", smt, "--json")
    (made,) = ran.json
    found = made["notes"]
    assert ran.err == (f"{source}: {'; '.join(found)}\n" if found else "")
    assert set(made["lost"]) == VISIBLE & set(found)
    assert ran.code == (1 if made["lost"] else 0)
    assert cli("info", smt, "--json").json[0]["streams"][0]["notes"] == found
    assert all(note in cli("info", smt).out for note in found)
    back = cli("detokenize", smt, "-o", png)
    assert (back.code, back.err) == (0, "")
    with PIL.Image.open(png) as picture:
        assert picture.mode == "RGB"
        assert picture.size == (made["width"], made["height"])
        return picture.size, found, ran.code


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF|Possibly corrupt")
def test_odd_files(cli: Any, model: str, data_folder: Path, tmp_path: Path, name: str) -> None:
    source = data_folder / "images" / "odd" / name
    with PIL.Image.open(source) as picture:
        shown = PIL.ImageOps.exif_transpose(picture).size
    size, found, code = round_trip(cli, source, tmp_path)
    assert size == shown
    assert code == (name in {"palette_animated.gif", "rgb16.png"} or notes.ALPHA in found)


def test_no_odd_file_is_left_out(data_folder: Path) -> None:
    assert {path.name for path in (data_folder / "images" / "odd").iterdir()} == set(ODD)


def made_up(mode: str, width: int, height: int) -> PIL.Image.Image:
    rng = np.random.default_rng(width)
    gray = PIL.Image.fromarray(rng.integers(0, 255, (height, width), np.uint8))
    if mode == "I;16":
        return PIL.Image.fromarray(rng.integers(0, 1 << 16, (height, width)).astype(np.uint16))
    return PIL.Image.merge(mode, [gray] * len(mode)) if mode in ("LA", "RGBA", "CMYK") else gray.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix", "size", "expected"),
    [
        ("RGB", ".png", (1, 1), []),
        ("RGB", ".webp", (17, 33), []),
        ("L", ".png", (33, 17), [notes.GRAY]),
        ("LA", ".png", (16, 16), [notes.ALPHA, notes.GRAY]),
        ("RGBA", ".png", (15, 17), [notes.ALPHA]),
        ("P", ".gif", (20, 10), [notes.PALETTE]),
        ("I;16", ".png", (10, 20), [notes.DEPTH, notes.GRAY]),
        ("CMYK", ".jpg", (31, 16), [notes.CMYK]),
        ("RGB", ".bmp", (5, 300), []),
    ],
)
def test_made_up_pictures(cli: Any, model: str, tmp_path: Path, mode: str, suffix: str, size: tuple[int, int], expected: list[str]) -> None:
    source = tmp_path / f"source{suffix}"
    made_up(mode, *size).save(source)
    back, found, code = round_trip(cli, source, tmp_path)
    assert (back, found, code) == (size, expected, int(bool(VISIBLE & set(expected))))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_turned_pictures(cli: Any, model: str, tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / "source.jpg"
    made_up("RGB", 40, 20).save(source, exif=exif)
    size, found, code = round_trip(cli, source, tmp_path)
    assert (size, found, code) == ((40, 20) if orientation == 3 else (20, 40), [notes.ORIENTATION], 0)


def test_a_large_picture(cli: Any, model: str, tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    made_up("RGB", 30, 20).resize((3000, 2000)).save(source, compress_level=1)
    assert round_trip(cli, source, tmp_path) == ((3000, 2000), [], 0)


def test_quiet_still_says_what_is_visibly_lost(cli: Any, samples: Any, tmp_path: Path) -> None:
    made_up("LA", 8, 8).save(tmp_path / "a.png")
    made_up("L", 8, 8).save(tmp_path / "b.png")
    ran = cli("tokenize", tmp_path / "a.png", tmp_path / "b.png", "-q")
    assert (ran.code, ran.out, ran.err) == (1, "", f"{tmp_path / 'a.png'}: {notes.ALPHA}\n")


def test_notes_of_a_pipe(cli: Any, model: str) -> None:
    made_up("L", 8, 8).save(buffer := io.BytesIO(), "PNG")
    assert cli("tokenize", "-", stdin=buffer.getvalue()).err.startswith(f"standard input: {notes.GRAY}\n")
