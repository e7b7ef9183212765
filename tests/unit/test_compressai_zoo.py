"""Learned codecs of CompressAI's zoo: the file and what it refuses, checkpoints and why they are refused, networks."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from smalti.codecs import ladders
from smalti.codecs.bitstream.wire import uvarint
from smalti.codecs.compressai_zoo import codec as codecs
from smalti.codecs.compressai_zoo import weights
from smalti.codecs.compressai_zoo.codec import Zoo, load
from smalti.codecs.compressai_zoo.container import LAYOUTS, MAX_PIXELS, File, pack, padding, unpack
from smalti.codecs.registry import ZOO_CODECS, resolve
from smalti.compare import lineup
from smalti.testing import check_codec
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Audio, Image

FILE = File("mbt2018-mean", 3, b"abcd", 100, 130, (2, 3), (bytes(range(12)), bytes(8)))


def photo(height: int, width: int) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 90 + 128
    return Image((waves + np.random.default_rng(0).normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8))


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def forged(name: bytes = b"mbt2018-mean", numbers: tuple[int, ...] = (100, 130, 2, 3, 12, 8), rest: bytes = bytes(20)) -> bytes:
    return sealed(b"Z" + bytes([len(name)]) + name + b"\x03abcd" + b"".join(map(uvarint, numbers)) + rest)


def test_files_come_back_and_every_byte_counts() -> None:
    data = pack(FILE)
    assert unpack(data) == FILE
    assert len(data) == 1 + (1 + 12) + 1 + 4 + (1 + 2 + 1 + 1) + 2 + 20 + 4
    assert forged(rest=bytes(range(12)) + bytes(8)) == data


def test_every_damaged_byte_and_every_cut_is_seen() -> None:
    data = pack(FILE)
    for place in range(len(data)):
        with pytest.raises(BitstreamError):
            unpack(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(BitstreamError):
            unpack(data[:place])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (forged(b"mbt2019"), "model 'mbt2019' is not known"),
        (forged(b"m" * 40), "byte 1 is 40"),
        (forged(b"\xff"), "no UTF-8"),
        (forged(numbers=(4096, 4096, 64, 64, 12, 8)), f"4096 x 4096 pixels, expected 1 to {MAX_PIXELS}"),
        (forged(numbers=(0, 130, 0, 3, 12, 8)), "130 x 0 pixels"),
        (forged(numbers=(70000, 1, 2, 3, 12, 8)), "found 70000"),
        (forged(numbers=(100, 130, 60000, 3, 12, 8)), r"latents of \(60000, 3\)"),
        (forged(numbers=(100, 130, 2, 3, 0, 8)), "a string of 0 bytes"),
        (forged(numbers=(100, 130, 2, 3, 12, 4)), "a string of 4 bytes"),
        (forged(numbers=(100, 130, 2, 3, 11, 8)), "a string of 11 bytes"),
        (forged(numbers=(100, 130, 2, 3, 12, 1 << 27)), "found 134217728, the limit is"),
        (forged(numbers=(100, 130, 2, 3, 12, 12)), "ends too early"),
        (forged(rest=bytes(24)), "4 bytes too many"),
        (forged(numbers=(), rest=b""), "ends too early"),
    ],
)
def test_forged_files_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(BitstreamError, match=complaint):
        unpack(data)


def test_room_behind_a_string_grows_with_what_may_be_read() -> None:
    assert padding(bytes(8), 100) >= 4 * 100 + 15 * 8
    assert padding(bytes(800), 100) - padding(bytes(8), 100) >= 15 * 8 * 792


def test_checkpoints_are_found_by_their_publishers_names(tmp_path: Path) -> None:
    for name in (
        "mbt2018-mean-2-446d5c7f.pth.tar",
        "mbt2018-mean-1.safetensors",
        "mbt2018-mean-ms-ssim-4-5bf9c0b6.pth.tar",
        "mbt2018-10-3f36cd77.pth.tar",
        "bmshj2018-factorized-prior-1-446d5c7f.pth.tar",
        "cheng2020_attn-mse-1-465f2b64.pth.tar",
        "mbt2018-mean-3.zip",
        "mbt2018-mean-x.pth.tar",
    ):
        (tmp_path / name).touch()
    found = weights.checkpoints("mbt2018-mean", tmp_path)
    assert {quality: path.name for quality, path in found.items()} == {
        1: "mbt2018-mean-1.safetensors",
        2: "mbt2018-mean-2-446d5c7f.pth.tar",
    }
    assert list(found) == [1, 2]
    assert list(weights.checkpoints("mbt2018-mean-ms-ssim", tmp_path)) == [4]
    assert list(weights.checkpoints("mbt2018", tmp_path)) == [10]
    assert list(weights.checkpoints("bmshj2018-factorized", tmp_path)) == [1]
    assert list(weights.checkpoints("cheng2020-attn", tmp_path)) == [1]
    with pytest.raises(ModelError, match=r"no checkpoint of cheng2020-anchor .* set SMALTI_COMPRESSAI"):
        weights.checkpoints("cheng2020-anchor", tmp_path)
    (tmp_path / "mbt2018-mean-mse-1.pth").touch()
    with pytest.raises(ModelError, match="two files of mbt2018-mean at quality 1"):
        weights.checkpoints("mbt2018-mean", tmp_path)


def test_checkpoints_are_read_as_data_alone(tmp_path: Path) -> None:
    state = {"module.g_a.0.weight": torch.arange(6.0).reshape(2, 3)}
    plain, wrapped, safe = tmp_path / "a.pth.tar", tmp_path / "b.pth.tar", tmp_path / "c.safetensors"
    torch.save(state, plain)
    torch.save({"epoch": 3, "state_dict": state}, wrapped)
    save_file(state, safe)
    for path in (plain, wrapped, safe):
        (key,) = found = weights.state_of(path)
        assert key == "g_a.0.weight"
        assert torch.equal(found[key], state["module.g_a.0.weight"])
    torch.save({"hook": print}, plain)
    with pytest.raises(ModelError, match="not readable as weights alone"):
        weights.state_of(plain)
    torch.save({"epoch": 3}, wrapped)
    with pytest.raises(ModelError, match="expected a table of names and tensors"):
        weights.state_of(wrapped)
    safe.write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match="not readable as weights alone"):
        weights.state_of(safe)
    with pytest.raises(ModelError, match="not readable"):
        weights.state_of(tmp_path / "none.pth")


def test_the_digits_in_a_name_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.pth.tar"
    torch.save({"x": torch.zeros(3)}, path)
    right = tmp_path / f"mbt2018-1-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth.tar"
    wrong = tmp_path / "mbt2018-1-00000000.pth.tar"
    for other in (right, wrong):
        other.write_bytes(path.read_bytes())
    assert set(weights.state_of(right)) == {"x"}
    with pytest.raises(ModelError, match="its SHA-256 does not begin as its name says"):
        weights.state_of(wrong)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (torch.zeros(1025, 0, 1, 1), r"shape \(1025, 0, 1, 1\), expected sides up to 1024"),
        (torch.zeros(20000), "sides up to 16384"),
        (torch.tensor([1.0, float("nan")]), "not finite"),
        (torch.zeros(3, dtype=torch.complex64), "no plain tensor"),
        (torch.eye(3).to_sparse(), "no plain tensor"),
    ],
)
def test_tensors_of_no_model_are_refused(value: torch.Tensor, complaint: str) -> None:
    weights.check_state({"g_a.0.weight": torch.zeros(8, 3, 5, 5)}, Path("a.pth"))
    with pytest.raises(ModelError, match=complaint):
        weights.check_state({"g_a.0.weight": value}, Path("a.pth"))


def tables() -> tuple[Array, Array, Array]:
    return np.array([[0, 9, 1 << 16, 0], [0, 5, 7, 1 << 16]], np.int32), np.array([3, 4], np.int32), np.array([-1, 0], np.int32)


def test_entropy_tables_that_a_coder_would_read_beyond_are_refused() -> None:
    weights.check_tables("a", *tables(), 2)
    wrong: list[tuple[int, Any, int]] = [
        (0, (0, 0), 1),
        (0, (0, 1), 0),
        (0, (1, 2), 5),
        (0, (1, 3), 65535),
        (1, 0, 5),
        (1, 0, 1),
        (1, 0, 2),
        (2, 0, -(1 << 30)),
    ]
    for part, place, value in wrong:
        broken = tables()
        broken[part][place] = value
        with pytest.raises(ModelError, match="do not rise from 0 to 65536 in 2 rows"):
            weights.check_tables("a", *broken, 2)
    cdf, lengths, offsets = tables()
    for found in (
        (cdf, lengths, offsets[:1]),
        (cdf.ravel(), lengths, offsets),
        (cdf[:, :0], lengths, offsets),
        (cdf[:1], lengths, offsets),
    ):
        with pytest.raises(ModelError, match="do not rise"):
            weights.check_tables("a", *found, 2)


class Toy:
    """Stands for a network: means of 64 x 64 pixels, as one of its strings."""

    N, M = 8, 12

    def compress(self, x: torch.Tensor) -> dict[str, Any]:
        means = torch.nn.functional.avg_pool2d(x, 64)
        text = (means * 255).round().byte().numpy().tobytes()
        return {"strings": [[text + bytes(8 + -len(text) % 4)], [bytes(8)]], "shape": means.shape[-2:]}

    def decompress(self, strings: list[list[bytes]], shape: tuple[int, int]) -> dict[str, torch.Tensor]:
        self.seen = [len(string) for (string,) in strings]
        means = np.frombuffer(strings[0][0], np.uint8, 3 * shape[0] * shape[1]).reshape(1, 3, *shape).astype(np.float32) / 255
        return {"x_hat": torch.from_numpy(means).repeat_interleave(64, 2).repeat_interleave(64, 3)}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    made = {name: weights.Network(Toy(), bytes([quality]) * 32) for quality, name in enumerate(("none", "one", "two"))}
    monkeypatch.setattr(weights, "network_of", lambda name, path: made[path.name])
    return Zoo("mbt2018-mean", {1: Path("one"), 2: Path("two")})


def test_pictures_are_extended_and_cut_back(toy: Zoo) -> None:
    check_codec(toy, [photo(1, 1), photo(65, 130)])
    flat = Image(np.full((65, 3, 3), (10, 200, 77), np.uint8))
    decoded = toy.decompress(toy.compress(flat))
    assert isinstance(decoded, Image)
    np.testing.assert_array_equal(decoded.pixels, flat.pixels)
    assert toy.payload_bytes(toy.compress(flat)) == 16 + 8


def test_its_decoder_has_room_behind_every_string(toy: Zoo) -> None:
    toy.decompress(toy.compress(photo(65, 130)))
    seen = toy._network(2).module.seen
    fine, coarse = 2 * 3 * 16 * Toy.M, 2 * 3 * Toy.N
    assert seen == [28 + padding(bytes(28), fine), 8 + padding(bytes(8), coarse)]


def test_files_name_model_quality_and_weights(toy: Zoo) -> None:
    data = toy.compress(photo(8, 8), Target(quality=1))
    assert (unpack(data).quality, unpack(data).digest) == (1, b"\1" * 4)
    with pytest.raises(BitstreamError, match="a file of compressai-mbt2018-mean, not of compressai-cheng2020-attn"):
        Zoo("cheng2020-attn", toy.files).decompress(data)
    with pytest.raises(ModelError, match="quality 1, whose checkpoint is not there"):
        Zoo("mbt2018-mean", {2: Path("two")}).decompress(data)
    with pytest.raises(ModelError, match="written with weights 01010101, these are 02020202"):
        Zoo("mbt2018-mean", {1: Path("two")}).decompress(data)


def test_targets(toy: Zoo) -> None:
    picture = photo(64, 64)
    assert unpack(toy.compress(picture)).quality == unpack(toy.compress(picture, Target(bytes=1000))).quality == 2
    for quality in (1.5, 3):
        with pytest.raises(UsageError, match="there are checkpoints of 1, 2"):
            toy.compress(picture, Target(quality=quality))
    with pytest.raises(UsageError, match="the smallest file"):
        toy.compress(picture, Target(bytes=20))
    with pytest.raises(SignalError, match="found Audio"):
        toy.compress(Audio(np.zeros((1, 8), np.float32), 8000))
    with pytest.raises(SignalError, match="pixels at most"):
        toy.compress(Image(np.broadcast_to(np.zeros(3, np.uint8), (4096, 2049, 3))))


def test_names_of_the_registry() -> None:
    assert len(ZOO_CODECS) == 2 * len(LAYOUTS)
    for name, place in ZOO_CODECS.items():
        assert getattr(codecs, place.rpartition(":")[2]).args == (name.removeprefix("compressai-"),)
    with pytest.raises(UsageError, match="no model 'mbt2019'"):
        load("mbt2019")


def test_the_extra_is_named_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "compressai", None)
    assert ladders.absent("compressai-mbt2018/2") == (
        "CompressAI's codecs need the package compressai",
        "pip install 'smalti[compressai]'",
    )
    (absent,) = lineup.of("image", "jpeg,compressai-mbt2018:1,3").absent
    assert (absent.name, absent.remedy) == ("compressai-mbt2018", "pip install 'smalti[compressai]'")


def untrained(name: str, seed: int) -> Any:
    """A small network of compressai's own class, louder with its seed; skips where compressai is not installed."""
    try:
        weights.require()
    except ModelError as error:
        pytest.skip(str(error))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai import models
    torch.manual_seed(0)
    made = getattr(models, LAYOUTS[name].network)(*((8,) if name.startswith("cheng") else (8, 12)))
    for parameters in made.g_a[-1].parameters():
        parameters.data *= 10 * 4**seed
    made.update()
    return made


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith("cheng")])  # these were not seen to end, untrained
def test_networks_of_compressai_conform(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (untrained(name, seed).state_dict() for seed in range(2))
    torch.save({"state_dict": {f"module.{key}": value for key, value in first.items()}}, tmp_path / f"{name}-1.pth.tar")
    save_file(second, tmp_path / f"{name}-2.safetensors")
    monkeypatch.setenv("SMALTI_COMPRESSAI", str(tmp_path))
    codec = resolve(f"compressai-{name}")
    check_codec(codec, [photo(1, 1), photo(70, 131)])
    assert ladders.ladder(f"compressai-{name}/2") == ladders.ladder(codec.name)
    assert [setting.target.quality for setting in ladders.ladder(codec.name)] == [1, 2]
    assert "compressai 1." in ladders.version(codec)
    sizes = [len(codec.compress(photo(128, 128), Target(quality=quality))) for quality in (1, 2)]
    assert sizes == sorted(set(sizes))
    other = tmp_path / "other"
    other.mkdir()
    torch.save(second, other / f"{name}-2.pth")
    data = codec.compress(photo(70, 131))
    back, again = codec.decompress(data), load(name, other).decompress(data)  # the same tensors, stored otherwise
    assert isinstance(back, Image)
    assert isinstance(again, Image)
    np.testing.assert_array_equal(back.pixels, again.pixels)
    (contender,) = lineup.of("image", f"compressai-{name}:2").contenders
    assert (contender.kind, len(contender.settings)) == ("learned", 1)
    assert contender.sample


def test_what_compressai_would_crash_on_is_refused(tmp_path: Path) -> None:
    state = untrained("bmshj2018-hyperprior", 0).state_dict()
    path = tmp_path / "bmshj2018-hyperprior-1.pth"
    files = {1: path}

    def opened(**changes: torch.Tensor | None) -> Zoo:
        torch.save({key: changes.get(key.replace(".", "_"), value) for key, value in state.items()}, path)
        return Zoo("bmshj2018-hyperprior", files)

    picture = photo(64, 64)
    assert opened().compress(picture)
    lengths = state["entropy_bottleneck._cdf_length"] + 100
    with pytest.raises(ModelError, match="entropy_bottleneck: its entropy tables do not rise"):
        opened(entropy_bottleneck__cdf_length=lengths).compress(picture)
    with pytest.raises(ModelError, match="not the weights of bmshj2018-hyperprior"):
        opened(g_s_0_weight=torch.zeros(12, 9, 5, 5)).compress(picture)
    torch.save({"x": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="not the weights of bmshj2018-hyperprior"):
        Zoo("bmshj2018-hyperprior", files).compress(picture)
    good = opened()
    file = unpack(good.compress(picture))
    short = pack(File(**{**vars(file), "strings": (b"\xff" * 8, b"\xff" * 8)}))  # a forged one with a right checksum: noise, no crash
    assert isinstance(good.decompress(short), Image)
