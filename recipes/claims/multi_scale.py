"""VAR (arXiv 2404.02905) and VAT (arXiv 2412.02202): coarse scales are better prefixes than coarse levels of a flat residual quantizer.

    python -m smalti.recipes.claims.multi_scale DATA [--steps N] [--seed N] [--json]

Equal bits where the two meet: scales of 1, 2, 4 and 8 positions a side with 512 entries take 9, 45, 189 and 765 bits a patch; levels of
2, 4 and 512 entries at 8 x 8 take 64, 192 and 768, levels of 8 and 512 take 192 and 768. Half of the samples lose their last stages
in training.
"""

from __future__ import annotations

from smalti.recipes.claims.harness import Case, report
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.quantizers import MultiScaleConfig, ResidualConfig

SCALES = (0.125, 0.25, 0.5, 1.0)
CASES = [
    Case("flat, 2 + 4 + 512", ResidualConfig((VQConfig(2, 8), VQConfig(4, 8), VQConfig(512, 8)), levels=3)),
    Case("flat, 8 + 512", ResidualConfig((VQConfig(8, 8), VQConfig(512, 8)), levels=2)),
    Case("scales, one table, phi (VAR)", MultiScaleConfig(VQConfig(512, 8), SCALES, dropout=0.5)),
    Case("scales, a table each", MultiScaleConfig(VQConfig(512, 8), SCALES, shared=False, dropout=0.5)),
    Case(
        "scales, a table each, repeated (SNAC)", MultiScaleConfig(VQConfig(512, 8), SCALES, shared=False, up="nearest", phis=0, dropout=0.5)
    ),
]

if __name__ == "__main__":
    report("growing scales against a flat residual quantizer", CASES)
