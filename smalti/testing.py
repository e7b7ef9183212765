"""Conformance lists: what every implementation of a contract must do, for ours and for yours. Importable without torch.

from smalti.testing import check_prior
check_prior(MyPrior(), layout)          # raises AssertionError with what failed
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.tokenizers import configs
from smalti.tokenizers.contracts import (
    Codebook,
    Codec,
    ItemizedTask,
    Metric,
    Prior,
    Quantizer,
    RegionalTokenizer,
    Score,
    Target,
    Task,
    Tokenizer,
)
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import Shape
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.trial_signals import blended, difference, keeps_size, says_size, size_of, widened

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


# --- codebooks, quantizers, tokenizers, codecs, metrics, tasks ----------------------------------------------------------------------


def check_codebook(codebook: Any, seed: int = 0) -> None:
    """The conformance list of `contracts.Codebook`: run it on an instance in evaluation mode whose table is seeded."""
    import torch

    assert isinstance(codebook, Codebook), "a codebook has size, dim, bound, residual_scale, assign, lookup, vectors, loss and update"
    random = torch.Generator().manual_seed(seed)
    count = min(codebook.size, 512)
    ends = torch.tensor([0, codebook.size - 1])  # the last index is where inexact arithmetic shows first
    indices = torch.cat([ends, torch.randint(codebook.size, (count,), generator=random)])
    entries = codebook.lookup(indices)
    assert entries.shape == (len(indices), codebook.dim), f"lookup gives (N, dim), found {tuple(entries.shape)}"
    assert torch.equal(codebook.assign(entries), indices), "assign(lookup(i)) == i"

    z = codebook.bound(2 * torch.randn(300, codebook.dim, generator=random))
    found = codebook.assign(z)
    assert found.dtype == torch.int64, f"indices are int64, found {found.dtype}"
    assert found.shape == (300,), f"one index per row, found {tuple(found.shape)}"
    assert 0 <= int(found.min()) <= int(found.max()) < codebook.size, "indices lie in [0, size)"
    assert codebook.assign(z[:0]).shape == (0,), "no rows, no indices"
    assert torch.equal(torch.cat([codebook.assign(part) for part in z.split(1)]), found), "one at a time equals many"
    assert codebook.residual_scale(0).shape == (codebook.dim,), "one scale per dimension"
    assert torch.all(codebook.residual_scale(0) == 1), "the first level has latents as they are"
    loss = codebook.loss(z, codebook.lookup(found))
    assert loss.ndim == 0, f"the loss is one number, found {tuple(loss.shape)}"
    assert torch.isfinite(loss), f"the loss is finite, found {loss}"
    _check_wide(codebook, z)
    if codebook.size <= 2**16:
        _check_nearest(codebook, z, found)


def _check_wide(codebook: Any, z: Any) -> None:
    """Latents in float64 stay so, and the nearest entries are those of these very numbers."""
    import torch

    wide = codebook.bound(z.double())
    assert wide.dtype == torch.float64, f"bound keeps float64, found {wide.dtype}"
    found = codebook.assign(wide)
    assert found.dtype == torch.int64, f"indices are int64, found {found.dtype}"
    loss = codebook.loss(wide, codebook.lookup(found))
    assert torch.isfinite(loss), f"the loss of latents in float64 is finite, found {loss}"
    if codebook.size <= 2**16:
        _check_nearest(codebook, wide, found)


def _check_nearest(codebook: Any, z: Any, found: Any) -> None:
    import torch

    table = codebook.vectors()
    assert table.shape == (codebook.size, codebook.dim), f"vectors() are (size, dim), found {tuple(table.shape)}"
    assert torch.equal(codebook.lookup(torch.arange(codebook.size)), table), "vectors() are what lookup gives"
    distances = torch.cdist(z.double(), table.double(), compute_mode="donot_use_mm_for_euclid_dist")
    best = distances.min(1).values
    assert torch.all(distances[torch.arange(len(z)), found] <= best * (1 + 1e-5)), "the nearest entry, against float64 brute force"


def check_quantizer(quantizer: Any, grid: tuple[int, ...] = (5, 7), axes: tuple[str, ...] = ("row", "col")) -> None:
    """The conformance list of `contracts.Quantizer`, for an instance whose tables are seeded; works on a copy of it."""
    import torch

    assert isinstance(quantizer, Quantizer), "a quantizer has dim, cuts, layout, dequantize, decode_soft and can be called"
    own: Any = copy.deepcopy(quantizer)
    own.eval()
    z = torch.randn(3, own.dim, *grid, generator=torch.Generator().manual_seed(0))
    layout = own.layout(grid, axes, (("height", 1), ("width", 2)))
    assert layout.cuts == own.cuts, "the layout's cuts are the quantizer's"
    assert layout.size == {"height": 1, "width": 2}, "the layout carries the signal's size"
    stored = json.loads(configs.canonical_json(own.config))
    assert configs.from_dict(type(own.config), stored) == own.config, "config JSON round trip"
    before = {key: value.clone() for key, value in own.state_dict().items()}
    result = own(z)
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items()), "evaluation changes no state"
    _check_result(own, z, layout, result)
    _check_dequantize(own, layout, result)
    _check_types(own, z)
    _check_refusals(own, z, result)
    _check_training(own, z)


def _check_result(quantizer: Any, z: Any, layout: Layout, result: Any) -> None:
    import torch

    assert result.z_q.shape == z.shape, f"z_q has the shape of z, found {tuple(result.z_q.shape)}"
    assert result.z_q.dtype == z.dtype, f"z_q has the type of z, found {result.z_q.dtype}"
    assert [tuple(i.shape) for i in result.indices] == [(len(z), *stage.shape) for stage in layout.stages], "indices fit the layout"
    for stage, index in zip(layout.stages, result.indices, strict=True):
        assert index.dtype == torch.int64, f"{stage.name}: indices are int64, found {index.dtype}"
        assert 0 <= int(index.min()) <= int(index.max()) < stage.vocab, f"{stage.name}: indices lie in [0, {stage.vocab})"
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in result.losses.values()), f"losses are numbers, found {result.losses}"
    for item in range(len(z)):
        alone = quantizer(z[item : item + 1])
        same = [torch.equal(a[0], b[item]) for a, b in zip(alone.indices, result.indices, strict=True)]
        assert all(same), "batch of one equals batch of many"


def _check_dequantize(quantizer: Any, layout: Layout, result: Any) -> None:
    import torch

    grid = tuple(result.z_q.shape[2:])
    assert torch.equal(quantizer.dequantize(result.indices), result.z_q), "dequantize equals __call__ bit for bit"
    errors = [float((quantizer.dequantize(result.indices[:cut], grid) - result.z_q).detach().square().mean()) for cut in quantizer.cuts]
    assert errors == sorted(errors, reverse=True), f"longer prefixes come nearer, found squared errors {errors}"
    hot = [
        torch.nn.functional.one_hot(i, stage.vocab).movedim(-1, 1) * 200.0 for i, stage in zip(result.indices, layout.stages, strict=True)
    ]
    for cut in quantizer.cuts:
        soft, hard = quantizer.decode_soft(hot[:cut], grid), quantizer.dequantize(result.indices[:cut], grid)
        assert torch.allclose(soft, hard, atol=1e-4), f"certain logits decode to the entries, {cut} stages"


def _check_types(quantizer: Any, z: Any) -> None:
    """z_q has the type of z and is the sum of entries rounded to it; latents in bfloat16 are widened before anything is decided."""
    import torch

    for dtype in (torch.float64, torch.bfloat16):
        result = quantizer(z.to(dtype))
        assert result.z_q.dtype == dtype, f"z_q has the type of z, {dtype}, found {result.z_q.dtype}"
        assert torch.equal(result.z_q, quantizer.dequantize(result.indices).to(dtype)), f"{dtype}: dequantize equals __call__"
        assert all(torch.isfinite(loss) for loss in result.losses.values()), f"{dtype}: losses are numbers, found {result.losses}"
    wide = quantizer(z.bfloat16().float()).indices
    same = [torch.equal(a, b) for a, b in zip(result.indices, wide, strict=True)]
    assert all(same), "latents in bfloat16 have the tokens of the same numbers in float32"


def _check_refusals(quantizer: Any, z: Any, result: Any) -> None:
    import torch

    grid = tuple(z.shape[2:])
    for count in set(range(len(result.indices) + 1)) - set(quantizer.cuts):
        _check_raises(UsageError, f"{count} stages decode, cuts are {quantizer.cuts}", quantizer.dequantize, result.indices[:count], grid)
    _check_raises(UsageError, "latents of another dimension", quantizer, torch.cat([z, z[:, :1]], 1))
    _check_raises(SignalError, "an empty batch", quantizer, z[:0])
    poisoned = z.clone()
    poisoned[1].view(-1)[-1] = torch.nan
    _check_raises(SignalError, "latents that are not a number", quantizer, poisoned)


def _check_training(quantizer: Any, z: Any) -> None:
    import torch

    saved = type(quantizer)(quantizer.config).eval()
    saved.load_state_dict(quantizer.state_dict())
    same = [torch.equal(a, b) for a, b in zip(saved(z).indices, quantizer(z).indices, strict=True)]
    assert all(same), "saved and loaded, the same tokens"
    quantizer.train()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        latents = z.to(dtype, copy=True).requires_grad_()
        trained = quantizer(latents)
        assert trained.z_q.dtype == dtype, f"z_q has the type of z, {dtype}, in training too, found {trained.z_q.dtype}"
        (gradient,) = torch.autograd.grad(trained.z_q.sum() + sum(trained.losses.values()), latents)
        assert torch.isfinite(gradient).all(), f"{dtype}: gradients are finite"
        assert torch.all(gradient.flatten(1).abs().sum(1) > 0), f"{dtype}: gradients reach every item of z"


def check_tokenizer(tokenizer: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Tokenizer`, on at least two signals of different sizes."""
    assert isinstance(tokenizer, Tokenizer), "a tokenizer has name, config, fingerprint, layout, encode and decode"
    assert len({tuple(size_of(signal).items()) for signal in signals}) >= 2, "the list wants signals of different sizes"
    assert len(bytes.fromhex(tokenizer.fingerprint)) == 32, "the fingerprint is SHA-256 in hex"
    stored = json.loads(configs.canonical_json(tokenizer.config))
    assert configs.from_dict(type(tokenizer.config), stored) == tokenizer.config, "config JSON round trip"

    tokens = tokenizer.encode(signals)
    assert len(tokens) == len(signals), "one item of tokens per signal"
    for signal, item in zip(signals, tokens, strict=True):
        assert says_size(item.layout, signal), "the layout says the signal's size"
        assert item.layout == tokenizer.layout(item.layout.signal), "the layout follows from the signal's size"
        (alone,) = tokenizer.encode([signal])
        assert alone == item, "batched equals single"
    # items of different depths in one call, as a player of streamed files has them
    prefixes = [item.prefix(cut) for item in tokens for cut in item.layout.cuts]
    owners = [(signal, cut == len(item.arrays)) for signal, item in zip(signals, tokens, strict=True) for cut in item.layout.cuts]
    for (signal, whole), item, back in zip(owners, prefixes, tokenizer.decode(prefixes), strict=True):
        assert type(back) is type(signal), f"signals come back as what they were, found {type(back).__name__}"
        assert keeps_size(back, signal, item.layout, whole), "the size that went in, exactly but for shapes"
        (single,) = tokenizer.decode([item])
        assert difference(single, back) <= 1, "batched equals single"
    assert tokenizer.encode([]) == tokenizer.decode([]) == [], "nothing in, nothing out"
    _check_foreign(tokenizer, tokens[0])
    if isinstance(tokenizer, RegionalTokenizer):
        _check_regions(tokenizer, tokens)


