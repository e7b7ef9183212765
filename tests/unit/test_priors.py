import importlib
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.priors import PRIORS
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.testing import check_prior
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens


def _layout(*stages: tuple[tuple[int, ...], int]) -> Layout:
    names = ("row", "col", "step")
    return Layout(tuple(Stage(f"s{i}", tuple(zip(names, shape, strict=False)), v) for i, (shape, v) in enumerate(stages)), (len(stages),))


def _tokens(layout: Layout, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    return Tokens(layout, tuple((s.vocab * rng.random(s.shape) ** 3).astype(np.int32) for s in layout.stages))


LAYOUTS = [
    _layout(((4, 5), 10)),
    _layout(((16, 16), 1024), ((16, 16), 1024), ((16, 16), 1024)),
    _layout(((1, 1), 4096), ((3, 3), 4096), ((9, 9), 4096)),
    _layout(((7,), 70000), ((2, 9), 1), ((6,), 2**31 - 1)),
    _layout(((0, 4), 16), ((3,), 2)),
    _layout(((80, 80), 5000)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_uniform_conforms(layout: Layout) -> None:
    check_prior(UniformPrior(), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_static_conforms(layout: Layout) -> None:
    check_prior(StaticPrior.fit([_tokens(layout)]), layout)


def test_registry_names_exist() -> None:
    for target in PRIORS.values():
        module, name = target.split(":")
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("prior", [UniformPrior(), AdaptivePrior()], ids=["uniform", "adaptive"])
@pytest.mark.parametrize("axes", [0, 1, 2])
def test_masks_over_trailing_axes(axes: int, prior: Prior) -> None:
    layout = _layout(((6, 8), 50), ((6, 8), 50), ((6, 8), 50))
    rng = np.random.default_rng(axes)
    arrays, masks, held = [], [], None
    for k, array in enumerate(_tokens(layout).arrays):
        if k:
            mask = np.asarray(rng.random((6, 8)[2 - axes :]) < 0.7)
            held = mask if held is None else mask & held
            array = array.copy()
            array[..., ~held] = 0
        arrays.append(array)
        masks.append(held)
    tokens = Tokens(layout, tuple(arrays), tuple(masks))
    assert prior.decode(prior.encode(tokens), layout) == tokens


def test_all_present_pays_less_than_a_bit_for_masks() -> None:
    tokens = _tokens(LAYOUTS[1])
    assert sum(UniformPrior().price(tokens)) <= tokens.uniform_bits + 1


def test_static_beats_uniform_on_skewed_tokens_and_price_bounds_bytes() -> None:
    tokens = _tokens(LAYOUTS[5])
    prior = StaticPrior.fit([tokens])
    assert len(prior.encode(tokens)) < 0.97 * len(UniformPrior().encode(tokens))


def test_save_and_load(tmp_path: Path) -> None:
    tokens = _tokens(LAYOUTS[3])
    prior = StaticPrior.fit([tokens])
    prior.save(tmp_path / "p.safetensors")
    loaded = StaticPrior.load(tmp_path / "p.safetensors")
    assert loaded.id == prior.id
    assert loaded.decode(prior.encode(tokens), tokens.layout) == tokens
    data = bytearray((tmp_path / "p.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(data)
    (tmp_path / "short.safetensors").write_bytes(data[:20])
    for name in ("bad", "short", "missing"):
        with pytest.raises(ModelError):
            StaticPrior.load(tmp_path / f"{name}.safetensors")


def test_other_layouts_are_refused() -> None:
    prior = StaticPrior.fit([_tokens(LAYOUTS[0])])
    with pytest.raises(ModelError, match="1 stages"):
        prior.price(_tokens(LAYOUTS[1]))
    with pytest.raises(ModelError, match="entries"):
        prior.encode(_tokens(_layout(((4, 5), 11))))
    with pytest.raises(UsageError):
        StaticPrior.fit([])
    with pytest.raises(UsageError):
        StaticPrior.fit([_tokens(LAYOUTS[0]), _tokens(_layout(((4, 5), 11)))])


@pytest.mark.parametrize("bad", [np.ones(3, np.int32), np.ones(3), np.full(4098, 16), np.array([[65536]]), np.full(2**20, 1)])
def test_bad_tables_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ModelError):
        StaticPrior((bad,))


def test_too_many_tokens_are_refused_before_memory_is_taken() -> None:
    layout = _layout(((2**15, 2**14), 2))
    with pytest.raises(BitstreamError):
        UniformPrior().decode(b"", layout)
    for vocab in (1, 2):
        with pytest.raises(BitstreamError):
            UniformPrior().decode(b"\1\0", _layout(((2**14, 2**14), vocab)))
