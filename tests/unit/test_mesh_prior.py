"""The prior of meshes: exact for any tokens, at the price it names, and deaf to damage."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.priors import stored
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.mesh_tables import unprimed
from smalti.codecs.priors.uniform import UniformPrior
from smalti.testing import check_prior
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from tests.unit.test_mesh import box, grid, joined, soup

PRIOR = MeshPrior()


def told(shape: object = None, bits: int = 8) -> Tokens:
    (tokens,) = Mesh(MeshConfig(bits)).encode([shape if shape is not None else joined(grid(5, 6), box(at=(9, 9, 9)), soup(4, 12, 20))])
    return tokens


def plain_layout(*stages: tuple[tuple[int, ...], int]) -> Layout:
    axes = ("a", "b", "c", "d")
    return Layout(tuple(Stage(f"s{k}", tuple(zip(axes, shape, strict=False)), v) for k, (shape, v) in enumerate(stages)), (len(stages),))


@pytest.mark.parametrize(
    "layout",
    [
        plain_layout(((1, 10, 3), 9), ((1, 9, 3), 256)),
        plain_layout(((1, 1, 3), 3), ((1, 3, 3), 1024)),
        plain_layout(((1, 7, 3), 1)),
        plain_layout(((4, 5), 30), ((4, 5), 30)),
        plain_layout(((0, 3), 5)),
        plain_layout(((1, 10, 3), 9), ((1, 9, 3), 2048)),
    ],
)
def test_codes_any_tokens(layout: Layout) -> None:
    check_prior(PRIOR, layout)


def test_stages_one_by_one_cost_little_more() -> None:
    tokens = told()
    faces = Tokens(Layout(tokens.layout.stages[:1], (1,), tokens.layout.signal), tokens.arrays[:1])
    first, second, whole = PRIOR.encode(faces), PRIOR.encode(tokens, 1), PRIOR.encode(tokens)
    assert PRIOR.decode(first, faces.layout) == faces
    assert PRIOR.decode(second, tokens.layout, faces) == tokens
    assert PRIOR.decode(b"", tokens.layout, tokens) == tokens
    assert PRIOR.encode(tokens, 2) == b""
    assert len(first) + len(second) < 1.3 * len(whole)


def test_price_is_what_is_written() -> None:
    for tokens in (told(), told(grid(30, 30)), told(box(), 10)):
        price = PRIOR.price(tokens)
        assert len(PRIOR.encode(tokens)) == pytest.approx(sum(price) / 8, abs=3)
        assert all(part > 0 for part in price)


def test_bytes_stay_what_they_are() -> None:
    """Goldens of the unprimed prior: made anew on purpose only, with the format."""
    assert PRIOR.encode(told(box())).hex() == "af4a7fd2d05b170b4a1945617e666ef344128a12"
    sheet = PRIOR.encode(told(joined(grid(2, 3), box(at=(9, 9, 9))), 7)).hex()
    assert sheet == "f2c901ad68ffcbcf9252dd871bccdc6e85182861981427bcd7a304409716fd8963169d413e9a605e24"


def test_plain_python_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.codecs.priors import mesh_kernel

    tokens = told(joined(box(), box(at=(3, 3, 3))))
    data, price = PRIOR.encode(tokens), PRIOR.price(tokens)
    plain = mesh_kernel.run.py_func
    # plain Python reads bytes, since NumPy's single uint8 overflow where they are multiplied
    reading = lambda links, spots, state, data, *rest: plain(links, spots, state, data.tobytes() if links == 2 else data, *rest)  # noqa: E731
    monkeypatch.setattr(mesh_kernel, "run", reading)
    assert PRIOR.encode(tokens) == data
    assert PRIOR.price(tokens) == pytest.approx(price)
    assert PRIOR.decode(data, tokens.layout) == tokens


def test_an_order_that_no_walk_gives_is_coded_all_the_same() -> None:
    tokens = told()
    mixed = tokens.arrays[0][:, np.random.default_rng(0).permutation(tokens.layout.size["faces"])]
    other = Tokens(tokens.layout, (mixed, tokens.arrays[1]))
    data = PRIOR.encode(other)
    assert data[:1] == b"\xff"
    assert data[1:] == AdaptivePrior().encode(other)
    assert PRIOR.decode(data, tokens.layout) == other
    assert sum(PRIOR.price(other)) == pytest.approx(8 + sum(AdaptivePrior().price(other)))
    with pytest.raises(BitstreamError, match="coded otherwise"):
        PRIOR.decode(b"\xff" + AdaptivePrior().encode(tokens), tokens.layout)


def test_faces_in_first_use_but_no_walks_order_are_starts() -> None:
    faces = np.array([[0, 1, 2], [3, 4, 5], [2, 1, 6], [0, 6, 5], [0, 0, 0], [0, 1, 2]], np.int32)
    vertices = np.random.default_rng(0).integers(0, 256, (7, 3)).astype(np.int32)
    tokens = Tokens(plain_layout(((1, 6, 3), 7), ((1, 7, 3), 256)), (faces[None], vertices[None]))
    data = PRIOR.encode(tokens)
    assert data[:1] != b"\xff"
    assert PRIOR.decode(data, tokens.layout) == tokens


def test_damage_is_found() -> None:
    tokens = told()
    data = PRIOR.encode(tokens)
    for place in range(len(data)):
        for wrong in (data[:place], data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]):
            with contextlib.suppress(BitstreamError):
                assert PRIOR.decode(wrong, tokens.layout) != tokens
    for cut in range(len(data)):
        with pytest.raises(BitstreamError):
            PRIOR.decode(data[:cut], tokens.layout)
    rng = np.random.default_rng(0)
    for _ in range(200):
        with contextlib.suppress(BitstreamError):
            PRIOR.decode(rng.bytes(int(rng.integers(0, 90))), tokens.layout)


def test_what_bytes_cannot_hold_is_refused_before_memory_is_taken() -> None:
    for faces in (1 << 22, 1 << 20):
        layout = plain_layout(((1, faces, 3), faces), ((1, faces, 3), 1024))
        with pytest.raises(BitstreamError, match="can't come from"):
            PRIOR.decode(b"\1\2\3", layout)
    layout = plain_layout(((1, (1 << 22) + 1, 3), 5), ((1, 5, 3), 1024))
    with pytest.raises(BitstreamError):
        PRIOR.decode(bytes(2000), layout)


def test_learnt_meshes_cost_less_and_lie_in_files(tmp_path: Path) -> None:
    lessons = [told(grid(k, k + 3), bits) for k in (3, 5, 8) for bits in (7, 8, 10)]
    prior = MeshPrior.prime(lessons, passes=2)
    tokens = told(grid(6, 7))
    assert sum(prior.price(tokens)) < 0.7 * sum(PRIOR.price(tokens)) < 0.7 * sum(UniformPrior().price(tokens))
    prior.save(tmp_path / "p.safetensors")
    loaded = stored.load(tmp_path / "p.safetensors")
    assert isinstance(loaded, MeshPrior)
    assert loaded.id == prior.id != PRIOR.id == b"MESH"
    assert loaded.decode(prior.encode(tokens), tokens.layout) == tokens
    assert stored.load_default(tmp_path / "p.safetensors", prior.id.hex()).id == prior.id
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:900])
    for name in ("short", "missing"):
        with pytest.raises(ModelError):
            MeshPrior.load(tmp_path / f"{name}.safetensors")


def test_refusals() -> None:
    with pytest.raises(UsageError):
        MeshPrior.prime([])
    known = unprimed()
    for wrong in ({"seen": known.seen[1:]}, {"places": np.zeros(3, np.uint16)}, {"weights": known.weights.astype(np.int32)}):
        with pytest.raises(ModelError):
            replace(known, **wrong)
    tokens = told()
    with pytest.raises(ModelError, match="other stages"):
        PRIOR.decode(PRIOR.encode(tokens, 1), tokens.layout, Tokens(plain_layout(((2, 2), 9)), (np.zeros((2, 2), np.int32),)))


def test_the_shipped_prior_is_small_and_pays() -> None:
    info = zoo.find("mesh")
    prior = stored.load_default(info.folder / stored.DEFAULT, info.prior)
    assert (info.folder / stored.DEFAULT).stat().st_size < 350_000
    assert sum(prior.price(told())) < 0.75 * sum(PRIOR.price(told()))
