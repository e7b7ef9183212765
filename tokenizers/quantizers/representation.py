"""What a part of the latents should know of the signal: it predicts a feature that another network gave (CLIP, DINOv2, a speech model).

FQGAN (arXiv 2411.16681) teaches a factor so, by contrast over the batch at temperature 1. Deviation: the loss is 1 - cosine similarity,
which does not depend on the batch, and features may be dense. A head looks at one position at a time, so grids of any size and shape work.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.errors import UsageError


class Representation(nn.Module):
    """Latents (B, D, *grid) and a feature -> the scalar 1 - cosine similarity, in [0, 2].

    feature: (B, F) of the whole signal, predicted by the mean over positions, or (B, F, *grid).
    """

    def __init__(self, dim: int, feature_dim: int, width: int = 256) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.head = nn.Sequential(nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, feature_dim))

    def forward(self, z: Tensor, feature: Tensor) -> Tensor:
        batch, grid = z.shape[0], tuple(z.shape[2:])
        whole, dense = (batch, self.feature_dim), (batch, self.feature_dim, *grid)
        if tuple(feature.shape) not in (whole, dense):
            raise UsageError(f"the feature must have shape {whole} or {dense}, found {tuple(feature.shape)}")
        predicted = self.head(z.movedim(1, -1)).movedim(-1, 1)
        if tuple(feature.shape) == whole:
            predicted = predicted.flatten(2).mean(-1) if grid else predicted
        return 1 - F.cosine_similarity(predicted, feature.detach(), dim=1).mean()
