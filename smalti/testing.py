"""Conformance lists: what every implementation of a contract must do, for ours and for yours. Importable without torch.

from smalti.testing import check_prior
check_prior(MyPrior(), layout)          # raises AssertionError with what failed
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.tokenizers import configs
from smalti.tokenizers.contracts import Prior, Target
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Layout, Tokens

# --- priors -----------------------------------------------------------------------------------------------------------------------


def check_prior(prior: Prior, layout: Layout, seed: int = 0) -> None:
    """A prior codes any tokens of the layout exactly, at about the price it names, and refuses what it did not write.

    Tried with random tokens, constant ones, and with regions absent; whole and after each number of known stages.
    """
    assert isinstance(prior, Prior), "a prior has id, price, encode and decode"
    assert isinstance(prior.id, bytes), "the id is bytes"
    assert len(prior.id) == 4, f"the id has 4 bytes, found {len(prior.id)}"
    rng = np.random.default_rng(seed)
    whole = _random_tokens(layout, rng)
    # one symbol over and over is where a 32-bit state is at its worst: 1 % was measured
    for tokens, slack in ((whole, 0.005), (_constant_tokens(layout), 0.02), (_with_absent(whole, rng), 0.005)):
        _check_round_trip(prior, tokens, slack)
        for k in range(1, len(layout.stages) + 1):
            known = Tokens(Layout(layout.stages[:k], (k,), layout.signal), tokens.arrays[:k], tokens.present[:k])
            assert prior.decode(prior.encode(tokens, k), layout, known) == tokens, f"{k} stages known: other tokens came back"
    data = prior.encode(whole)
    for wrong in (data + b"\0", data + b"\0\0", data[:-1]):
        _check_refused(prior, wrong, whole)


def _check_round_trip(prior: Prior, tokens: Tokens, slack: float) -> None:
    data = prior.encode(tokens)
    assert data == prior.encode(tokens), "the same tokens give the same bytes"
    assert prior.decode(data, tokens.layout) == tokens, "other tokens came back"
    price = prior.price(tokens)
    assert len(price) == len(tokens.arrays), "price names bits per stage"
    assert all(np.isfinite(p) and p >= 0 for p in price), f"prices are finite and not negative, found {price}"
    bound = sum(price) / 8 * (1 + slack) + 8
    assert len(data) <= bound, f"{len(data)} bytes were written, the price allows {bound:.1f}"


def _check_refused(prior: Prior, data: bytes, tokens: Tokens) -> None:
    """Damage must raise ours or, where the change says so, give other tokens; never the same ones, never another error."""
    if not data and not prior.encode(tokens):
        return
    try:
        decoded = prior.decode(data, tokens.layout)
    except BitstreamError:
        return
    assert decoded != tokens, "two different streams decode to the same tokens"


def _random_tokens(layout: Layout, rng: np.random.Generator) -> Tokens:
    return Tokens(layout, tuple(rng.integers(0, s.vocab, s.shape).astype(np.int32) for s in layout.stages))


def _constant_tokens(layout: Layout) -> Tokens:
    return Tokens(layout, tuple(np.full(s.shape, s.vocab - 1, np.int32) for s in layout.stages))


def _with_absent(tokens: Tokens, rng: np.random.Generator) -> Tokens:
    """The same with about a third of the last stage's regions absent."""
    stage, array = tokens.layout.stages[-1], tokens.arrays[-1].copy()
    mask = rng.random(stage.shape) < 2 / 3
    array[~mask] = 0
    return Tokens(tokens.layout, (*tokens.arrays[:-1], array), (*tokens.present[:-1], mask))


# --- codebooks, quantizers, tokenizers, codecs, metrics -----------------------------------------------------------------------------


