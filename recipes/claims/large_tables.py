"""SimVQ (arXiv 2411.02038), IBQ (2412.02692), rotation (2410.06424): tables of 16384 entries that stay in use where plain VQ falls.

    python -m smalti.recipes.claims.large_tables DATA [--steps N] [--seed N] [--json]

14 bits a token, 8 dimensions. Plain VQ is a table that learns by averages or by gradient and never revives an entry.
"""

from __future__ import annotations

from smalti.recipes.claims.harness import Case, report
from smalti.tokenizers.codebooks import IBQConfig, LearnedVQConfig, SimVQConfig, VQConfig
from smalti.tokenizers.quantizers import SingleConfig

SIZE, DIM = 16384, 8
CASES = [
    Case("averages, no revival", SingleConfig(VQConfig(SIZE, DIM, revive_below=0))),
    Case("gradient, no revival", SingleConfig(LearnedVQConfig(SIZE, DIM, revive_below=0))),
    Case("averages, rotation, no revival", SingleConfig(VQConfig(SIZE, DIM, revive_below=0, gradient="rotation"))),
    Case("averages, revival", SingleConfig(VQConfig(SIZE, DIM))),
    Case("averages, rotation, revival", SingleConfig(VQConfig(SIZE, DIM, gradient="rotation"))),
    Case("averages, anchors (CVQ)", SingleConfig(VQConfig(SIZE, DIM, revival="anchor"))),
    Case("averages, cosine, revival", SingleConfig(VQConfig(SIZE, DIM, cosine=True))),
    Case("SimVQ", SingleConfig(SimVQConfig(SIZE, DIM))),
    Case("IBQ", SingleConfig(IBQConfig(SIZE, DIM))),
]

if __name__ == "__main__":
    report("tables of 16384 entries that stay in use", CASES)
