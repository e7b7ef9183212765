"""The contracts that Smalti's parts meet each other by.

They are structural: a class fulfils one by having its attributes, not by inheriting. Each has a conformance list in
`smalti.testing` (`check_codebook`, `check_quantizer`, `check_tokenizer`, `check_prior`, `check_codec`, `check_metric`, `check_task`).
Tensors are torch tensors; they are typed `Any` here since the ground floor imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Layout, Tokens

Tensor = Any  # torch.Tensor


@dataclass(frozen=True)
class Quantized:
    """What a quantizer returns for latents z of shape (B, D, *grid).

    z_q: quantized latents, same shape; gradients pass straight through to z.
    indices: per stage int64 (B, *stage shape).
    losses: named scalar losses to be added to the training loss.
    health: named scalars to look at: per level `perplexity`, `usage`.
    """

    z_q: Tensor
    indices: tuple[Tensor, ...]
    losses: dict[str, Tensor] = field(default_factory=dict)
    health: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Codebook(Protocol):
    """Vectors <-> integers."""

    size: int
    dim: int
    gradient: str  # how a decoder's gradient reaches z: "straight_through", "rotation", or "own": see `SoftCodebook`

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., D) brought to where the entries live; the identity for a table that reaches everywhere."""

    def residual_scale(self, level: int) -> Tensor:
        """(D,): what a residual of that level is divided by before it is assigned; 1 at level 0."""

    def assign(self, z: Tensor) -> Tensor:
        """Nearest entry for each row of z (N, D): int64 (N,); of equally near entries the lowest index."""

    def lookup(self, indices: Tensor) -> Tensor:
        """Entries for int64 indices (N,): (N, D)."""

    def vectors(self) -> Tensor:
        """All entries (K, D)."""

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        """The scalar that ties latents (N, D) and their entries (N, D) together; 0 where nothing is to be learned."""

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Learn from one training batch without gradients; nothing for a table that learns by gradient or not at all."""


@runtime_checkable
class SoftCodebook(Codebook, Protocol):
    """A codebook with gradient "own": a decoder's gradient passes through its entries, to z and to the table."""

    def soft(self, z: Tensor) -> Tensor:
        """A mean of entries (N, D) for rows z (N, D), whose gradient with respect to z stands in for that of the nearest entry."""


@runtime_checkable
class Quantizer(Protocol):
    """A latent grid <-> stages of integers: a torch module whose class makes an equal, untrained one from its `config`."""

    config: Any
    dim: int
    cuts: tuple[int, ...]

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        """The layout of a latent grid of that size with axes of those names."""

    def __call__(self, z: Tensor) -> Quantized:
        """Quantize z (B, D, *grid), of any floating type, which z_q has too.

        One whose loss needs more takes it as a further, optional argument. In training in several processes every rank calls it, with
        at least one latent; latents that one rank refuses, none goes on from.
        """

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        """z_q (B, D, *grid) from all stages or a prefix in `cuts`; in eval mode bit for bit what `__call__` gives.

        grid: size of the latents, to be given where a prefix does not show it: coarse scales of a multi-scale quantizer.
        """

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        """Expected z_q under softmax(logits), per stage (B, K, *stage shape); `grid` as in `dequantize`."""


