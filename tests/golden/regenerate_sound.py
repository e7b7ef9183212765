"""Write the golden tiny sound models and what they make of a sound again: `PYTHONPATH=. python tests/golden/regenerate_sound.py [KIND]`.

Only ever run on purpose: these files must decode to the same sound for ever.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from smalti.codecs.bitstream import StreamInfo, write
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.signals import Audio

MODELS = Path(__file__).parent / "sounds"
RESIDUAL = AudioResidualConfig(ResidualConfig(VQConfig(32, 8), levels=2), 8000, (20, 4), (8, 16), 1, 1)
VOICE = replace(RESIDUAL, pitch=PitchConfig(80.0, 900.0, 31, (0.0125, 0.025), width=16, layers=1))
SINGLE = AudioSingleConfig(
    SingleConfig(VQConfig(32, 8, cosine=True)), 8000, 40, 8, 16, 1, 1, heads=2, attention_frames=5, fineness=2, fine_width=8, fine_blocks=1
)


def sound() -> Audio:
    """Stereo at 11,025 Hz: two gliding tones of changing loudness, and a click, by arithmetic."""
    n = np.arange(5000)
    left = 0.3 * np.sin(0.1 * n + 1e-5 * n * n) * ((n // 700) % 3)
    right = 0.2 * np.sin(0.37 * n) + 0.5 * (n % 1501 == 0)
    return Audio(np.stack([left, right]).astype(np.float32), 11025)


def tiny(kind: str) -> Any:
    """A seeded network of some thousand weights whose tables have seen the sound and noise."""
    torch.manual_seed(1234)
    net = AudioSingleNet(SINGLE) if kind == "single" else AudioResidualNet(VOICE if kind == "voice" else RESIDUAL)
    for parameter in net.parameters():  # blocks start as identities; let them count
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    if kind == "voice":
        nn.init.normal_(net.pitch.last.weight, std=3.0)  # a pitch that is surely one or another, and sometimes none
    crops = torch.from_numpy(sound().samples[:, :4800]).reshape(6, 1, 1600)
    if isinstance(net, AudioResidualNet):
        net.fit_start(crops)
    for step in range(20):
        net(crops + torch.randn(6, 1, 1600) * 0.002 * step)
    return AudioResidual(net, name=kind) if isinstance(net, AudioResidualNet) else AudioSingle(net, name=kind)


def main() -> None:
    for kind in sys.argv[1:] or ("residual", "single", "voice"):
        narrow = ("decoder", "head") if kind == "single" else ()
        folder = MODELS / kind
        zoo.save(tiny(kind), folder, narrow=narrow)
        (tokens,) = zoo.load(str(folder)).encode([sound()])
        prior = StaticPrior.fit([tokens])
        zoo.save(tiny(kind), folder, prior, narrow=narrow)
        tokenizer = zoo.load(str(folder))
        (decoded,) = tokenizer.decode([tokens])
        info = StreamInfo("audio", bytes.fromhex(tokenizer.fingerprint)[:6], signal=tokens.layout.signal)
        (folder / "sound.smt").write_bytes(write(tokens, prior, info))
        levels = {f"level{k}": array for k, array in enumerate(tokens.arrays)}
        np.savez_compressed(folder / "sound.npz", decoded=np.rint(decoded.samples * 32767).astype(np.int16), **levels)


if __name__ == "__main__":
    main()
