"""Image files as they are found: real odd ones, made-up ones, damaged ones."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import pytest

from smalti.codecs import notes
from smalti.codecs.media.images import MAX_PIXELS, encode_image, read_image, write_image
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Image

ODD = {
    "bilevel.png": (500, 500, [notes.METADATA, notes.GRAY]),
    "cmyk_adobe.jpg": (100, 100, [notes.METADATA, notes.CMYK]),
    "exif_orientation_5.jpg": (302, 403, [notes.ORIENTATION]),
    "exif_orientation_6.jpg": (1800, 1200, [notes.ORIENTATION]),
    "exif_orientation_6.webp": (128, 128, [notes.ORIENTATION]),
    "gray.jpg": (128, 128, [notes.METADATA, notes.GRAY]),
    "gray_bad_exif.jpg": (500, 500, [notes.METADATA, notes.GRAY, notes.BROKEN_METADATA]),
    "icc_exif_xmp.jpg": (403, 302, [notes.METADATA, notes.PROFILE]),
    "palette.png": (162, 150, [notes.ALPHA, notes.PALETTE]),
    "palette_4x4.png": (4, 4, [notes.ALPHA, notes.METADATA, notes.PALETTE]),
    "palette_animated.gif": (320, 240, [notes.METADATA, notes.PALETTE, notes.LATER_FRAMES]),
    "palette_trns.png": (64, 64, [notes.ALPHA, notes.PALETTE]),
    "rgb16.png": (256, 192, [notes.DEPTH]),
    "rgb_trns.png": (64, 64, [notes.ALPHA]),
    "rgba.png": (200, 150, [notes.ALPHA]),
    "rgba.webp": (200, 150, [notes.ALPHA]),
    "rgba_soft.png": (162, 150, [notes.ALPHA]),
}
RAMP = np.arange(17 * 33 * 3, dtype=np.uint32).reshape(17, 33, 3).astype(np.uint8)


def saved(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written chunk by chunk, for what Pillow does not write. extra: chunks between IHDR and IDAT."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.fixture(scope="module")
def odd(data_folder: Path) -> Path:
    return data_folder / "images" / "odd"


@pytest.mark.parametrize("name", ODD)
def test_odd_files_read_as_displayed(odd: Path, name: str) -> None:
    width, height, expected = ODD[name]
    image = read_image(odd / name)
    assert (image.width, image.height, image.pixels.dtype) == (width, height, np.uint8)
    assert image.notes == tuple(expected)
    assert image.pixels.std() > 0


def test_every_odd_file_is_expected(odd: Path) -> None:
    assert {path.name for path in odd.iterdir()} == set(ODD)


def test_a_path_bytes_and_an_open_file_read_alike(odd: Path) -> None:
    path = odd / "rgba.png"
    with path.open("rb") as file:
        images = [read_image(path), read_image(str(path)), read_image(path.read_bytes()), read_image(file)]
    assert all(np.array_equal(image.pixels, images[0].pixels) and image.notes == images[0].notes for image in images)


def test_adobe_cmyk_is_not_inverted(odd: Path) -> None:
    # the word RED in red on black
    pixels = read_image(odd / "cmyk_adobe.jpg").pixels.astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=2) < 100)
    assert 0.05 < red.mean() < 0.5
    assert np.median(pixels) < 20


@pytest.mark.parametrize("name", ["exif_orientation_5.jpg", "exif_orientation_6.jpg", "exif_orientation_6.webp"])
def test_orientation_is_that_of_pillow(odd: Path, name: str) -> None:
    with PIL.Image.open(odd / name) as picture:
        upright = np.asarray(PIL.ImageOps.exif_transpose(picture).convert("RGB"))
    assert np.array_equal(read_image(odd / name).pixels, upright)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_in_all_formats(kind: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "TIFF": {}}[kind]
    data = saved(PIL.Image.fromarray(RAMP), kind, exif=exif, **options)
    with PIL.Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(PIL.ImageOps.exif_transpose(picture))
    image = read_image(data)
    assert np.array_equal(image.pixels, expected)
    assert image.notes == ((notes.ORIENTATION,) if orientation > 1 else ())


def test_soft_alpha_is_flattened_on_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    image = read_image(saved(PIL.Image.fromarray(rgba)))
    assert image.pixels[0, :, 0].tolist() == [255, 127, 0]
    assert image.notes == (notes.ALPHA,)


def test_opaque_alpha_loses_nothing() -> None:
    rgba = np.full((4, 4, 4), 255, dtype=np.uint8)
    assert read_image(saved(PIL.Image.fromarray(rgba))).notes == ()


@pytest.mark.parametrize("shape", [(1, 1), (33, 17), (17, 33), (1, 300)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_read_exactly(kind: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = read_image(saved(PIL.Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(image.pixels, pixels)
    assert image.notes == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    image = read_image(saved(PIL.Image.fromarray(values), kind))
    assert image.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert image.notes == (notes.DEPTH, notes.GRAY)


def test_16_bit_gray_with_alpha_and_with_a_transparent_value() -> None:
    both = png(2, 1, 16, 4, b"\0" + struct.pack(">4H", 65535, 65535, 0, 0))
    image = read_image(both)
    assert image.pixels[0, :, 0].tolist() == [255, 255]
    assert image.notes == (notes.ALPHA, notes.DEPTH, notes.GRAY)
    keyed = png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 0, 1, 2), chunk(b"tRNS", struct.pack(">H", 1)))
    assert read_image(keyed).pixels[0, :, 0].tolist() == [0, 255, 0]


def test_a_transparent_value_of_4_bit_gray_is_in_the_files_bits() -> None:
    keyed = png(4, 1, 4, 0, bytes([0, 0x05, 0xAF]), chunk(b"tRNS", struct.pack(">H", 5)))
    image = read_image(keyed)
    assert image.pixels[0, :, 0].tolist() == [0, 255, 170, 255]
    assert image.notes == (notes.ALPHA, notes.GRAY)


def test_a_palette_with_alpha_is_expanded() -> None:
    picture = PIL.Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    image = read_image(saved(picture, transparency=bytes([255, 0])))
    assert image.pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert image.notes == (notes.ALPHA, notes.PALETTE)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_the_first_frame_of_an_animation_is_read(kind: str, options: dict[str, Any]) -> None:
    frames = [PIL.Image.new("RGB", (9, 5), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    image = read_image(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options))
    assert np.all(image.pixels == (255, 0, 0))
    assert notes.LATER_FRAMES in image.notes


def swapped_profile() -> bytes:
    """sRGB's profile with the red and the blue primary exchanged: converting by it exchanges red and blue."""
    data = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")


