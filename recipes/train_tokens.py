"""Train a small language model on the tokens of a prepared folder, through the reader of packs: proof that they train.

    smalti prepare PHOTOS OUT -m image-grid-16 --held-out 0.06 --pack tokens --pattern coarse-first --context 843
    python -m smalti.recipes.train_tokens OUT [-o RUN] [--pack tokens] [--steps 300] [--samples 8] [--json]

What it is judged by: bits of a token of media on the held-out pack (which no step saw), beside the entropy of order 0 of those very tokens,
level by level, which no table of frequencies reaches. The model begins near there, and with the codebooks of the tokenizer where it has
some (`begin`): two cores and a million tokens do not teach those. At the end it draws documents by sampling and decodes them: RUN/sheet.png
has samples above, held-out documents below. A run that was stopped goes on at its last checkpoint when it is called again. RUN: by default
named by the hash of all that it depends on. Exit code 1 where the entropy is not beaten.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from smalti.codecs.media.files import reason, write_atomically
from smalti.prepare.packs.pack import PackedModel
from smalti.prepare.packs.vocabulary import Vocabulary
from smalti.prepare.reader import PackReader, open_pack
from smalti.recipes.prime_prior import tables_of
from smalti.recipes.token_model import Cache, TokenModel, TokenModelConfig, positions_of
from smalti.recipes.token_sheet import draw, maker
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray
EVERY, KEEP_EVERY = 10, 100  # steps between lines, and between checkpoints
MOST_COUNTED = 2**26  # ids that the first guess is made of


@dataclass(frozen=True)
class Config:
    """What a run depends on, beside the packs. length: ids of a window, 0 for the pack's rows."""

    steps: int = 300
    batch: int = 2
    length: int = 0
    rate: float = 3e-3
    warmup: int = 20
    decay: float = 0.1
    seed: int = 0
    width: int = 96
    blocks: int = 3
    heads: int = 4
    dropout: float = 0.1

    def learning_rate(self, step: int) -> float:
        """Up in a line, down along a cosine to a tenth."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(part, 1.0))))


@dataclass(frozen=True)
class Judged:
    """Bits of a token of media, under the model and of order 0 (by level, pooled by count), and how many tokens that is of."""

    bits: float
    order_0: float
    tokens: int


def counts_of(reader: PackReader, most: int | None = None) -> Array:
    """How often each id occurs, among the first `most` or all."""
    counts, stop = np.zeros(reader.pack.vocabulary.total, np.int64), min(len(reader.ids), most or len(reader.ids))
    for start in range(0, stop, 2**22):
        counts += np.bincount(reader.ids.read(start, min(2**22, stop - start)), minlength=len(counts))
    return counts


def order_0(reader: PackReader) -> float:
    """Bits of a token: the entropy of each range's own tokens, weighted by how many there are."""
    counts, total, bits = counts_of(reader), 0, 0.0
    for found in (r for r in reader.pack.vocabulary.ranges if r.stages):
        own = counts[found.base : found.base + found.size].astype(np.float64)
        own = own[own > 0]
        bits -= float((own * np.log2(own / own.sum())).sum())
        total += int(own.sum())
    return bits / max(total, 1)


def first_of_media(vocabulary: Vocabulary) -> int:
    """The ids from here on are tokens of media."""
    return min(r.base for r in vocabulary.ranges if r.stages)


