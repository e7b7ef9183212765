"""Every registered tokenizer, and every model that is shipped, runs the conformance list: a new kind needs instances here."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.media import modality_of_kind
from smalti.testing import check_tokenizer
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.jpeg_bytes import JpegBytes, JpegBytesConfig
from smalti.tokenizers.image.line import ImageLine
from smalti.tokenizers.image.line_network import ImageLineConfig
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import FactorizedConfig, GroupedConfig, LineConfig, MultiScaleConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.shape.vat import ShapeVat
from smalti.tokenizers.shape.vat_network import ShapeVatConfig, ShapeVatNet
from smalti.tokenizers.signals import Audio, Image, Shape, Video
from smalti.tokenizers.video.causal import VideoCausal
from smalti.tokenizers.video.motion import MotionConfig
from smalti.tokenizers.video.network import VideoCausalConfig
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


def shape_vat(config: ShapeVatConfig) -> ShapeVat:
    """Overfitted to the very shapes that it is tried with: what comes out should be as large as what went in."""
    from smalti.recipes.train_vat import VatTraining, learn
    from smalti.recipes.vat_data import example_of

    torch.manual_seed(0)
    net = ShapeVatNet(config)
    data = [example_of(str(i), shape) for i, shape in enumerate(signals_of("shape-vat"))]
    training = VatTraining(config, steps=250, batch=4, queries=512, learning_rate=5e-3, warmup_steps=10, mirrored=False)
    learn(net, data, training, lambda row: None)
    return ShapeVat(net)


def video(config: VideoCausalConfig) -> VideoCausal:
    """The same for films."""
    torch.manual_seed(0)
    tokenizer = VideoCausal.from_config(config)
    tokenizer.net.train()
    for _ in range(10):
        tokenizer.net(torch.rand(2, 3, 1, 64, 64) * 2 - 1)
    tokenizer.net.eval()
    return tokenizer


def peer(family: str) -> Any:
    """A public network of that family, tiny and untrained."""
    from smalti.recipes import tiny_peers

    for package in tiny_peers.PACKAGES[family]:
        pytest.importorskip(package)
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_peers.save(family, Path(folder))
        return zoo.load(source)


SOUND = {"strides": (4, 5), "widths": (8, 16), "encoder_blocks": 1, "decoder_blocks": 1}
PITCH = PitchConfig(100.0, 1000.0, 31, (0.0005, 0.001), width=8, layers=1)
SMALL = {"widths": (8, 8, 8), "encoder_depths": (1, 0, 1), "decoder_depths": (1, 1, 1), "head_width": 8}
LINE = {"region": 32, "latent_dim": 4, "channels": 16, "heads": 2, "encoder_blocks": 1, "decoder_blocks": 1}
VAT = {"points": 64, "bands": 4, "channels": 32, "heads": 2, "encoder_blocks": 1, "decoder_blocks": 1, "plane_side": 4, "field_width": 32}
SCALES = {"counts": ((1,), (2,), (4,)), "axes": 1, "up": "linear", "phis": 1}
LARGE_STEPS = {"widths": (8, 8), "encoder_depths": (1, 1), "decoder_depths": (1, 1), "head_width": 8}


INSTANCES: dict[str, list[Callable[[], Any]]] = {
    "shape-basis": [],  # the shipped one is tried below; a tiny one draws sheets and clouds as nothing
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
    "audio-peer": [
        lambda: peer("encodec"),
        lambda: peer("dac"),
        lambda: peer("mimi"),
        lambda: peer("xcodec"),
        lambda: peer("snac"),
        lambda: peer("wavtokenizer"),
    ],
    "image-peer": [
        lambda: peer("janus"),
        lambda: peer("emu3"),
        lambda: peer("llamagen"),
        lambda: peer("taming"),
        lambda: peer("ibq"),
        lambda: peer("open-magvit2"),
    ],
    "image-peer-line": [lambda: peer("titok"), lambda: peer("one-d-piece")],
    "audio-residual": [
        lambda: audio(AudioResidual, AudioResidualConfig(ResidualConfig(VQConfig(64, 8, cosine=True), levels=3), **SOUND)),
        lambda: audio(AudioResidual, AudioResidualConfig(ResidualConfig(FSQConfig((8, 5, 5)), levels=2), 24000, **SOUND)),
        lambda: audio(AudioResidual, AudioResidualConfig(ResidualConfig(VQConfig(64, 8), levels=2), 16000, pitch=PITCH, **SOUND)),
    ],
    "jpeg-bytes": [JpegBytes, lambda: JpegBytes(JpegBytesConfig(90, 0))],
    "mesh": [Mesh, lambda: Mesh(MeshConfig(7))],
    "shape-vat": [
        lambda: shape_vat(
            ShapeVatConfig(MultiScaleConfig(FSQConfig((5, 5, 5, 5)), dropout=0.2, **SCALES), plane_widths=(32, 16), resolution=32, **VAT)
        ),
        lambda: shape_vat(
            ShapeVatConfig(
                MultiScaleConfig(FSQConfig((5, 5, 5, 5)), dropout=0.2, **SCALES),
                plane_widths=(32, 16),
                resolution=32,
                in_context=False,
                gaussian=False,
                **VAT,
            )
        ),
    ],
    "video-causal": [
        lambda: video(VideoCausalConfig(ResidualConfig(VQConfig(64, 4), levels=3), MotionConfig((0, 3, -3)), temporal_blocks=1, **SMALL)),
        lambda: video(
            VideoCausalConfig(ResidualConfig(FSQConfig((8, 5, 5)), levels=2), MotionConfig((0,)), group=3, temporal_blocks=1, **LARGE_STEPS)
        ),
    ],
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


def shapes(clouds: bool = True) -> list[Shape]:
    """Meshes that are closed, open, flat and far away, none with an axis like another; and points."""
    rng = np.random.default_rng(0)
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64) * [4, 2, 1]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))], np.int64)
    two = Shape(np.concatenate([box, box[:, [2, 0, 1]] + [5, 0, 0]]), np.concatenate([faces, faces + 8]))
    meshes = [Shape(box, faces), Shape(box * 1e-3 + [7, -3, 2], faces[2:]), two, Shape(box, faces[:2])]
    return [*meshes, *([Shape(rng.normal(size=(500, 3)) * [2, 2.5, 3])] if clouds else [])]


def films() -> list[Video]:
    rng = np.random.default_rng(0)
    sizes = [(1, 1, 1), (2, 17, 33), (5, 32, 48), (5, 32, 48), (7, 9, 20)]
    return [Video([rng.integers(0, 256, (*size[1:], 3), np.uint8) for _ in range(size[0])], Fraction(30000, 1001)) for size in sizes]


def signals_of(kind: str) -> Sequence[Any]:
    """What a kind of tokenizer takes."""
    if kind == "shape-vat":  # sheets and loose points are more than a network learns in seconds: these points lie on a surface
        points = np.random.default_rng(0).normal(size=(12000, 3))
        return [*shapes(clouds=False)[:3], Shape(points / np.linalg.norm(points, axis=1, keepdims=True) * [2, 2.5, 3])]
    if kind.startswith("video"):
        return films()
    if modality_of_kind(kind) == "shape":
        return shapes(clouds=kind != "mesh")
    return sounds() if modality_of_kind(kind) == "audio" else pictures()


def test_every_registered_tokenizer_is_tried() -> None:
    assert set(INSTANCES) == set(TOKENIZERS)


@pytest.mark.parametrize(("kind", "number"), [(kind, i) for kind, makers in INSTANCES.items() for i in range(len(makers))])
def test_conforms(kind: str, number: int) -> None:
    tokenizer = INSTANCES[kind][number]()
    module, _, name = TOKENIZERS[kind].partition(":")
    assert type(tokenizer) is getattr(importlib.import_module(module), name)
    assert tokenizer.config.kind == kind
    check_tokenizer(tokenizer, signals_of(kind))


def test_shipped_models_conform() -> None:
    assert SHIPPED, "an installation brings models"
    for name in SHIPPED:
        tokenizer = zoo.load(name)
        check_tokenizer(tokenizer, signals_of(tokenizer.config.kind))
