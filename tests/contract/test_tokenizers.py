"""Every registered tokenizer, and every model that is shipped, runs the conformance list: a new kind needs instances here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from smalti.testing import check_tokenizer
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.line import ImageLine
from smalti.tokenizers.image.line_network import ImageLineConfig
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import FactorizedConfig, GroupedConfig, LineConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.signals import Audio, Image, Shape
from smalti.tokenizers.zoo.folder import TOKENIZERS, ZOO


def image_grid(config: ImageGridConfig) -> ImageGrid:
    """A small network whose statistics and tables have seen a few batches."""
    torch.manual_seed(0)
    tokenizer = ImageGrid.from_config(config)
    tokenizer.net.train()
    for _ in range(20):
        tokenizer.net(torch.rand(4, 3, 64, 64) * 2 - 1)
    tokenizer.net.eval()
    return tokenizer


def image_line(config: ImageLineConfig) -> ImageLine:
    """The same for a small line."""
    torch.manual_seed(0)
    tokenizer = ImageLine.from_config(config)
    tokenizer.net.train()
    for _ in range(10):
        tokenizer.net(torch.rand(2, 3, 64, 64) * 2 - 1)
    tokenizer.net.eval()
    return tokenizer


def audio(make: Any, config: AudioResidualConfig | AudioSingleConfig) -> Any:
    """The same for sound."""
    torch.manual_seed(0)
    tokenizer = make.from_config(config)
    tokenizer.net.train()
    for _ in range(10):
        tokenizer.net(torch.randn(2, 1, 64 * config.hop) * 0.1)
    tokenizer.net.eval()
    return tokenizer


SOUND = {"strides": (4, 5), "widths": (8, 16), "encoder_blocks": 1, "decoder_blocks": 1}
SMALL = {"widths": (8, 8, 8), "encoder_depths": (1, 0, 1), "decoder_depths": (1, 1, 1), "head_width": 8}
LINE = {"region": 32, "latent_dim": 4, "channels": 16, "heads": 2, "encoder_blocks": 1, "decoder_blocks": 1}
LARGE_STEPS = {"widths": (8, 8), "encoder_depths": (1, 1), "decoder_depths": (1, 1), "head_width": 8}
INSTANCES: dict[str, list[Callable[[], Any]]] = {
    "image-grid": [
        lambda: image_grid(ImageGridConfig(ResidualConfig(VQConfig(64, 4), levels=3), **SMALL)),
        lambda: image_grid(ImageGridConfig(SingleConfig(FSQConfig((8, 5, 5))), **SMALL)),
        lambda: image_grid(ImageGridConfig(SingleConfig(VQConfig(64, 4)), **LARGE_STEPS)),
        lambda: image_grid(ImageGridConfig(FactorizedConfig((VQConfig(64, 2), VQConfig(32, 2)), adapter_width=8), **LARGE_STEPS)),
        lambda: image_grid(ImageGridConfig(ResidualConfig(GroupedConfig((VQConfig(64, 2), FSQConfig((5, 3))))), **LARGE_STEPS)),
    ],
    "image-line": [
        lambda: image_line(ImageLineConfig(LineConfig(VQConfig(64, 4), (1, 2, 3)), **SMALL, **LINE)),
        lambda: image_line(ImageLineConfig(LineConfig(FSQConfig((8, 5, 5)), (2, 2)), **LARGE_STEPS, **LINE)),
    ],
    "audio-single": [
        lambda: audio(AudioSingle, AudioSingleConfig(SingleConfig(VQConfig(64, 8, cosine=True)), 16000, 40, 16, 16, 1, 1, heads=2)),
        lambda: audio(AudioSingle, AudioSingleConfig(SingleConfig(FSQConfig((8, 5, 5))), 24000, 30, 16, 16, 1, 1, 0, fineness=1)),
    ],
    "audio-residual": [
        lambda: audio(AudioResidual, AudioResidualConfig(ResidualConfig(VQConfig(64, 8, cosine=True), levels=3), **SOUND)),
        lambda: audio(AudioResidual, AudioResidualConfig(ResidualConfig(FSQConfig((8, 5, 5)), levels=2), 24000, **SOUND)),
    ],
    "mesh": [Mesh, lambda: Mesh(MeshConfig(7))],
}
SHIPPED = [info.name for info in zoo.known() if info.folder.is_relative_to(ZOO)]


def pictures() -> list[Image]:
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (17, 33), (48, 64), (48, 64), (5, 90), (31, 16)]
    eight = [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]
    return [*eight, Image(rng.integers(0, 65536, (20, 40, 3), np.uint16))]


def sounds() -> list[Audio]:
    rng = np.random.default_rng(0)
    sizes = [(1, 1, 16000), (1, 19, 16000), (2, 640, 24000), (2, 640, 24000), (1, 700, 44100), (3, 333, 8000)]
    return [Audio(rng.uniform(-0.5, 0.5, (channels, count)).astype(np.float32), rate) for channels, count, rate in sizes]


def shapes() -> list[Shape]:
    """Of any faces over a few vertices, all of them used."""
    rng = np.random.default_rng(0)
    sizes = [(3, 1), (9, 30), (40, 60), (40, 60)]
    all_used = [np.concatenate([np.arange(3 * -(-v // 3)) % v, rng.integers(0, v, 3 * f)]).reshape(-1, 3) for v, f in sizes]
    return [Shape(rng.normal(size=(v, 3)), faces) for (v, _), faces in zip(sizes, all_used, strict=True)]


def signals_for(kind: str) -> list[Any]:
    return sounds() if kind.startswith("audio") else shapes() if kind == "mesh" else pictures()


def test_every_registered_tokenizer_is_tried() -> None:
    assert set(INSTANCES) == set(TOKENIZERS)


@pytest.mark.parametrize(("kind", "number"), [(kind, i) for kind, makers in INSTANCES.items() for i in range(len(makers))])
def test_conforms(kind: str, number: int) -> None:
    tokenizer = INSTANCES[kind][number]()
    module, _, name = TOKENIZERS[kind].partition(":")
    assert type(tokenizer) is getattr(importlib.import_module(module), name)
    assert tokenizer.config.kind == kind
    check_tokenizer(tokenizer, signals_for(kind))


def test_shipped_models_conform() -> None:
    assert SHIPPED, "an installation brings models"
    for name in SHIPPED:
        tokenizer = zoo.load(name)
        check_tokenizer(tokenizer, signals_for(tokenizer.config.kind))
