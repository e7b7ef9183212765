"""The command line run in this process, a real model, and a few small files made once."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest

from smalti.tokenizers.shape.pose import pose_from, pose_of
from smalti.tokenizers.tokens import Layout, Stage, Tokens

MODEL = "image-grid-16"


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it wrote."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def refusal(self) -> str:
        """The one line of a refusal; fails where this was none."""
        assert (self.code, self.stdout) == (2, b""), self
        assert self.err.startswith("smalti: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        return self.err.removeprefix("smalti: ").rstrip("\n")


Cli = Callable[..., Ran]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs `smalti ARGUMENTS`; stdin: the bytes of standard input."""
    from smalti.cli import main

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as left:
                main([str(argument) for argument in arguments])
        return Ran(int(left.value.code or 0), out.buffer.getvalue(), err.buffer.getvalue().decode())  # type: ignore[attr-defined]

    return run


@pytest.fixture(scope="session")
def model() -> str:
    """The name of the shipped model; skips where it is not there."""
    from smalti.tokenizers import zoo
    from smalti.tokenizers.errors import ModelError

    try:
        zoo.find(MODEL)
    except ModelError as error:
        pytest.skip(f"needs the model: {error}")
    return MODEL


@dataclass(frozen=True)
class Samples:
    """A made-up picture of 80 x 56 pixels in one folder with what the model makes of it; `tiny` is another model's folder."""

    folder: Path
    photo: Path
    solo: Path
    chunked: Path
    damaged: Path  # chunked, its second stage hit
    foreign: Path  # solo, by a model that nobody has
    foreign_chunked: Path
    tiny: Path


