"""A network's operations on integers: the same results on every machine, with any number of threads and in any batch.

Values are integers in float64: sums of products stay below 2^53, so that no order of adding them rounds; what divides is int64. Weights are
in 2^-12, activations in 2^-10. Ballé, Johnston and Minnen, "Integer networks for data compression with latent-variable models" (ICLR 2019)
has the idea; float64 in place of 8-bit products, tables for what is not linear and the corrected root are ours.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.coders.range_coder import LARGEST_TOTAL
from smalti.codecs.priors.masked_config import LARGEST_BIAS, LARGEST_CHANNELS, LARGEST_FAN

Array = np.ndarray
WEIGHT_BITS, VALUE_BITS = 12, 10
REACH = 1 << 20  # of activations: 1024
STEPS = 2048  # entries of each table, 128 to a unit
LEAST_SHARE = 128  # a 1/128 of all frequencies is spread evenly: no token is free, none costs more than log2(128 K) bits
# |weight| <= 2^15, |activation| <= 2^20, at most 2^12 of them, and a bias: below 2^48
assert LARGEST_FAN * (1 << 15) * REACH + LARGEST_BIAS < 1 << 52
# queries and keys within REACH, at most 512 channels, and a bias of 2^15 in 2^-10
assert LARGEST_CHANNELS * REACH * REACH + (1 << 15 + VALUE_BITS) < 1 << 52


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (..., I), weight (O, I) in 2^-12, bias (O,) in 2^-22: (..., O), rounded to the nearest, halves up, and clipped to REACH."""
    return torch.floor(products(x, weight, bias) * 2.0**-WEIGHT_BITS + 0.5).clamp_(-REACH, REACH)


def products(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same in 2^-22, not rounded."""
    return x @ weight.T + bias


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y, clipped to REACH."""
    return (x + y).clamp_(-REACH, REACH)


def norm(x: Tensor) -> Tensor:
    """The last axis of x brought to mean 0 and variance 1; x has integers within REACH, on at most 4096 channels."""
    whole = x.to(torch.int64)
    channels = whole.shape[-1]
    centred = whole - torch.div(whole.sum(-1, keepdim=True), channels, rounding_mode="floor")
    variance = torch.div((centred * centred).sum(-1, keepdim=True), channels, rounding_mode="floor")
    deviation = root(variance << 8).clamp_(min=1)  # in 2^-14
    return torch.div(centred << (VALUE_BITS + 4), deviation, rounding_mode="floor").to(torch.float64)


def root(x: Tensor) -> Tensor:
    """floor(sqrt(x)) of int64 x in 0..2^52, whatever the machine's square root does to the last bit."""
    found = torch.sqrt(x.to(torch.float64)).to(torch.int64)
    found = found - (found * found > x).to(torch.int64)
    return found + ((found + 1) * (found + 1) <= x).to(torch.int64)


def gelu(x: Tensor) -> Tensor:
    """x Phi(x) by a table over -8..8, clipped there."""
    place = torch.floor(x * 0.125).clamp_(-STEPS // 2, STEPS // 2 - 1) + STEPS // 2
    return _on(gelu_table(), x)[place.to(torch.int64)]


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention of (B, H, N, C) with a bias (H, N, N) in 2^-10 on the logits; shape as value, at most 4096 keys."""
    logits = query @ key.transpose(-1, -2) + bias * 2.0**VALUE_BITS
    shares = _exponentials(logits, 2 * VALUE_BITS, 16)
    total = shares.sum(-1, keepdim=True).to(torch.int64)
    return torch.div((shares @ value).to(torch.int64), total, rounding_mode="floor").to(torch.float64)


def running_sums(logits: Tensor) -> Array:
    """int64 (N, K + 1): frequencies from 0 on, for logits (N, K) in 2^-22; each is at least 1, all sum to at most 2^24."""
    vocab = logits.shape[1]
    least = LARGEST_TOTAL // LEAST_SHARE // vocab
    weights = _exponentials(logits, WEIGHT_BITS + VALUE_BITS, 24).to(torch.int64)
    frequencies = torch.div(weights * (LARGEST_TOTAL - vocab * least), weights.sum(-1, keepdim=True), rounding_mode="floor") + least
    sums = torch.zeros((len(logits), vocab + 1), dtype=torch.int64, device=logits.device)
    sums[:, 1:] = frequencies.cumsum(1)
    return np.asarray(sums.cpu().numpy())


def _exponentials(logits: Tensor, bits: int, height: int) -> Tensor:
    """2^height exp(logits - their maximum) over the last axis, for logits in 2^-bits."""
    below = torch.floor((logits.amax(-1, keepdim=True) - logits) * 2.0 ** (7 - bits)).clamp_(max=STEPS - 1)
    return _on(exponential_table(height), logits)[below.to(torch.int64)]


@lru_cache
def exponential_table(height: int) -> Tensor:
    """float64 (STEPS,): round(2^height exp(-i / 128)). No value lies nearer than 1e-5 to a half: any machine's exp gives these integers."""
    return torch.tensor([float(round(2**height * math.exp(-i / 128))) for i in range(STEPS)], dtype=torch.float64)


@lru_cache
def gelu_table() -> Tensor:
    """float64 (STEPS,): round(2^10 x Phi(x)) at x = (i - 1024) / 128; as safe as the other one."""
    points = [(i - STEPS // 2) / 128 for i in range(STEPS)]
    return torch.tensor([float(round(2**VALUE_BITS * x * (1 + math.erf(x / math.sqrt(2))) / 2)) for x in points], dtype=torch.float64)


@lru_cache(maxsize=16)
def _moved(table: Tensor, device: torch.device) -> Tensor:
    return table.to(device)


def _on(table: Tensor, like: Tensor) -> Tensor:
    return _moved(table, like.device)
