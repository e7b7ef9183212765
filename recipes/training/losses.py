"""The losses of picture tokenizers, summed by the recipe's weights. Pictures are float32 (B, 3, H, W) in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.metrics.image import lpips_network
from smalti.recipes.training.config import LossConfig
from smalti.tokenizers.contracts import Quantized

COLOR_SIDES = (8, 64)  # hues of small things; and the tone of whole areas, which the eye sees long before a mean error does


class PictureLoss(nn.Module):
    """Named terms and their weighted sum. Judges that weigh nothing are not loaded."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        weights = {"lpips_alex": config.lpips_alex, "lpips_vgg": config.lpips_vgg}
        self.judges = nn.ModuleDict({name: lpips_network(name.removeprefix("lpips_")) for name, weight in weights.items() if weight})
        self.weights = {"l1": config.l1, "l2": config.l2, "color": config.color, **weights}

    def forward(self, picture: Tensor, reconstruction: Tensor | None, quantized: Quantized, progress: float) -> dict[str, Tensor]:
        """Terms by name, `total` among them, their weighted sum; progress: fraction of the run that is done, in [0, 1].

        reconstruction: None where nothing is asked of pictures (`LossConfig.pictures`).
        """
        own = {name: self.config.latent if name == "latent" else self.config.quantizer for name in quantized.losses}
        weighted = [own[name] * value for name, value in quantized.losses.items()]
        terms: dict[str, Tensor] = {}
        if reconstruction is not None:
            terms, of_pictures = self._of_pictures(picture, reconstruction.float(), progress)
            weighted += of_pictures
        return {**terms, **quantized.losses, "total": torch.stack(weighted).sum()}

    def _of_pictures(self, picture: Tensor, reconstruction: Tensor, progress: float) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Terms by name, and the same weighted."""
        terms: dict[str, Tensor] = {}
        if self.config.l1:
            terms["l1"] = F.l1_loss(reconstruction, picture)
        if self.config.l2:
            terms["l2"] = F.mse_loss(reconstruction, picture)
        if self.config.color:
            terms["color"] = torch.stack([_color_error(picture, reconstruction, side) for side in COLOR_SIDES]).sum()
        ramp = min(1.0, progress / self.config.lpips_ramp) if self.config.lpips_ramp else 1.0
        with torch.autocast(picture.device.type, enabled=False):
            down, right = torch.randint(0, self.config.lpips_shift + 1, (2,)).tolist() if self.config.lpips_shift else (0, 0)
            shifted = [pixels[..., down:, right:] for pixels in (picture, reconstruction)]
            for name, judge in self.judges.items():
                terms[name] = judge(*shifted).mean()
        return terms, [self.weights[name] * (ramp if name in self.judges else 1.0) * value for name, value in terms.items()]


def _color_error(picture: Tensor, reconstruction: Tensor, side: int) -> Tensor:
    """L1 of means over side x side pixels (or the whole, where that is smaller) in opponent colours."""
    side = min(side, *picture.shape[-2:])
    return F.l1_loss(_opponents(reconstruction, side), _opponents(picture, side))


def _opponents(pixels: Tensor, side: int) -> Tensor:
    """Means as brightness, red - green and yellow - blue: plain RGB error lets hues fade to the commonest axis."""
    red, green, blue = F.avg_pool2d(pixels, side).unbind(1)
    return torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
