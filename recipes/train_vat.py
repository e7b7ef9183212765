"""Train `shape-vat` on shapes.

    python -m smalti.recipes.train_vat DATA [DATA ...] -o FOLDER [--cache FOLDER] [--device cpu] [--processes 2] [--judge] [key=value ...]

DATA: folders or zips of meshes and point clouds, or procedural:N. FOLDER: the model; beside it, FOLDER.work holds a checkpoint, from which
the same command goes on, the log (JSON lines) and, unless --cache says where, samples of the shapes. Keys are those of `VatTraining`, e.g.
steps=20000 net.channels=128; `size=gpu` sets a larger network first, which a CPU cannot train. --judge: F-scores of decoded meshes of the
held-out shapes too, beside the intersection over union at sampled places.

Ablations: net.in_context=false, net.gaussian=false, net.quantizer.dropout=0.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.metrics.registry import resolve
from smalti.recipes.training import checkpoint
from smalti.recipes.training.config import change_table
from smalti.recipes.vat_data import Example, Work, examples, works_of
from smalti.tokenizers import zoo
from smalti.tokenizers.configs import from_dict, to_dict
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.shape.vat import ShapeVat
from smalti.tokenizers.shape.vat_network import ShapeVatConfig, ShapeVatNet

Array = np.ndarray
# Counts are the squares of VAR's sides: 680 tokens of 14.04 bits, 256 of them in the last scale. Not tried: there was no GPU.
GPU = (
    "net.quantizer.codebook.levels=[7, 7, 7, 7, 7]",
    f"net.quantizer.counts={[[n * n] for n in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)]}",
    "net.points=4096",
    "net.channels=512",
    "net.heads=8",
    "net.encoder_blocks=8",
    "net.decoder_blocks=12",
    "net.plane_side=32",
    "net.plane_widths=[256, 128, 64, 32]",
    "net.field_width=128",
    "net.field_layers=4",
    "net.resolution=256",
    "steps=200000",
    "batch=32",
    "queries=8192",
    "learning_rate=2e-4",
    "warmup_steps=2000",
)
SIZES = {"small": (), "gpu": GPU}


@dataclass(frozen=True)
class VatTraining:
    """shapes: of each place, 0 for all. held: shapes that are not learned from, evenly spread over all. queries: places per shape and
    step, half near its surface. final_rate: of the learning rate, after a cosine. kl: weight. mirrored: whether shapes are mirrored at
    random in x and z."""

    net: ShapeVatConfig = field(default_factory=ShapeVatConfig)
    steps: int = 5000
    batch: int = 8
    queries: int = 1024
    shapes: int = 0
    held: int = 8
    learning_rate: float = 1e-3
    final_rate: float = 0.02
    warmup_steps: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    kl: float = 0.003
    mirrored: bool = True
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "queries", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, found {getattr(self, name)}")
        for name in ("shapes", "held", "learning_rate", "final_rate", "warmup_steps", "weight_decay", "kl", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is not negative, found {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Batch:
    """surfaces: (B, P, 6). places: (B, Q, 3). values: (B, Q)."""

    surfaces: Tensor
    places: Tensor
    values: Tensor


def batch_of(data: Sequence[Example], config: VatTraining, step: int) -> Batch:
    """That of a step: it hangs on the seed and the step alone, so that a run that was broken off goes on as it would have."""
    rng = np.random.default_rng([config.seed, step])
    surfaces, places, values = [], [], []
    for i in rng.integers(len(data), size=config.batch):
        sign = rng.choice([-1.0, 1.0], 3) * [1, 0, 1] + [0, 1, 0] if config.mirrored else np.ones(3)
        example = data[i]
        read = example.surface[rng.choice(len(example.surface), config.net.points, config.net.points > len(example.surface))]
        half = config.queries // 2
        chosen = [rng.integers(example.places.shape[1], size=size) for size in (config.queries - half, half)]
        surfaces.append(read * np.tile(sign, 2))
        places.append(np.concatenate([example.places[k][at] for k, at in enumerate(chosen)]) * sign)
        values.append(np.concatenate([example.values[k][at] for k, at in enumerate(chosen)]))
    return Batch(*(torch.from_numpy(np.stack(part).astype(np.float32)) for part in (surfaces, places, values)))


def distance_loss(found: Tensor, values: Tensor, reach: float) -> Tensor:
    """Mean absolute error in `reach`; beyond it, where values are cut off, only what is too near to 0 counts."""
    found, values = found / reach, values.clamp(-reach, reach) / reach
    short = (1 - found * values.sign()).clamp_min(0)
    return torch.where(values.abs() < 1, (found - values).abs(), short).mean()


def learn(
    net: ShapeVatNet, data: Sequence[Example], config: VatTraining, log: Callable[[dict[str, Any]], None], saved: Path | None = None
) -> None:
    """Train until `config.steps` are done, from the checkpoint `saved` where there is one. The network is left in evaluation mode."""
    device = next(net.parameters()).device
    optimizer = torch.optim.AdamW(net.parameters(), config.learning_rate, (0.9, 0.95), weight_decay=config.weight_decay)
    torch.manual_seed(config.seed)
    first = checkpoint.load(saved, {"net": net}, {"adam": optimizer}) if saved is not None and saved.is_file() else 0
    net.train()
    start = time.perf_counter()
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_at(step, config)
        batch = batch_of(data, config, step)
        found, quantized = net(batch.surfaces.to(device), batch.places.to(device))
        distance = distance_loss(found, batch.values.to(device), config.net.reach)
        weighted = [loss * (config.kl if name == "kl" else 1.0) for name, loss in quantized.losses.items()]
        optimizer.zero_grad(set_to_none=True)
        torch.stack([distance, *weighted]).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.step()
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            losses = {name: float(loss.detach()) for name, loss in quantized.losses.items()}
            log({"step": done, "distance": float(distance.detach()), **losses, **quantized.health, "seconds": time.perf_counter() - start})
        if saved is not None and (done % config.checkpoint_every == 0 or done == config.steps):
            checkpoint.save(saved, done, {"net": net}, {"adam": optimizer}, {"cpu/0": torch.get_rng_state()})
    net.eval()


def rate_at(step: int, config: VatTraining) -> float:
    """Of the learning rate: up in a line, down in a cosine."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    along = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * along)) / 2


