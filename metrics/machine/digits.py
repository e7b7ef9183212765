"""Spoken words, digits say, by a probe on log mels: a small listener that is trained here, from a seed, in seconds.

Features are 24 mel bands (Slaney's, 25 ms windows each 10 ms) up to 4 kHz in decibels of the loudest, at 12 places over the length of the
sound, which ends where it falls 40 dB below its loudest frame. So neither level, nor pace, nor silence around counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.metrics.machine.answers import Answers
from smalti.metrics.machine.probes import ProbeTask
from smalti.metrics.sounds import NARROW_RATE, at_rate
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Audio, Signal

WINDOW, HOP, BANDS = 200, 80, 24  # samples at 8 kHz
PLACES = 12
FLOOR_DB = -40.0


def log_mels(sound: Signal) -> Array:
    """float64 (12 * 24,): decibels under the loudest, time first; a silent sound is all floor. SignalError for other signals."""
    if not isinstance(sound, Audio):
        raise SignalError(f"words are heard in sounds, found {type(sound).__name__}")
    import torch

    from smalti.metrics.spectra import triangles

    wave = torch.from_numpy(np.ascontiguousarray(at_rate(sound, NARROW_RATE).samples.mean(0)))
    padded = torch.nn.functional.pad(wave, (WINDOW // 2, WINDOW // 2))
    spectrum = torch.stft(padded, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True).abs().square()
    mels = (triangles(NARROW_RATE, WINDOW, BANDS) @ spectrum).T.double().numpy()
    powers = mels.sum(1)
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (FLOOR_DB / 10))
    spoken = mels[loud[0] : loud[-1] + 1]
    decibels = 10 * np.log10(np.maximum(spoken, 1e-12) / max(spoken.max(), 1e-12))
    places = np.linspace(0, len(spoken) - 1, PLACES)
    low = np.floor(places).astype(int)
    high, share = np.minimum(low + 1, len(spoken) - 1), (places - low)[:, None]
    clipped = np.maximum(decibels, FLOOR_DB)
    return np.asarray((clipped[low] * (1 - share) + clipped[high] * share).ravel())


def spoken_digits(labels: Sequence[int], groups: Sequence[str] | None = None, from_decoded: bool = False) -> ProbeTask:
    """labels: the word in each sound. groups: who speaks it, so that no probe is tried on a voice that it knows."""
    heard = Answers(log_mels)
    about = f"{BANDS} log mels at {PLACES} places, {NARROW_RATE} Hz"
    return ProbeTask(
        "spoken-digits", lambda sounds: np.stack([heard(sound) for sound in sounds]), labels, groups, from_decoded, about=about
    )


def spoken_digits_from_decoded(labels: Sequence[int], groups: Sequence[str] | None = None) -> ProbeTask:
    """The same by the second protocol."""
    return spoken_digits(labels, groups, True)
