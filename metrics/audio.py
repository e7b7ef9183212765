"""Metrics of sound, at the sounds' own rate; channels are scored one by one and averaged."""

from __future__ import annotations

import numpy as np
import torch

from smalti.metrics import spectra
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Audio, Signal


class MelDistance:
    """Distance of log mel spectra, as DAC (arXiv 2306.06546) trains with: unweighted sum over windows of 32 to 2048 samples."""

    name = "mel-distance"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels."""
        a, b = _both(reference, decoded)
        with torch.inference_mode():
            value = float(spectra.mel_distance(torch.from_numpy(a.samples), torch.from_numpy(b.samples), a.rate))
        return Score(value, "log10, summed over 7 windows", "lower", f"windows 32..2048, hop a quarter, Slaney mels 5..320, {a.rate} Hz")


class SISDR:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., arXiv 1811.02508), means taken off; generative decoders score low by
    it."""

    name = "si-sdr"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair; infinite for equal sounds, minus infinity for silence against sound."""
        a, b = _both(reference, decoded)
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


def _both(reference: Signal, decoded: Signal) -> tuple[Audio, Audio]:
    if not isinstance(reference, Audio) or not isinstance(decoded, Audio):
        raise SignalError(f"sound metrics compare sounds, found {type(reference).__name__} and {type(decoded).__name__}")
    if reference.samples.shape != decoded.samples.shape or reference.rate != decoded.rate:
        found = f"{reference.samples.shape} at {reference.rate} Hz and {decoded.samples.shape} at {decoded.rate} Hz"
        raise SignalError(f"sounds differ in size: {found}")
    return reference, decoded
