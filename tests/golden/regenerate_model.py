"""Write the golden tiny model and its picture again: `PYTHONPATH=. python tests/golden/regenerate_model.py` in the root.

Only ever run on purpose: these tokens and this file must decode to the same picture for ever.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from smalti.codecs.bitstream import StreamInfo, write
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig, ImageGridNet
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Image

MODEL = Path(__file__).parent / "model"


def picture() -> Image:
    """75 x 53 pixels of slopes, a disc and stripes, by arithmetic."""
    y, x = np.mgrid[0:53, 0:75]
    red = x * 3
    green = np.where((x - 40) ** 2 + (y - 25) ** 2 < 300, 220, y * 4)
    blue = (x // 5 + y // 7) % 2 * 120 + 60
    return Image(np.stack([red, green, blue], -1).astype(np.uint8))


def tiny() -> ImageGrid:
    """A seeded network of about ten thousand weights whose tables have seen noise."""
    torch.manual_seed(1234)
    config = ImageGridConfig(
        ResidualConfig(VQConfig(32, 4)), widths=(8, 8, 16), encoder_depths=(1, 0, 1), decoder_depths=(1, 0, 1), head_width=8
    )
    net = ImageGridNet(config)
    for name, parameter in net.named_parameters():  # blocks start as identities; let them count
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.05 if name.endswith("weight") else 0.01)
    for _ in range(30):
        net(F.interpolate(torch.randn(4, 3, 8, 8) * 0.6, scale_factor=8, mode="bilinear") + torch.randn(4, 3, 64, 64) * 0.1)
    return ImageGrid(net, name="tiny")


def main() -> None:
    zoo.save(tiny(), MODEL)
    tokenizer = zoo.load(str(MODEL))
    (tokens,) = tokenizer.encode([picture()])
    prior = StaticPrior.fit([tokens])
    prior.save(MODEL / "prior.safetensors")
    zoo.save(tiny(), MODEL, prior.id.hex())
    tokenizer = zoo.load(str(MODEL))
    (decoded,) = tokenizer.decode([tokens])
    info = StreamInfo("image", bytes.fromhex(tokenizer.fingerprint)[:6], signal=tokens.layout.signal)
    (MODEL / "picture.smt").write_bytes(write(tokens, prior, info))
    np.savez_compressed(MODEL / "picture.npz", level0=tokens.arrays[0], level1=tokens.arrays[1], decoded=decoded.pixels)


if __name__ == "__main__":
    main()
