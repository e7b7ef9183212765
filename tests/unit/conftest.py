"""The command line run in this process, a real model, and a few small files made once."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

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
def pictures(tmp_path: Path) -> Path:
    """A folder of six pictures of 40 x 48 pixels to train on."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        small = rng.integers(0, 256, (5, 6, 3), np.uint8)
        PIL.Image.fromarray(small).resize((48, 40), PIL.Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
