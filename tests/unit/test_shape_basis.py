"""The tokenizer `shape-basis`, its basis and its prior, on a tiny model fitted here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.bitstream import parse
from smalti.codecs.coders.range_coder import finish
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.shape import ShapePrior, _Writer
from smalti.codecs.priors.shape_model import CONTEXTS, Walk, plan_of
from smalti.metrics.registry import resolve as metric
from smalti.recipes.shape_data import procedural
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Target, VariedTokenizer
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.shape.basis import FINENESSES, LARGEST, ShapeBasis, ShapeBasisConfig
from smalti.tokenizers.shape.field import grid_axis
from smalti.tokenizers.shape.linear import LinearBasis, class_of, cosines
from smalti.tokenizers.shape.pose import pose_from
from smalti.tokenizers.shape.primitives import Array, Primitives, distance, triangles
from smalti.tokenizers.shape.simplified import simplified
from smalti.tokenizers.signals import Image, Shape
from smalti.tokenizers.tokens import Layout, Tokens

pytest.importorskip("igl")
pytest.importorskip("manifold3d")
POSE = (("scale", 300), ("x", 5), ("y", 6), ("z", 7))


@pytest.fixture(scope="module")
def model(basis_model: Path) -> NeuralCodec:
    from smalti.recipes.models import codec

    return codec(str(basis_model))


@pytest.fixture(scope="module")
def tokenizer(model: NeuralCodec) -> ShapeBasis:
    assert isinstance(model.tokenizer, ShapeBasis)
    return model.tokenizer


def _any_tokens(layout: Layout, seed: int) -> Tokens:
    rng = np.random.default_rng(seed)
    return Tokens(layout, tuple(rng.integers(0, stage.vocab, stage.shape).astype(np.int32) for stage in layout.stages))


def test_it_is_varied(tokenizer: ShapeBasis) -> None:
    assert isinstance(tokenizer, VariedTokenizer)
    shape = procedural(3)
    ways = tokenizer.variants(shape)
    (tokens,) = tokenizer.encode([shape])
    assert any(tokens == way for way in ways)
    errors = tokenizer.distortions(shape, ways)
    held = len(tokens.arrays)
    finest = [e for e, way in zip(errors, ways, strict=True) if len(way.arrays) == held and way.arrays[0][0] % FINENESSES == FINENESSES - 1]
    assert tokenizer.distortions(shape, [tokens]) == [min(finest)]
    assert {way.layout.stages[-1].name for way in ways} == {"primitives", "scale3", "vertices"}


def test_simplified_meshes_are_a_way(model: NeuralCodec) -> None:
    shape = procedural(4)
    data = model.compress(shape, Target(bytes=900))
    info = parse(data).streams[0]
    assert [name for name, _ in info.signal[4:]] == ["vertices", "faces", "bits"]
    decoded = model.decompress(data)
    assert metric("f-score-2")(shape, decoded).value > 0.97
    faces = [len(found.faces) for found in simplified(shape, (20, 60, 200)) if found.faces is not None]
    assert len(faces) >= 3
    assert all(count <= 400 for count in faces)


def test_every_prefix_decodes_and_more_is_nearer(tokenizer: ShapeBasis) -> None:
    scores = []
    for seed in range(6):
        shape = procedural(100 + seed)
        (tokens,) = tokenizer.encode([shape])
        decoded = tokenizer.decode([tokens.prefix(cut) for cut in tokens.layout.cuts])
        scores.append([metric("f-score-2")(shape, d).value for d in decoded])
    means = np.mean(scores, 0)
    assert means[-1] > means[1]


def test_coarse_scales_leave_what_is_thin(tokenizer: ShapeBasis) -> None:
    """Coefficients that say that nothing is there take a block off, and a rod only from where scales can say a rod."""
    layout, side = tokenizer.layout(POSE), tokenizer.config.side
    nothing = cosines(np.full((side,) * 3, tokenizer.config.reach), tokenizer.basis.order)

    def left(primitive: list[int], scales: int) -> Array:
        primitives = Primitives(np.array([primitive]))
        known = cosines(distance(primitives, (grid_axis(side),) * 3, tokenizer.config.reach), tokenizer.basis.order)
        coefficients = tokenizer.basis.coefficients(nothing, known, class_of(1))
        tokens = tokenizer.tokens_of(layout, primitives, coefficients * 3, 0).prefix(2 + scales)
        (decoded,) = tokenizer.decode([tokens])
        assert isinstance(decoded, Shape)
        return (
            (pose_from(POSE).inwards(decoded.vertices).max(0) - pose_from(POSE).inwards(decoded.vertices).min(0))[0]
            if len(decoded.vertices)
            else 0
        )

    rod, block = [0, 26, 0, 96, 44, 52, 44, 52], [0, 26, 0, 96, 24, 72, 24, 72]
    assert left(rod, 1) > 1.9
    assert left(rod, 2) > 1.9
    assert left(rod, 3) < 1.9
    assert left(block, 1) < 1.9


def test_it_comes_back_in_its_own_place_and_units(tokenizer: ShapeBasis) -> None:
    vertices, faces = triangles(Primitives(np.array([[0, 26, 0, 96, 30, 66, 20, 76], [0, 0, 0, 20, 66, 96, 20, 30]])))
    for scale, shift in ((1e-3, 0.0), (250.0, 1000.0)):
        shape = Shape(vertices * scale + np.array([shift, -shift, 2 * shift]), faces)
        (tokens,) = tokenizer.encode([shape])
        alone = [way for way in tokenizer.variants(shape) if len(way.arrays) == 2]
        nearest = alone[int(np.argmin(tokenizer.distortions(shape, alone)))]
        decoded = tokenizer.decode([tokens, nearest])
        assert metric("f-score-2")(shape, decoded[1]).value > 0.95
        for found in decoded:
            assert isinstance(found, Shape)
            assert np.abs(found.vertices.min(0) - shape.vertices.min(0)).max() < 0.1 * scale
            assert np.abs(found.vertices.max(0) - shape.vertices.max(0)).max() < 0.1 * scale


def test_files_fit_and_are_read_back(model: NeuralCodec) -> None:
    shape = procedural(5)
    scores = []
    for size in (64, 128, 400):
        data = model.compress(shape, Target(bytes=size))
        assert len(data) <= size
        decoded = model.decompress(data)
        scores.append(metric("f-score-2")(shape, decoded).value)
    assert scores[0] < scores[-1]
    with pytest.raises(UsageError, match="smallest file"):
        model.compress(shape, Target(bytes=20))


def test_every_size_that_a_way_has_is_reached(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    """Ways have sizes and places of their own, whose bytes differ: none may be chosen that does not fit."""
    shape = procedural(4)
    sizes = {len(model.pack(way)) for way in tokenizer.variants(shape)[::5]}
    for size in sorted(sizes):
        for room in (size - 1, size):
            if room >= min(sizes):
                assert len(model.compress(shape, Target(bytes=room))) <= room


def test_streams_told_in_a_longer_way_are_refused(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    (tokens,) = tokenizer.encode([procedural(6)])
    prior = model.prior
    assert isinstance(prior, ShapePrior)
    writer = _Writer(prior.chances.tolist(), False)
    honest = writer.bit
    writer.bit = lambda context, value: honest(context, 1 if context == CONTEXTS - 1 and value == 0 else value)  # type: ignore[method-assign]
    walk = Walk(plan_of(tokens.layout, len(prior.families)), prior.levels.astype(np.int64), prior.families, prior.classes.tolist())
    for k, array in enumerate(tokens.arrays):
        walk.stage(k, array, writer)
    with pytest.raises(BitstreamError):
        prior.decode(finish(writer.state, writer.out), tokens.layout)


def test_files_without_a_limit_hold_the_nearest_way(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    shape = procedural(4)
    free, all_scales = model.decompress(model.compress(shape)), tokenizer.decode(tokenizer.encode([shape]))[0]
    assert metric("f-score-1")(shape, free).value > metric("f-score-1")(shape, all_scales).value
    assert parse(model.compress(shape, Target(stages=3))).stages() == 3
    with pytest.raises(UsageError, match="give bytes or stages"):
        model.compress(shape, Target(kbps=3))
    with pytest.raises(UsageError, match="give bytes or stages"):
        model.compress(shape, Target(bits_per_pixel=0.1))


def test_clouds_go_the_same_way(model: NeuralCodec) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (3000, 3))
    points[np.arange(3000), rng.integers(0, 3, 3000)] = rng.choice([-1.0, 1.0], 3000)
    decoded = model.decompress(model.compress(Shape(points), Target(bytes=100)))
    assert isinstance(decoded, Shape)
    assert decoded.faces is not None
    box = triangles(Primitives(np.array([[0, 26, 0, 96, 0, 96, 0, 96]])))
    assert metric("f-score-2")(Shape(*box), decoded).value > 0.9


def test_other_signals_and_sizes_are_refused(tokenizer: ShapeBasis) -> None:
    with pytest.raises(SignalError, match="takes shapes, found Image"):
        tokenizer.encode([Image(np.zeros((4, 4, 3), np.uint8))])
    with pytest.raises(UsageError, match="found 1 bits"):
        tokenizer.layout((*POSE, ("vertices", 1), ("faces", 1), ("bits", 1)))
    assert [stage.name for stage in tokenizer.layout((*POSE, ("vertices", 3), ("faces", 1), ("bits", 7))).stages] == ["faces", "vertices"]


def test_any_tokens_decode(tokenizer: ShapeBasis) -> None:
    layout = tokenizer.layout(POSE)
    for seed in range(3):
        for cut in layout.cuts:
            (decoded,) = tokenizer.decode([_any_tokens(layout, seed).prefix(cut)])
            assert np.isfinite(decoded.vertices).all()


def test_the_prior_codes_any_tokens(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    layout = tokenizer.layout(POSE)
    for seed in range(4):
        tokens = _any_tokens(layout, seed)
        data = model.prior.encode(tokens)
        assert model.prior.decode(data, layout) == tokens
        assert abs(sum(model.prior.price(tokens)) / 8 - len(data)) < 3
        for k in range(len(layout.stages)):
            with pytest.raises(BitstreamError):
                model.prior.decode(data + bytes(k + 1), layout)


def test_damage_is_refused_or_other_tokens(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    (tokens,) = tokenizer.encode([procedural(9)])
    data = model.prior.encode(tokens)
    flipped = [bytearray(data) for _ in range(0, 8 * len(data), 5)]
    for i, wrong in enumerate(flipped):
        wrong[5 * i // 8] ^= 1 << 5 * i % 8
    refused = 0
    for wrong in [*(data[:cut] for cut in range(len(data))), *map(bytes, flipped)]:
        try:
            assert model.prior.decode(bytes(wrong), tokens.layout) != tokens
        except BitstreamError:
            refused += 1
    assert refused > len(data)


def test_the_prior_pays(model: NeuralCodec, tokenizer: ShapeBasis) -> None:
    (tokens,) = tokenizer.encode([procedural(11)])
    assert sum(model.prior.price(tokens)) < 0.5 * tokens.uniform_bits


def test_priors_are_checked(model: NeuralCodec, tmp_path: Path) -> None:
    prior = model.prior
    assert isinstance(prior, ShapePrior)
    prior.save(tmp_path / "p.safetensors")
    assert ShapePrior.load(tmp_path / "p.safetensors").id == prior.id
    with pytest.raises(ModelError, match="chances"):
        ShapePrior(prior.levels, prior.families, prior.classes, np.ones(CONTEXTS - 1, np.uint16))
    with pytest.raises(ModelError, match="no chance of 0"):
        ShapePrior(prior.levels, prior.families, prior.classes, np.zeros(CONTEXTS, np.uint16))
    stages = model.tokenizer.layout(POSE).stages
    with pytest.raises(ModelError, match="shape-basis"):
        prior.price(_any_tokens(Layout(stages[1:], (len(stages) - 1,)), 0))


def test_models_are_stored_and_checked(tokenizer: ShapeBasis, tmp_path: Path) -> None:
    zoo.save(tokenizer, tmp_path / "m")
    again = zoo.load(str(tmp_path / "m"))
    assert again.layout(POSE) == tokenizer.layout(POSE)
    shape = procedural(2)
    assert again.encode([shape])[0] == tokenizer.encode([shape])[0]
    tensors = tokenizer.tensors()
    for name, wrong in {
        "orders": tensors["orders"][:, :2],
        "rows0": tensors["rows0"][:, 1:],
        "scales": tensors["scales"].astype(np.int32),
        "families": tensors["families"] + 4,
    }.items():
        with pytest.raises(ModelError, match=name if name != "families" else "rows0|families"):
            LinearBasis.from_tensors(tensors | {name: wrong}, "m")
    with pytest.raises(ModelError, match="unknown tensor other"):
        LinearBasis.from_tensors(tensors | {"other": wrong}, "m")
    for wrong_config in ({"reach": 0.0}, {"counts": (99,)}, {"components": (5, 4)}, {"side": 4}):
        with pytest.raises(UsageError):
            ShapeBasisConfig(**wrong_config)  # type: ignore[arg-type]


def test_the_basis_draws_what_it_took_apart(tokenizer: ShapeBasis) -> None:
    """Cosines and components are orthonormal enough: what is drawn has the coefficients that it was drawn from."""
    from smalti.tokenizers.shape.field import grid_axis

    basis, rng = tokenizer.basis, np.random.default_rng(0)
    coefficients = rng.normal(size=basis.count)
    nothing = np.zeros((basis.order,) * 3)
    axis = grid_axis(40)
    drawn = basis.field(coefficients, nothing, 0, (axis, axis, axis))
    again = basis.coefficients(cosines(drawn, basis.order), nothing, 0)
    assert np.abs(again - coefficients).max() < 0.1


def test_symmetric_shapes_leave_families_at_zero(tokenizer: ShapeBasis) -> None:
    vertices, faces = triangles(Primitives(np.array([[4, 26, 0, 96, 10, 86, 20, 76]])))
    (tokens,) = tokenizer.encode([Shape(vertices, faces)])
    for array in tokens.arrays[2:]:
        odd = tokenizer.basis.families[: len(array)] != 0
        assert (array[odd] == LARGEST).all()
    assert int(tokens.arrays[0][0]) % FINENESSES == FINENESSES - 1
