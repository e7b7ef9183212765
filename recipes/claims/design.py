"""The choices behind `image-grid`, each against its rivals at equal bits: front end, blocks, kind of codebook.

    python -m smalti.recipes.claims.design DATA [--steps N] [--seed N] [--json]

About 10 bits a token. Haar against plain patches is Cosmos' choice (2501.03575), ViT against convolution ViTok's (2501.09755), FSQ against
VQ that of Mentzer et al. (2309.15505).
"""

from __future__ import annotations

from smalti.recipes.claims.harness import Case, report
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.quantizers import SingleConfig

VQ = SingleConfig(VQConfig(1024, 8))
CASES = [
    Case("as shipped: Haar, convolution, VQ 1024 x 8", VQ),
    Case("patches", VQ, front_end="patch"),
    Case("strided convolutions", VQ, front_end="convolution"),
    Case("ViT blocks", VQ, body="attention"),
    Case("VQ 1024 x 4", SingleConfig(VQConfig(1024, 4))),
    Case("FSQ 8 x 5 x 5 x 5", SingleConfig(FSQConfig((8, 5, 5, 5)))),
]

if __name__ == "__main__":
    report("front end, blocks and kind of codebook", CASES)
