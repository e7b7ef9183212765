"""Codebooks: vector <-> integer. Each is one file with its paper and our deviations; the registry lists them by config."""

from __future__ import annotations

from smalti.tokenizers.codebooks.bsq import BSQ, BSQConfig
from smalti.tokenizers.codebooks.fsq import FSQ, FSQConfig
from smalti.tokenizers.codebooks.ibq import IBQ, IBQConfig
from smalti.tokenizers.codebooks.learned_vq import LearnedVQ, LearnedVQConfig
from smalti.tokenizers.codebooks.lfq import LFQ, LFQConfig
from smalti.tokenizers.codebooks.plain import PLAIN, PlainCodebook, PlainConfig
from smalti.tokenizers.codebooks.projected import Projected, ProjectedConfig
from smalti.tokenizers.codebooks.simvq import SimVQ, SimVQConfig
from smalti.tokenizers.codebooks.vq import VQ, VQConfig

CodebookConfig = PlainConfig | ProjectedConfig
AnyCodebook = PlainCodebook | Projected
CODEBOOKS: dict[type, type[AnyCodebook]] = {**PLAIN, ProjectedConfig: Projected}


def build(config: CodebookConfig) -> AnyCodebook:
    """The codebook that a config describes."""
    return CODEBOOKS[type(config)](config)  # type: ignore[arg-type]


__all__ = [
    "BSQ",
    "CODEBOOKS",
    "FSQ",
    "IBQ",
    "LFQ",
    "VQ",
    "AnyCodebook",
    "BSQConfig",
    "CodebookConfig",
    "FSQConfig",
    "IBQConfig",
    "LFQConfig",
    "LearnedVQ",
    "LearnedVQConfig",
    "Projected",
    "ProjectedConfig",
    "SimVQ",
    "SimVQConfig",
    "VQConfig",
    "build",
]
