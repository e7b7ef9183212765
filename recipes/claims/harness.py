"""One small autoencoder, trained alike for each case of a claim: what changes is the quantizer, or the part that the claim is about.

Patches of 32 x 32 become 8 x 8 latents (two Haar levels, 3x3 convolutions, whitening; `parts` has other ways), and pixels again; squared
error and the quantizer's losses, Adam, a cosine, a fixed seed. A claim is a file beside this one: its cases, and what it says about their
outcomes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.recipes.claims import patches
from smalti.recipes.claims.parts import BODIES, FRONT_ENDS
from smalti.recipes.claims.patches import SIDE, Patches
from smalti.tokenizers import quantizers
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers import QuantizerConfig

GRID = (SIDE // 4,) * 2
WIDTH = 48


@dataclass(frozen=True)
class Case:
    """What is tried, under the name that tables show. front_end, body: names in `parts`."""

    name: str
    quantizer: QuantizerConfig
    front_end: str = "haar"
    body: str = "convolution"


@dataclass(frozen=True)
class Settings:
    """Of one training run, the same for every case."""

    steps: int = 400
    batch: int = 32
    learning_rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Of one case on held-out patches. Per decodable prefix: bits per patch at log2(vocab) a token, and PSNR in dB over all of them.

    Per stage: usage, the fraction of entries that occur, and perplexity. seconds: of processor time in training.
    """

    name: str
    bits: tuple[float, ...]
    psnr: tuple[float, ...]
    usage: tuple[float, ...]
    perplexity: tuple[float, ...]
    seconds: float


class Autoencoder(nn.Module):
    """(B, 3, 32, 32) in [-1, 1] <-> latents (B, D, 8, 8)."""

    def __init__(self, config: QuantizerConfig, front_end: str = "haar", body: str = "convolution") -> None:
        super().__init__()
        self.quantizer = quantizers.build(config)
        dim, block = self.quantizer.dim, BODIES[body]
        ends = FRONT_ENDS[front_end]
        self.encoder = nn.Sequential(ends.front(WIDTH), block(WIDTH), nn.Conv2d(WIDTH, dim, 1), Whitening(dim))
        self.decoder = nn.Sequential(nn.Conv2d(dim, WIDTH, 3, padding=1), block(WIDTH), block(WIDTH), ends.back(WIDTH))

    def latents(self, pixels: Tensor) -> Tensor:
        return self.encoder(pixels)

    def encode(self, pixels: Tensor) -> Quantized:
        return self.quantizer(self.latents(pixels))

    def decode(self, z_q: Tensor) -> Tensor:
        return self.decoder(z_q)


def train(config: QuantizerConfig, data: Tensor, settings: Settings, front_end: str = "haar", body: str = "convolution") -> Autoencoder:
    """The autoencoder around that quantizer, in evaluation mode."""
    torch.manual_seed(settings.seed)
    net = Autoencoder(config, front_end, body).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    order = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.steps):
        pixels = data[torch.randint(len(data), (settings.batch,), generator=order)]
        quantized = net.encode(pixels)
        loss = F.mse_loss(net.decode(quantized.z_q), pixels) + sum(quantized.losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.inference_mode()
def measure(name: str, net: Autoencoder, data: Tensor, seconds: float) -> Outcome:
    """Every prefix and every stage on held-out patches."""
    layout = net.quantizer.layout(GRID, ("row", "col"))
    errors = torch.zeros(len(layout.cuts), dtype=torch.float64)
    counts = [torch.zeros(stage.vocab, dtype=torch.int64) for stage in layout.stages]
    for pixels in data.split(256):
        indices = net.encode(pixels).indices
        for count, index in zip(counts, indices, strict=True):
            count += torch.bincount(index.flatten(), minlength=len(count))
        for i, cut in enumerate(layout.cuts):
            decoded = net.decode(net.quantizer.dequantize(indices[:cut], GRID)).clamp(-1, 1)
            errors[i] += (decoded - pixels).double().square().sum() / data.numel()
    psnr = tuple(float(10 * torch.log10(4 / error)) for error in errors)
    stage_bits = [stage.count * math.log2(stage.vocab) for stage in layout.stages]
    bits = tuple(sum(stage_bits[:cut]) for cut in layout.cuts)
    usage = tuple(float((count > 0).float().mean()) for count in counts)
    return Outcome(name, bits, psnr, usage, tuple(_perplexity(count) for count in counts), seconds)


def run(cases: Sequence[Case], data: Patches, settings: Settings) -> list[Outcome]:
    """All cases, each from the same seed and over the same batches."""
    outcomes = []
    for case in cases:
        started = time.process_time()
        net = train(case.quantizer, data.train, settings, case.front_end, case.body)
        outcomes.append(measure(case.name, net, data.held_out, time.process_time() - started))
    return outcomes


def report(claim: str, cases: Sequence[Case]) -> list[Outcome]:
    """The command of a claim that compares cases."""
    return command(claim, lambda data, settings: run(cases, data, settings))


def command(claim: str, outcomes_of: Callable[[Patches, Settings], list[Outcome]]) -> list[Outcome]:
    """The command of a claim: DATA [--steps N] [--seed N] [--json]; prints a table in Markdown, or JSON."""
    parser = argparse.ArgumentParser(description=claim)
    parser.add_argument("data", type=Path, help="folder of photos")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--json", action="store_true", help="as JSON")
    arguments = parser.parse_args()
    outcomes = outcomes_of(patches.load(arguments.data), Settings(steps=arguments.steps, seed=arguments.seed))
    print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) if arguments.json else table(outcomes))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown, one row per case, as the log has it."""
    rows = [
        f"| {o.name} | {_join(o.bits, '.0f')} | {_join(o.psnr, '.2f')} | {_join([100 * u for u in o.usage], '.1f')} | "
        f"{_join(o.perplexity, '.0f')} | {o.seconds:.0f} |"
        for o in outcomes
    ]
    head = "| | bits per patch, by prefix | PSNR, dB | entries used, % | perplexity | processor seconds |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _join(values: Sequence[float], style: str) -> str:
    return " / ".join(format(value, style) for value in values)


def _perplexity(counts: Tensor) -> float:
    shares = counts[counts > 0].double() / counts.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))
