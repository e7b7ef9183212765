"""Checkpoints without pickle: every tensor of a run (weights, averages, optimizer, random states) in one safetensors file, replaced as a
whole.

Random states are one per process, `random/cpu/RANK` and `random/cuda/RANK`; files of before have rank 0's alone, without a number.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from smalti.tokenizers.errors import ModelError

Optimizers = dict[str, torch.optim.Optimizer]


def random_states(accelerator: Accelerator) -> dict[str, Tensor]:
    """The random states of all processes; every process has to call it."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    # gathered on the device: NCCL moves no CPU tensors
    every = {kind: accelerator.gather(state[None].to(accelerator.device)) for kind, state in own.items()}
    return {f"{kind}/{rank}": state for kind, states in every.items() for rank, state in enumerate(states)}


def save(
    path: Path, step: int, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer], random: dict[str, Tensor]
) -> None:
    """Write the state after `step` steps; random: what `random_states` gave."""
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{number}/{key}": value for key, value in state.items()}
    tensors |= {f"random/{name}": state for name, state in random.items()}
    part = path.with_suffix(".part")
    save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, part, metadata={"step": str(step)})
    os.replace(part, path)


def load(path: Path, modules: dict[str, nn.Module], optimizers: Optimizers, rank: int = 0) -> int:
    """Restore what `save` wrote, random states those of process `rank` where it had one; returns the number of steps done."""
    try:
        with safe_open(path, "pt") as file:
            step = int(file.metadata()["step"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not readable as a checkpoint ({error}); remove it to start the run again") from None
    for name, module in modules.items():
        try:
            module.load_state_dict(_under(tensors, f"{name}/"))
        except RuntimeError as error:
            raise ModelError(
                f"{path}: made by another network ({str(error).splitlines()[-1].strip()}); remove the run folder to start again"
            ) from None
    for name, optimizer in optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"{name}/").items():
            number, _, field = key.partition("/")
            states.setdefault(int(number), {})[field] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    cpu, cuda = (_random(tensors, kind, rank) for kind in ("cpu", "cuda"))
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
    return step


def _random(tensors: dict[str, Tensor], kind: str, rank: int) -> Tensor | None:
    return tensors.get(f"random/{kind}/{rank}", tensors.get(f"random/{kind}") if rank == 0 else None)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