@torch.inference_mode()
def judge(model: TokenModel, reader: PackReader, config: Config, most: int | None = None) -> Judged:
    """On all windows of a pack, in order, or the first `most`. The last one may overlap that before it; each id counts once."""
    windows = reader.windows(config.length or None)
    first, bos = first_of_media(reader.pack.vocabulary), reader.pack.vocabulary.special("bos")
    model.eval()
    bits, count, seen = 0.0, 0, 0
    for start in range(0, min(len(windows), most or len(windows)), config.batch):
        numbers = np.arange(start, min(start + config.batch, len(windows)))
        ids = torch.from_numpy(np.stack([windows[int(i)] for i in numbers]))
        begins = torch.from_numpy(windows.starts(numbers))
        logits = model(ids[:, :-1], positions_of(ids, bos)[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        places = begins[:, None] + torch.arange(1, windows.length)
        before = torch.cat([torch.tensor([seen]), begins[:-1] + windows.length])  # where the window before ended
        counted = (ids[:, 1:] >= first) & (places >= before[:, None])
        bits += float(losses[counted].sum()) / math.log(2)
        count += int(counted.sum())
        seen = int(begins[-1]) + windows.length
    return Judged(bits / max(count, 1), order_0(reader), count)


@torch.no_grad()
def begin(model: TokenModel, reader: PackReader, seed: int) -> list[str]:
    """Where training begins: at order 0, with what the tokenizers know of their tokens. Returns the names of the ranges that got a
    codebook.

    The output's bias is the logarithm of how often ids occur. Rows of the table are, of each range, the same vector, plus the entries of
    its codebook: made even (mean 0, deviation 1 a channel), turned by a random matrix. So the id before says at once which level it is, and
    what lies near it. Tokenizers that are not installed, or have no tables, leave random rows.
    """
    counts = counts_of(reader, MOST_COUNTED) + 1.0
    model.order_0.copy_(torch.from_numpy(np.log(counts / counts.sum())).float())
    table, random = model.table.weight, torch.Generator().manual_seed(seed)
    deviation, done = float(table.std()), []
    for made_by in reader.pack.models:
        ranges = [r for r in reader.pack.vocabulary.ranges if r.stages and r.modality == made_by.modality]
        for found, vectors in zip(ranges, vectors_of(made_by, reader.pack.folder, len(ranges)), strict=True):
            rows = table[found.base : found.base + found.size]
            if vectors is not None and len(vectors) == found.size:
                even = (vectors - vectors.mean(0)) / vectors.std(0).clamp(min=1e-6)
                turn = torch.randn(even.shape[1], table.shape[1], generator=random) / math.sqrt(even.shape[1])
                rows.copy_(even @ turn * deviation)
                done.append(found.name)
            rows += torch.randn(table.shape[1], generator=random) * deviation
    return done


def vectors_of(model: PackedModel, pack: Path, ranges: int) -> list[torch.Tensor | None]:
    """The entries of the codebook of each range of a model's ids."""
    try:
        net = getattr(maker(model, pack), "net", None)
    except ModelError:
        return [None] * ranges
    quantizer = getattr(net, "quantizer", None)
    tables = tables_of(quantizer, ranges, getattr(net, "pitch", None) is not None) if quantizer is not None else []
    return [table.vectors().detach().float().cpu() if table is not None else None for table in tables or [None] * ranges]


def train(model: TokenModel, reader: PackReader, held_out: PackReader, config: Config, run: Path, quiet: bool) -> None:
    """To the last step, from the checkpoint of `run` if there is one. A line of log.jsonl every `EVERY` steps."""
    batches = reader.batches(config.batch, config.seed, config.length or None)
    bos, pad = (reader.pack.vocabulary.special(name) for name in ("bos", "pad"))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.95))
    step = restore(run, model, optimizer, batches)
    started, since, losses = time.monotonic(), step, []
    model.train()
    while step < config.steps:
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout of a step is the same after a restart
        ids = torch.from_numpy(batches[step])
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate(step)
        logits = model(ids[:, :-1], positions_of(ids, bos)[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=pad)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()) / math.log(2))
        step += 1
        if step % EVERY == 0 or step == config.steps:
            speed = (step - since) * ids[:, 1:].numel() / (time.monotonic() - started)
            line: dict[str, Any] = {"step": step, "bits_per_id": round(float(np.mean(losses)), 4), "ids_per_second": round(speed)}
            losses = []
            if step % KEEP_EVERY == 0:
                line["held_out_bits"] = round(judge(model, held_out, config, 2 * config.batch).bits, 4)
                model.train()
            log(run, line, quiet)
        if step % KEEP_EVERY == 0 or step == config.steps:
            keep(run, model, optimizer, batches.state(step))


def log(run: Path, line: dict[str, Any], quiet: bool) -> None:
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if not quiet:
        print("  ".join(f"{key} {value}" for key, value in line.items()), file=sys.stderr, flush=True)


def keep(run: Path, model: TokenModel, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Weights, the optimizer's moments and where the reader stands, in one file, whole or not at all."""
    from safetensors.torch import save

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    data = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, {"reader": json.dumps(state)})
    write_atomically(run / "checkpoint.safetensors", data)