def _check_regions(tokenizer: RegionalTokenizer, tokens: Sequence[Tokens]) -> None:
    """Masks without a gap decode as the whole does, those of the first prefix alone as that, and the first prefix must not be left out."""
    for item in tokens:
        first, regions = item.layout.cuts[0], item.layout.stages[0].shape[-2:]
        full, empty = np.ones(regions, bool), np.zeros(regions, bool)
        everywhere = dataclasses.replace(item, present=(full,) * len(item.arrays))
        later = [np.zeros_like(array) for array in item.arrays[first:]]
        nowhere = Tokens(item.layout, (*item.arrays[:first], *later), (None,) * first + (empty,) * len(later))
        for masked, expected in ((everywhere, item), (nowhere, item.prefix(first))):
            (found,), (back,) = tokenizer.decode([masked]), tokenizer.decode([expected])
            assert difference(found, back) <= 1, "a region that a stage lacks is drawn from the stages before"
        lacking = Tokens(item.layout, tuple(np.zeros_like(array) for array in item.arrays), (empty,) * len(item.arrays))
        _check_raises(UsageError, "a region without its first prefix decodes", tokenizer.decode, [lacking])


def _check_foreign(tokenizer: Any, tokens: Tokens) -> None:
    """Tokens of another vocabulary fit no table: they must be refused, not looked up."""
    stages = tuple(dataclasses.replace(stage, vocab=stage.vocab + 1) for stage in tokens.layout.stages)
    foreign = Tokens(dataclasses.replace(tokens.layout, stages=stages), tokens.arrays)
    try:
        tokenizer.decode([foreign])
    except UsageError:
        return
    raise AssertionError("tokens of another layout decode: UsageError is due")


