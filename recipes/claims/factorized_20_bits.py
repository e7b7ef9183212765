"""FQGAN (arXiv 2411.16681): two factors of 1024 entries against the best single codebook that can be trained at 20 bits.

    python -m smalti.recipes.claims.factorized_20_bits DATA [--steps N] [--seed N] [--json]

A table of 2^20 entries sees too few patches here to be trained; the single codebook is FSQ, which has none.
"""

from __future__ import annotations

from smalti.recipes.claims.harness import Case, report
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.quantizers import FactorizedConfig, GroupedConfig, SingleConfig

SMALL = (VQConfig(1024, 4), VQConfig(1024, 4))
CASES = [
    Case("FSQ, 4^10 levels", SingleConfig(FSQConfig((4,) * 10))),
    Case("FSQ, 16^5 levels", SingleConfig(FSQConfig((16,) * 5))),
    Case("groups, 2 x 1024", SingleConfig(GroupedConfig(SMALL))),
    Case("factors, 2 x 1024", FactorizedConfig(SMALL, adapter_width=64)),
]

if __name__ == "__main__":
    report("two factors of 1024 entries against one codebook of 20 bits", CASES)
