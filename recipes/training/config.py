"""What a training run is: one frozen config, from a TOML recipe that may name its parent, with `key=value` changes on top.

A run is named by the hash of its resolved config, so equal configs resume one another and different ones never mix.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from smalti.recipes.training.data_config import DataConfig as DataConfig
from smalti.recipes.training.data_config import FilmDataConfig as FilmDataConfig
from smalti.recipes.training.data_config import SoundDataConfig as SoundDataConfig
from smalti.recipes.training.data_config import need
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.audio.single_network import AudioSingleConfig
from smalti.tokenizers.configs import canonical_json, from_dict, to_dict
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.line_network import ImageLineConfig
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import FactorizedConfig
from smalti.tokenizers.video.network import VideoCausalConfig

SoundConfig = AudioResidualConfig | AudioSingleConfig
RECIPES = Path(__file__).parent.parent
SHORT = {"data": "data.folder"}  # `data=DIR` on the command line
PICTURE_LOSSES = ("l1", "l2", "color", "lpips_alex", "lpips_vgg")
MIN_JUDGED = 32  # pixels a side below which AlexNet and VGG16 have nothing left in their last layers


@dataclass(frozen=True)
class LossConfig:
    """Weights; pictures are in [-1, 1].

    color: L1 of means over 8 x 8 and 64 x 64 pixels in opponent colours, against muted hues and shifted tones. lpips_ramp: fraction of
    the run over which LPIPS is brought in. lpips_shift: pictures are shifted by up to so many pixels before LPIPS, against
    patterns between AlexNet's samples. latent: of an image-line, mean square error of the latents that its line decoder draws against those
    of its frozen convolutional encoder; where it alone weighs, no pixels are made.
    """

    kind: ClassVar[str] = "pictures"
    l1: float = 1.0
    l2: float = 0.0
    color: float = 1.0
    lpips_alex: float = 1.0
    lpips_vgg: float = 0.0
    lpips_ramp: float = 0.1
    lpips_shift: int = 0
    quantizer: float = 1.0
    latent: float = 0.0

    def __post_init__(self) -> None:
        names = (*PICTURE_LOSSES, "lpips_ramp", "quantizer", "latent")
        for name in names:
            need(0 <= getattr(self, name) < math.inf, f"loss.{name} >= 0", getattr(self, name))
        need(self.lpips_shift >= 0, "loss.lpips_shift >= 0", self.lpips_shift)
        weights = {name: getattr(self, name) for name in (*PICTURE_LOSSES, "latent")}
        need(any(weights.values()), f"a weight above 0 among loss.{', '.join(weights)}", weights)

    @property
    def pictures(self) -> bool:
        """Whether anything is asked of pictures."""
        return any(getattr(self, name) for name in PICTURE_LOSSES)


@dataclass(frozen=True)
class SoundLossConfig:
    """Weights; samples are in [-1, 1].

    mel: of the distance of log mel spectra, summed over windows, as in DAC. stft: of linear and log spectra at two windows. l1: of the
    samples themselves. compressed: of magnitudes to the power of .3, nearly as loudness is heard, at three long windows: what tells single
    harmonics. mel_windows: powers of two, in samples.
    """

    kind: ClassVar[str] = "sounds"
    mel: float = 15.0
    stft: float = 1.0
    l1: float = 10.0
    compressed: float = 0.0
    quantizer: float = 1.0
    mel_windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("mel", "stft", "l1", "compressed")}
        for name, weight in {**weights, "quantizer": self.quantizer}.items():
            need(0 <= weight < math.inf, f"loss.{name} >= 0", weight)
        need(any(weights.values()), f"a weight above 0 among loss.{', '.join(weights)}", weights)
        whole = all(window >= 32 and window & (window - 1) == 0 for window in self.mel_windows)
        need(bool(self.mel_windows) and whole, "powers of two from 32 on in loss.mel_windows", self.mel_windows)


@dataclass(frozen=True)
class AdversaryConfig:
    """A patch discriminator of pictures; weight 0 means none.

    counts_from: fraction of the run after which it counts for the tokenizer; it learns from the start. width: channels of its first
    layer, doubled in each of `layers`. lecam: weight of LeCam regularization.
    """

    kind: ClassVar[str] = "pictures"
    weight: float = 0.0
    counts_from: float = 0.2
    width: int = 32
    layers: int = 3
    learning_rate: float = 2e-4
    lecam: float = 0.001

    def __post_init__(self) -> None:
        for name in ("weight", "learning_rate", "lecam"):
            need(0 <= getattr(self, name) < math.inf, f"adversary.{name} >= 0", getattr(self, name))
        need(0 <= self.counts_from <= 1, "adversary.counts_from in [0, 1]", self.counts_from)
        need(1 <= self.layers <= 5, "adversary.layers in 1..5", self.layers)
        need(self.width >= 1, "adversary.width >= 1", self.width)


@dataclass(frozen=True)
class SoundAdversaryConfig:
    """Discriminators of sounds; weight 0 means none. weight, features: how strong the pull of verdicts and of matched features is at the
    waveform, in parts of all other losses' there.

    counts_from: fraction of the run after which they count for the tokenizer; they learn from a little before. periods: of waves folded
    to that many columns. windows: of complex spectra, in samples. width: channels of the first layers.
    """

    kind: ClassVar[str] = "sounds"
    weight: float = 0.0
    features: float = 1.0
    counts_from: float = 0.3
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (2048, 1024, 512)
    width: int = 16
    learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name in ("weight", "features", "learning_rate"):
            need(0 <= getattr(self, name) < math.inf, f"adversary.{name} >= 0", getattr(self, name))
        need(0 <= self.counts_from <= 1, "adversary.counts_from in [0, 1]", self.counts_from)
        need(all(period >= 1 for period in self.periods), "adversary.periods >= 1", self.periods)
        need(all(window >= 64 and window % 4 == 0 for window in self.windows), "adversary.windows >= 64 in fours", self.windows)
        need(bool(self.periods or self.windows), "one of adversary.periods and adversary.windows", ())
        need(self.width >= 1, "adversary.width >= 1", self.width)


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

    def __post_init__(self) -> None:
        for name in ("learning_rate", "final_rate", "weight_decay", "warmup_steps"):
            need(0 <= getattr(self, name) < math.inf, f"optimizer.{name} >= 0", getattr(self, name))
        need(all(0 <= beta < 1 for beta in self.betas), "0 <= optimizer.betas < 1", self.betas)
        need(0 < self.clip < math.inf, "optimizer.clip > 0", self.clip)
        need(0 <= self.ema < 1, "0 <= optimizer.ema < 1", self.ema)


DATA = DataConfig()


@dataclass(frozen=True)
class TrainingConfig:
    """One run. init: a model (name or folder) to start from. freeze_tokens: train the decoder alone. freeze_front: of an image-line,
    keep the convolutional encoder as it is; of a video-causal, all but what looks across time."""

    name: str
    tokenizer: ImageGridConfig | ImageLineConfig | SoundConfig | VideoCausalConfig
    data: DataConfig | SoundDataConfig | FilmDataConfig = DATA
    loss: LossConfig | SoundLossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    adversary: AdversaryConfig | SoundAdversaryConfig = AdversaryConfig()
    steps: int = 6000
    batch: int = 8
    seed: int = 0
    init: str = ""
    freeze_tokens: bool = False
    freeze_front: bool = False
    evaluate_every: int = 500
    checkpoint_every: int = 250
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every", "log_every"):
            need(getattr(self, name) >= 1, f"{name} >= 1", getattr(self, name))
        need(0 <= self.seed < 2**32, "0 <= seed < 2^32", self.seed)
        data, others = _kinds(self.tokenizer.kind)
        kinds = [self.data.kind, self.loss.kind, *([self.adversary.kind] if self.adversary.weight else [])]
        parts = f"data, loss and adversary of the kind that {self.tokenizer.kind} takes"
        need(kinds == [data, others, others][: len(kinds)], parts, kinds)
        if isinstance(self.tokenizer, SoundConfig):
            self._check_sounds(self.tokenizer)
        elif isinstance(self.tokenizer, VideoCausalConfig):
            self._check_films(self.tokenizer)
        else:
            self._check_pictures(self.tokenizer)

    def _check_sounds(self, tokenizer: SoundConfig) -> None:
        need(self.data.crop % tokenizer.hop == 0, f"data.crop in multiples of {tokenizer.hop}, the tokenizer's hop,", self.data.crop)
        if isinstance(self.adversary, SoundAdversaryConfig) and self.adversary.weight:
            need(self.data.crop >= max(self.adversary.windows, default=1), "data.crop >= adversary.windows", self.data.crop)
        need(not self.freeze_front, "freeze_front = false where the tokenizer is not image-line", self.freeze_front)
        if isinstance(tokenizer, AudioResidualConfig) and tokenizer.pitch is not None:
            self._check_pitch(tokenizer, tokenizer.pitch)

    def _check_pitch(self, tokenizer: AudioResidualConfig, pitch: PitchConfig) -> None:
        need(bool(self.init), "init = a model that hears pitch (python -m smalti.recipes.fit_pitch) beside tokenizer.pitch", self.init)
        hop, ahead = tokenizer.hop, pitch.ahead(tokenizer.strides[0], tokenizer.rate)
        drawn = (self.data.crop - ahead) // hop * hop  # the rest is what follows
        need(drawn >= hop, f"data.crop >= {hop + ahead}, a frame and what its pitch is heard in,", self.data.crop)
        if isinstance(self.adversary, SoundAdversaryConfig) and self.adversary.weight:
            windows = max(self.adversary.windows, default=1)
            need(drawn >= windows, f"data.crop >= {-(-windows // hop) * hop + ahead} with adversary.windows", self.data.crop)

    def _check_films(self, tokenizer: VideoCausalConfig) -> None:
        assert isinstance(self.loss, LossConfig)
        assert isinstance(self.data, FilmDataConfig)
        stride, group = tokenizer.stride, tokenizer.group
        need(self.data.crop % stride == 0, f"data.crop in multiples of {stride}, the tokenizer's stride,", self.data.crop)
        need(self.data.frames % group == 1, f"data.frames one more than a multiple of {group}, the tokenizer's group,", self.data.frames)
        need(
            not self.loss.latent and self.loss.pictures, "a loss on pictures, and loss.latent = 0 where there is no line", self.loss.latent
        )
        need(not self.adversary.weight, "adversary.weight = 0 with films", self.adversary.weight)
        judged = self.loss.lpips_alex or self.loss.lpips_vgg
        smallest = self.data.crop - self.loss.lpips_shift
        need(not judged or smallest >= MIN_JUDGED, f"data.crop - loss.lpips_shift >= {MIN_JUDGED} with an LPIPS loss", self.data.crop)

    def _check_pictures(self, tokenizer: ImageGridConfig | ImageLineConfig) -> None:
        assert isinstance(self.loss, LossConfig)
        quantizer = tokenizer.quantizer
        if isinstance(quantizer, FactorizedConfig) and any(quantizer.feature_dims):
            raise UsageError(
                f"training has no features of other networks to give, found "
                f"tokenizer.quantizer.feature_dims {list(quantizer.feature_dims)}; leave that key out"
            )
        line, crop = isinstance(tokenizer, ImageLineConfig), self.data.crop
        unit = tokenizer.region if isinstance(tokenizer, ImageLineConfig) else tokenizer.stride
        need(crop % unit == 0, f"data.crop in multiples of {unit}, the tokenizer's {'region' if line else 'stride'},", crop)
        need(line or not self.freeze_front, "freeze_front = false where the tokenizer is not image-line", self.freeze_front)
        need(not self.loss.latent or self.freeze_front, "freeze_front = true with loss.latent", self.freeze_front)
        need(self.loss.pictures or not self.adversary.weight, "a loss on pictures beside the adversary", self.adversary.weight)
        judged = self.loss.lpips_alex or self.loss.lpips_vgg
        need(
            not judged or crop - self.loss.lpips_shift >= MIN_JUDGED,
            f"data.crop - loss.lpips_shift >= {MIN_JUDGED} with an LPIPS loss",
            crop,
        )

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
    change_table(table, changes)
    if isinstance(table.get("tokenizer"), dict):
        kind = table["tokenizer"].setdefault("kind", ImageGridConfig.kind)  # recipes of before there was another did not have to say it
        data, others = _kinds(str(kind))
        for part in ("data", "loss", "adversary"):
            if isinstance(table.setdefault(part, {}), dict):
                table[part].setdefault("kind", data if part == "data" else others)
    return from_dict(TrainingConfig, table, "recipe")


def change_table(table: dict[str, Any], changes: Sequence[str]) -> None:
    """Put `key=value` changes into a table of a config; values are as in TOML."""
    for change in changes:
        key, found, text = change.partition("=")
        if not found:
            raise UsageError(f"changes to a recipe are key=value, found {change!r}")
        _set(table, SHORT.get(key, key), _value(text), change)


def _kinds(tokenizer: str) -> tuple[str, str]:
    """Kinds of data, and of losses and adversaries, that a kind of tokenizer takes."""
    if tokenizer.startswith("audio"):
        return "sounds", "sounds"
    return ("films" if tokenizer.startswith("video") else "pictures"), "pictures"


def changes_between(base: TrainingConfig, config: TrainingConfig) -> list[str]:
    """The `key=value` that make `config` out of `base`, as `load` reads them."""
    return _changes(to_dict(base), to_dict(config), "")


def command(recipe: str, config: TrainingConfig) -> str:
    """The `smalti train` that makes a run of `config` again from a recipe (a name or a file, given by its name); the data is DIR."""
    found = [change for change in changes_between(load(recipe), config) if not change.startswith("data.folder=")]
    name = recipe if recipe in recipes() else Path(recipe).name
    return " ".join(["smalti train", shlex.quote(name), "data=DIR", *map(shlex.quote, found)])


def _changes(base: dict[str, Any], table: dict[str, Any], prefix: str) -> list[str]:
    out: list[str] = []
    for key, value in table.items():
        before = base.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and value.get("kind") == before.get("kind"):
            out += _changes(before, value, f"{prefix}{key}.")
        elif value != before:
            out.append(f"{prefix}{key}={value if isinstance(value, str) and _value(value) == value else _toml(value)}")
    return out


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


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