def restore(run: Path, model: TokenModel, optimizer: torch.optim.Optimizer, batches: Any) -> int:
    """The step to go on at, 0 without a checkpoint. UsageError where that is of other data or another model, or damaged."""
    from safetensors import SafetensorError, safe_open

    path = run / "checkpoint.safetensors"
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            step = batches.check_state(json.loads(file.metadata()["reader"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: damaged, or of another model ({reason(error)[:200]}); begin in another folder (-o)") from None
    whole = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".")
            whole["state"].setdefault(int(number), {})[moment] = tensor
    optimizer.load_state_dict(whole)
    return step


@torch.inference_mode()
def sample(model: TokenModel, reader: PackReader, like: int, count: int, seed: int, temperature: float = 1.0) -> list[Tokens]:
    """New documents of the layout that document `like` has: at each place one of the ids that may stand there."""
    entry = reader.layout(like)
    modality = reader.pack.models[entry.model].modality
    weave = reader.weaver.weave(modality, entry.layout)
    random = torch.Generator().manual_seed(seed)
    model.eval()
    cache = [Cache() for _ in range(model.config.blocks)]
    ids = torch.full((count, 1), int(weave.base[0]))
    for place in range(1, weave.length):
        logits = model(ids[:, -1:], torch.full((count, 1), place - 1), cache)[:, -1]
        base, size = int(weave.base[place]), int(weave.size[place])
        chances = (logits[:, base : base + size].float() / temperature).softmax(-1)
        ids = torch.cat([ids, base + torch.multinomial(chances, 1, generator=random)], 1)
    return [reader.weaver.tokens(modality, entry.layout, row) for row in ids.numpy()]


def run_folder(config: Config, readers: tuple[PackReader, ...]) -> Path:
    """runs/train-tokens-HASH."""
    said = json.dumps([asdict(config), [reader.pack.digest for reader in readers]], sort_keys=True)
    return Path("runs") / f"train-tokens-{hashlib.sha256(said.encode()).hexdigest()[:10]}"


def commonest(reader: PackReader) -> int:
    """A document of the layout that most documents have."""
    layouts = reader.records["layout"]
    return int(np.flatnonzero(layouts == np.bincount(layouts).argmax())[0])


def main(given: Sequence[str] | None = None) -> int:
    """Train, judge, draw; 1 where the entropy is not beaten, 2 where something is refused."""
    parser = argparse.ArgumentParser(description="train a small language model on prepared tokens")
    parser.add_argument("prepared", type=Path, help="folder that smalti prepare wrote, with a pack and its NAME-held-out")
    parser.add_argument("--pack", default="tokens", help="name of the pack, as given to smalti prepare --pack (default tokens)")
    parser.add_argument("-o", "--out", type=Path, help="run folder")
    parser.add_argument("--samples", type=int, default=8, help="documents to draw (default 8)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling (default 1)")
    parser.add_argument("--json", action="store_true", help="results as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    defaults = Config()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"(default {value})")
    arguments = parser.parse_args(given)
    config = Config(**{name: getattr(arguments, name) for name in asdict(defaults)})
    try:
        result = train_and_judge(arguments, config)
    except SmaltiError as error:
        print(f"train_tokens: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"{result['run']}: {result['bits']:.3f} bits a token on {result['tokens']} held-out tokens, order 0 {result['order_0']:.3f} "
              f"({result['bits'] / result['order_0'] - 1:+.1%})")  # fmt: skip
    return int(result["bits"] >= result["order_0"])


def train_and_judge(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    """All of it; the result as it is written to RUN/result.json."""
    places = arguments.prepared / "packs"
    reader, held_out = open_pack(places / arguments.pack), open_pack(places / f"{arguments.pack}-held-out")
    if reader.pack.vocabulary != held_out.pack.vocabulary or not reader.pack.bos:
        raise UsageError(f"{held_out.pack.folder}: of another vocabulary, or without bos; write both packs by one smalti prepare --pack")
    run = arguments.out or run_folder(config, (reader, held_out))
    os.makedirs(run, exist_ok=True)
    torch.manual_seed(config.seed)
    model_config = TokenModelConfig(reader.pack.vocabulary.total, config.width, config.blocks, config.heads, config.dropout)
    model = TokenModel(model_config)
    begin(model, reader, config.seed)
    about = {"config": asdict(config), "model": to_dict(model_config), "packs": [reader.pack.digest, held_out.pack.digest]}
    write_atomically(run / "config.json", json.dumps(about, indent=1).encode())
    train(model, reader, held_out, config, run, arguments.quiet)
    judged = judge(model, held_out, config)
    drawn = None
    if arguments.samples:
        like = commonest(held_out)
        made = sample(model, held_out, like, arguments.samples, config.seed, arguments.temperature)
        layout = held_out.layout(like)
        real = [held_out.tokens(i) for i in range(len(held_out)) if held_out.layout(i) == layout][: arguments.samples]
        drawn = draw(held_out.pack.models[layout.model], held_out.pack.folder, made, real, run / "sheet.png")
    parameters = sum(p.numel() for p in model.parameters())
    result = {"run": str(run), **asdict(judged), "steps": config.steps, "parameters": parameters, "sheet": drawn,
              "cpu_seconds": round(time.process_time())}  # fmt: skip
    write_atomically(run / "result.json", json.dumps(result, indent=1).encode())
    return result


if __name__ == "__main__":
    sys.exit(main())
