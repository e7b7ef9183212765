"""Pulses at a voice's pitch: where they lie, how loud they are, and that pieces are the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.nets.pulses import HIGHEST, LEVEL, Pulses

HOP, AHEAD, RATE = 320, 240, 16000
PITCHES = [0, 0, 100, 110, 120.5, 0, 0, 200, 210, 0, 499, 60, 150, 150]


def pulses() -> Pulses:
    return Pulses(HOP, AHEAD, RATE)


def pitches(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 14])
@pytest.mark.parametrize("start", [0, 2])
def test_pieces_are_the_whole(piece: int, start: int) -> None:
    hertz = pitches(*PITCHES[start:])
    whole, memory, place = pulses()(hertz), Memory(), 0
    assert whole.shape == (1, AHEAD + hertz.shape[1] * HOP)
    layer = pulses()
    for first in range(0, hertz.shape[1], piece):
        part = layer(hertz[:, first : first + piece], memory)
        assert torch.allclose(part, whole[:, place : place + part.shape[1]], atol=1e-5)
        place += part.shape[1] - AHEAD
    assert place == hertz.shape[1] * HOP


@pytest.mark.parametrize("hertz", [61.0, 100.0, 123.4, 300.0, 500.0])
def test_harmonics_lie_at_multiples_and_are_one_height(hertz: float) -> None:
    wave = pulses()(pitches(*[hertz] * 60))[0].numpy()
    assert np.sqrt(np.square(wave).mean()) == pytest.approx(LEVEL, rel=0.03), "as loud at every pitch"
    wave = wave[: len(wave) // 2 * 2] * np.blackman(len(wave) // 2 * 2)
    spectrum = np.abs(np.fft.rfft(wave))
    bins = np.arange(len(spectrum)) * RATE / len(wave)
    harmonics = np.arange(1, int(HIGHEST * RATE / 2 / hertz) + 1) * hertz
    peaks = np.array([spectrum[np.abs(bins - place).argmin() - 2 :][:5].max() for place in harmonics])
    assert peaks.min() > 0.7 * peaks.max()
    between = spectrum[(np.abs(bins / hertz - np.round(bins / hertz)) > 0.25) | (bins > harmonics[-1] + 0.3 * hertz)]
    assert between.max() < 0.01 * peaks.max()


def test_where_there_is_no_pitch_there_is_no_sound_and_loudness_goes_along_a_line() -> None:
    wave = pulses()(pitches(0, 0, 200, 200, 0, 0))[0, AHEAD:].unflatten(0, (6, HOP)).numpy()
    assert not wave[[0, 1, 5]].any()
    size = np.abs(wave).reshape(6, 4, 80).max(2)
    assert (np.diff(size[2]) > 0).all()
    assert (np.diff(size[4]) < 0).all()
    assert size[3] == pytest.approx(size[3].mean(), rel=0.05)


def test_pitch_glides_between_frames() -> None:
    wave = pulses()(pitches(*[100.0] * 10, *[200.0] * 10))[0, AHEAD:].numpy()
    peaks = np.flatnonzero((wave[1:-1] > 0.5 * wave.max()) & (wave[1:-1] >= wave[:-2]) & (wave[1:-1] > wave[2:])) + 1
    periods = np.diff(peaks)
    assert set(periods[peaks[1:] < 10 * HOP]) == {160}
    assert set(periods[peaks[:-1] > 11 * HOP]) == {80}
    glide = periods[(peaks[:-1] > 10 * HOP) & (peaks[1:] < 11 * HOP)]
    assert ((glide < 160) & (glide > 80)).all()


def test_what_was_before_a_pause_does_not_matter() -> None:
    layer = pulses()
    long, short = layer(pitches(110, 123, 97, 0, 140, 150, 160)), layer(pitches(0, 140, 150, 160))
    assert torch.allclose(long[:, -3 * HOP :], short[:, -3 * HOP :], atol=1e-6)
    assert short[0, AHEAD + HOP :].abs().max() > 0.5 * short.abs().max()


def test_items_of_a_batch_do_not_see_each_other() -> None:
    layer, rows = pulses(), [pitches(*PITCHES), pitches(*PITCHES[::-1])]
    both = layer(torch.cat(rows))
    for row, found in zip(rows, both, strict=True):
        assert torch.allclose(layer(row)[0], found, atol=1e-7)


def test_crops_start_anywhere_between_two_pulses() -> None:
    torch.manual_seed(0)
    drawn = pulses()(torch.full((64, 2), 100.0), somewhere=True)
    first = drawn[:, :160].argmax(1).numpy()
    assert all(4 <= count <= 32 for count in np.histogram(first, 4, (0, 160))[0])
    assert len(set(first.tolist())) > 20
    again = pulses()(torch.full((2, 2), 100.0))
    assert torch.equal(again[0], again[1])


def test_a_pulse_is_finite_where_it_lies_on_a_sample() -> None:
    for hertz, frames in itertools.product((80.0, 100.0, 160.0, 500.0), (1, 3)):
        found = pulses()(pitches(*[hertz] * frames))
        assert torch.isfinite(found).all()
        assert found.abs().max() < 2
