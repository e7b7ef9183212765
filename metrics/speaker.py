"""Does the decoded voice still belong to the same speaker: the cosine of two embeddings.

The network is Resemblyzer's voice encoder (github.com/resemble-ai/Resemblyzer, Apache-2.0; Wan et al., "Generalized end-to-end loss for
speaker verification", arXiv 1710.10467): mels of 16 kHz sound, three LSTM layers, 256 numbers of length 1; two clips of one voice lie
near .9, of two voices near .6. Its weights are the judge "speaker". Deviations from the package's own preparation: pauses stay in, so
that both sounds keep their frames, and the level is brought to -30 dB in both directions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.metrics import judges, spectra
from smalti.metrics.sounds import BelowFourKilohertz, at_rate, both, mean_of_channels
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Signal

RATE = 16000
WINDOW, HOP, BANDS = 400, 160, 40
PART_FRAMES, PART_STEP = 160, 77  # 1.6 s, 1.3 parts a second
LEVEL_DB = -30.0
WIDTH = 256


class VoiceEncoder(nn.Module):
    """Mel powers (B, frames, 40) -> embeddings (B, 256) of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, WIDTH, 3, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        return F.normalize(F.relu(self.linear(hidden[-1])), dim=1)

    def embed(self, wave: Array) -> Array:
        """float32 (T,) at 16 kHz -> (256,) of length 1: the mean over parts of 1.6 s; SignalError for silence."""
        level = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
        if level < 1e-6:
            raise SignalError("a silent sound has no speaker; take one with speech")
        mels = _mels(torch.from_numpy(wave) * (10 ** (LEVEL_DB / 20) / level))
        mels = F.pad(mels, (0, 0, 0, max(0, PART_FRAMES - len(mels))))
        starts = range(0, len(mels) - PART_FRAMES + 1, PART_STEP)
        with torch.inference_mode():
            parts = self(torch.stack([mels[start : start + PART_FRAMES] for start in starts]))
            return F.normalize(parts.mean(0), dim=0).numpy()


class SpeakerSimilarity:
    """Cosine of the two voices, 1 for equal sounds."""

    name = "speaker-similarity"

    def __init__(self, encoder: VoiceEncoder) -> None:
        self.encoder = encoder.eval()

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels; SignalError where one is silent."""
        a, b = both(reference, decoded)
        value = mean_of_channels(at_rate(a, RATE), at_rate(b, RATE), self._of_channel)
        return Score(value, "", "higher", f"cosine, Resemblyzer's voice encoder, {RATE} Hz, sounds at {a.rate} Hz")

    def _of_channel(self, reference: Array, decoded: Array) -> float:
        if np.array_equal(reference, decoded):
            return 1.0
        return float(self.encoder.embed(reference) @ self.encoder.embed(decoded))


def load() -> SpeakerSimilarity:
    """With the judge "speaker"; ModelError where it is not at hand."""
    encoder = VoiceEncoder()
    encoder.load_state_dict(judges.load("speaker"))
    return SpeakerSimilarity(encoder)


def load_4k() -> BelowFourKilohertz:
    """The same, below 4 kHz."""
    return BelowFourKilohertz(load())


def _mels(wave: Tensor) -> Tensor:
    """(T,) -> (frames, 40) mel powers."""
    padded = F.pad(wave, (WINDOW // 2, WINDOW // 2))
    spectrum = torch.stft(padded, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True).abs().square()
    return (spectra.triangles(RATE, WINDOW, BANDS) @ spectrum).T
