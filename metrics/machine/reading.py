"""Character error rate: what a machine no longer reads on a page, in characters wrong, missing or too many over those that are there.

The reader is RapidOCR (PP-OCR's detector and recognizer as its package carries them, run by onnxruntime on one thread). Where texts are
at hand they are the truth, and the originals' own error is the ceiling; without them the truth is what it reads on the originals. Errors
and characters are summed over all pages; the outcome of one page is its errors over the mean number of characters, so that their mean is
the rate. Lines are read from top to bottom; spaces and case do not count, since the recognizer often loses the one and guesses the other.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from smalti.metrics.machine.answers import Answers
from smalti.metrics.machine.recognition import edits
from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Array, Image, Signal

PACKAGE = "rapidocr"

Reader = Callable[[Array], str]  # uint8 (H, W, 3), RGB -> text


class CharacterErrorRate:
    """Character errors over characters, from 0, which is best, to beyond 1. texts: what is written, one for each reference in order."""

    name = "character-error-rate"

    def __init__(self, reader: Reader, texts: Sequence[str] | None = None, about: str = PACKAGE) -> None:
        """about: what the convention says of the reader."""
        self.texts = texts
        self._about = about
        self._read = Answers(lambda signal: normalised(reader(_page(signal).eight_bits)))

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        """SignalError where sets differ in length, there is no text for each, or nothing is written."""
        outcomes, characters = self._outcomes(references, decoded)
        truth = "texts" if self.texts is not None else "what it reads on the originals"
        meaning = f"{self._about} against {truth}, letters and digits in lower case, all errors over all {characters}"
        return Score(float(outcomes.mean()), "", "lower", meaning)

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Array:
        """Errors on each page over the mean number of characters; float64 (N,)."""
        return self._outcomes(references, decoded)[0]

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)

    def _outcomes(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> tuple[Array, int]:
        """Those, and the number of all characters."""
        check_sets(references, decoded)
        if self.texts is not None and len(self.texts) != len(references):
            raise SignalError(f"{len(references)} pages for {len(self.texts)} texts; give one text for each")
        truths = [self._read(page) for page in references] if self.texts is None else [normalised(text) for text in self.texts]
        errors = [edits(truth, self._read(page)) for truth, page in zip(truths, decoded, strict=True)]
        characters = sum(len(truth) for truth in truths)
        if not characters:
            raise SignalError("nothing is written on these pictures; take pages, or give their texts")
        return np.array(errors, np.float64) * (len(errors) / characters), characters


def normalised(text: str) -> str:
    """The characters that are compared: letters and digits of any script, in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())


def character_error_rate(texts: Sequence[str] | None = None) -> CharacterErrorRate:
    """With RapidOCR; ModelError where it is not at hand."""
    reader = load()
    return CharacterErrorRate(reader, texts, f"{PACKAGE} {_version()}")


@functools.cache
def load() -> Reader:
    """RapidOCR with the networks that its package carries; ModelError where package or networks are missing."""
    try:
        import rapidocr
    except ImportError:
        raise ModelError("reading needs the package rapidocr: pip install 'smalti[machine]'") from None
    folder = Path(str(rapidocr.__file__)).parent / "models"
    # named by path, or it would download what it does not find; level: it reports its files, and pages without text
    options = {f"{part}.model_path": str(_network(folder, pattern)) for part, pattern in (("Det", "*det*"), ("Rec", "*rec*"))}
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = rapidocr.RapidOCR(params={"Global.log_level": "critical", "Global.use_cls": False, **options, **threads})

    def read(pixels: Array) -> str:
        found = engine(np.ascontiguousarray(pixels[:, :, ::-1]))  # it takes arrays for BGR
        return "\n".join(found.txts or ())

    return read


def _version() -> str:
    return importlib.metadata.version(PACKAGE)


def _network(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(f"{pattern}.onnx"))
    if not found:
        raise ModelError(f"{folder}: holds no network {pattern}.onnx; pip install --force-reinstall {PACKAGE}")
    return found[0]


def _page(signal: Signal) -> Image:
    if not isinstance(signal, Image):
        raise SignalError(f"pages are pictures, found {type(signal).__name__}")
    return signal
