import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.priors import adaptive_tables, adaptive_tree
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.testing import check_prior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens


def _layout(*stages: tuple[tuple[int, ...], int]) -> Layout:
    names = ("a", "b", "c", "d", "e")
    return Layout(tuple(Stage(f"s{i}", tuple(zip(names, shape, strict=False)), v) for i, (shape, v) in enumerate(stages)), (len(stages),))


def _smooth(layout: Layout, seed: int = 0) -> Tokens:
    """Tokens that change slowly along rows."""
    rng = np.random.default_rng(seed)
    arrays = []
    for stage in layout.stages:
        walk = np.cumsum(rng.integers(-1, 2, stage.count))
        arrays.append((np.abs(walk) % stage.vocab).astype(np.int32).reshape(stage.shape))
    return Tokens(layout, tuple(arrays))


def _film(steps: int, rows: int, columns: int, *vocabs: int) -> Layout:
    axes = (("time", steps), ("row", rows), ("col", columns))
    return Layout(tuple(Stage(f"s{i}", axes, vocab) for i, vocab in enumerate(vocabs)), (len(vocabs),))


FILM = _film(6, 8, 10, 50, 1024, 1024)
GRID = _layout(((12, 16), 100), ((12, 16), 100))
LAYOUTS = [
    _layout(((4, 5), 10)),
    _layout(((16, 16), 1024), ((16, 16), 1024), ((16, 16), 1024)),
    _layout(((1, 1), 4096), ((3, 3), 4096), ((9, 9), 4096)),
    _layout(((7,), 70000), ((2, 9), 1), ((6,), 2**31 - 1)),
    _layout(((0, 4), 16), ((3,), 2)),
    _layout(((2, 3, 4, 5), 37), ((4, 6, 5), 3)),
    _layout(((), 5)),
    FILM,
    _film(3, 1, 1, 7),
    _film(0, 4, 4, 9, 1),
    Layout((Stage("a", (("time", 1), ("row", 2), ("col", 2)), 9), Stage("b", (("time", 4), ("row", 4), ("col", 2)), 9)), (2,)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_conforms(layout: Layout) -> None:
    check_prior(AdaptivePrior(), layout)


def test_primed_conforms_and_pays() -> None:
    orders = tuple(np.random.default_rng(k).permutation(100) for k in range(2))
    prior = AdaptivePrior.prime(orders, [_smooth(GRID, seed) for seed in range(1, 20)])
    check_prior(prior, GRID)
    tokens = _smooth(GRID)
    primed, fresh = (sum(p.price(tokens)) for p in (prior, AdaptivePrior()))
    assert primed < 0.75 * fresh < 0.75 * sum(UniformPrior().price(tokens))
    assert len(prior.encode(tokens)) == pytest.approx(primed / 8, abs=2)


@settings(max_examples=25)
@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    stages = data.draw(st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=5), st.integers(1, 70)), min_size=1, max_size=4))
    layout = _layout(*((tuple(shape), vocab) for shape, vocab in stages))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    tokens = Tokens(layout, tuple(rng.integers(0, s.vocab, s.shape).astype(np.int32) for s in layout.stages))
    known = data.draw(st.integers(0, len(stages)))
    before = Tokens(Layout(layout.stages[:known], (known,)), tokens.arrays[:known]) if known else None
    prior = AdaptivePrior()
    assert prior.decode(prior.encode(tokens, known), layout, before) == tokens