def check_codebook(codebook: Any) -> None:
    """The conformance list of `contracts.Codebook`: run it on an instance in evaluation mode whose table is seeded."""
    import torch

    random = torch.Generator().manual_seed(0)
    count = min(codebook.size, 512)
    indices = (
        torch.randperm(codebook.size, generator=random)[:count]
        if codebook.size < 2**20
        else torch.randint(codebook.size, (count,), generator=random)
    )
    entries = codebook.lookup(indices)
    assert entries.shape == (count, codebook.dim)
    assert torch.equal(codebook.assign(entries), indices), "assign(lookup(i)) == i"

    z = codebook.bound(torch.randn(300, codebook.dim, generator=random))
    found = codebook.assign(z)
    assert found.dtype == torch.int64 and found.shape == (300,)
    assert int(found.min()) >= 0 and int(found.max()) < codebook.size
    if codebook.size <= 2**16:
        table = codebook.vectors()
        assert table.shape == (codebook.size, codebook.dim)
        assert torch.equal(table[indices], entries), "vectors() are what lookup gives"
        distances = torch.cdist(z.double(), table.double())
        best = distances.min(1).values
        assert torch.all(distances[torch.arange(300), found] <= best * (1 + 1e-5) + 1e-12), "the nearest entry, against float64 brute force"
        if codebook.config.kind == "vq":
            doubled = type(codebook)(codebook.config).eval()
            doubled.table.copy_(codebook.table[torch.arange(codebook.size) // 2 * 2])
            assert torch.all(doubled.assign(z) % 2 == 0), "of equal entries the lowest index"
    assert torch.equal(torch.cat([codebook.assign(part) for part in z.split(1)]), found), "one at a time equals many"
    assert codebook.loss(z, codebook.lookup(found)).ndim == 0


def check_quantizer(quantizer: Any, grid: tuple[int, ...] = (5, 7), axes: tuple[str, ...] = ("row", "col")) -> None:
    """The conformance list of `contracts.Quantizer`, for an instance whose tables are seeded; leaves it in evaluation mode."""
    import torch

    quantizer.eval()
    random = torch.Generator().manual_seed(0)
    z = torch.randn(3, quantizer.dim, *grid, generator=random)
    layout = quantizer.layout(grid, axes)
    assert layout.cuts == quantizer.cuts
    result = quantizer(z)
    assert result.z_q.shape == z.shape and result.z_q.dtype == z.dtype
    assert [tuple(i.shape[1:]) for i in result.indices] == [stage.shape for stage in layout.stages]
    for stage, index in zip(layout.stages, result.indices, strict=True):
        assert index.dtype == torch.int64 and 0 <= int(index.min()) and int(index.max()) < stage.vocab
    assert torch.equal(quantizer.dequantize(result.indices), result.z_q), "dequantize equals __call__ bit for bit"
    errors = []
    for cut in quantizer.cuts:
        errors.append(float((quantizer.dequantize(result.indices[:cut]) - result.z_q).square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0, "longer prefixes come nearer"
    for item in range(len(z)):
        alone = quantizer(z[item : item + 1])
        assert all(torch.equal(a[0], b[item]) for a, b in zip(alone.indices, result.indices, strict=True)), (
            "batch of one equals batch of many"
        )
    hot = [
        torch.nn.functional.one_hot(i, stage.vocab).movedim(-1, 1) * 200.0 for i, stage in zip(result.indices, layout.stages, strict=True)
    ]
    assert torch.allclose(quantizer.decode_soft(hot), result.z_q, atol=1e-4), "certain logits decode to the entries"

    quantizer.train()
    z.requires_grad_()
    trained = quantizer(z)
    (gradient,) = torch.autograd.grad(trained.z_q.sum(), z)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0, "gradients reach z"
    quantizer.eval()
    copy = type(quantizer)(quantizer.config).eval()
    copy.load_state_dict(quantizer.state_dict())
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(copy(z).indices, quantizer(z).indices, strict=True)), (
            "saved and loaded, the same tokens"
        )


def check_tokenizer(tokenizer: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Tokenizer`, on at least two signals of different sizes."""
    tokens = tokenizer.encode(signals)
    assert len(tokens) == len(signals) >= 2
    assert bytes.fromhex(tokenizer.fingerprint) and len(tokenizer.fingerprint) == 64
    assert (
        type(tokenizer.config)(**{f.name: getattr(tokenizer.config, f.name) for f in dataclasses.fields(tokenizer.config)})
        == tokenizer.config
    )
    assert configs.from_dict(type(tokenizer.config), json.loads(configs.canonical_json(tokenizer.config))) == tokenizer.config, (
        "config JSON round trip"
    )
    for signal, item in zip(signals, tokens, strict=True):
        assert item.layout == tokenizer.layout(item.layout.signal), "the layout follows from the signal's size"
        (alone,) = tokenizer.encode([signal])
        assert alone == item, "batched equals single"
    decoded = tokenizer.decode(tokens)
    for signal, back in zip(signals, decoded, strict=True):
        assert type(back) is type(signal)
        assert _size(back) == _size(signal), "exactly the size that went in"
    for item in tokens:
        for cut in item.layout.cuts:
            (back,) = tokenizer.decode([item.prefix(cut)])
            assert _size(back) == item.layout.size, "every prefix in cuts decodes"
    (alone,) = tokenizer.decode(tokens[:1])
    assert _difference(alone, decoded[0]) <= 1, "batched equals single"


def check_codec(codec: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Codec`."""
    for signal in signals:
        data = codec.compress(signal)
        assert isinstance(data, bytes) and data
        back = codec.decompress(data)
        assert _size(back) == _size(signal)
        assert codec.compress(signal, Target(bytes=len(data))) and len(codec.compress(signal, Target(bytes=len(data)))) <= len(data)
        try:
            codec.compress(signal, Target(bytes=1))
        except UsageError:
            continue
        raise AssertionError("no signal fits into one byte: UsageError is due")


def check_metric(metric: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Metric`."""
    for signal in signals:
        same, other = metric(signal, signal), metric(signal, _inverted(signal))
        assert same.better in ("higher", "lower") and same.convention
        assert same.value > other.value if same.better == "higher" else same.value < other.value, (
            "equal signals score better than inverted ones"
        )


def _size(signal: Any) -> dict[str, int]:
    if isinstance(signal, Image):
        return {"height": signal.height, "width": signal.width}
    raise TypeError(f"no size known for {type(signal).__name__}")


def _difference(a: Any, b: Any) -> int:
    return int(np.abs(a.pixels.astype(np.int64) - b.pixels.astype(np.int64)).max())


def _inverted(signal: Any) -> Any:
    return Image(np.iinfo(signal.pixels.dtype).max - signal.pixels)
