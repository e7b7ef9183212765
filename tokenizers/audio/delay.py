"""How much later a sound can come out than it went in, however fast the machine is: a property of a model's config, known without torch.

`audio-residual` is causal: a frame must be whole before it has a token, and the windows that begin in it; nothing else is waited for but,
where there is a pitch, half the longest window in which it is heard.
`audio-single` looks ahead: a token needs frames to come, and so does what is drawn from it; that much would a stream lag behind if there
were one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smalti.tokenizers.configs import to_dict

OVERLAP = 4  # that of `nets.spectrum`: hops of a window
PITCH_WINDOWS = (0.03, 0.048)  # seconds, what `PitchConfig` takes where a config does not say
FINENESS, FINE_BLOCKS = 4, 2  # what `AudioSingleConfig` takes where a config does not say
BLOCK_FRAMES = 3  # the radius of blocks, and of the decoder's first convolution


@dataclass(frozen=True)
class Delay:
    """seconds: algorithmic delay of encoder and decoder together. frames: the same in tokens. streams: whether they work as sound comes."""

    seconds: float
    frames: int
    streams: bool

    @property
    def text(self) -> str:
        """One line."""
        if self.streams:
            return f"{1000 * self.seconds:.4g} ms in a stream, {self.frames} frame{'' if self.frames == 1 else 's'}"
        return f"looks {1000 * self.seconds:.4g} ms ahead ({self.frames} frames), so it does not stream"


def delay_of(kind: str, config: Mapping[str, Any]) -> Delay | None:
    """Of a tokenizer of that kind with that config, as model folders hold it; None for kinds that know no time, and for configs that are
    none: whoever loads the model says what is wrong with them.
    """
    try:
        return _delay_of(kind, config)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError):
        return None


def delay_with(config: Any) -> Delay:
    """Of a tokenizer of sound with that config."""
    found = _delay_of(config.kind, to_dict(config))
    assert found is not None
    return found


def _delay_of(kind: str, config: Mapping[str, Any]) -> Delay | None:
    if kind == "audio-residual":
        hop, ahead = math.prod(config["strides"]), (OVERLAP - 1) * config["strides"][0]
        if config.get("pitch") is not None:
            ahead += round(max(config["pitch"].get("windows", PITCH_WINDOWS)) * config["rate"] / 2)
        return Delay((hop + ahead) / config["rate"], -(-(hop + ahead) // hop), True)
    if kind == "audio-single":
        fineness, fine_blocks = config.get("fineness", FINENESS), config.get("fine_blocks", FINE_BLOCKS)
        encoder = BLOCK_FRAMES * config["encoder_blocks"] + -(-(OVERLAP // 2) // fineness)
        reads = config["attentions"] * config["attention_frames"]
        fine = BLOCK_FRAMES * fine_blocks + OVERLAP // 2
        decoder = BLOCK_FRAMES * (1 + config["decoder_blocks"]) + reads + -(-fine // fineness)
        frames = encoder + decoder + 1
        return Delay(frames * config["hop"] / config["rate"], frames, False)
    return None
