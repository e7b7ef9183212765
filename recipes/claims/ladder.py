"""Extreme VQGAN (arXiv 2307.08265): one trained table clustered into fewer entries gives a ladder of rates from one model.

    python -m smalti.recipes.claims.ladder DATA [--steps N] [--seed N] [--json]

One table of 8192 entries is trained; each rung of 8 to 8192 is measured as it was clustered, and after its table alone has learned on.
"""

from __future__ import annotations

import copy
import time

import torch

from smalti.recipes.claims.harness import Autoencoder, Outcome, Settings, command, measure, train
from smalti.recipes.claims.patches import Patches
from smalti.tokenizers.codebooks import VQ, VQConfig
from smalti.tokenizers.codebooks.ladder import reduced
from smalti.tokenizers.quantizers import Single, SingleConfig

WHOLE = SingleConfig(VQConfig(8192, 8))
SIZES = tuple(2**bits for bits in range(3, 14))
FINE_TUNING_STEPS = 100


def ladder(data: Patches, settings: Settings, whole: SingleConfig = WHOLE, sizes: tuple[int, ...] = SIZES) -> list[Outcome]:
    """Two outcomes per size: clustered, and fine-tuned."""
    torch.manual_seed(settings.seed)
    net = train(whole, data.train, settings)
    outcomes = []
    for size in sizes:
        started = time.process_time()
        rung = _with_table(net, size)
        outcomes.append(measure(f"{size}, clustered", rung, data.held_out, time.process_time() - started))
        started = time.process_time()
        _fine_tune(rung, data, settings)
        outcomes.append(measure(f"{size}, fine-tuned", rung, data.held_out, time.process_time() - started))
    return outcomes


def _with_table(net: Autoencoder, size: int) -> Autoencoder:
    """The same encoder and decoder around a smaller table."""
    rung = copy.deepcopy(net)
    codebooks = _quantizer(rung).residual.codebooks
    codebooks[0] = reduced(_table(rung), size)[0]
    return rung


@torch.no_grad()
def _fine_tune(net: Autoencoder, data: Patches, settings: Settings) -> None:
    """The table's averages over batches of training patches; encoder and decoder stay."""
    table = _table(net).train()
    order = torch.Generator().manual_seed(settings.seed)
    for _ in range(FINE_TUNING_STEPS):
        pixels = data.train[torch.randint(len(data.train), (settings.batch,), generator=order)]
        z = net.latents(pixels).movedim(1, -1).reshape(-1, table.dim)
        table.update(z, table.assign(z))
    table.eval()


def _quantizer(net: Autoencoder) -> Single:
    assert isinstance(net.quantizer, Single)
    return net.quantizer


def _table(net: Autoencoder) -> VQ:
    table = _quantizer(net).residual.codebooks[0]
    assert isinstance(table, VQ)
    return table


if __name__ == "__main__":
    command("one trained table clustered into fewer entries", ladder)
