"""What looks across time: causal mixing of key latents, and the blend of two moved keys into the pictures between them.

The (3, 1, 1) half of a factorized convolution over (time, rows, columns) (P3D: Qiu et al., arXiv 1711.10305; R(2+1)D: Tran et al.,
arXiv 1711.11248); the (1, 3, 3) half are the layers of the picture decoder that it stands between. Norms are per position: statistics
over time would tell the first picture of the last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.nets.causal import Memory, first_frame
from smalti.tokenizers.nets.convolution import ChannelNorm, ResidualBlock, conv
from smalti.tokenizers.nets.haar import haar, inverse_haar
from smalti.tokenizers.video.motion import Warped

TAPS = 3


class TemporalBlock(nn.Module):
    """Norm, three taps in time that end at the newest, SiLU, a layer that starts at 0, beside the identity: as new it changes nothing.

    Before the start stands the first picture's latent, repeated, as in `nets.causal`.
    """

    context = TAPS - 1

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.mix, self.out = nn.Conv2d(TAPS * channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, batch: int, memory: Memory | None = None) -> Tensor:
        """x: (batch * T, C, h, w), the pictures of one film after the other."""
        films = self.norm(x).unflatten(0, (batch, -1)).movedim(1, -1)  # (batch, C, h, w, T)
        count = films.shape[-1]
        joined = memory.join(self, films, self.context) if memory else torch.cat([first_frame(films, self.context), films], -1)
        taps = torch.cat([joined[..., tap : tap + count] for tap in range(TAPS)], 1).movedim(-1, 1).flatten(0, 1)
        return x + self.out(F.silu(self.mix(taps)))


class Blend(nn.Module):
    """Two moved keys -> the picture between them: a correction of the weight between the two, and of what is drawn.

    Works at half size on the Haar bands of both; the last layer starts at 0, so that as new it is the plain weighted mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(26, width, 3), ResidualBlock(width), nn.SiLU(), conv(width, 13, 3))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, moved: Warped, when: Tensor) -> Tensor:
        """(N, S, 3, H, W) of keys moved to times `when` (S,)."""
        before, behind, weight = (part.flatten(0, 1) for part in (moved.before, moved.behind, moved.weight))
        coarse = F.avg_pool2d(weight, 2)
        shown = when.repeat(len(moved.before)).view(-1, 1, 1, 1).expand_as(coarse)
        drawn = self.layers(torch.cat([haar(before), haar(behind), coarse, shown], 1))
        weight = (weight + F.interpolate(drawn[:, 12:], scale_factor=2, mode="nearest")).clamp(0, 1)
        pictures = torch.lerp(before, behind, weight.expand_as(before)) + inverse_haar(drawn[:, :12])
        return pictures.unflatten(0, moved.before.shape[:2])
