"""Latents and hyper-latents <-> bytes: integer tables, rANS.

Hyper-latents have a table for each channel and trained rate; what lies beyond its reach is cut off by the encoder. Latents, less their
means and rounded, have a table for each scale: -reach..reach, and an escape behind which stands what is left. Tables are data, counted on
training pictures and stored with the weights; no float is ever turned into one here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.codecs.coders import rans
from smalti.codecs.coders.tables import Table, table, uniform
from smalti.codecs.hyperprior.config import SCALE_LEAST, SCALES
from smalti.codecs.hyperprior.hyper import ONE, STEP
from smalti.tokenizers.errors import ModelError

Array = np.ndarray
HYPER_REACH = 31
MOST_BEYOND = 1 << 15  # of a latent, further than its table reaches


def scale_of(number: int) -> float:
    """The standard deviation that a table is for: the middle of its range."""
    return SCALE_LEAST * math.exp((number + 0.5) * STEP / ONE)


def reach_of(number: int) -> int:
    """The largest latent of a table."""
    return math.ceil(7 * scale_of(number)) + 1


@dataclass(frozen=True, eq=False)
class Tables:
    """latents: by scale, of 2 reach + 2 symbols. hyper: by trained rate and channel, of 2 HYPER_REACH + 1 symbols."""

    latents: tuple[Table, ...]
    hyper: tuple[tuple[Table, ...], ...]

    @staticmethod
    def of_arrays(latents: Array, hyper: Array) -> Tables:
        """From uint16: all tables of latents one after the other, and (rates, channels, symbols). ModelError for what is none."""
        lengths = [2 * reach_of(number) + 2 for number in range(SCALES)]
        if latents.ndim != 1 or len(latents) != sum(lengths) or hyper.ndim != 3 or hyper.shape[2] != 2 * HYPER_REACH + 1:
            raise ModelError(
                f"tables of a hyperprior: found {latents.shape} and {hyper.shape}, expected {(sum(lengths),)} and (.., .., 63)"
            )
        parts = np.split(latents.astype(np.int64), np.cumsum(lengths)[:-1])
        return Tables(tuple(map(table, parts)), tuple(tuple(table(row) for row in rate) for rate in hyper.astype(np.int64)))


def encode_hyper(z: Array, tables: Sequence[Table]) -> bytes:
    """z: whole numbers (h, w, channels) within HYPER_REACH."""
    coder = rans.Encoder(z.size)
    for channel, model in enumerate(tables):
        coder.put(z[..., channel].ravel() + HYPER_REACH, model)
    return coder.finish()


def decode_hyper(data: bytes, shape: tuple[int, int, int], tables: Sequence[Table]) -> Array:
    """int64 (h, w, channels); raises BitstreamError."""
    coder = rans.Decoder(data, math.prod(shape))
    channels = [coder.take(shape[0] * shape[1], model) for model in tables]
    coder.finish()
    return np.stack(channels, -1).reshape(shape).astype(np.int64) - HYPER_REACH


def encode_latents(values: Array, numbers: Array, tables: Tables) -> bytes:
    """values: whole numbers (h, w, channels); numbers: of the table of each."""
    coder = rans.Encoder(values.size)
    flat, order = values.ravel(), numbers.ravel()
    beyond: list[Array] = []
    for number, model in enumerate(tables.latents):
        run, reach = flat[order == number], reach_of(number)
        outside = np.abs(run) > reach
        coder.put(np.where(outside, 2 * reach + 1, run + reach), model)
        left = np.minimum(np.abs(run[outside]) - reach - 1, MOST_BEYOND - 1)
        beyond.append(2 * left + (run[outside] < 0))
    coder.put(np.concatenate(beyond), uniform(2 * MOST_BEYOND))
    return coder.finish()


def decode_latents(data: bytes, numbers: Array, tables: Tables) -> Array:
    """int64, shape of `numbers`; raises BitstreamError."""
    coder = rans.Decoder(data, numbers.size)
    order = numbers.ravel()
    flat = np.zeros(order.shape, np.int64)
    escaped: list[Array] = []
    for number, model in enumerate(tables.latents):
        places = np.flatnonzero(order == number)
        reach = reach_of(number)
        found = coder.take(len(places), model)
        flat[places] = found.astype(np.int64) - reach
        escaped.append(places[found == 2 * reach + 1])
    places = np.concatenate(escaped)
    left = coder.take(len(places), uniform(2 * MOST_BEYOND)).astype(np.int64)
    reaches = np.array([reach_of(number) for number in range(SCALES)])[order[places]]
    flat[places] = np.where(left & 1, -1, 1) * (reaches + 1 + (left >> 1))
    coder.finish()
    return flat.reshape(numbers.shape)


def clipped(values: Array, numbers: Array) -> Array:
    """Latents as they come back: those that no escape reaches are cut off."""
    most = np.array([reach_of(number) + MOST_BEYOND for number in range(SCALES)])[numbers]
    return np.clip(values, -most, most)
