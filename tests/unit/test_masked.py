"""The masked prior: exact whatever runs it, round trips and refusals."""

import contextlib
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.priors import masked, masked_arithmetic, stored
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import LARGEST_BIAS, MaskedConfig, kind
from smalti.codecs.priors.masked_network import MaskedNetwork
from smalti.codecs.priors.masked_steps import ranks, windows
from smalti.testing import check_prior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

CONFIG = MaskedConfig(12, ((2, 8, 16), (8, 16)), side=6, margin=1, entry=4, channels=8, heads=2, blocks=2, wide=16)


def tensors(config: MaskedConfig = CONFIG, size: int = 3000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(-size, size, shape).astype(kind(name)) << (10 if name == "head.bias" else 0)
        for name, shape in config.shapes().items()
    }


def layout(rows: int, columns: int, stages: int = 2, vocab: int = 12) -> Layout:
    return Layout(tuple(Stage(f"level{i}", (("row", rows), ("col", columns)), vocab) for i in range(stages)), (stages,))


def random_tokens(shape: Layout, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    return Tokens(shape, tuple(rng.integers(0, s.vocab, s.shape).astype(np.int32) for s in shape.stages))


PRIOR = MaskedPrior(CONFIG, tensors())


def views(count: int, side: int = CONFIG.side) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CONFIG.vocab + 2, (count, 2, side, side))


@pytest.mark.parametrize("shape", [layout(9, 13), layout(1, 1), layout(3, 17, stages=1), layout(0, 4), layout(6, 7)])
def test_conforms(shape: Layout) -> None:
    check_prior(PRIOR, shape)


# --- exactness ----------------------------------------------------------------------------------------------------------------------


LARGE = MaskedConfig(12, ((16,), (16,)), side=4, margin=1, entry=128, channels=512, heads=2, blocks=1, wide=2048)


def extreme() -> dict[str, np.ndarray]:
    """Weights and biases as far from 0 as they go, in either direction, in layers nearly as wide as they may be."""
    rng = np.random.default_rng(2)
    most = {np.dtype(np.int16): np.iinfo(np.int16).max, np.dtype(np.int32): LARGEST_BIAS}
    return {name: (rng.choice((-1, 1), shape) * most[kind(name)]).astype(kind(name)) for name, shape in LARGE.shapes().items()}


@pytest.mark.parametrize(
    ("config", "held"),
    [(CONFIG, tensors()), (LARGE, tensors(LARGE)), (LARGE, extreme()), (LARGE, extreme() | {"entries": tensors(LARGE)["entries"]})],
    ids=["small", "large", "extreme", "extreme but its entries"],
)
def test_the_network_is_this_one_in_plain_integers(config: MaskedConfig, held: dict[str, np.ndarray]) -> None:
    grids = views(2, config.side)
    for stage in range(2):
        found = MaskedNetwork(config, held).running_sums(grids, stage, np.ones((2, config.side, config.side), bool))
        assert np.array_equal(found, np.concatenate([plain_sums(config, held, grid, stage) for grid in grids]))
        assert np.diff(found, axis=1).min() >= 1
        assert 1 << 23 < found[:, -1].min() <= found[:, -1].max() <= 1 << 24


def test_a_batch_is_its_windows_one_by_one() -> None:
    network, grids, everywhere = MaskedNetwork(CONFIG, tensors()), views(7), np.ones((7, 6, 6), bool)
    alone = [network.running_sums(grids[i : i + 1], 0, everywhere[i : i + 1]) for i in range(7)]
    assert np.array_equal(network.running_sums(grids, 0, everywhere), np.concatenate(alone))


ELSEWHERE = """
import sys, numpy as np, torch
torch.set_num_threads(2)
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_network import MaskedNetwork
prior, grids = MaskedPrior.load(sys.argv[1]), np.load(sys.argv[2])
np.save(sys.argv[3], MaskedNetwork(prior.config, prior.tensors).running_sums(grids, 1, np.ones((len(grids), 4, 4), bool)))
"""


