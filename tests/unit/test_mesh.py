"""The tokenizer of triangle meshes: what comes back, in which order it is told, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.bitstream import parse, write
from smalti.codecs.neural import NeuralCodec, info_of
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.recipes.meshes import triangles
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import StoredTokenizer, VariedTokenizer
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.shape import mesh_grid, mesh_walk
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.shape.pose import pose_from
from smalti.tokenizers.signals import Audio, Shape
from smalti.tokenizers.tokens import Tokens


def grid(rows: int, columns: int) -> Shape:
    """An open sheet with waves."""
    y, x = np.mgrid[0 : rows + 1, 0 : columns + 1].reshape(2, -1)
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    right, below, across = corner + 1, corner + columns + 1, corner + columns + 2
    faces = np.concatenate([np.stack([corner, right, across], 1), np.stack([corner, across, below], 1)])
    return Shape(np.stack([x, y, np.sin(x / 2) + np.cos(y / 3)], 1).astype(np.float64), faces)


def box(size: tuple[float, float, float] = (1, 2, 3), at: tuple[float, float, float] = (0, 0, 0)) -> Shape:
    """Twelve faces, closed."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * np.array(size) + at
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Shape(corners.astype(np.float64), np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]))


def joined(*shapes: Shape) -> Shape:
    """Several in one."""
    first = np.cumsum([0, *(len(s.vertices) for s in shapes)])
    faces = [s.faces + n for s, n in zip(shapes, first, strict=False) if s.faces is not None]
    return Shape(np.concatenate([s.vertices for s in shapes]), np.concatenate(faces))


def soup(seed: int, vertices: int, faces: int) -> Shape:
    """Any faces at all over few places: repeated ones, some without area, edges of many faces, vertices in one place."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (vertices, 3)).astype(np.float64)
    points[0], points[-1] = 0, 4
    return Shape(points, rng.integers(0, vertices, (faces, 3)))


def odd() -> dict[str, Shape]:
    fan = np.array([[0, 1, k] for k in range(2, 9)])  # an edge of seven faces
    points = np.random.default_rng(3).normal(size=(9, 3))
    sheet, cube = grid(4, 6), box()
    assert sheet.faces is not None
    assert cube.faces is not None
    flipped = sheet.faces.copy()
    flipped[::3] = flipped[::3, ::-1]
    return {
        "single": Shape(np.eye(3) * 5 - 2, np.array([[2, 0, 1]])),
        "closed": cube,
        "open": sheet,
        "flipped": Shape(sheet.vertices, flipped),
        "inside out": Shape(cube.vertices, cube.faces[:, ::-1].copy()),
        "non-manifold edge": Shape(points, fan),
        "both sides": Shape(points, np.concatenate([fan, fan[:, ::-1]])),
        "given twice": Shape(cube.vertices, np.concatenate([cube.faces, cube.faces, cube.faces[:5]])),
        "touching at a vertex": joined(box(), box(at=(1, 2, 3))),
        "copies": joined(*(box(at=(4 * x, 5 * y, 0)) for x in range(4) for y in range(3))),
        "soup": soup(0, 40, 120),
        "unused vertices": Shape(np.concatenate([cube.vertices, [[9.0, 9, 9]]]), cube.faces),
        "without area": Shape(cube.vertices, np.concatenate([cube.faces, [[0, 0, 1], [2, 2, 2]]])),
        "far away": Shape(cube.vertices * 1e-3 + 500, cube.faces),
        "tiny": Shape(cube.vertices * 1e-30, cube.faces),
    }


def same(tokens: Tokens, shape: Shape) -> None:
    """What tokens decode to has the very faces of the shape, over the grid's coordinates."""
    (back,) = Mesh().decode([tokens])
    bits = tokens.layout.size["bits"]
    pose = pose_from(tokens.layout.signal)
    assert isinstance(back, Shape)
    assert back.faces is not None
    assert shape.faces is not None
    cells = [mesh_grid.quantized(pose, s.vertices, bits) for s in (shape, back)]
    assert np.array_equal(triangles(cells[0], shape.faces), triangles(cells[1], back.faces))
    assert len(back.vertices) == len(np.unique(shape.faces))
    used = np.unique(shape.faces)
    step = 2 * (pose.half + 0.5) * pose.unit / (1 << bits)
    low, high = shape.vertices[used].min(0), shape.vertices[used].max(0)
    assert np.abs(back.vertices.min(0) - low).max() <= 0.501 * step
    assert np.abs(back.vertices.max(0) - high).max() <= 0.501 * step


