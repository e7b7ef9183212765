"""Distances of sounds by arithmetic alone, at the sounds' own rate; channels are scored one by one and averaged."""

from __future__ import annotations

import numpy as np
import torch

from smalti.metrics import spectra
from smalti.metrics.sounds import BelowFourKilohertz, both
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.signals import Signal


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
    it."""

    name = "si-sdr"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair; infinite for equal sounds, minus infinity for silence against sound."""
        a, b = both(reference, decoded)
        values = [_si_sdr(x, y) for x, y in zip(a.samples.astype(np.float64), b.samples.astype(np.float64), strict=True)]
        return Score(float(np.mean(values)), "dB", "higher", f"zero mean, mean over channels, {a.rate} Hz")


def _si_sdr(reference: np.ndarray, decoded: np.ndarray) -> float:
    if np.array_equal(reference, decoded):
        return float("inf")
    reference, decoded = reference - reference.mean(), decoded - decoded.mean()
    energy = float(reference @ reference)
    target = reference * (float(decoded @ reference) / energy) if energy else np.zeros_like(reference)
    kept, lost = float(target @ target), float(np.square(decoded - target).sum())
    if not kept:
        return float("-inf")
    return 10 * float(np.log10(kept / lost)) if lost else float("inf")


def mel_distance_4k() -> BelowFourKilohertz:
    """Mel distance below 4 kHz; windows stay 32 to 2048 samples, twice as long in time as at 16 kHz."""
    return BelowFourKilohertz(MelDistance())


def stft_distance_4k() -> BelowFourKilohertz:
    """STFT distance below 4 kHz; windows in samples stay as they are too."""
    return BelowFourKilohertz(STFTDistance())


def si_sdr_4k() -> BelowFourKilohertz:
    """SI-SDR below 4 kHz."""
    return BelowFourKilohertz(SISDR())