@pytest.fixture(scope="session")
def samples(model: str, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Not to be written to."""
    from smalti import api
    from smalti.codecs.bitstream import write
    from smalti.codecs.media.images import write_image
    from smalti.codecs.neural import info_of
    from smalti.tokenizers.signals import Image

    folder = tmp_path_factory.mktemp("samples")
    names = ("photo.png", "solo.smt", "chunked.smt", "damaged.smt", "foreign.smt", "foreign-chunked.smt", "tiny")
    made = Samples(folder, *(folder / name for name in names))
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:56, 0:80]
    pixels = np.stack([x * 3, y * 4, (x + y) % 40 * 6], -1) + rng.integers(0, 12, (56, 80, 3))
    picture = Image(pixels.clip(0, 255).astype(np.uint8))
    write_image(picture, made.photo)
    codec = api.codec(model)
    (tokens,) = codec.encode([picture])
    info = info_of(codec.tokenizer, picture, tokens)
    uniform = api.prior_of(api.zoo.find(model), "uniform")
    unknown = replace(info, fingerprint=b"nobody", prior_id=uniform.id)
    made.solo.write_bytes(write(tokens, codec.prior, info))
    chunked = write(tokens, codec.prior, info, "chunked")
    made.chunked.write_bytes(chunked)
    place = len(chunked) - 20  # END has 12 bytes
    made.damaged.write_bytes(chunked[:place] + bytes([chunked[place] ^ 1]) + chunked[place + 1 :])
    made.foreign.write_bytes(write(tokens, uniform, unknown))
    made.foreign_chunked.write_bytes(write(tokens, uniform, unknown, "chunked"))
    _save_tiny(made.tiny)
    return made


def _save_tiny(folder: Path) -> None:
    import torch

    from smalti.tokenizers import zoo
    from smalti.tokenizers.codebooks import VQConfig
    from smalti.tokenizers.image.grid import ImageGrid
    from smalti.tokenizers.image.network import ImageGridConfig
    from smalti.tokenizers.quantizers import ResidualConfig

    config = ImageGridConfig(
        ResidualConfig(VQConfig(codebook_size=8, dim=2), levels=2),
        widths=(4, 4),
        encoder_depths=(0, 0),
        decoder_depths=(0, 0),
        head_width=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        zoo.save(ImageGrid.from_config(config), folder)


@pytest.fixture(scope="session")
def sound_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny, untrained model of sound: 100 frames a second, four levels of 64 entries. Not to be written to."""
    import torch

    from smalti.tokenizers import zoo
    from smalti.tokenizers.audio.residual import AudioResidual
    from smalti.tokenizers.audio.residual_network import AudioResidualConfig
    from smalti.tokenizers.codebooks import VQConfig
    from smalti.tokenizers.quantizers import ResidualConfig

    config = AudioResidualConfig(ResidualConfig(VQConfig(64, 8, cosine=True), levels=4), 16000, (8, 20), (8, 16), 1, 1)
    folder = tmp_path_factory.mktemp("sound-model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        zoo.save(AudioResidual.from_config(config), folder)
    return folder


@pytest.fixture
def shape_model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model of `Blocks`: three stages, two ways. Not to be written to."""
    from smalti.tokenizers import zoo
    from smalti.tokenizers.zoo import folder as folders

    monkeypatch.setitem(folders.TOKENIZERS, "shape-blocks", f"{__name__}:Blocks")
    folder = tmp_path_factory.mktemp("shape-model") / "shape" / "1"
    zoo.save(Blocks(BlocksConfig()), folder)
    return folder


@dataclass(frozen=True)
class BlocksConfig:
    """levels: stages."""

    kind: ClassVar[str] = "shape-blocks"
    levels: int = 3


class Blocks:
    """A toy of a `contracts.VariedTokenizer`, to try files and commands on: stage k has 2^k blocks a side of the shape's cube, each full or
    empty. Two ways: blocks with a vertex in them, and all between the first and the last of those along x. Any stage decodes alone."""

    config_class: Any = BlocksConfig

    def __init__(self, config: BlocksConfig, fingerprint_of: str | None = None, name: str = "blocks") -> None:
        self.config = config
        self.name = name
        self.folder: Path | None = None
        self._fingerprint = fingerprint_of
        self.searches = 0  # how often `variants` was asked
        self.encodes_nearest = True

    @classmethod
    def from_tensors(cls, config: BlocksConfig, tensors: Any, fingerprint_of: str, name: str, device: str = "cpu") -> Blocks:
        return cls(config, fingerprint_of, name)

    def tensors(self) -> dict[str, Any]:
        return {}

    def parameter_names(self) -> set[str]:
        return set()

    @property
    def fingerprint(self) -> str:
        from smalti.tokenizers.configs import to_dict
        from smalti.tokenizers.zoo.fingerprint import fingerprint

        return self._fingerprint or fingerprint(to_dict(self.config), {})

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        pose_from(signal)
        sides = [2**k for k in range(1, self.config.levels + 1)]
        stages = tuple(Stage(f"level {k + 1}", (("z", n), ("y", n), ("x", n)), 2) for k, n in enumerate(sides))
        return Layout(stages, tuple(range(1, len(stages) + 1)), signal)

    def encode(self, signals: Sequence[Any]) -> list[Tokens]:
        return [self.variants(signal)[0] for signal in signals]

    def variants(self, signal: Any) -> list[Tokens]:
        self.searches += 1
        pose = pose_of(signal)
        thin, solid = [], []
        for stage in self.layout(pose.signal).stages:
            side = stage.axes[0][1]
            full = np.zeros((side,) * 3, bool)
            x, y, z = np.clip(((pose.inwards(signal.vertices) + 1) / 2 * side).astype(int), 0, side - 1).T
            full[z, y, x] = True
            thin.append(full)
            solid.append(np.maximum.accumulate(full, 2) & np.maximum.accumulate(full[:, :, ::-1], 2)[:, :, ::-1])
        ways = [thin, solid] if signal.faces is None else [solid, thin]
        return [Tokens(self.layout(pose.signal), tuple(full.astype(np.int32) for full in way)) for way in ways]

    def distortions(self, signal: Any, candidates: Sequence[Tokens]) -> list[float]:
        """By stages, then by which way is right for a cloud or a mesh."""
        right = self.variants(signal)[0]
        return [10 - len(item.arrays) + (item != right.prefix(len(item.arrays))) / 2 for item in candidates]

    def decode(self, tokens: Sequence[Tokens]) -> list[Any]:
        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
        return [self._decode(item) for item in tokens]

    def _decode(self, item: Tokens) -> Any:
        from smalti.tokenizers.signals import Shape

        full = np.argwhere(item.arrays[-1])[:, ::-1]
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
        places = (full[:, None] + corners) / len(item.arrays[-1]) * 2 - 1
        points = pose_from(item.layout.signal).outwards(places.reshape(-1, 3))
        return Shape(points, (8 * np.arange(len(full))[:, None, None] + faces).reshape(-1, 3).astype(np.int64))


@pytest.fixture
def film_model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model of `Tiles`: two stages, groups of four frames. Not to be written to."""
    from smalti.tokenizers import zoo
    from smalti.tokenizers.zoo import folder as folders

    monkeypatch.setitem(folders.TOKENIZERS, "video-tiles", f"{__name__}:Tiles")
    folder = tmp_path_factory.mktemp("film-model") / "tiles" / "1"
    zoo.save(Tiles(TilesConfig()), folder)
    return folder


@dataclass(frozen=True)
class TilesConfig:
    """group: frames that a step of time stands for, after the first, which stands for one. side: of a tile. least: stages that decode."""

    kind: ClassVar[str] = "video-tiles"
    group: int = 4
    side: int = 8
    least: int = 1


class Tiles:
    """A toy tokenizer of films, to try files and commands on: each tile of a group of frames is its mean brightness, in steps of 16, then
    of 1. A frame is drawn half from its own group and half from the one before, so that a stretch needs one group ahead of it; frames
    are drawn as they are gone through, and `drawn` counts them."""

    config_class: Any = TilesConfig
    reach = 1

    def __init__(self, config: TilesConfig, fingerprint_of: str | None = None, name: str = "tiles") -> None:
        self.config = config
        self.name = name
        self.folder: Path | None = None
        self._fingerprint = fingerprint_of
        self.drawn = 0

    @classmethod
    def from_tensors(cls, config: TilesConfig, tensors: Any, fingerprint_of: str, name: str, device: str = "cpu") -> Tiles:
        return cls(config, fingerprint_of, name)

    def tensors(self) -> dict[str, Any]:
        return {}

    def parameter_names(self) -> set[str]:
        return set()

    @property
    def fingerprint(self) -> str:
        from smalti.tokenizers.configs import to_dict
        from smalti.tokenizers.zoo.fingerprint import fingerprint

        return self._fingerprint or fingerprint(to_dict(self.config), {})

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        size = dict(signal)
        steps = -(-(size["frames"] - 1) // self.config.group) + 1
        axes = (("time", steps), *((name, -(-size[side] // self.config.side)) for name, side in (("row", "height"), ("col", "width"))))
        return Layout((Stage("coarse", axes, 16), Stage("fine", axes, 16)), tuple(range(self.config.least, 3)), signal)

    def encode(self, signals: Sequence[Any]) -> list[Tokens]:
        return [self._encode(signal) for signal in signals]

    def _encode(self, film: Any) -> Tokens:
        grids: list[np.ndarray] = []
        held: list[np.ndarray] = []
        count, side = 0, self.config.side
        height = width = 0
        for frame in film.frames:
            height, width = frame.shape[:2]
            edge = ((0, -height % side), (0, -width % side))
            gray = np.pad(frame.mean(2), edge, mode="edge")
            held.append(gray.reshape(gray.shape[0] // side, side, -1, side).mean((1, 3)))
            count += 1
            if count % self.config.group == 1:
                grids.append(np.mean(held, 0))
                held = []
        if held:
            grids.append(np.mean(held, 0))
        values = np.rint(np.stack(grids)).astype(np.int32)
        rate = film.timing
        signal = tuple(
            zip(
                ("frames", "height", "width", "rate_num", "rate_den"), (count, height, width, rate.numerator, rate.denominator), strict=True
            )
        )
        return Tokens(self.layout(signal), (values >> 4, values & 15))

    def decode(self, tokens: Sequence[Tokens]) -> list[Any]:
        from fractions import Fraction

        from smalti.tokenizers.signals import Video

        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
        sizes = [item.layout.size for item in tokens]
        return [Video(_Drawn(self, item), Fraction(size["rate_num"], size["rate_den"])) for item, size in zip(tokens, sizes, strict=True)]


@dataclass(frozen=True)
class _Drawn:
    tiles: Tiles
    tokens: Tokens

    def __iter__(self) -> Any:
        size, side = self.tokens.layout.size, self.tiles.config.side
        fine = self.tokens.arrays[1] if len(self.tokens.arrays) > 1 else 8
        values = (self.tokens.arrays[0] << 4) + fine
        for i in range(size["frames"]):
            step = -(-i // self.tiles.config.group)
            gray = (values[step] + values[max(step - 1, 0)]) // 2
            large = np.kron(gray, np.ones((side, side), np.int32))[: size["height"], : size["width"]]
            self.tiles.drawn += 1
            yield np.repeat(large[..., None], 3, 2).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six pictures of 40 x 48 pixels to train on."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        small = rng.integers(0, 256, (5, 6, 3), np.uint8)
        PIL.Image.fromarray(small).resize((48, 40), PIL.Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def basis_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny `shape-basis`, fitted to twelve made-up shapes, with its prior. Not to be written to."""
    from smalti.recipes import fit_shape
    from smalti.tokenizers import zoo
    from smalti.tokenizers.shape.basis import ShapeBasisConfig

    config = ShapeBasisConfig(side=32, counts=(1, 2, 3, 4), most=6, resolution=48, components=(48, 48, 48))
    tokenizer, prior, _ = fit_shape.fit(["procedural:12"], config, 48, 600)
    folder = tmp_path_factory.mktemp("basis-model")
    zoo.save(tokenizer, folder, prior=prior, half=False)
    return folder
