"""The one training loop: accelerate for devices and processes, AdamW, cosine, moving average, checkpoints that resume to the same losses.

A run folder holds config.json, log.jsonl (one JSON object per line), sheet-STEP.png or listen-STEP.wav, and checkpoint.safetensors;
`release` makes its model folder. Scores of held-out files are those of their middle, see `holdout`.

Several processes (accelerate launch) each see their own samples of a step; the first alone writes, and its losses, and its statistics of
codebooks, are the run's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from smalti.recipes.training import checkpoint, data, media, subjects
from smalti.recipes.training.config import OptimizerConfig, TrainingConfig
from smalti.tokenizers.codebooks import LearnedVQ
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.contracts import StoredTokenizer
from smalti.tokenizers.errors import SignalError, UsageError


@dataclass(frozen=True)
class Result:
    """folder: the run's. tokenizer: with averaged weights, in evaluation mode. seconds: of this call. skipped: unreadable files."""

    folder: Path
    tokenizer: Any
    seconds: float
    skipped: tuple[str, ...]


class Run:
    """One run from its first or last saved step to its end."""

    def __init__(self, config: TrainingConfig, runs: Path, device: str = "auto", quiet: bool = False) -> None:
        self.config, self.quiet = config, quiet
        self.folder = runs / config.run_name
        self.console = Console(stderr=True)
        cuda = torch.cuda.is_available() and device != "cpu"
        if device == "cuda" and not cuda:
            raise UsageError("no CUDA device is available; use --device cpu")
        several = DistributedDataParallelKwargs()
        self.accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if cuda else "no", kwargs_handlers=[several])
        set_seed(config.seed, device_specific=True)  # the first process's weights are everybody's
        self.medium = media.of(config)
        self.files, self.holdout = self.medium.split(config.data)
        self.subject = subjects.of(config)
        net = self.subject.network(config.tokenizer)
        if not self._checkpoint.exists():
            if config.init:
                subjects.start_from(net, config.init, self._samples())
            else:
                self.subject.begin(net, self._samples())
        self.subject.freeze(net, config)  # before several processes agree on whose gradients they wait for
        # a level that is dropped would leave its parameters without gradients
        several.find_unused_parameters = any(parameter.requires_grad for parameter in net.quantizer.parameters())
        net = net.to(memory_format=torch.channels_last)  # a fifth faster on CPU
        optimizer = torch.optim.AdamW(
            _groups(net, self.subject.fitted(net), config.optimizer), lr=config.optimizer.learning_rate, betas=config.optimizer.betas
        )
        self.net, self.optimizer = self.accelerator.prepare(net, optimizer)
        self.average = AveragedModel(self._bare(), multi_avg_fn=_averager(config.optimizer.ema))
        self.loss = self.medium.loss(config).to(self.accelerator.device)
        self.adversary = self.medium.adversary(config, self.accelerator) if config.adversary.weight else None
        self.skipped: dict[str, None] = {}
        self.step = 0

    def _samples(self) -> Iterator[Tensor]:
        """Training crops, without end."""
        sampler = data.StepSampler(0, 2**31, self.config.batch)
        crops = self.medium.crops(self.files, self.config)
        for batch in data.loader(crops, sampler, self.config.data.workers, False, self.medium.to_tensor):
            if batch.failure:
                raise SignalError(batch.failure)
            yield batch.signals

    def train(self) -> Result:
        """Resume if there is a checkpoint, and run to the last step."""
        started = time.monotonic()
        if self.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.json").write_text(json.dumps(to_dict(self.config), indent=1))
        self.accelerator.wait_for_everyone()
        self._resume()
        self.accelerator.wait_for_everyone()
        with self._progress() as progress:
            bar = progress.add_task(self.config.name, total=self.config.steps, completed=self.step, note="")
            self._loop(lambda note: progress.update(bar, completed=self.step, note=note))
        if self.accelerator.num_processes > 1:
            self._note_skipped(tuple(gather_object(list(self.skipped))))
        return Result(self.folder, self._tokenizer(), time.monotonic() - started, tuple(self.skipped))

    def _loop(self, report: Any) -> None:
        config = self.config
        sampler = data.StepSampler(self.step, config.steps, config.batch, self.accelerator.process_index, self.accelerator.num_processes)
        cuda = self.accelerator.device.type == "cuda"
        crops = self.medium.crops(self.files, config)
        batches = data.loader(crops, sampler, config.data.workers, cuda, self.medium.to_tensor)
        self._train_mode()
        clock = time.monotonic()
        for batch in batches:
            if batch.failure:
                raise SignalError(batch.failure)
            self._note_skipped(batch.skipped)
            terms, health = self._step(batch.signals.to(self.accelerator.device, non_blocking=True))
            self.step += 1
            last = self.step == config.steps
            if self.step % config.log_every == 0 or last or self.step == 1:
                values = {name: float(value.detach()) for name, value in terms.items()}
                seconds, clock = time.monotonic() - clock, time.monotonic()
                self._log({"step": self.step, **values, **health, "seconds": round(seconds, 3)})
                shown = [f"{name} {values[name]:.3f}" for name in values if name != "total"]
                report(" ".join([*shown, *(f"{name} {value:.0f}" for name, value in health.items() if name.startswith("perplexity"))]))
            if self.step % config.evaluate_every == 0 or last:
                self._evaluate()
                self.accelerator.wait_for_everyone()
            if self.step % config.checkpoint_every == 0 or last:
                random = checkpoint.random_states(self.accelerator)
                if self.is_main:
                    checkpoint.save(self._checkpoint, self.step, self._modules(), self._optimizers(), random)
                self.accelerator.wait_for_everyone()

    def _train_mode(self) -> None:
        self.net.train()
        self.subject.freeze(self._bare(), self.config)

    def _step(self, signals: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
        config = self.config.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step, self.config.steps) * group.get("lr_scale", 1.0)
        with self.accelerator.autocast():
            reconstruction, quantized = self.subject.run(self.net, signals, self.config.loss)
        progress = self.step / self.config.steps
        if reconstruction is not None:
            signals = signals[..., : reconstruction.shape[-1]]  # a network may hear ahead in the end of a sound, and not draw that
        terms = self.loss(signals, reconstruction, quantized, progress)
        if self.adversary and reconstruction is not None and self.adversary.weight(progress):
            terms |= self.adversary.terms(signals, reconstruction, terms["total"], progress)
        self.accelerator.backward(terms["total"])
        self.accelerator.clip_grad_norm_(self.net.parameters(), config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self._bare())
        _copy_tables(self._bare(), self.average.module)
        if self.adversary and reconstruction is not None and progress >= self.adversary.learns_from:
            terms |= self.adversary.learn(signals, reconstruction)
        return terms, quantized.health

    def _evaluate(self) -> None:
        """Scores of the averaged weights on the middle of held-out files at every prefix, and what to look at or to listen to."""
        if not self.is_main:
            return
        found = self.medium.judge(self._tokenizer(), self.config, self.holdout, self.folder, self.step)
        self._note_skipped(found.skipped)
        if not found.scores:
            return
        scores = {f"holdout_{name}": value for name, value in found.scores.items()}
        self._log({"step": self.step, **scores, **self.medium.limits})
        if not self.quiet:
            self.console.print(f"step {self.step}: " + ", ".join(f"{k} {v:.3f}" for k, v in found.scores.items()), highlight=False)

    def _tokenizer(self) -> StoredTokenizer:
        net = self.subject.network(self.config.tokenizer)
        net.load_state_dict(self.average.module.state_dict())
        return self.subject.tokenizer(net, name=self.config.name, device=str(self.accelerator.device))

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    def close(self) -> None:
        """Leave the group of processes, where there are several."""
        if self.accelerator.num_processes > 1:
            self.accelerator.end_training()

    def _bare(self) -> Any:
        return self.accelerator.unwrap_model(self.net)

    def _modules(self) -> dict[str, torch.nn.Module]:
        modules: dict[str, torch.nn.Module] = {"net": self._bare(), "average": self.average}
        return modules | ({"discriminator": self.adversary.bare} if self.adversary else {})

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self.optimizer} | ({"adversary": self.adversary.optimizer} if self.adversary else {})

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            if self.is_main:
                (self.folder / "log.jsonl").unlink(missing_ok=True)
            return
        self.step = checkpoint.load(self._checkpoint, self._modules(), self._optimizers(), self.accelerator.process_index)
        if not self.is_main:
            return
        log = self.folder / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []
        lines = [line for line in lines if line["step"] <= self.step]
        self.skipped = {line["skipped"]: None for line in lines if "skipped" in line}
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        if not self.quiet:
            self.console.print(f"resumed at step {self.step} of {self.config.steps} from {self.folder}", highlight=False)

    def _log(self, line: dict[str, Any]) -> None:
        if self.is_main:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _note_skipped(self, lines: tuple[str, ...]) -> None:
        for line in lines:
            if line not in self.skipped:
                self.skipped[line] = None
                self._log({"step": self.step, "skipped": line})
                if self.is_main:
                    self.console.print(f"skipped ({len(self.skipped)}): {line}", highlight=False, style="yellow")

    def _progress(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        hidden = self.quiet or not self.console.is_terminal or not self.is_main
        return Progress(*columns, console=self.console, disable=hidden)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to final_rate times the peak."""
    warmup = min(config.warmup_steps, steps // 10)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))


def _groups(net: Any, fitted: Collection[Tensor], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Norm weights and biases are not decayed, nor what a quantizer learns: its entries belong where the latents are.

    fitted: parameters that did not start at random. They learn at a tenth of the rate, and are not drawn to zero.
    """
    tables, slow = set(net.quantizer.parameters()), set(fitted)
    others = [p for p in net.parameters() if p not in slow]
    matrices = [p for p in others if p.squeeze().ndim > 1 and p not in tables]
    vectors = [p for p in others if p.squeeze().ndim <= 1 or p in tables]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [*groups, {"params": list(fitted), "weight_decay": 0.0, "lr_scale": 0.1}] if fitted else groups


def _copy_tables(net: nn.Module, average: nn.Module) -> None:
    """Learned tables as they are: an average would lie between where a revived entry was and where it is."""
    for now, kept in zip(net.modules(), average.modules(), strict=True):
        if isinstance(now, LearnedVQ) and isinstance(kept, LearnedVQ):
            kept.table.data.copy_(now.table.data)


def _averager(decay: float) -> Any:
    """Exponential moving average that forgets faster at first, by 9 / (10 + step), so that the first steps don't linger."""

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        weight = max(1 - decay, 9 / (10 + int(count)))
        torch._foreach_lerp_(averaged, [c.to(a.dtype) for a, c in zip(averaged, current, strict=True)], weight)

    return average
