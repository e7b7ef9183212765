"""FQGAN (arXiv 2411.16681): two small factors beat one table of as many bits, in quality and in use.

    python -m smalti.recipes.claims.factorized DATA [--steps N] [--seed N] [--json]

14 bits a token: one table of 16384 entries, with and without revival of dead entries, against 2 x 128, as plain groups and as factors with
adapters and disentanglement.
"""

from __future__ import annotations

from smalti.recipes.claims.harness import Case, report
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.quantizers import FactorizedConfig, GroupedConfig, SingleConfig

SMALL = (VQConfig(128, 4), VQConfig(128, 4))
CASES = [
    Case("one table of 16384, no revival", SingleConfig(VQConfig(16384, 8, revive_below=0))),
    Case("one table of 16384", SingleConfig(VQConfig(16384, 8))),
    Case("groups, 2 x 128", SingleConfig(GroupedConfig(SMALL))),
    Case("factors, 2 x 128", FactorizedConfig(SMALL, adapter_width=64)),
]

if __name__ == "__main__":
    report("two factors of 128 entries against one table of 16384", CASES)
