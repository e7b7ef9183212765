"""Lost tokens as the masked prior expects them, and the recipe that compares ways of standing in for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.masked_view import View
from smalti.codecs.restore import restore, vectors_of
from smalti.recipes.restoring import PATTERNS, WAYS, main, received
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import GroupedConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.tokens import Layout, Stage, Tokens

MODEL = str(Path(__file__).parents[1] / "golden" / "model")


def prior(vocab: int = 12) -> MaskedPrior:
    config = MaskedConfig(vocab, ((2, 8, 16), (8, 16)), side=6, margin=1, entry=4, channels=8, heads=2, blocks=2, wide=16)
    rng = np.random.default_rng(0)
    shapes = config.shapes()
    shift = {name: 10 if name == "head.bias" else 0 for name in shapes}
    return MaskedPrior(config, {n: rng.integers(-3000, 3000, s).astype(kind(n)) << shift[n] for n, s in shapes.items()})


VECTORS = [np.random.default_rng(k).normal(size=(12, 3)) for k in (1, 2)]


def layout(rows: int, columns: int) -> Layout:
    return Layout(tuple(Stage(f"level{i}", (("row", rows), ("col", columns)), 12) for i in range(2)), (2,))


def tokens(rows: int, columns: int) -> Tokens:
    rng = np.random.default_rng(0)
    return Tokens(layout(rows, columns), tuple(rng.integers(0, 12, (rows, columns)).astype(np.int32) for _ in range(2)))


def test_all_that_was_lost_and_nothing_else_is_filled() -> None:
    whole, mask = tokens(9, 13), np.random.default_rng(0).random((9, 13)) < 0.7
    whole = Tokens(whole.layout, (whole.arrays[0], np.where(mask, whole.arrays[1], 0).astype(np.int32)), (None, mask))
    there = [np.random.default_rng(k).random((9, 13)) < 0.6 for k in range(2)]
    torn = Tokens(whole.layout, tuple(np.where(t, a, 0).astype(np.int32) for t, a in zip(there, whole.arrays, strict=True)), whole.present)
    mended = restore(prior(), torn, there, VECTORS)
    assert mended == restore(prior(), whole, there, VECTORS)
    assert (mended.arrays[1][~mask] == 0).all()
    for array, before, t in zip(mended.arrays, whole.arrays, there, strict=True):
        assert np.array_equal(array[t], before[t])
    assert restore(prior(), whole, [np.ones((9, 13), bool)] * 2, VECTORS) == whole


def test_a_lost_token_is_the_entry_nearest_to_what_is_expected() -> None:
    whole, there = tokens(5, 5), [np.ones((5, 5), bool) for _ in range(2)]
    there[0][2, 3] = there[1][2, 3] = False
    view = View(prior().config, (5, 5))
    for k, array in enumerate(whole.arrays):
        view.know(k, array, there[k])
    expected = [next(prior().foretell(view, k, ~there[k])).shares[0] @ VECTORS[k] for k in range(2)]
    first = int(((VECTORS[0] - expected[0]) ** 2).sum(1).argmin())
    second = int(((VECTORS[0][first] + VECTORS[1] - expected[0] - expected[1]) ** 2).sum(1).argmin())
    mended = restore(prior(), whole, there, VECTORS)
    assert (mended.arrays[0][2, 3], mended.arrays[1][2, 3]) == (first, second)


def test_what_does_not_belong_together_is_refused() -> None:
    for there in ([np.ones((9, 12), bool)] * 2, [np.ones((9, 13), int)] * 2):
        with pytest.raises(UsageError, match="boolean"):
            restore(prior(), tokens(9, 13), there, VECTORS)
    for there, vectors in (([np.ones((9, 13), bool)], VECTORS), ([np.ones((9, 13), bool)] * 2, VECTORS[:1])):
        with pytest.raises(UsageError, match="stages"):
            restore(prior(), tokens(9, 13), there, vectors)


@pytest.mark.parametrize(
    "config", [ResidualConfig(VQConfig(8, 3), levels=2), SingleConfig(GroupedConfig((VQConfig(8, 3), VQConfig(8, 2))))]
)
def test_vectors_are_what_entries_add(config: Any) -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).eval()
    vectors = vectors_of(quantizer, 8, 2)
    with torch.no_grad():
        a, b = (quantizer.dequantize([torch.full((1, 1, 1), i) for i in pair], (1, 1))[0, :, 0, 0].numpy() for pair in ((3, 5), (0, 0)))
    assert np.allclose(a - b, vectors[0][3] + vectors[1][5], atol=1e-5)


def test_the_curve_of_losses_has_all_ways(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    Pillow.fromarray(pixels).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "torn.png").write_bytes(b"torn")
    prior(32).save(tmp_path / "prior")
    call = [MODEL, str(tmp_path / "pictures"), "--loss", "0.4", "--json"]
    assert main([*call, "--prior", str(tmp_path / "prior")]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert "left out" in printed.err
    assert [(row["pattern"], row["way"]) for row in rows] == [("none", "decoded"), *((p, w) for p in PATTERNS for w in WAYS)]
    assert len({row["values"]["psnr"] for row in rows}) > 3
    assert main(call) == 2
    assert "masked.safetensors" in capsys.readouterr().err
    assert main([MODEL, str(tmp_path / "pictures"), "--loss", "1"]) == 2


def test_both_patterns_lose_the_share_asked_for() -> None:
    for pattern in PATTERNS:
        there = received(layout(100, 100), pattern, 0.2, np.random.default_rng(0))[0].ravel()
        assert 0.17 < 1 - there.mean() < 0.23
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate(([True], there, [True])).astype(int))))[::2]
        assert (runs.mean() > 10) == (pattern == "bursts")