@runtime_checkable
class Tokenizer(Protocol):
    """Signals <-> tokens."""

    name: str

    @property
    def config(self) -> Any:
        """The frozen config that, with the weights, makes the fingerprint."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """The layout for a signal of that size, as in `Layout.signal`."""

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each signal; sizes may differ."""

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Signals from tokens or from prefixes of them, of exactly the size that went in."""


@runtime_checkable
class RegionalTokenizer(Tokenizer, Protocol):
    """A tokenizer of pictures by square regions, the last two axes (row, col) of all its stages, each of which decodes to its own depth:
    after the first decodable prefix, `Tokens.present` may leave out regions."""

    @property
    def region_pixels(self) -> int:
        """Side of a region; those at the far edges may be cut off."""


@runtime_checkable
class VariedTokenizer(Tokenizer, Protocol):
    """A tokenizer that can say one signal in several ways, of which the best depends on how many bytes there are: `encode` gives the one
    for arrays of tokens, a codec with a target tries them all."""

    @property
    def encodes_nearest(self) -> bool:
        """Whether `encode` gives the nearest of all ways. Where it does not (its tokens are of one layout), files without a target get the
        nearest of `variants`."""

    def variants(self, signal: Signal) -> list[Tokens]:
        """All ways, that of `encode` among them; their layouts may differ, also in `Layout.signal`."""

    def distortions(self, signal: Signal, candidates: Sequence[Tokens]) -> list[float]:
        """How far each of these (prefixes of variants) is from the signal: lower is better, in a unit of the tokenizer's own."""


@runtime_checkable
class StoredTokenizer(Tokenizer, Protocol):
    """A tokenizer that model folders can hold: what `zoo.save` and `zoo.load` ask of the classes in the registry `smalti.tokenizers`."""

    config_class: Any
    folder: Path | None

    @classmethod
    def from_tensors(cls, config: Any, tensors: Mapping[str, Any], fingerprint_of: str, name: str, device: str = "cpu") -> StoredTokenizer:
        """Made of a config and NumPy tensors by name; ModelError names the first tensor that does not fit."""

    def tensors(self) -> dict[str, Any]:
        """All NumPy tensors by name."""

    def parameter_names(self) -> set[str]:
        """Those of them that are weights and may be stored in half precision; tables and statistics may not."""


@runtime_checkable
class Prior(Protocol):
    """Probabilities over tokens: prices before it codes, and codes with integers only."""

    @property
    def id(self) -> bytes:
        """4 bytes that name this prior in files."""

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage under this prior."""

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on; the reader holds those before."""

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else, trailing bytes included."""


@runtime_checkable
class StoredPrior(Prior, Protocol):
    """A prior that a file can hold: what `zoo.save` puts into a model folder as prior.safetensors."""

    def save(self, path: str | Path) -> None:
        """Write it; UsageError where the place cannot be written."""


@dataclass(frozen=True)
class Target:
    """What a codec should aim at: at most one of these is set; none means everything the codec has.

    bytes: size of the file at most. bits_per_pixel, kbps: rate of the file at most. stages: number of stages to keep.
    quality: the codec's own scale.
    """

    bytes: int | None = None
    bits_per_pixel: float | None = None
    kbps: float | None = None
    stages: int | None = None
    quality: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("bytes", "bits_per_pixel", "kbps", "stages", "quality") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"one target at a time, found {' and '.join(given)}")
        for name in given:
            if not getattr(self, name) > 0:
                raise UsageError(f"target {name} must be positive, found {getattr(self, name)}")


@runtime_checkable
class Codec(Protocol):
    """Signals <-> files, ours and classical ones alike."""

    name: str

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file, within the target."""

    def decompress(self, data: bytes) -> Signal:
        """The signal of a file."""


@dataclass(frozen=True)
class Score:
    """A measurement. better: "higher" or "lower". convention: net, range, size: whatever another must know to repeat it."""

    value: float
    unit: str
    better: str
    convention: str


@runtime_checkable
class Metric(Protocol):
    """(reference, decoded) -> a number."""

    name: str

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair."""


@runtime_checkable
class Task(Protocol):
    """A score of a whole set at once: what a machine still perceives, or how far two sets lie apart."""

    name: str

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        """Score on the decoded signals, one for each reference, in the same order."""

    def ceiling(self, references: Sequence[Signal]) -> Score:
        """Score on the uncompressed signals: what no codec is asked to exceed."""


@runtime_checkable
class ItemizedTask(Task, Protocol):
    """A task whose score is a mean over items: what intervals over items are made from."""

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Any:
        """float64 (N,), NaN for what is not scored; the mean of the others is the value of the score."""