@torch.inference_mode()
def overlaps(net: ShapeVatNet, data: Sequence[Example]) -> list[float]:
    """Per number of scales, the intersection over union of insides at the places anywhere, mean over shapes."""
    device, cuts = next(net.parameters()).device, net.quantizer.cuts
    rows = []
    for example in data:
        at = np.arange(net.config.points) * len(example.surface) // net.config.points
        indices = net.tokenize(torch.from_numpy(example.surface[at])[None].to(device))
        places, inside = torch.from_numpy(example.places[0])[None].to(device), example.values[0] < 0
        found = [net.distances(net.detokenize(indices[:cut]), places)[0].cpu().numpy() < 0 for cut in cuts]
        rows.append([(f & inside).sum() / max(1, (f | inside).sum()) for f in found])
    return [float(value) for value in np.mean(rows, 0)] if rows else []


def f_scores(tokenizer: ShapeVat, works: Sequence[Work]) -> list[float]:
    """Per number of scales, the F-score at 2 % of decoded meshes, mean over shapes."""
    judge, rows = resolve("f-score-2", "cpu"), []
    for work in works:
        shape = work.source.read(work.name)
        (tokens,) = tokenizer.encode([shape])
        decoded = tokenizer.decode([tokens.prefix(cut) for cut in tokens.layout.cuts])
        rows.append([judge(shape, found).value for found in decoded])
    return [float(value) for value in np.mean(rows, 0)] if rows else []


def config_of(changes: Sequence[str]) -> VatTraining:
    """From `key=value`; UsageError."""
    table, sizes = to_dict(VatTraining()), [change.partition("=")[2] for change in changes if change.startswith("size=")]
    for size in sizes:
        if size not in SIZES:
            raise UsageError(f"size is {' or '.join(SIZES)}, found {size!r}")
        change_table(table, SIZES[size])
    change_table(table, [change for change in changes if not change.startswith("size=")])
    return from_dict(VatTraining, table, "train_vat")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m smalti.recipes.train_vat", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", nargs="+", help="folders or zips of shapes, procedural:N, and key=value")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder of the model")
    parser.add_argument("--cache", type=Path, help="folder for samples of shapes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--judge", action="store_true", help="F-scores of held-out shapes")
    given = parser.parse_intermixed_args(argv)
    try:
        _run(given)
    except SmaltiError as error:
        print(f"train_vat: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    changes = [item for item in given.data if "=" in item]
    config = config_of(changes)
    work = given.output.with_name(given.output.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    _same_run(work / "run.json", config)
    works = works_of([item for item in given.data if "=" not in item], given.cache or work / "samples", config.shapes)
    if config.held >= len(works):
        raise UsageError(f"held leaves shapes to learn from: below {len(works)}, found {config.held}")
    held = {i * len(works) // config.held for i in range(config.held)} if config.held else set()
    learned = examples([item for i, item in enumerate(works) if i not in held], given.processes)
    judged = [item for i, item in enumerate(works) if i in held]
    torch.manual_seed(config.seed)
    net = ShapeVatNet(config.net).to(given.device)

    def log(row: dict[str, Any]) -> None:
        with (work / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"step {row['step']}, distance {row['distance']:.4f}, {row['seconds']:.0f} s", file=sys.stderr)

    learn(net, learned, config, log, work / "checkpoint.safetensors")
    tokenizer = ShapeVat(net, device=given.device)
    info = zoo.save(tokenizer, given.output)
    scores: dict[str, Any] = {"shapes": len(learned), "held": [item.name for item in judged]}
    if judged:
        scores["iou"] = overlaps(net, examples(judged, given.processes))
    if judged and given.judge:
        scores["f-score-2"] = f_scores(tokenizer, judged)
    (work / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(json.dumps({"model": str(info.folder), "bytes": info.bytes, **scores}))


def _same_run(path: Path, config: VatTraining) -> None:
    """UsageError where a run of other settings lies there; more steps are none."""
    own = json.loads(json.dumps(asdict(config) | {"net": to_dict(config.net), "steps": 0}))
    if path.is_file() and json.loads(path.read_text()) != own:
        raise UsageError(f"{path.parent}: a run of other settings; remove it, or name another folder")
    path.write_text(json.dumps(own))


if __name__ == "__main__":
    sys.exit(main())