def check_codec(codec: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Codec`."""
    assert isinstance(codec, Codec), "a codec has name, compress and decompress"
    for signal in signals:
        data = codec.compress(signal)
        assert isinstance(data, bytes), f"a file is bytes, found {type(data).__name__}"
        back = codec.decompress(data)
        assert type(back) is type(signal), f"signals come back as what they were, found {type(back).__name__}"
        assert keeps_size(back, signal), "the size that went in, exactly but for shapes"
        assert difference(codec.decompress(codec.compress(signal)), back) <= 1, "the same signal gives the same file"
        for room in (len(data), len(data) - 1):
            _check_within(codec, signal, room)
        _check_raises(UsageError, "no signal fits into one byte", codec.compress, signal, Target(bytes=1))
        for damaged in (data[:-1], data[: len(data) // 2], b""):
            _check_raises(BitstreamError, f"{len(damaged)} of {len(data)} bytes decode", codec.decompress, damaged)


def _check_within(codec: Any, signal: Any, room: int) -> None:
    """A file within `room` bytes that decodes, or UsageError where even the smallest is larger."""
    try:
        data = codec.compress(signal, Target(bytes=room))
    except UsageError:
        return
    assert len(data) <= room, f"{len(data)} bytes were written, the target allows {room}"
    assert _comes_back(codec.decompress(data), signal), "the size that went in, exactly but for shapes"


def _comes_back(back: Any, signal: Any) -> bool:
    """From a file that may hold the first stages only."""
    return type(back) is Shape or keeps_size(back, signal)


def _check_raises(kind: type[Exception], what: str, call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except kind:
        return
    raise AssertionError(f"{what}: {kind.__name__} is due")


def check_metric(metric: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Metric`."""
    assert isinstance(metric, Metric), "a metric has a name and can be called"
    for signal in signals:
        same, near, far = (metric(signal, other) for other in (signal, blended(signal, 0.25), blended(signal, 1.0)))
        assert same.better in ("higher", "lower"), f"better is 'higher' or 'lower', found {same.better!r}"
        assert same.convention, "the convention says what another must know to repeat the number"
        assert isinstance(same.value, float), f"values are plain floats, found {type(same.value).__name__}"
        values = [same.value, near.value, far.value]
        ordered = sorted(values, reverse=same.better == "higher")
        assert values == ordered, f"equal, near and inverted signals score worse and worse, found {values}"
        assert len(set(values)) == 3, f"equal, near and inverted signals score differently, found {values}"
        if isinstance(signal, Shape):
            _check_empty(metric, signal, far, same.better)
        else:
            _check_raises(SignalError, "signals of different sizes compare", metric, signal, widened(signal))


def _check_empty(metric: Any, shape: Shape, far: Score, better: str) -> None:
    """Shapes of any number of faces compare; one without any is scored, as no better than a bad one, and a reference must have some."""
    empty = widened(shape)
    lost = metric(shape, empty)
    assert lost.value <= far.value if better == "higher" else lost.value >= far.value, f"nothing scores worst, found {lost.value}"
    assert lost.convention == far.convention, "one convention for all that is scored"
    _check_raises(SignalError, "an empty reference compares", metric, empty, shape)


def check_task(task: Any, signals: Sequence[Any]) -> None:
    """The conformance list of `contracts.Task`, on at least three signals that the task tells from their inverse."""
    assert isinstance(task, Task), "a task has a name, can be called and has a ceiling"
    ceiling, same = task.ceiling(signals), task(signals, tuple(signals))
    far = task(signals, [blended(signal, 1.0) for signal in signals])
    for score in (ceiling, same, far):
        assert score.better in ("higher", "lower"), f"better is 'higher' or 'lower', found {score.better!r}"
        assert score.convention, "the convention says what another must know to repeat the number"
        assert isinstance(score.value, float), f"values are plain floats, found {type(score.value).__name__}"
        assert np.isfinite(score.value), f"values are finite, found {score.value}"
        kind, expected = ((s.unit, s.better, s.convention) for s in (score, ceiling))
        assert kind == expected, f"score and ceiling are of one kind, found {kind} and {expected}"
    # the same signals may pass a network in other batches
    assert abs(same.value - ceiling.value) <= 1e-6 * max(1.0, abs(ceiling.value)), (
        f"undamaged signals reach the ceiling, found {same.value}"
    )
    lost = ceiling.value - far.value if ceiling.better == "higher" else far.value - ceiling.value
    assert lost > 0, f"inverted signals stay behind the ceiling, found {far.value} and {ceiling.value}"
    _check_raises(SignalError, "sets of different length compare", task, signals, signals[:-1])
    _check_raises(SignalError, "empty sets compare", task, [], [])
    if isinstance(task, ItemizedTask):
        _check_items(task, signals, far)


def _check_items(task: ItemizedTask, signals: Sequence[Any], far: Score) -> None:
    """Outcomes of items: one for each, and the score is their mean."""
    outcomes = np.asarray(task.per_item(signals, [blended(signal, 1.0) for signal in signals]))
    assert outcomes.shape == (len(signals),), f"one outcome for each item, found {outcomes.shape}"
    assert outcomes.dtype == np.float64, f"outcomes are float64, found {outcomes.dtype}"
    mean = float(np.nanmean(outcomes))
    assert abs(mean - far.value) <= 1e-6 * max(1.0, abs(far.value)), f"the score is the mean over items, found {far.value} and {mean}"
    _check_raises(SignalError, "sets of different length compare", task.per_item, signals, signals[:-1])