@pytest.mark.parametrize("bits", [7, 10])
@pytest.mark.parametrize("name", odd())
def test_all_faces_come_back_with_their_orientation(name: str, bits: int) -> None:
    shape = odd()[name]
    tokenizer = Mesh(MeshConfig(bits))
    (tokens,) = tokenizer.encode([shape])
    same(tokens, shape)
    prior = MeshPrior()
    data = prior.encode(tokens)
    assert data[:1] != b"\xff", "a walk codes it"
    assert prior.decode(data, tokens.layout) == tokens


@pytest.mark.parametrize("name", sorted(set(odd()) - {"soup"}))  # vertices of one place have no order of their own
def test_what_was_decoded_has_the_same_tokens(name: str) -> None:
    tokenizer = Mesh(MeshConfig(8))
    tokens = tokenizer.encode([odd()[name]])
    (back,) = tokenizer.decode(tokens)
    assert tokenizer.encode([back]) == tokens


def test_numbering_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    shape = joined(grid(5, 7), box(at=(20, 0, 0)), box(at=(30, 1, 0)))
    assert shape.faces is not None
    order = rng.permutation(len(shape.vertices))
    place = np.argsort(order)
    turned = np.stack([np.roll(face, k) for face, k in zip(shape.faces, rng.integers(0, 3, len(shape.faces)), strict=True)])
    other = Shape(shape.vertices[order], place[turned][rng.permutation(len(turned))])
    assert Mesh().encode([shape]) == Mesh().encode([other])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 60))
def test_soup_comes_back(seed: int, vertices: int, faces: int) -> None:
    shape = soup(seed, vertices, faces)
    assert shape.faces is not None
    shape.faces[0] = [0, vertices - 1, 0]  # two places at least
    (tokens,) = Mesh(MeshConfig(7)).encode([shape])
    same(tokens, shape)
    prior = MeshPrior()
    assert prior.decode(prior.encode(tokens), tokens.layout) == tokens


def test_the_plain_walk_equals_the_compiled_one() -> None:
    shape = joined(grid(3, 3), soup(1, 9, 30))
    assert shape.faces is not None
    faces = mesh_walk.least_first(shape.vertices.astype(np.int64), shape.faces)
    edges = mesh_walk._half_edges(len(shape.vertices), faces)
    assert np.array_equal(mesh_walk._walk(faces, *edges), mesh_walk._kernel()(faces, *edges))


def test_shapes_on_the_grid_are_kept_exactly() -> None:
    shape = grid(6, 6)
    (first,) = Mesh(MeshConfig(9)).decode(Mesh(MeshConfig(9)).encode([shape]))
    (again,) = Mesh(MeshConfig(9)).decode(Mesh(MeshConfig(9)).encode([first]))
    assert isinstance(first, Shape)
    assert isinstance(again, Shape)
    assert np.array_equal(first.vertices, again.vertices)


def test_fewer_bits_are_further_away_and_shorter() -> None:
    tokenizer, prior, shape = Mesh(), MeshPrior(), grid(9, 9)
    assert isinstance(tokenizer, VariedTokenizer)
    assert isinstance(tokenizer, StoredTokenizer)
    ways = tokenizer.variants(shape)
    assert [way.layout.size["bits"] for way in ways] == [10, 9, 8, 7]
    assert ways[0] == tokenizer.encode([shape])[0]
    assert tokenizer.distortions(shape, ways) == sorted(tokenizer.distortions(shape, ways))
    sizes = [len(prior.encode(way)) for way in ways]
    assert sizes == sorted(sizes, reverse=True)


