"""Picture metrics of error and of learned features; `metrics.structural` has those of structure.

Each says its unit, direction and convention; all of them see 8-bit pictures of the full size.

PSNR: 10 log10(255^2 / MSE) over all RGB samples of one picture, or over its luma. LPIPS: Zhang et al., "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric" (arXiv 1801.03924), heads v0.1 of the `lpips` package, input in [-1, 1].
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.metrics import judges
from smalti.metrics.pairs import eight_bits
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.signals import Signal

if TYPE_CHECKING:
    import torch

LUMA = "luma Y of BT.601, full range, not rounded"  # what JPEG codes; studio range (16 to 235) would give 1.3 dB more
MAX_KEPT_PIXELS = 2**20  # VGG's features of that many are .5 GB
MIN_LPIPS_SIDE = 64  # below it AlexNet's last layer has no positions left; smaller pictures are padded by reflection of their edge


class PSNR:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures."""

    name = "psnr"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        a, b = eight_bits(reference, decoded)
        return Score(_decibels(a.astype(np.float64) - b), "dB", "higher", "RGB, 8 bits, per picture")


class LumaPSNR:
    """Peak signal-to-noise ratio of luma in dB; infinite for equal pictures."""

    name = "psnr-y"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        a, b = (luma(pixels) for pixels in eight_bits(reference, decoded))
        return Score(_decibels(a - b), "dB", "higher", f"{LUMA}, per picture")


class LPIPS:
    """Learned perceptual distance, 0 for equal pictures. net: "alex" or "vgg".

    The features of the last reference are kept, up to `MAX_KEPT_PIXELS`: many files of one picture cost half as much to judge.
    """

    def __init__(self, net: str = "alex", device: str = "cpu") -> None:
        self.name = f"lpips-{net}"
        self.net = lpips_network(net).to(device)
        self.device = device
        self._kept: tuple[Signal, list[torch.Tensor]] | None = None

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        import torch

        a, b = eight_bits(reference, decoded)
        with torch.inference_mode():
            if self._kept is not None and self._kept[0] is reference:
                features = self._kept[1]
            else:
                self._kept = None  # before the next are computed, so that memory holds one reference's
                features = lpips_features(self.net, to_network(a).to(self.device))
                if a.shape[0] * a.shape[1] <= MAX_KEPT_PIXELS:
                    self._kept = (reference, features)
            value = float(lpips_distance(self.net, features, lpips_features(self.net, to_network(b).to(self.device))).mean())
        return Score(value, "", "lower", f"{self.name}, heads v0.1, [-1, 1], full size")


def lpips_alex(device: str = "cpu") -> LPIPS:
    """LPIPS by AlexNet: the usual judge."""
    return LPIPS("alex", device)


def lpips_vgg(device: str = "cpu") -> LPIPS:
    """LPIPS by VGG16: the judge of what was trained on AlexNet's."""
    return LPIPS("vgg", device)


def lpips_network(net: str) -> torch.nn.Module:
    """The frozen LPIPS network (B, 3, H, W) x (B, 3, H, W) in [-1, 1] -> (B, 1, 1, 1); ModelError where a part is missing."""
    if net not in ("alex", "vgg"):
        raise ModelError(f"LPIPS has the nets 'alex' and 'vgg', found {net!r}")
    try:
        import lpips
    except ImportError:
        raise ModelError("LPIPS needs the package lpips: pip install 'smalti[metrics]'") from None
    features = judges.load(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by arguments deprecated since 0.13
        judge: Any = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)  # pnet_rand: it would download what we hold already
    state = {name: features["features." + name.split(".", 1)[1]] for name in judge.net.state_dict()}
    judge.net.load_state_dict(state)
    return judge.eval().requires_grad_(False)


def luma(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float64 luma (H, W) in [0, 255], not rounded; see `LUMA`."""
    return pixels.astype(np.float64) @ (0.299, 0.587, 0.114)


def _decibels(difference: np.ndarray) -> float:
    error = float(np.mean(np.square(difference)))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def lpips_features(net: Any, pictures: torch.Tensor) -> list[torch.Tensor]:
    """What an LPIPS network compares: per layer unit vectors over channels, for pictures (B, 3, H, W) in [-1, 1]."""
    import lpips

    return [lpips.normalize_tensor(layer) for layer in net.net.forward(net.scaling_layer(pictures))]


def lpips_distance(net: Any, features: list[torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    """(B, 1, 1, 1): the same operations in the same order as the network's own `forward`, so the same bits."""
    layers = [head((a - b) ** 2).mean([2, 3], keepdim=True) for head, a, b in zip(net.lins, features, others, strict=True)]
    return sum(layers[1:], layers[0])


def to_network(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) -> what LPIPS takes: float32 (1, 3, H, W) in [-1, 1], sides below MIN_LPIPS_SIDE extended."""
    import torch

    missing = [max(0, MIN_LPIPS_SIDE - side) for side in pixels.shape[:2]]
    padded = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric") if any(missing) else pixels
    return torch.from_numpy(padded.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
