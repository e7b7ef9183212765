"""The losses of film tokenizers: those of pictures, over the frames of a film. Films are float32 (B, 3, T, H, W) in [-1, 1].

LPIPS is most of the work, and frames of a film are alike: of each film it sees the frames of a random few places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.recipes.training.config import LossConfig
from smalti.recipes.training.losses import PictureLoss
from smalti.tokenizers.contracts import Quantized

JUDGED = 3  # frames of each film that the losses see in a step


class FilmLoss(nn.Module):
    """Named terms and their weighted sum."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.pictures = PictureLoss(config)

    def forward(self, films: Tensor, reconstruction: Tensor | None, quantized: Quantized, progress: float) -> dict[str, Tensor]:
        """As in `PictureLoss`."""
        if reconstruction is None:
            return self.pictures(films, None, quantized, progress)
        places = torch.randperm(films.shape[2])[:JUDGED].to(films.device)
        seen, drawn = (part[:, :, places].transpose(1, 2).flatten(0, 1) for part in (films, reconstruction))
        return self.pictures(seen, drawn, quantized, progress)
