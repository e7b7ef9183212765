"""Codebooks: vector <-> integer. Each is one file with its paper and our deviations; the registry lists them by config."""

from __future__ import annotations

from smalti.tokenizers.codebooks.fsq import FSQ, FSQConfig
from smalti.tokenizers.codebooks.vq import VQ, VQConfig

CodebookConfig = VQConfig | FSQConfig
CODEBOOKS = {VQConfig: VQ, FSQConfig: FSQ}


def build(config: CodebookConfig) -> VQ | FSQ:
    """The codebook that a config describes."""
    return CODEBOOKS[type(config)](config)


__all__ = ["CODEBOOKS", "FSQ", "VQ", "CodebookConfig", "FSQConfig", "VQConfig", "build"]
