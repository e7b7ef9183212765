"""Tensors of checkpoints as others publish them: safetensors, whole or in shards, or torch files. Nothing in them is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError

MAX_JSON_BYTES = 2**26  # the index of a model of many shards has a line for each tensor
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors", "pytorch_model.bin")
PROGRAM = ".jit"  # of files that are code: their bytes are read, see `cosmos.py`
TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".tar")
NESTED = ("ema", "model", "state_dict", "module")  # keys below which training programs put a network's tensors; averaged ones first
MOST_TENSORS = 2**17


@dataclass(frozen=True)
class Checkpoint:
    """files: of weights, one or its shards. part: what the names of the wanted tensors begin with; it is cut off, others are not read."""

    files: tuple[Path, ...]
    part: str = ""


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a file; ModelError where it is none. what: for the error."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{path}: larger than {MAX_JSON_BYTES} bytes; this is no {what}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as a {what} ({type(error).__name__}: {error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: a {what} is a JSON object, found {type(found).__name__}")
    return found


def weights_in(folder: Path) -> tuple[Path, ...]:
    """The files of weights of a folder: one, or the shards that its index names; ModelError where there are none."""
    for name in WEIGHTS:
        path = folder / name
        if path.is_file():
            return _shards(path) if name.endswith(".json") else (path,)
    others = sorted(path for path in folder.glob("*.safetensors") if path.stem not in ("prior", "masked", "static"))
    if len(others) == 1:
        return (others[0],)
    raise ModelError(f"{folder}: no weights; a checkpoint's folder holds one of {', '.join(WEIGHTS)}")


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_json(index, "list of shards").get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(f"{index}: weight_map is a table of tensors and their files, found {type(names).__name__}")
    wrong = next((name for name in names.values() if not re.fullmatch(r"[\w.-]+\.safetensors", name)), None)
    if wrong is not None:
        raise ModelError(f"{index}: shards are safetensors files of the same folder, found {wrong!r}")
    return tuple(index.parent / name for name in sorted(set(names.values())))


def read_tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """All tensors of the part by name, bfloat16 widened to float32; ModelError names the file that is missing or damaged."""
    tensors: dict[str, np.ndarray] = {}
    for path in checkpoint.files:
        if path.suffix == PROGRAM:
            tensors[path.name] = np.frombuffer(_bytes_of(path), np.uint8)
            continue
        found = _of_torch(path) if path.suffix in TORCH_SUFFIXES else _of_safetensors(path, checkpoint.part)
        for name, tensor in found.items():
            if name.startswith(checkpoint.part):
                tensors[name.removeprefix(checkpoint.part)] = _as_numpy(tensor)
    if not tensors:
        wanted = f" whose names begin with {checkpoint.part!r}" if checkpoint.part else ""
        raise ModelError(f"{checkpoint.files[0]}: no tensors{wanted}; name a checkpoint that holds them")
    return tensors


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error}); the checkpoint is incomplete") from None


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's tensors; of safetensors its header alone is read."""
    if path.suffix in TORCH_SUFFIXES:
        return {name: tuple(tensor.shape) for name, tensor in _of_torch(path).items()}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not readable as safetensors: {error}") from None


def _of_safetensors(path: Path, part: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(part)}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: not found; the checkpoint is incomplete") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not readable as safetensors: {error}") from None


def _of_torch(path: Path) -> dict[str, Any]:
    """Tensors of a torch file, of the network's own table where it lies below a key; ModelError where the file asks to run code."""
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: not found; the checkpoint is incomplete") from None
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path}: not readable as a torch file of plain tensors ({reason}); convert it to safetensors") from None
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) and found[key]:
            found = found[key]
    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: a checkpoint is a table of tensors, found {type(found).__name__}")
    tensors = {str(name): tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}
    if len(tensors) > MOST_TENSORS:
        raise ModelError(f"{path}: a checkpoint has at most {MOST_TENSORS} tensors, found {len(tensors)}")
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    return tensors


def _check_plain(path: Path, name: str, tensor: Any) -> None:
    """A torch file may say tensors of other kinds, and a shape of a terabyte over a few bytes, each of which would be written out."""
    import torch

    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized and not tensor.is_complex()
    if not plain:
        kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device.type}"
        raise ModelError(f"{path}: tensor {name!r} is no plain array of real numbers ({kind}); convert it to safetensors")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, more than the numbers that the file holds of it")


def _as_numpy(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach()
    wide = tensor.float() if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64) else tensor
    return wide.numpy()


def stamps(*files: Path) -> tuple[int, ...]:
    """When each of the files changed; 0 for one that is missing."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
