"""The losses of sound tokenizers, summed by the recipe's weights. Waves are float32 (B, 1, T) in [-1, 1].

Spectra as in DAC (arXiv 2306.06546), see `metrics/spectra.py`: mel bands at seven windows, of which the short ones hold attacks, and the
plain spectrum at two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.metrics import spectra
from smalti.recipes.training.config import SoundLossConfig
from smalti.tokenizers.contracts import Quantized


class SoundLoss(nn.Module):
    """Named terms and their weighted sum. rate: samples per second of the waves."""

    def __init__(self, config: SoundLossConfig, rate: int) -> None:
        super().__init__()
        self.config, self.rate = config, rate

    def forward(self, wave: Tensor, reconstruction: Tensor, quantized: Quantized, progress: float) -> dict[str, Tensor]:
        """Terms by name, `total` among them, their weighted sum."""
        config, terms = self.config, {}
        with torch.autocast(wave.device.type, enabled=False):
            a, b = wave[:, 0], reconstruction[:, 0].float()
            if config.mel:
                terms["mel"] = spectra.mel_distance(a, b, self.rate, config.mel_windows)
            if config.stft:
                terms["stft"] = spectra.stft_distance(a, b)
            if config.l1:
                terms["l1"] = F.l1_loss(b, a)
            if config.compressed:
                terms["compressed"] = spectra.compressed_distance(a, b)
        weighted = [getattr(config, name) * value for name, value in terms.items()]
        weighted += [config.quantizer * value for value in quantized.losses.values()]
        return {**terms, **quantized.losses, "total": torch.stack(weighted).sum()}
