"""Rivals that join codecs with tokenizers: tokens packed by ordinary compressors, meshes simplified to a size."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from smalti.codecs import ladders
from smalti.codecs.registry import JOINED_CODECS, resolve
from smalti.compare import ours, packed
from smalti.compare.decimated import DecimateDraco
from smalti.compare.packed import METHODS, PackedTokens
from smalti.metrics.surfaces import compared
from smalti.testing import check_codec
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Audio, Image, Shape

MODEL = "image-grid-8"


def picture(height: int = 72, width: int = 104) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image((np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 90 + 128).astype(np.uint8))


def pixels_of(found: object) -> Array:
    assert isinstance(found, Image)
    return found.pixels


def of(method: str) -> PackedTokens:
    try:
        return PackedTokens(method, MODEL)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("method", METHODS)
def test_packed_tokens_decode_as_the_models_own_file_does(method: str) -> None:
    codec, whole = of(method), ours.codec(MODEL)
    data = codec.compress(picture())
    np.testing.assert_array_equal(pixels_of(codec.decompress(data)), pixels_of(whole.decompress(whole.compress(picture()))))
    assert 0 < codec.payload_bytes(data) < len(data) <= codec.payload_bytes(data) + 16
    for place in range(0, len(data), 5):
        with pytest.raises(BitstreamError):
            codec.decompress(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
    assert codec.version


def test_packed_tokens_name_the_weights_that_made_them() -> None:
    named, usual = PackedTokens("zlib", MODEL).version, PackedTokens("zlib").version
    assert named == f"{packed.version('zlib')}, {zoo.find(MODEL).name} {zoo.fingerprint_of(zoo.find(MODEL))[:12]}"
    assert all(f", {zoo.find(model).name} {zoo.fingerprint_of(zoo.find(model))[:12]}" in usual for model in packed.MODELS.values())


def test_packed_tokens_conform() -> None:
    check_codec(PackedTokens("zlib", MODEL), [picture(33, 40)])


def test_raw_tokens_have_the_width_of_their_table() -> None:
    codec = PackedTokens("raw", MODEL)
    assert codec.payload_bytes(codec.compress(picture())) == -(-9 * 13 * 10 // 8)
    zlibs = PackedTokens("zlib", MODEL)
    flat = Image(np.full((128, 128, 3), 90, np.uint8))
    assert zlibs.payload_bytes(zlibs.compress(flat)) < codec.payload_bytes(codec.compress(flat)) / 2


@pytest.mark.parametrize("method", METHODS)
def test_what_packs_too_much_or_too_little_is_refused(method: str) -> None:
    codec = of(method)
    data = codec.compress(picture())
    head = len(data) - codec.payload_bytes(data) - 4
    for content in (b"", bytes(100), bytes(10**6), b"\xff" * 234):
        forged = data[: head - 1] + bytes([packed.WHOLE]) + codec.compressor.pack(content)
        with pytest.raises(BitstreamError, match=r"expected (234 in form|less than 1024)|the packed tokens are damaged"):
            codec.decompress(forged + zlib.crc32(forged).to_bytes(4, "little"))


def test_sizes_that_no_model_should_be_asked_for() -> None:
    codec = PackedTokens("zlib", MODEL)
    data = codec.compress(picture())
    for size in (b"\xff\xff\x03\xff\xff\x03", b"\0\1"):
        forged = data[:7] + size + b"\0" + bytes(20)
        with pytest.raises(BitstreamError, match=r"a size that the model does not have|tokens, expected so many"):
            codec.decompress(forged + zlib.crc32(forged).to_bytes(4, "little"))


def test_names_of_packed_tokens() -> None:
    assert [setting.label for setting in ours.ladder("image-grid-16+zlib")] == ["1 stage", "2 stages"]
    assert ours.codec(f"{MODEL}+lzma").name == f"{MODEL}+lzma"
    assert resolve("tokens-bz2").name == "tokens-bz2"
    with pytest.raises(UsageError, match="no compressor 'rar'"):
        ours.codec(f"{MODEL}+rar")
    with pytest.raises(UsageError, match="tokens of shape are not packed"):
        ours.codec("shape+zlib")
    with pytest.raises(ModelError, match="written with model"):
        PackedTokens("zlib", "image-grid-16").decompress(PackedTokens("zlib", MODEL).compress(picture()))
    for target in (Target(bits_per_pixel=1.0), Target(kbps=1.0), Target(quality=5)):
        with pytest.raises(UsageError, match="stages alone"):
            PackedTokens("zlib", MODEL).compress(picture(), target)
    with pytest.raises(UsageError, match="tokens are not"):
        resolve("tokens-zlib/2")


def test_sounds_are_packed_too() -> None:
    codec = resolve("tokens-zlib")
    t = np.arange(4000) / 16000
    sound = Audio((0.3 * np.sin(2 * np.pi * 220 * t))[None].astype(np.float32), 16000)
    back = codec.decompress(codec.compress(sound, Target(stages=2)))
    assert isinstance(back, Audio)
    assert back.samples.shape == sound.samples.shape
    with pytest.raises(SignalError, match="found Shape"):
        codec.compress(Shape(np.zeros((3, 3)), np.array([[0, 1, 2]])))


@pytest.mark.parametrize("name", JOINED_CODECS)
def test_every_joined_codec_is_found(name: str) -> None:
    try:
        codec = resolve(name)
    except ModelError as error:
        pytest.skip(str(error))
    assert codec.name == name
    assert ladders.ladder(name)


def ball(side: int = 14) -> Shape:
    u, v = np.meshgrid(np.linspace(0.05, 3.1, side), np.linspace(0, 2 * np.pi, side))
    places = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], -1).reshape(-1, 3)
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    return Shape(places, np.concatenate([corner[:, None] + [0, 1, side], corner[:, None] + [1, side + 1, side]]))


def test_meshes_are_simplified_to_a_size() -> None:
    codec, shape = DecimateDraco(), ball()
    files = [codec.compress(shape, Target(bytes=size)) for size in (100, 220)]
    assert [len(data) <= size for data, size in zip(files, (100, 220), strict=True)] == [True, True]
    assert len(files[1]) > 130, "room is used"
    distances = []
    for data in files:
        back = codec.decompress(data)
        assert isinstance(back, Shape)
        assert back.faces is not None
        assert len(back.faces) < len(shape.faces)  # type: ignore[arg-type]
        found = compared(shape, back)
        assert found.of_decoded is not None
        distances.append(float(found.of_decoded.values.mean()))
    assert distances[1] < distances[0]
    with pytest.raises(UsageError, match=r"the smallest file of this signal has \d+ bytes, the target allows 20"):
        codec.compress(shape, Target(bytes=20))
    with pytest.raises(UsageError, match="bytes alone"):
        codec.compress(shape, Target(quality=8))
    assert codec.compress(shape, Target(bytes=10**6)) == codec.inner.compress(shape, Target(bytes=10**6))
    points = Shape(shape.vertices)
    assert codec.compress(points, Target(bytes=300)) == codec.inner.compress(points, Target(bytes=300))


def test_simplified_meshes_conform() -> None:
    check_codec(DecimateDraco(), [ball(5)])


def test_a_shape_that_no_file_holds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("DracoPy")
    monkeypatch.setattr("smalti.compare.decimated.draco", lambda *_: iter(()))
    shape = Shape(np.eye(4, 3), np.array([[0, 1, 2], [0, 1, 3]], np.int64))
    with pytest.raises(UsageError, match="no file of this shape within 96 bytes was found; ask for more"):
        DecimateDraco().compress(shape, Target(bytes=96))
