"""The tokenizer `shape-vat` and how it learns, on a network overfitted here to a ball and a box."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.metrics.registry import resolve as metric
from smalti.recipes import train_vat, vat_data
from smalti.recipes.shape_data import Source
from smalti.recipes.train_vat import VatTraining, batch_of, config_of, distance_loss, learn, overlaps
from smalti.recipes.vat_data import example_of
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import FSQConfig
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.quantizers import MultiScaleConfig
from smalti.tokenizers.shape.field import REACH, WALL
from smalti.tokenizers.shape.places import places_of
from smalti.tokenizers.shape.pose import pose_of
from smalti.tokenizers.shape.primitives import Primitives, triangles
from smalti.tokenizers.shape.vat import ShapeVat
from smalti.tokenizers.shape.vat_network import ShapeVatConfig, ShapeVatNet, along_curve, divergence
from smalti.tokenizers.signals import Image, Shape
from smalti.tokenizers.tokens import Tokens

pytest.importorskip("igl")
Array = np.ndarray
POSE = (("scale", 300), ("x", 5), ("y", 6), ("z", 7))
SCALES = MultiScaleConfig(FSQConfig((5, 5, 5, 5)), counts=((1,), (2,), (4,)), axes=1, up="linear", phis=1, dropout=0.2)
TINY = ShapeVatConfig(SCALES, 64, 4, 0.25, 32, 2, 1, 1, 4, (32, 16), 32, 2, 64)
TRAINING = VatTraining(TINY, steps=120, batch=4, queries=512, learning_rate=5e-3, warmup_steps=10, mirrored=False, log_every=1)


def primitive(*numbers: int) -> Shape:
    return Shape(*triangles(Primitives(np.array([numbers]))))


BALL, BOX = primitive(4, 26, 0, 96, 0, 96, 0, 96), primitive(0, 26, 0, 96, 24, 72, 18, 78)


@pytest.fixture(scope="module")
def trained() -> tuple[ShapeVatNet, list[dict[str, Any]]]:
    torch.manual_seed(0)
    net, rows = ShapeVatNet(TINY), []  # type: ignore[var-annotated]
    learn(net, [example_of("ball", BALL), example_of("box", BOX)], TRAINING, rows.append)
    return net, rows


@pytest.fixture(scope="module")
def tokenizer(trained: tuple[ShapeVatNet, list[dict[str, Any]]]) -> ShapeVat:
    return ShapeVat(trained[0])


def untrained(config: ShapeVatConfig = TINY) -> ShapeVatNet:
    torch.manual_seed(1)
    return ShapeVatNet(config).eval()


def some_surfaces(count: int = 3) -> torch.Tensor:
    return torch.rand(count, TINY.points, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_it_learns_two_shapes(trained: tuple[ShapeVatNet, list[dict[str, Any]]], tokenizer: ShapeVat) -> None:
    net, rows = trained
    losses = [row["distance"] for row in rows]
    assert np.mean(losses[-10:]) < 0.35 * np.mean(losses[:10])
    assert min(overlaps(net, [example_of("ball", BALL), example_of("box", BOX)])) > 0.6
    decoded = tokenizer.decode(tokenizer.encode([BALL, BOX]))
    for shape, found in zip((BALL, BOX), decoded, strict=True):
        assert metric("f-score-2")(shape, found).value > 0.55


def test_prefixes_decode_and_come_back_in_place(tokenizer: ShapeVat) -> None:
    moved = Shape(BALL.vertices * 250 + [1000, -2000, 30], BALL.faces)
    (tokens,) = tokenizer.encode([moved])
    assert [stage.shape for stage in tokens.layout.stages] == [(1,), (2,), (4,)]
    decoded = tokenizer.decode([tokens.prefix(cut) for cut in tokens.layout.cuts])
    for found in decoded:
        assert isinstance(found, Shape)
        assert np.abs(pose_of(moved).inwards(found.vertices)).max() < 1 + 2 * WALL
    assert np.abs(decoded[-1].vertices.min(0) - moved.vertices.min(0)).max() < 0.1 * 500
    assert np.abs(decoded[-1].vertices.max(0) - moved.vertices.max(0)).max() < 0.1 * 500
    faces = decoded[-1].vertices[decoded[-1].faces]
    assert np.einsum("ij,ij->i", faces[:, 0], np.cross(faces[:, 1], faces[:, 2])).sum() > 0, "outsides outwards"


def test_tokens_do_not_depend_on_place_unit_or_batch(tokenizer: ShapeVat) -> None:
    scaled = Shape(BOX.vertices * 4 + [8, 0, -16], BOX.faces)
    first, again, _ = tokenizer.encode([BOX, scaled, BALL])
    assert all(np.array_equal(a, b) for a, b in zip(first.arrays, again.arrays, strict=True))
    assert tokenizer.encode([scaled])[0] == again


def test_models_are_stored(tokenizer: ShapeVat, tmp_path: Path) -> None:
    info = zoo.save(tokenizer, tmp_path / "m", half=False)
    again = zoo.load(str(tmp_path / "m"))
    assert isinstance(again, ShapeVat)
    assert again.fingerprint == zoo.fingerprint_of(info) == tokenizer.fingerprint
    (tokens,) = tokenizer.encode([BOX])
    assert again.encode([BOX]) == [tokens]
    found, expected = again.decode([tokens])[0], tokenizer.decode([tokens])[0]
    assert np.array_equal(found.vertices, expected.vertices)
    with pytest.raises(ModelError, match="unknown to this config"):
        ShapeVat.from_tensors(replace(TINY, in_context=False), tokenizer.tensors(), "", "m")


def test_any_tokens_decode_and_wrong_ones_are_refused(tokenizer: ShapeVat) -> None:
    layout, rng = tokenizer.layout(POSE), np.random.default_rng(0)
    tokens = Tokens(layout, tuple(rng.integers(0, stage.vocab, stage.shape).astype(np.int32) for stage in layout.stages))
    assert np.isfinite(tokenizer.decode([tokens])[0].vertices).all()
    with pytest.raises(SignalError, match="takes shapes, found Image"):
        tokenizer.encode([Image(np.zeros((4, 4, 3), np.uint8))])
    with pytest.raises(UsageError, match="keeps no triangles"):
        tokenizer.layout((*POSE, ("faces", 1)))


def test_latents_are_kept_and_points_are_a_set() -> None:
    """In context, the order of points does not matter and points are not kept; the curve of the other way makes an order of its own."""
    surfaces = some_surfaces()
    shuffled = surfaces[:, torch.randperm(TINY.points, generator=torch.Generator().manual_seed(2))]
    for config in (TINY, replace(TINY, in_context=False)):
        net = untrained(config)
        mean, deviation = net.encode(surfaces)
        assert mean.shape == (3, 4, 4)
        assert deviation is not None
        assert torch.allclose(net.encode(shuffled)[0], mean, atol=1e-5)
    assert "latents" in dict(untrained().named_parameters())
    assert "latents" not in dict(untrained(replace(TINY, in_context=False)).named_parameters())


def test_only_gaussian_latents_are_drawn() -> None:
    surfaces, places = some_surfaces(8), torch.zeros(8, 5, 3)
    for gaussian in (True, False):
        net = untrained(replace(TINY, gaussian=gaussian, quantizer=replace(SCALES, dropout=0.0)))
        assert ("kl" in net(surfaces, places)[1].losses) == gaussian
        assert net.code.out_features == SCALES.codebook.dim * (1 + gaussian)  # type: ignore[union-attr]
        assert torch.equal(net(surfaces, places)[0], net(surfaces, places)[0]), "nothing is drawn in evaluation"
        with torch.no_grad():
            net.code.bias[4:] = 2.0  # deviations of e^2, where there are any
            net.train()
            seen = [net(surfaces, places)[1].indices[-1] for _ in range(2)]
        net.load_state_dict(untrained(net.config).state_dict())
        assert torch.equal(*seen) != gaussian


def test_scale_dropout_is_the_quantizers() -> None:
    surfaces, places = some_surfaces(16), torch.zeros(16, 5, 3)
    for dropout in (0.0, 1.0):
        net = untrained(replace(TINY, gaussian=False, quantizer=replace(SCALES, dropout=dropout)))
        net.centring.train()
        net.quantizer.train()
        with torch.no_grad():
            net.code.weight *= 20  # so that all scales have something to say
            quantized = net(surfaces, places)[1]
            net.eval()
            whole = net.quantizer.dequantize(quantized.indices)
        same = (quantized.z_q - whole).abs().flatten(1).amax(1) < 1e-5
        assert bool(same.all()) == (dropout == 0)


def test_divergence_is_that_of_normal_distributions() -> None:
    mean, log_deviation = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.2, -0.7]])
    own = torch.distributions.Normal(mean, log_deviation.exp())
    expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).mean()
    assert torch.allclose(divergence(mean, log_deviation), expected)


def test_the_curve_keeps_neighbours_together() -> None:
    surfaces = some_surfaces(1)
    ordered = along_curve(surfaces)
    steps = [(s[0, 1:, :3] - s[0, :-1, :3]).norm(dim=1).mean() for s in (ordered, surfaces)]
    assert steps[0] < 0.6 * steps[1]
    assert torch.equal(ordered.sort(1).values, surfaces.sort(1).values)


def test_places_lie_on_the_surface_evenly() -> None:
    found = places_of(BOX, pose_of(BOX), 4000)
    assert found.dtype == np.float32
    assert found.shape == (4000, 6)
    half = np.abs(pose_of(BOX).inwards(BOX.vertices)).max(0)
    assert np.allclose(np.abs(found[:, :3] / half).max(1), 1, atol=1e-5)
    across = np.abs(found[:, 3:]).argmax(1)
    assert (np.take_along_axis(found[:, :3] * found[:, 3:], across[:, None], 1) > 0).all(), "normals outwards"
    shares = np.bincount(across) / 4000
    areas = half.prod() / half
    assert np.allclose(shares, areas / areas.sum(), atol=0.01)
    cloud = places_of(Shape(BOX.vertices), pose_of(BOX), 20)
    assert not cloud[:, 3:].any()
    assert np.array_equal(places_of(BOX, pose_of(BOX), 4000), found)


def test_beyond_the_reach_only_too_near_counts() -> None:
    found, values = torch.tensor([0.9, 0.1, -0.9, 0.05]), torch.tensor([0.5, 0.5, -0.25, 0.1])
    assert distance_loss(found, values, 0.25).item() == pytest.approx((0 + 0.6 + 0 + 0.2) / 4)


def test_examples_have_the_distances_of_their_places() -> None:
    radius, example = 128 / pose_of(BALL).half, example_of("ball", BALL)
    exact = np.linalg.norm(example.places, axis=2) - radius
    assert np.abs(example.values - exact.clip(-0.25, 0.25)).max() < 0.03  # a ball of 24 sides
    assert np.abs(example.places).max() <= REACH
    assert (np.abs(example.values[1]) < 0.1).mean() > 0.8
    cloud = example_of("cloud", Shape(BALL.vertices))
    assert cloud.places.shape == example.places.shape


def test_runs_resume_where_they_were(tmp_path: Path) -> None:
    data = [example_of("ball", BALL), example_of("box", BOX)]
    short = replace(TRAINING, steps=6, checkpoint_every=3)
    whole: list[dict[str, Any]] = []
    learn(_seeded(), data, short, whole.append)
    parts: list[dict[str, Any]] = []
    path = tmp_path / "c.safetensors"
    with pytest.raises(KeyboardInterrupt):
        learn(_seeded(), data, short, _stopping(parts, 4), path)
    learn(_seeded(), data, short, parts.append, path)
    found = {row["step"]: row["distance"] for row in parts}
    assert len(found) == 6
    assert all(found[row["step"]] == pytest.approx(row["distance"], abs=1e-6) for row in whole)


def _seeded() -> ShapeVatNet:
    torch.manual_seed(0)
    return ShapeVatNet(TINY)


def _stopping(rows: list[dict[str, Any]], at: int) -> Any:
    def log(row: dict[str, Any]) -> None:
        if row["step"] > at:
            raise KeyboardInterrupt
        rows.append(row)

    return log


def test_mirrored_batches_are_mirrored_shapes() -> None:
    batch = batch_of([example_of("ball", BALL)], replace(TRAINING, mirrored=True, batch=16), 0)
    radius = 128 / pose_of(BALL).half
    assert np.abs(batch.values.numpy() - (batch.places.norm(dim=2) - radius).clamp(-0.25, 0.25).numpy()).max() < 0.03
    outwards = (batch.surfaces[..., :3] * batch.surfaces[..., 3:]).sum(-1)
    assert (outwards > 0).all()


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("manifold3d")
    keys = ["held=1", "batch=2", "queries=64", "log_every=1", "net.points=32", "net.channels=8", "net.heads=2", "net.resolution=8"]
    keys += ["net.plane_side=2", "net.plane_widths=[8]", "net.encoder_blocks=1", "net.decoder_blocks=1", "shapes=3"]
    call = ["procedural:4", "-o", str(tmp_path / "m"), "--processes", "1", *keys]
    assert train_vat.main([*call, "steps=2"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["shapes"] == 2
    assert len(scores["iou"]) == 6
    assert isinstance(zoo.load(str(tmp_path / "m")), ShapeVat)
    assert train_vat.main([*call, "steps=3"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "m.work" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert train_vat.main([*call, "steps=3", "batch=1"]) == 2
    assert "a run of other settings" in capsys.readouterr().err
    assert train_vat.main([*call, "stepz=3"]) == 2
    assert "did you mean 'steps'" in capsys.readouterr().err
    assert vat_data.kept(vat_data.Work(Source("procedural:4"), "procedural-00000", tmp_path / "m.work" / "samples"))[0] == ""


def test_sizes_and_ablations_are_configs() -> None:
    large = config_of(["size=gpu", "batch=4", "net.gaussian=false"])
    assert large.batch == 4
    assert large.net.latents == 256
    assert sum(n for (n,) in large.net.quantizer.counts) == 680
    assert not large.net.gaussian
    assert not config_of(["net.in_context=false"]).net.in_context
    assert config_of(["net.quantizer.dropout=0"]).net.quantizer.dropout == 0
    with pytest.raises(UsageError, match="size is small or gpu"):
        config_of(["size=huge"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 3},
        {"channels": 9},
        {"reach": 0.0},
        {"resolution": 4},
        {"bands": 0},
        {"plane_widths": ()},
        {"quantizer": replace(SCALES, counts=(), fractions=(1.0,))},
    ],
)
def test_wrong_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(TINY, **wrong)
