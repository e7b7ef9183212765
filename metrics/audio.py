"""Distances of sounds by arithmetic alone, at the sounds' own rate; channels are scored one by one and averaged."""

from __future__ import annotations

import numpy as np
import torch

from smalti.metrics import spectra
from smalti.metrics.sounds import BelowFourKilohertz, both
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Signal

LIMIT_DB = 100.0


class MelDistance:
    """Distance of log mel spectra, as DAC (arXiv 2306.06546) trains with: unweighted sum over windows of 32 to 2048 samples."""

    name = "mel-distance"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels."""
        a, b = both(reference, decoded)
        with torch.inference_mode():
            value = float(spectra.mel_distance(torch.from_numpy(a.samples), torch.from_numpy(b.samples), a.rate))
        return Score(value, "log10, summed over 7 windows", "lower", f"windows 32..2048, hop a quarter, Slaney mels 5..320, {a.rate} Hz")


class STFTDistance:
    """Distance of short-time spectra, linear and logarithmic, as audiotools (which DAC is measured with) sums them over two windows.

    Linear magnitudes are those of a Hann window's plain transform, so loud moments weigh most in them; logarithms are of powers.
    """

    name = "stft-distance"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels."""
        a, b = both(reference, decoded)
        with torch.inference_mode():
            value = float(spectra.stft_distance(torch.from_numpy(a.samples), torch.from_numpy(b.samples)))
        windows = " and ".join(map(str, spectra.STFT_WINDOWS))
        return Score(value, "magnitude + log10 power", "lower", f"windows {windows}, hop a quarter, {a.rate} Hz")


class SISDR:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., arXiv 1811.02508), means taken off; generative decoders score low by
    it.

    Values end at 100 dB in both directions, so that means stay numbers: float32 tells no more apart. Silent channels have no ratio, and
    are left out.
    """

    name = "si-sdr"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair: 100 for equal sounds, -100 for silence against sound; SignalError where the reference is silent."""
        a, b = both(reference, decoded)
        values = [_si_sdr(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(a.samples, b.samples, strict=True) if np.ptp(x)]
        if not values:
            raise SignalError("a silent sound has no si-sdr; take another, or leave the metric out")
        return Score(float(np.mean(values)), "dB", "higher", f"zero mean, within {LIMIT_DB:g} dB, mean over sounding channels, {a.rate} Hz")


def _si_sdr(reference: np.ndarray, decoded: np.ndarray) -> float:
    reference, decoded = reference - reference.mean(), decoded - decoded.mean()
    target = reference * (float(decoded @ reference) / float(reference @ reference))
    kept, lost = float(target @ target), float(np.square(decoded - target).sum())
    if not kept:
        return -LIMIT_DB
    return float(np.clip(10 * np.log10(kept / lost), -LIMIT_DB, LIMIT_DB)) if lost else LIMIT_DB


def mel_distance_4k() -> BelowFourKilohertz:
    """Mel distance below 4 kHz; windows stay 32 to 2048 samples, twice as long in time as at 16 kHz."""
    return BelowFourKilohertz(MelDistance())


def stft_distance_4k() -> BelowFourKilohertz:
    """STFT distance below 4 kHz; windows in samples stay as they are too."""
    return BelowFourKilohertz(STFTDistance())


def si_sdr_4k() -> BelowFourKilohertz:
    """SI-SDR below 4 kHz."""
    return BelowFourKilohertz(SISDR())
