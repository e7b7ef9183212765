"""Checkpoints of CompressAI's zoo on this machine: found by name, read as data, checked, made into its networks.

Files are named as their publisher names them (`mbt2018-mean-3-723404a8.pth.tar`, `cheng2020_attn-ms-ssim-1-c5381d91.pth.tar`), the eight
digits being the start of the file's SHA-256; without these, and as safetensors, they are taken too. They lie in $SMALTI_COMPRESSAI, else in
~/.cache/smalti/compressai. Nothing is downloaded here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.compressai_zoo.container import LAYOUTS, layout_of
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.signals import Array

FOLDER = "SMALTI_COMPRESSAI"
MAX_BYTES = 1 << 30  # of a checkpoint; the largest published one has about a tenth
MOST_CHANNELS, LEAST_CHANNELS = 1024, 4  # its coder writes beyond its memory where it codes fewer than four symbols
MOST_ENTRIES = 1 << 14  # of a table's row
_NAME = re.compile(
    rf"({'|'.join(map(re.escape, LAYOUTS))})(?:-(prior|mse|ms-ssim))?-([1-9]\d?)(?:-([0-9a-f]{{8}}))?\.(pth\.tar|pth|pt|safetensors)"
)


@dataclass(frozen=True, eq=False)
class Network:
    """module: compressai's, of N channels in the coarsest latents and M in the others. digest: SHA-256 of all tensors."""

    module: Any
    digest: bytes


def folder() -> Path:
    """Where checkpoints lie."""
    return Path(os.environ.get(FOLDER) or Path.home() / ".cache" / "smalti" / "compressai")


def require() -> None:
    """ModelError where compressai is not installed."""
    if importlib.util.find_spec("compressai") is None:
        raise ModelError("CompressAI's codecs need the package compressai: pip install 'smalti[compressai]'")


def checkpoints(name: str, place: Path) -> dict[int, Path]:
    """Quality to file of a model, ascending; ModelError where there is none, or two for one quality."""
    found: dict[int, Path] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        match = _NAME.fullmatch(path.name.lower().replace("_", "-"))
        if not match or f"{match[1]}{'-ms-ssim' if match[2] == 'ms-ssim' else ''}" != name:
            continue
        quality = int(match[3])
        if quality in found:
            raise ModelError(f"{place}: two files of {name} at quality {quality}, {found[quality].name} and {path.name}; leave one there")
        found[quality] = path
    if not found:
        raise ModelError(f"{place}: no checkpoint of {name} (as {name}-1.pth.tar); put CompressAI's there, or set {FOLDER} to their folder")
    return dict(sorted(found.items()))


def fingerprint_of_files(files: dict[int, Path]) -> str:
    """Hexadecimal SHA-256 over the files of a ladder."""
    sha = hashlib.sha256()
    for quality, path in files.items():
        sha.update(bytes([quality]) + hashlib.sha256(_bytes_of(path)).digest())
    return sha.hexdigest()


def network_of(name: str, path: Path) -> Network:
    """The network of a checkpoint, on the CPU; ModelError where the file does not hold it."""
    state = state_of(path)
    check_state(state, path)
    require()
    try:
        with warnings.catch_warnings():  # of what compressai imports
            warnings.simplefilter("ignore")
            from compressai import models
            from compressai.zoo.pretrained import load_pretrained
    except ImportError as error:
        raise ModelError(f"compressai cannot be imported ({error}): pip install 'smalti[compressai]'") from None
    try:
        module = getattr(models, layout_of(name).network).from_state_dict(load_pretrained(state))
        module.update()  # makes entropy tables where the checkpoint has none yet
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        line = (str(error).splitlines() or [""])[-1].strip()
        raise ModelError(f"{path}: not the weights of {name} ({type(error).__name__}: {line}); put the file of its name there") from None
    module.eval().requires_grad_(False)
    if min(module.N, module.M) < LEAST_CHANNELS:
        raise ModelError(f"{path}: {min(module.N, module.M)} channels, expected {LEAST_CHANNELS} at least; use a larger model")
    tables = {"entropy_bottleneck": module.entropy_bottleneck.channels}
    if layout_of(name).strings > 1:
        tables["gaussian_conditional"] = len(module.gaussian_conditional.scale_table)
    for part, rows in tables.items():
        model = getattr(module, part)
        cdf, lengths, offsets = (found.numpy() for found in (model.quantized_cdf, model.cdf_length, model.offset))
        check_tables(f"{path}: {part}", cdf, lengths, offsets, rows)
    return Network(module, digest_of(name, module.state_dict()))


