"""Decoders that learn alone, while tokens are frozen: every prefix of the stages is still drawn from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.image.network import ImageGridConfig, ImageGridNet
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.quantizers.dropout import latents_for_decoder

LEVELS = ResidualConfig(VQConfig(16, 4), levels=3, dropout=0.9)


def pictures(quantizer: Any) -> tuple[nn.Module, Tensor]:
    return ImageGridNet(ImageGridConfig(quantizer, (8, 8, 8), (1, 0, 1), (1, 1, 1), 8)), torch.rand(32, 3, 32, 32) * 2 - 1


def sounds(quantizer: Any) -> tuple[nn.Module, Tensor]:
    return AudioResidualNet(AudioResidualConfig(quantizer, 8000, (8, 5), (8, 8), 1, 1)), torch.randn(32, 1, 400) * 0.1


@pytest.mark.parametrize(("made", "quantizer"), [(pictures, LEVELS), (sounds, LEVELS)])
def test_frozen_tokens_keep_their_dropout(made: Any, quantizer: Any) -> None:
    torch.manual_seed(0)
    net, signals = made(quantizer)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        net.train()
        for _ in range(3):
            net(signals)  # tables are seeded
        net.freeze_tokens()
        drawn, found = net(signals)
        prefixes = [net.detokenize(found.indices[:cut]) for cut in net.quantizer.cuts]
        near = torch.stack([(drawn - prefix).abs().flatten(1).amax(1) < 1e-4 for prefix in prefixes])
        assert near.any(0).all(), "each sample is drawn from a prefix"
        assert near.any(1).all(), "and each prefix by some"
        net.eval()
        assert torch.allclose(net(signals)[0], prefixes[-1], atol=1e-4), "outside training all stages are"


def test_without_dropout_frozen_tokens_are_all_drawn() -> None:
    torch.manual_seed(0)
    net, signals = sounds(ResidualConfig(VQConfig(16, 4), levels=3, dropout=0.0))
    net.train()
    net.freeze_tokens()  # type: ignore[operator]
    _, found = net(signals)
    assert latents_for_decoder(net.quantizer, found, learning=True) is found.z_q
