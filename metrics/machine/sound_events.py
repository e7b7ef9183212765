"""Sound events: does a machine still take a decoded sound for what it takes the original for.

The classifier is YAMNet (github.com/tensorflow/models, research/audioset/yamnet; 521 classes of AudioSet, a MobileNet over log mels), run
by LiteRT on one thread: mono at 16 kHz, windows of 0.975 s that start every half of that, scores averaged over windows. Agreement needs
no labels and its ceiling is 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from smalti.metrics import judges
from smalti.metrics.machine.answers import Answers
from smalti.metrics.pairs import check_sets
from smalti.metrics.sounds import at_rate
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Array, Audio, Signal

RATE = 16000
WINDOW = 15600
HOP = WINDOW // 2
NAME = "YAMNet"

Listener = Callable[[Array], Array]  # float32 (15600,) at 16 kHz -> scores (classes,)


class SoundEventAgreement:
    """Share of sounds whose first class stays what it was on the original, in [0, 1]."""

    name = "sound-event-agreement"

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._heard = Answers(self._hear)

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        meaning = f"top-1 as on the original, {NAME}, {RATE} Hz, mean over windows of {WINDOW} samples"
        return Score(float(self.per_item(references, decoded).mean()), "", "higher", meaning)

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Array:
        """1 where it agrees, else 0; float64 (N,)."""
        check_sets(references, decoded)
        pairs = zip(references, decoded, strict=True)
        return np.array([self._heard(reference) == self._heard(other) for reference, other in pairs], np.float64)

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)

    def _hear(self, sound: Signal) -> int:
        if not isinstance(sound, Audio):
            raise SignalError(f"sound events are heard in sounds, found {type(sound).__name__}")
        return int(np.mean([self._listener(window) for window in windows(at_rate(sound, RATE).samples.mean(0))], 0).argmax())


def windows(wave: Array) -> list[Array]:
    """Of 15600 samples each half of that, the last one the end of the sound; silence behind one that is shorter."""
    padded = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    starts = [*range(0, len(padded) - WINDOW, HOP), len(padded) - WINDOW]
    return [np.ascontiguousarray(padded[start : start + WINDOW]) for start in starts]


def agreement() -> SoundEventAgreement:
    """With YAMNet; ModelError where it or LiteRT is missing."""
    return SoundEventAgreement(load())


@functools.cache
def load() -> Listener:
    """YAMNet on one thread; ModelError where it or LiteRT is missing."""
    data = judges.read("sound-events")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelError("YAMNet needs the package ai-edge-litert: pip install 'smalti[machine]'") from None
    network = Interpreter(model_content=data, num_threads=1)
    network.allocate_tensors()
    place, output = network.get_input_details()[0], network.get_output_details()[0]["index"]

    def listen(window: Array) -> Array:
        network.set_tensor(place["index"], window.reshape(place["shape"]))
        network.invoke()
        return np.asarray(network.get_tensor(output)).ravel().astype(np.float64)

    return listen