def state_of(path: Path) -> dict[str, Tensor]:
    """Tensors by name, "state_dict" unwrapped and "module." cut off; ModelError where the file holds anything else or asks to run code."""
    import io

    from safetensors.torch import load as of_safetensors

    data = _bytes_of(path)
    promised = re.search(r"-([0-9a-f]{8})\.pth\.tar$", path.name)
    if promised and not hashlib.sha256(data).hexdigest().startswith(promised[1]):
        raise ModelError(f"{path}: its SHA-256 does not begin as its name says; get the file again")
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = of_safetensors(data)
        else:
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a torch file that is none fails in a dozen ways
        line = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path}: not readable as weights alone ({type(error).__name__}: {line}); get the file again") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise ModelError(f"{path}: expected a table of names and tensors, or one below 'state_dict'; this is no checkpoint of CompressAI")
    return {key.removeprefix("module."): value for key, value in found.items()}


def check_state(state: dict[str, Tensor], path: Path) -> None:
    """ModelError for tensors that no model of the zoo has: networks are made to their sizes, and coders run on their numbers."""
    for key, value in state.items():
        if value.layout != torch.strided or value.is_complex() or value.is_quantized:
            raise ModelError(f"{path}: {key} is no plain tensor of numbers; this is no checkpoint of CompressAI")
        most = MOST_CHANNELS if value.ndim == 4 else MOST_ENTRIES
        if max(value.shape, default=0) > most:
            raise ModelError(
                f"{path}: {key} has shape {tuple(value.shape)}, expected sides up to {most}; this is no checkpoint of CompressAI"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(f"{path}: {key} has values that are not finite; get the file again")


def check_tables(what: str, cdf: Array, lengths: Array, offsets: Array, rows: int) -> None:
    """ModelError for tables that its coder would read beyond: each row rises from 0 to 2^16 within its length, two entries at least."""
    wide = cdf.shape[1] if cdf.ndim == 2 else 0
    good = wide >= 2 and cdf.shape[0] == rows and lengths.shape == offsets.shape == (rows,)
    good = good and bool(((lengths >= 2) & (lengths <= wide)).all()) and bool((np.abs(offsets.astype(np.int64)) < 1 << 20).all())
    if good:
        inside = np.arange(1, wide) < lengths[:, None]
        rises = (np.diff(cdf.astype(np.int64), axis=1) > 0) | ~inside
        good = bool(rises.all()) and not cdf[:, 0].any() and bool((cdf[np.arange(rows), lengths - 1] == 1 << 16).all())
    if not good:
        raise ModelError(f"{what}: its entropy tables do not rise from 0 to 65536 in {rows} rows; get the file again")


def digest_of(name: str, state: dict[str, Tensor]) -> bytes:
    """SHA-256 of a model's name and tensors, however they were stored."""
    sha = hashlib.sha256(name.encode())
    for key in sorted(state):
        value = np.ascontiguousarray(state[key].numpy())
        sha.update(f"{key} {value.dtype} {value.shape}".encode() + value.astype(value.dtype.newbyteorder("<")).tobytes())
    return sha.digest()


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: {path.stat().st_size} bytes, expected {MAX_BYTES} at most; this is no checkpoint of CompressAI")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error}); get the file again") from None