def test_a_sequence_of_faces_there_and_back() -> None:
    tokenizer, shape = Mesh(MeshConfig(8)), joined(grid(4, 4), box(at=(9, 9, 9)))
    (tokens,) = tokenizer.encode([shape])
    rows = tokenizer.sequence(tokens)
    assert rows.shape == (tokens.layout.size["faces"], 9)
    assert rows.dtype == np.int32
    as_numbers = [tuple(row) for row in rows]
    assert as_numbers == sorted(as_numbers)
    assert all(tuple(row[:3]) <= min(tuple(row[3:6]), tuple(row[6:])) for row in rows)
    assert tokenizer.from_sequence(rows[::-1], tokens.layout.signal) == tokens
    for wrong in (rows[:, :8], rows[:0], rows.astype(float), rows - 1, rows + 256):
        with pytest.raises(UsageError):
            tokenizer.from_sequence(wrong, tokens.layout.signal)


def test_refusals() -> None:
    cube = box()
    for wrong, what in (
        (Shape(cube.vertices), "without faces"),
        (Shape(cube.vertices, np.zeros((0, 3), np.int64)), "without faces"),
        (Shape(np.full((3, 3), 2.0), np.array([[0, 1, 2]])), "no extent"),
        (Shape(cube.vertices * np.nan, cube.faces), "not finite"),
        (Audio(np.zeros((1, 9), np.float32), 8000), "found Audio"),
    ):
        with pytest.raises(SignalError, match=what):
            Mesh().encode([wrong])
    with pytest.raises(SignalError, match="up to 11 faces, found 12"):
        Mesh(MeshConfig(faces=11)).encode([cube])
    (tokens,) = Mesh().encode([cube])
    size = dict(tokens.layout.signal)
    for change in ({"bits": 6}, {"bits": 11}, {"faces": 0}, {"faces": 1 << 23}, {"vertices": 37}, {"vertices": 0}, {"scale": 1 << 30}):
        with pytest.raises(UsageError):
            Mesh().layout(tuple((size | change).items()))
    with pytest.raises(UsageError):
        Mesh().layout(tokens.layout.signal[:4])
    for wrong_config in ({"bits": 6}, {"bits": 11}, {"faces": 0}, {"faces": (1 << 22) + 1}):
        with pytest.raises(UsageError):
            MeshConfig(**wrong_config)


def test_lies_in_a_folder(tmp_path: Path) -> None:
    some = [box(), grid(3, 4), soup(2, 20, 30)]
    tokenizer = Mesh(MeshConfig(9))
    prior = MeshPrior.prime(tokenizer.encode(some))
    zoo.save(tokenizer, tmp_path / "m", prior)
    loaded = zoo.load(str(tmp_path / "m"))
    assert loaded.config == tokenizer.config
    assert loaded.fingerprint != tokenizer.fingerprint, "the prior is part of a model"
    assert loaded.encode(some) == tokenizer.encode(some)
    with pytest.raises(ModelError, match="no tensors"):
        Mesh.from_tensors(MeshConfig(), {"a": np.zeros(3)}, "", "mesh")


def test_files_solo_and_chunked() -> None:
    for shape in (box(), grid(120, 120)):
        tokenizer = Mesh(MeshConfig(8))
        for prior in (MeshPrior(), UniformPrior()):
            codec = NeuralCodec(tokenizer, prior)
            data = codec.compress(shape)
            (tokens,) = tokenizer.encode([shape])
            assert parse(data).tokens(tokens.layout, prior) == tokens
            back = codec.decompress(data)
            assert isinstance(back, Shape)
            assert tokenizer.encode([back]) == [tokens]
            assert write(tokens, prior, info_of(tokenizer, back, tokens, prior.id)) == data


def test_a_large_mesh_whose_payload_wants_chunks_is_still_walked() -> None:
    rng = np.random.default_rng(0)
    sheet = grid(100, 100)
    shape = Shape(sheet.vertices + rng.normal(size=sheet.vertices.shape), sheet.faces)
    codec = NeuralCodec(Mesh(), MeshPrior())
    (tokens,) = Mesh().encode([shape])
    whole = 32 + 60 + sum(MeshPrior().price(tokens)) / 8
    data = codec.compress(joined(shape, *(Shape(shape.vertices + rng.normal(size=shape.vertices.shape), shape.faces) for _ in range(2))))
    assert len(data) > 1 << 16, "this one is chunked"
    assert len(data) < 3.3 * whole
