"""The ImageNet classifier that machine tasks and set distances look through: EfficientNet-Lite2.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv 1905.11946), in its Lite form without
squeeze-and-excitation and swish; weights of the `efficientnet-lite` packages, stated top-1 accuracy 77.6 %. It stands in where others use
Inception-v3 or a ResNet: numbers compare among themselves, never with those.

What it sees of a picture: 8 bits, the centre square of 260/292 of the short side, scaled to 260 x 260 (Pillow's bicubic, which smooths on
the way down), then (x - 127) / 128. Classes are in torchvision's order.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from smalti.metrics import judges
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image, Signal

if TYPE_CHECKING:
    import torch

SIDE = 260
SHARE_OF_SHORT_SIDE = 260 / 292
NAME = "EfficientNet-Lite2, centre crop 260/292 of the short side, bicubic to 260"
BATCH = 16
RANKED = 5


@dataclass(frozen=True, eq=False)
class View:
    """What the classifier makes of pictures: features float64 (N, D) before its last layer, ranked int64 (N, 5), or as many as there are
    classes where they are fewer: the likeliest first."""

    features: np.ndarray
    ranked: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """int64 (N,): the likeliest of each."""
        return self.ranked[:, 0]


class Network(Protocol):
    """(N, 3, 260, 260) -> features (N, D) and logits (N, K)."""

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class Classifier:
    """Looks at pictures; what it saw of one is kept as long as the picture lives, since several tasks ask for the same ones."""

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.network = network
        self.device = device
        self._seen: weakref.WeakKeyDictionary[Image, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()

    def __call__(self, pictures: Sequence[Signal]) -> View:
        """The view of at least one picture, of any sizes; SignalError for other signals."""
        images = [_image(signal) for signal in pictures]
        if not images:
            raise SignalError("no pictures to look at, expected one at least")
        fresh = [image for image in images if image not in self._seen]
        for start in range(0, len(fresh), BATCH):
            self._look(fresh[start : start + BATCH])
        seen = [self._seen[image] for image in images]
        return View(np.stack([features for features, _ in seen]), np.stack([ranked for _, ranked in seen]))

    def _look(self, images: Sequence[Image]) -> None:
        import torch

        pixels = torch.from_numpy(np.stack([_to_network(image.eight_bits) for image in images])).to(self.device)
        with torch.inference_mode():
            features, logits = self.network(pixels)
        ranked = logits.topk(min(RANKED, logits.shape[1])).indices.cpu().numpy()
        for image, vector, numbers in zip(images, features.double().cpu().numpy(), ranked, strict=True):
            self._seen[image] = (vector, numbers)


@functools.cache
def load(device: str = "cpu") -> Classifier:
    """The classifier, one for all tasks on a device; ModelError where its package or its weights are missing."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise ModelError("the classifier needs the package efficientnet-lite-pytorch: pip install 'smalti[metrics]'") from None
    weights = judges.load("classifier")
    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(weights)
    network.eval().requires_grad_(False).to(device)

    def look(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = network.extract_features(pixels).mean((2, 3))
        return features, network._fc(features)

    return Classifier(look, device)


def _image(signal: Signal) -> Image:
    if not isinstance(signal, Image):
        raise SignalError(f"the classifier looks at pictures, found {type(signal).__name__}")
    return signal


def _to_network(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 (3, 260, 260)."""
    import PIL.Image

    height, width, _ = pixels.shape
    side = min(height, width) * SHARE_OF_SHORT_SIDE
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    scaled = PIL.Image.fromarray(pixels).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC, box=box)
    return ((np.asarray(scaled, np.float32) - 127) / 128).transpose(2, 0, 1)