def test_a_colour_profile_is_converted() -> None:
    image = read_image(saved(PIL.Image.new("RGB", (4, 4), (200, 100, 50)), icc_profile=swapped_profile()))
    assert np.abs(image.pixels.astype(int) - (50, 100, 200)).max() <= 2
    assert image.notes == (notes.PROFILE,)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_a_colour_profile_goes_with_any_mode(mode: str) -> None:
    picture = PIL.Image.new("RGB", (4, 4), (102, 102, 102)).convert(mode)  # a colour of the web palette
    image = read_image(saved(picture, icc_profile=swapped_profile()))
    assert np.abs(image.pixels.astype(int) - 102).max() <= 2
    assert notes.PROFILE in image.notes


@pytest.mark.parametrize("kept", [0, 100, 300])
def test_a_broken_profile_is_ignored_with_a_note(kept: int) -> None:
    profile = swapped_profile()[:kept] or b"no profile at all"
    image = read_image(saved(PIL.Image.fromarray(RAMP), icc_profile=profile))
    assert np.array_equal(image.pixels, RAMP)
    assert image.notes == (notes.BROKEN_METADATA,)


def test_comments_are_noted() -> None:
    assert read_image(saved(PIL.Image.fromarray(RAMP), "JPEG", comment=b"hello")).notes == (notes.METADATA,)


def test_warnings_do_not_leak_and_filters_stay(odd: Path) -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image(odd / "gray_bad_exif.jpg")
    assert not caught
    assert warnings.filters == before


def test_limits_hold_before_anything_is_decoded() -> None:
    pillows = PIL.Image.MAX_IMAGE_PIXELS
    for width, height in [(65536, 1), (1, 65536), (16385, 16384), (2**31 - 1, 2**31 - 1)]:
        with pytest.raises(SignalError, match=rf"big\.png: {width} x {height} pixels, expected .* {MAX_PIXELS} pixels"):
            read_image(png(width, height, 8, 2, b""), "big.png")
    assert pillows == PIL.Image.MAX_IMAGE_PIXELS


def test_pictures_above_pillows_limit_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert np.array_equal(read_image(saved(PIL.Image.fromarray(RAMP))).pixels, RAMP)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated_files_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(PIL.Image.fromarray(noise), kind)
    for part in (0.05, 0.5, 0.9):
        path = tmp_path / f"cut.{kind.lower()}"
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(SignalError) as refusal:
            read_image(path)
        assert str(refusal.value).startswith(f"{path}: ")
        assert "\n" not in str(refusal.value)
        assert "expected" in str(refusal.value)


def test_any_damage_gives_an_image_or_our_error() -> None:
    rng = np.random.default_rng(3)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        whole = saved(PIL.Image.fromarray(RAMP), kind)
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(256)
            with contextlib.suppress(SignalError):
                assert isinstance(read_image(bytes(damaged)), Image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"This is no picture.\n", "no known image"),
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no known image"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(SignalError, match=rf"text\.png: {message}.*expected"):
        read_image(path)


def test_samples_without_a_range_are_refused() -> None:
    data = saved(PIL.Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF")
    with pytest.raises(SignalError, match=r"samples of kind F, expected 8 or 16 bits"):
        read_image(data)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_lossless_writing_reads_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    write_image(Image(RAMP), path)
    assert np.array_equal(read_image(path).pixels, RAMP)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_jpeg_is_written_at_quality_95(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (64, 64, 3)).copy()
    write_image(Image(smooth), tmp_path / "out.JPG")
    assert np.abs(read_image(tmp_path / "out.JPG").pixels.astype(int) - smooth).max() <= 4


def test_16_bits_are_written_with_8() -> None:
    image = Image(np.full((2, 2, 3), 65535, dtype=np.uint16))
    assert np.all(read_image(encode_image(image, ".png")).pixels == 255)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    for name in ("out.xyz", "out"):
        with pytest.raises(UsageError, match=r"unknown suffix .* expected one of \.png, \.jpg, \.jpeg, \.webp"):
            write_image(Image(RAMP), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    wide = Image(np.zeros((1, 20000, 3), dtype=np.uint8))
    with pytest.raises(UsageError, match=r"WEBP cannot hold 20000 x 1 pixels .* write \.png"):
        write_image(wide, tmp_path / "out.webp")
    assert not list(tmp_path.iterdir())