@pytest.mark.parametrize("layout", [_layout(((3, 4), 11), ((3, 4), 11)), _film(3, 2, 3, 11, 11)])
def test_plain_python_writes_the_same(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.codecs.priors import adaptive_kernel

    tokens, prior = _smooth(layout), AdaptivePrior((np.arange(11)[::-1],))
    data, price = prior.encode(tokens), prior.price(tokens)
    plain = adaptive_kernel.run.py_func
    # plain Python reads bytes, since NumPy's single uint8 overflow where they are multiplied
    reading = lambda mode, state, data, *rest: plain(mode, state, data.tobytes() if mode == adaptive_kernel.DECODE else data, *rest)  # noqa: E731
    monkeypatch.setattr(adaptive_kernel, "run", reading)
    assert prior.encode(tokens) == data
    assert prior.price(tokens) == pytest.approx(price)
    assert prior.decode(data, layout) == tokens


def _changing(layout: Layout, seed: int, share: float) -> Tokens:
    """A random first step, of which in each later one a share of tokens is new."""
    rng = np.random.default_rng(seed)
    arrays = []
    for stage in layout.stages:
        new = rng.integers(0, stage.vocab, stage.shape)
        for step in range(1, len(new)):
            new[step] = np.where(rng.random(new[step].shape) < share, new[step], new[step - 1])
        arrays.append(new.astype(np.int32))
    return Tokens(layout, tuple(arrays))


def test_what_does_not_change_in_a_film_costs_little() -> None:
    """Where the axes are not those of a film, the past hardly counts."""
    layout = _film(20, 8, 10, 50, 1024, 1024)
    named = Layout(tuple(Stage(s.name, (("step", 20), *s.axes[1:]), s.vocab) for s in layout.stages), layout.cuts)
    still = _changing(layout, 0, 0.0)
    first, bits = (sum(AdaptivePrior().price(tokens)) for tokens in (still.segment(0, 1), still))
    assert bits < 2 * first, "nineteen steps more, learning included, cost less than the first"
    learnt = [_changing(layout, seed, 0.1) for seed in range(1, 9)]
    film, other = AdaptivePrior.prime((), learnt), AdaptivePrior.prime((), [Tokens(named, tokens.arrays) for tokens in learnt])
    tokens = _changing(layout, 0, 0.1)
    assert sum(film.price(tokens)) < 0.6 * sum(other.price(Tokens(named, tokens.arrays)))
    data = film.encode(tokens)
    assert film.decode(data, layout) == tokens


def test_damage_is_found() -> None:
    prior, tokens = AdaptivePrior(), _smooth(GRID)
    data = prior.encode(tokens)
    for place in range(0, len(data), 5):
        for wrong in (data[:place], data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]):
            with contextlib.suppress(BitstreamError):
                assert prior.decode(wrong, GRID) != tokens


def test_too_many_tokens_are_refused_before_memory_is_taken() -> None:
    for vocab in (1, 2, 1024):
        with pytest.raises(BitstreamError):
            AdaptivePrior().decode(b"\1\2", _layout(((2**14, 2**14), vocab)))


def test_save_and_load(tmp_path: Path) -> None:
    prior = AdaptivePrior.prime((np.arange(100)[::-1],), [_smooth(GRID)])
    prior.save(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_size < 2_000_000
    loaded = AdaptivePrior.load(tmp_path / "p.safetensors")
    assert loaded.id == prior.id != AdaptivePrior().id == b"ADAP"
    assert loaded.decode(prior.encode(_smooth(GRID)), GRID) == _smooth(GRID)
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:900])
    for name in ("short", "missing"):
        with pytest.raises(ModelError):
            AdaptivePrior.load(tmp_path / f"{name}.safetensors")


def test_refusals() -> None:
    for order in (np.array([0, 0]), np.array([1, 2]), np.ones((2, 2), int), np.ones(2)):
        with pytest.raises(ModelError):
            AdaptivePrior((order,))
    with pytest.raises(ModelError, match="entries"):
        AdaptivePrior((np.arange(7),)).price(_smooth(GRID))
    with pytest.raises(UsageError):
        AdaptivePrior.prime((), [])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 37, 64, 100])
def test_tree_keeps_clusters_together(size: int) -> None:
    rng = np.random.default_rng(size)
    vectors = rng.normal(size=(size, 3)) + 100 * (np.arange(size)[:, None] % 2)
    order = adaptive_tree.order(vectors)
    assert sorted(order) == list(range(size))
    assert abs(np.diff(order % 2)).sum() <= 1 + size % 2
    assert len(set(adaptive_tree.codes(size).tolist())) == size


def test_tables_do_not_hang_on_a_machines_exp() -> None:
    x = np.arange(-2048, 2048)
    assert np.abs(65536 / (1 + np.exp(-x[x != 0] / 256)) % 1 - 0.5).min() > 1e-5
    p = (np.arange(4096) + 0.5) / 4096
    assert np.abs(256 * np.log(p / (1 - p)) % 1 - 0.5).min() > 1e-5
    assert adaptive_tables.SQUASH[2048] == 1 << 15
