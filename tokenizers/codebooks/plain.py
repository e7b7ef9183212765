"""The codebooks that stand on their own, by config."""

from __future__ import annotations

from smalti.tokenizers.codebooks.bsq import BSQ, BSQConfig
from smalti.tokenizers.codebooks.fsq import FSQ, FSQConfig
from smalti.tokenizers.codebooks.ibq import IBQ, IBQConfig
from smalti.tokenizers.codebooks.learned_vq import LearnedVQ, LearnedVQConfig
from smalti.tokenizers.codebooks.lfq import LFQ, LFQConfig
from smalti.tokenizers.codebooks.simvq import SimVQ, SimVQConfig
from smalti.tokenizers.codebooks.vq import VQ, VQConfig

PlainConfig = VQConfig | LearnedVQConfig | SimVQConfig | IBQConfig | FSQConfig | LFQConfig | BSQConfig
PlainCodebook = VQ | LearnedVQ | SimVQ | IBQ | FSQ | LFQ | BSQ
PLAIN: dict[type, type[PlainCodebook]] = {
    VQConfig: VQ,
    LearnedVQConfig: LearnedVQ,
    SimVQConfig: SimVQ,
    IBQConfig: IBQ,
    FSQConfig: FSQ,
    LFQConfig: LFQ,
    BSQConfig: BSQ,
}


def build(config: PlainConfig) -> PlainCodebook:
    """The codebook that a config describes."""
    return PLAIN[type(config)](config)  # type: ignore[arg-type]
