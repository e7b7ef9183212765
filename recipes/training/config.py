"""What a training run is: one frozen config, from a TOML recipe that may name its parent, with `key=value` changes on top.

A run is named by the hash of its resolved config, so equal configs resume one another and different ones never mix.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.tokenizers.configs import canonical_json, from_dict
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.network import ImageGridConfig

RECIPES = Path(__file__).parent.parent
SHORT = {"data": "data.folder"}  # `data=DIR` on the command line


@dataclass(frozen=True)
class DataConfig:
    """folder: pictures, searched recursively. crop: side in pixels. holdout: how many files, last by name, are only evaluated on.

    Crops are taken at a random scale in [smallest_scale, largest_scale] of the source; below 1 shrinks it. workers: decoding processes.
    """

    folder: str = ""
    crop: int = 128
    smallest_scale: float = 0.75
    largest_scale: float = 2.0
    holdout: int = 16
    workers: int = 1

    def __post_init__(self) -> None:
        if self.crop < 16 or not 0 < self.smallest_scale <= self.largest_scale or self.holdout < 1 or self.workers < 0:
            raise UsageError(
                f"data: crop >= 16, 0 < smallest_scale <= largest_scale, holdout >= 1 and workers >= 0 are needed, found {self}"
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights; pictures are in [-1, 1].

    color: L1 of means over 8 x 8 pixels in opponent colours, against muted hues. lpips_ramp: fraction of the run over which LPIPS is
    brought in. lpips_shift: pictures are shifted by up to so many pixels before LPIPS, against patterns between AlexNet's samples.
    """

    l1: float = 1.0
    l2: float = 0.0
    color: float = 1.0
    lpips_alex: float = 1.0
    lpips_vgg: float = 0.0
    lpips_ramp: float = 0.1
    lpips_shift: int = 0
    quantizer: float = 1.0


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and a cosine to `final_rate` times the peak; gradients clipped to `clip` in norm; weights averaged with
    `ema`."""

    learning_rate: float = 1.5e-3
    final_rate: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    warmup_steps: int = 200
    clip: float = 1.0
    ema: float = 0.999


@dataclass(frozen=True)
class TrainingConfig:
    """One run. init: a model (name or folder) to start from. freeze_tokens: train the decoder alone."""

    name: str
    tokenizer: ImageGridConfig
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = 6000
    batch: int = 8
    seed: int = 0
    init: str = ""
    freeze_tokens: bool = False
    evaluate_every: int = 500
    checkpoint_every: int = 250
    log_every: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.evaluate_every, self.checkpoint_every, self.log_every) < 1:
            raise UsageError("steps, batch and the three intervals must be at least 1")

    @property
    def run_name(self) -> str:
        """Recipe name and the first digits of the resolved config's hash."""
        return f"{self.name}-{hashlib.sha256(canonical_json(self).encode()).hexdigest()[:8]}"


def recipes() -> list[str]:
    """Names of the recipes that Smalti brings."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(recipe: str, changes: Sequence[str] = ()) -> TrainingConfig:
    """The config of a recipe (a name or a TOML file) with `key=value` changes, e.g. `data=DIR`, `optimizer.learning_rate=1e-3`."""
    table = _read(recipe)
    table.setdefault("name", Path(recipe).stem)
    for change in changes:
        key, found, text = change.partition("=")
        if not found:
            raise UsageError(f"changes to a recipe are key=value, found {change!r}")
        _set(table, SHORT.get(key, key), _value(text), change)
    return from_dict(TrainingConfig, table, "recipe")


def _read(recipe: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    path = RECIPES / f"{recipe}.toml" if recipe in recipes() else Path(recipe)
    if path.suffix != ".toml" or not path.is_file():
        near = difflib.get_close_matches(recipe, recipes(), 1)
        raise UsageError(
            f"no recipe {recipe!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(recipes())}, or a .toml file")
        )
    if recipe in seen:
        raise UsageError(f"recipe {recipe!r} names itself as a parent: {' -> '.join((*seen, recipe))}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML recipe: {error}") from None
    parent = table.pop("parent", None)
    if parent is None:
        return table
    beside = str(parent) if parent in recipes() else str((path.parent / str(parent)).resolve())
    return _merge(_read(beside, (*seen, recipe)), table)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    if "kind" in base and change.get("kind", base["kind"]) != base["kind"]:
        return change  # another kind has other keys
    out = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out


def _set(table: dict[str, Any], key: str, value: Any, change: str) -> None:
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"{change!r}: {part!r} is a value, not a table of keys")
    table[last] = value


def _value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself; no key is a date, so 2024-01-01 is the name of a folder."""
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text
