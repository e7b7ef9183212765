"""What a sound costs in our file and in those that its tokenizer's own project writes, for the same codes.

    python -m smalti.recipes.peer_files [--json]                        layouts of published models, codes drawn evenly
    python -m smalti.recipes.peer_files --seconds $(seq 60)              the same, of sounds as long as these
    python -m smalti.recipes.peer_files --model hf:FOLDER DATA [--json]  a model's own codes of the sounds of a folder, tables fitted too

EnCodec's .ecdc is 9 bytes and a JSON of the model, the length and the number of codebooks, then codes of 10 bits, packed (without its
language model). DAC's .dac is a NumPy file around a pickle, 557 bytes beside codes of 16 bits each; its frames are counted here as one
pass gives them, which is kind: its default, in pieces of a second, makes a third more. Their sizes are computed, not written: one
needs their code and the other a pickle. Neither has a checksum nor says which weights it needs; ours has both.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.bitstream import StreamInfo, write
from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.peers.sound import PeerSoundConfig
from smalti.tokenizers.tokens import Layout, Stage, Tokens

SECONDS = (1, 2, 5, 10, 30, 60)
ECDC_HEADER, DAC_BYTES = 9, 557  # before .ecdc's JSON; beside .dac's codes
PUBLISHED: dict[str, tuple[str, dict[str, Any], int]] = {  # name: family, what its config says beyond the family's own values, levels
    "EnCodec 24 kHz, 6 kbps": ("encodec", {}, 8),
    "EnCodec 24 kHz, 24 kbps": ("encodec", {}, 32),
    "DAC 44.1 kHz": ("dac", {"sampling_rate": 44100, "n_codebooks": 9}, 9),
    "Mimi, 8 codebooks": ("mimi", {"frame_rate": 12.5}, 8),
    "X-Codec, 4 kbps": ("xcodec", {}, 8),
    "SNAC 24 kHz": (
        "snac",
        {"sampling_rate": 24000, "encoder_rates": [2, 4, 8, 8], "attn_window_size": None, "vq_strides": [4, 2, 1], "codebook_size": 4096},
        3,
    ),
}


@dataclass(frozen=True)
class Row:
    """Bytes of the codes at log2(K) bits each, of our file by prior, and of the project's own file, None where it has none."""

    name: str
    seconds: float
    claimed: float
    uniform: int
    static: int | None
    adaptive: int | None
    peer: int | None
    peer_format: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where a package, the model or the sounds are missing."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.peer_files", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, help="a folder of sounds, with --model")
    parser.add_argument("--model", help="hf:FOLDER_OR_NAME, hub:NAME or file:PATH")
    parser.add_argument("--seconds", nargs="+", type=_seconds, default=SECONDS, help="how long sounds are, without --model")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if (given.model is None) != (given.data is None):
            raise UsageError("a model and a folder of sounds go together; give both or none")
        rows = of_layouts(given.seconds) if given.model is None else of_model(given.model, given.data)
    except SmaltiError as error:
        print(f"peer_files: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print("| codes of | seconds | codes x log2 K | .smt | over | static | adaptive | their file |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        over = f"{100 * (row.uniform / row.claimed - 1):+.2f} %"
        fitted = " | ".join("" if size is None else f"{size}" for size in (row.static, row.adaptive))
        theirs = "" if row.peer is None else f"{row.peer} ({row.peer_format}, {100 * (row.peer / row.uniform - 1):+.1f} %)"
        print(f"| {row.name} | {row.seconds:.3g} | {row.claimed:.0f} | {row.uniform} | {over} | {fitted} | {theirs} |")
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.001 <= value <= 3600:
        raise ValueError(f"expected .001 to 3600 seconds, found {value:g}")
    return value


def of_layouts(durations: Sequence[float] = SECONDS) -> list[Row]:
    """Published models at several durations, their codes drawn evenly from all entries: without tables a file's size depends on their
    number alone."""
    rows = []
    for name, (family, settings, levels) in PUBLISHED.items():
        for seconds in durations:
            layout = layout_of(family, settings, seconds, levels)
            rng = np.random.default_rng(round(1000 * seconds))
            tokens = Tokens(layout, tuple(rng.integers(0, stage.vocab, stage.shape).astype(np.int32) for stage in layout.stages))
            rows.append(_row(name, family, tokens))
    return rows


def layout_of(family: str, settings: dict[str, Any], seconds: float, levels: int) -> Layout:
    """The first levels of a family's tokens of a sound of that many seconds at its own rate, one channel."""
    plan = PeerSoundConfig(family, settings).plan
    samples = round(seconds * plan.rate)
    steps = -(-samples // plan.step_samples)
    stages = tuple(
        Stage(f"level{k}", (("channel", 1), ("time", steps * count)), plan.vocab) for k, count in enumerate(plan.per_step[:levels])
    )
    cuts = tuple(cut for cut in plan.cuts if cut <= levels)
    return Layout(stages, cuts, (("samples", samples), ("rate", plan.rate), ("channels", 1)))


def of_model(source: str, data: Path) -> list[Row]:
    """A model's own codes of each sound of a folder; static tables are fitted to the others of every second one."""
    tokenizer = zoo.load(source)
    family = getattr(tokenizer.config, "family", tokenizer.config.kind)
    items: list[Tokens] = []
    for path in list_sounds(data):
        try:
            items += tokenizer.encode([read_audio(path)])
        except SignalError as error:
            print(f"left out: {error}", file=sys.stderr)
    if len(items) < 2:
        raise UsageError(f"{data}: {len(items)} sounds that can be read; tables for one are fitted to others, so two at least are needed")
    fitted = [StaticPrior.fit(items[1::2]), StaticPrior.fit(items[::2])]  # of odd ones for even ones, and the other way round
    return [_row(source, family, item, fitted[i % 2]) for i, item in enumerate(items)]


def _row(name: str, family: str, tokens: Tokens, static: StaticPrior | None = None) -> Row:
    size = tokens.layout.size
    formats = {"encodec": (".ecdc", ecdc_bytes), "dac": (".dac", dac_bytes)}
    form, peer = formats.get(family, ("", None))
    return Row(
        name,
        size["samples"] / size["rate"],
        tokens.uniform_bits / 8,
        _bytes(tokens, UniformPrior()),
        None if static is None else _bytes(tokens, static),
        None if static is None else _bytes(tokens, AdaptivePrior()),
        None if peer is None else peer(tokens),
        form,
    )


def _bytes(tokens: Tokens, prior: Prior) -> int:
    """The whole file, as the command line writes it."""
    return len(write(tokens, prior, StreamInfo("audio", bytes(6), prior.id, len(tokens.arrays), tokens.layout.signal, 0)))


def ecdc_bytes(tokens: Tokens) -> int:
    """What EnCodec's own program would write for these codes of one channel."""
    samples, rate = tokens.layout.size["samples"], tokens.layout.size["rate"]
    about = json.dumps({"m": f"encodec_{rate // 1000}khz", "al": samples, "nc": len(tokens.arrays), "lm": False})
    bits = sum(array.size * math.ceil(math.log2(stage.vocab)) for array, stage in zip(tokens.arrays, tokens.layout.stages, strict=True))
    return ECDC_HEADER + len(about) + -(-bits // 8)


def dac_bytes(tokens: Tokens) -> int:
    """What DAC's own program would write for these codes."""
    return DAC_BYTES + 2 * tokens.count


if __name__ == "__main__":
    sys.exit(main())