def test_threads_and_kernels_change_nothing(tmp_path: Path) -> None:
    grids, prior = views(40, LARGE.side), MaskedPrior(LARGE, tensors(LARGE))
    prior.save(tmp_path / "prior")
    np.save(tmp_path / "grids.npy", grids)
    files = [str(tmp_path / name) for name in ("prior", "grids.npy", "sums.npy")]
    plainest = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    subprocess.run([sys.executable, "-c", ELSEWHERE, *files], env={**os.environ, **plainest}, check=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = MaskedNetwork(LARGE, prior.tensors).running_sums(grids, 1, np.ones((40, 4, 4), bool))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(np.load(tmp_path / "sums.npy"), here)


def test_roots_are_floors() -> None:
    near = np.array([k * k + d for k in (1, 2, 1000, 2**20 + 1, 2**26 - 1) for d in (-1, 0, 1)], np.int64)
    assert masked_arithmetic.root(torch.from_numpy(near)).tolist() == [math.isqrt(x) for x in near.tolist()]


def test_tables_are_far_from_halves() -> None:
    values = [2.0**h * math.exp(-i / 128) for h in (16, 24) for i in range(2048)]
    values += [1024 * x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in ((i - 1024) / 128 for i in range(2048))]
    assert min(abs(v - math.floor(v) - 0.5) for v in values) > 1e-5


def plain_sums(config: MaskedConfig, held: dict[str, np.ndarray], grid: np.ndarray, stage: int) -> np.ndarray:
    """The whole network for one window in Python's and NumPy's int64, from FORMAT.md."""
    t = {name: array.astype(np.int64) for name, array in held.items()}
    side, heads, reach = config.side, config.heads, 1 << 20

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return np.clip((x @ t[f"{name}.weight"].T + t[f"{name}.bias"] + 2048) >> 12, -reach, reach)

    def norm(x: np.ndarray) -> np.ndarray:
        c = x - x.sum(1, keepdims=True) // x.shape[1]
        d = np.array([[max(1, math.isqrt(int((row**2).sum() // x.shape[1]) << 8))] for row in c])
        return (c << 14) // d

    def falling(logits: np.ndarray, bits: int, height: int) -> np.ndarray:
        j = np.minimum((logits.max(1, keepdims=True) - logits) >> (bits - 7), 2047)
        return np.vectorize(lambda i: round(2**height * math.exp(-i / 128)))(j).astype(np.int64)

    entries = sum(t["entries"][k][grid[k]] for k in range(2))
    padded = np.pad(entries, ((2, 2), (2, 2), (0, 0)))
    patches = [padded[r : r + 5, c : c + 5].transpose(2, 0, 1).ravel() for r in range(side) for c in range(side)]
    x = np.clip((np.stack(patches) @ t["stem.weight"].T + t["stem.bias"][stage] + 2048) >> 12, -reach, reach)
    place = [(r, c) for r in range(side) for c in range(side)]
    for i in range(config.blocks):
        read = []
        for head, (q, k, v) in enumerate(
            zip(*(np.split(part, heads, 1) for part in np.split(linear(norm(x), f"block{i}.joint"), 3, 1)), strict=True)
        ):
            bias = np.array([[t[f"block{i}.places"][head, b[0] - a[0] + side - 1, b[1] - a[1] + side - 1] for b in place] for a in place])
            e = falling(q @ k.T + (bias << 10), 20, 16)
            read.append((e @ v) // e.sum(1, keepdims=True))
        x = np.clip(x + linear(np.concatenate(read, 1), f"block{i}.out"), -reach, reach)
        wide = np.clip(linear(norm(x), f"block{i}.widen") >> 3, -1024, 1023) / 128
        curve = np.vectorize(lambda u: round(1024 * u * (1 + math.erf(u / math.sqrt(2))) / 2))(wide).astype(np.int64)
        x = np.clip(x + linear(curve, f"block{i}.narrow"), -reach, reach)
    e = falling(norm(x) @ t["head.weight"][stage].T + t["head.bias"][stage], 22, 24)
    least = (1 << 17) // config.vocab
    f = e * ((1 << 24) - config.vocab * least) // e.sum(1, keepdims=True) + least
    return np.pad(np.cumsum(f, 1), ((0, 0), (1, 0)))


# --- order --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (20, 20), (21, 5), (32, 48), (39, 100)])
def test_windows_take_each_position_once_and_not_at_their_rims(shape: tuple[int, int]) -> None:
    seen = np.zeros(shape, int)
    for w in windows(*shape, 20, 2):
        seen[slice(*w.rows), slice(*w.columns)] += 1
        for start, inner, size in ((w.row, w.rows, shape[0]), (w.column, w.columns, shape[1])):
            assert 0 <= start <= max(0, size - 20)
            assert inner[0] - start >= 2 or inner[0] == 0
            assert start + 20 - inner[1] >= 2 or inner[1] == size
    assert (seen == 1).all()
    assert sorted(ranks(4, 4).ravel()) == list(range(16))


# --- files and refusals -------------------------------------------------------------------------------------------------------------


def test_files_hold_all_of_it(tmp_path: Path) -> None:
    PRIOR.save(tmp_path / "prior")
    again = stored.load(tmp_path / "prior")
    assert isinstance(again, MaskedPrior)
    assert again.id == PRIOR.id
    tokens = random_tokens(layout(7, 9))
    assert again.encode(tokens) == PRIOR.encode(tokens)
    assert MaskedPrior(CONFIG, tensors() | {"head.bias": tensors()["head.bias"] + 1}).id != PRIOR.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vocab": 5000}, "vocab lies in 2..4096"),
        ({"side": 200}, "side lies in"),
        ({"heads": 3}, "whole heads"),
        ({"margin": 3}, "wider than two margins"),
        ({"steps": ((4, 8),)}, "ascend"),
        ({"steps": ()}, "1..8 stages"),
        ({"blocks": 1.5}, "blocks lies in"),
        ({"blocks": True}, "blocks lies in"),
        ({"steps": ((4, True),)}, "ascend"),
        ({"steps": ((float("inf"),),)}, "ascend"),
        ({"entry": 128, "wide": 2048, "channels": 512, "heads": 16, "side": 32}, "pairs of positions"),
        ({"vocab": 4096, "channels": 512, "steps": ((16,),) * 8}, "bytes"),
    ],
)
def test_configs_are_bounded(change: dict[str, object], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        replace(CONFIG, **change)


def test_tensors_are_its_own() -> None:
    held = tensors()
    prior = MaskedPrior(CONFIG, held)
    before = prior.encode(random_tokens(layout(3, 3)))
    held["head.bias"] += 1000
    assert prior.encode(random_tokens(layout(3, 3))) == before
    with pytest.raises(ValueError, match="read-only"):
        prior.tensors["head.bias"][0] = 0


def test_tensors_are_checked() -> None:
    for name, array in (
        ("head.weight", tensors()["head.weight"].astype(np.int32)),
        ("entries", tensors()["entries"][:, :-1]),
        ("head.bias", np.full((2, 12), LARGEST_BIAS + 1, np.int32)),
        ("head.bias", np.full((2, 12), np.iinfo(np.int32).min, np.int32)),
    ):
        with pytest.raises(ModelError, match=name):
            MaskedPrior(CONFIG, tensors() | {name: array})
    with pytest.raises(ModelError, match="found others"):
        MaskedPrior(CONFIG, {"head": tensors()["head.bias"]})


PRIOR_CONFIG = json.dumps(asdict(CONFIG))


def test_files_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "prior"
    for config in ("", "[]", "{}", '{"vocab": 12, "steps": 5}', '{"vocab": 12, "steps": [[16]], "more": 1}', "[" * 100000):
        save_file(tensors(), path, {"format": masked.FORMAT, "config": config})
        with pytest.raises(ModelError, match="no config"):
            stored.load(path)
    for steps in ("Infinity", '"4"', "2.7", "1e400", "true"):
        save_file(tensors(), path, {"format": masked.FORMAT, "config": PRIOR_CONFIG.replace("[8, 16]", f"[{steps}, 16]")})
        with pytest.raises(ModelError, match="ascend") as raised:
            stored.load(path)
        assert str(raised.value).count(str(path)) == 1
    save_file(tensors(), path, {"format": "another"})
    with pytest.raises(ModelError, match="no masked prior") as raised:
        MaskedPrior.load(path)
    assert str(raised.value).count(str(path)) == 1
    PRIOR.save(path)
    whole = path.read_bytes()
    for size in (0, 7, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            MaskedPrior.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr(masked, "LARGEST_FILE", len(whole) - 1)
    with pytest.raises(ModelError, match="at most"):
        MaskedPrior.load(path)


def test_damage_is_refused_or_gives_other_tokens() -> None:
    tokens = random_tokens(layout(7, 9))
    data = PRIOR.encode(tokens)
    for place in range(0, len(data), 5):
        hurt = bytearray(data)
        hurt[place] ^= 1 << place % 8
        with contextlib.suppress(BitstreamError):
            assert PRIOR.decode(bytes(hurt), tokens.layout) != tokens


def test_more_tokens_than_bytes_hold_are_refused_at_once() -> None:
    with pytest.raises(BitstreamError, match="can't come from"):
        PRIOR.decode(bytes(8), layout(500, 500))


@pytest.mark.parametrize("shape", [(1025, 1024), (0, 1 << 28), (1 << 28, 0), (1, 1 << 20)])
def test_grids_that_would_take_gigabytes_are_refused_at_once(shape: tuple[int, int]) -> None:
    with pytest.raises(BitstreamError, match="at most"):
        PRIOR.decode(bytes(8), layout(*shape))
    with pytest.raises(UsageError, match="at most"):
        PRIOR.check(layout(*shape))


def test_other_layouts_are_refused() -> None:
    other = Layout((Stage("a", (("n", 5),), 12),), (1,))
    line = Layout((Stage("a", (("step", 5), ("col", 5)), 12),), (1,))
    for shape in (layout(4, 4, vocab=13), layout(4, 4, stages=3), other, line):
        with pytest.raises(ModelError, match="on one grid"):
            PRIOR.price(random_tokens(shape))
    with pytest.raises(UsageError, match="choose another"):
        PRIOR.encode(Tokens(layout(1025, 1024), (np.zeros((1025, 1024), np.int32),) * 2))
