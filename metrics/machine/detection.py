"""Detection of objects and of faces: do detectors still find what they find in the originals, and nothing else.

Objects are those of YOLOX-nano (Ge et al., arXiv 2107.08430; 80 classes of COCO), faces those of YuNet (Wu, Peng and Yu 2023), both by
onnxruntime on one thread. Truth is the detector's own answer on the original, at the same score threshold, so there are no labels and the
ceiling is 1. The score is F1 at an overlap of .5 or more, per picture, then the mean; a picture in which neither side shows anything counts
1. Mean average precision would rank by confidence over the whole set, and has no outcome of one picture to draw intervals from.

Decoding of the networks' grids and suppression (overlap above .45, in classes) are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from smalti.metrics import judges
from smalti.metrics.machine.answers import Answers
from smalti.metrics.machine.boxes import Detections, f1, suppressed
from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image, Signal

Array = np.ndarray
Detector = Callable[[Array], Detections]  # uint8 (H, W, 3), RGB -> what is in it
Session = Callable[[Array], Sequence[Array]]  # the network's input -> its outputs

OVERLAP = 0.5  # that makes two boxes one thing
SUPPRESSION = 0.45
CANDIDATES = 1000  # before suppression
STRIDES = (8, 16, 32)
OBJECT_SIDE, OBJECT_SCORE, OBJECT_GREY = 416, 0.3, 114
FACE_SIDE, FACE_SCORE = 640, 0.6


class DetectionAgreement:
    """F1 of what is detected in decoded pictures against what is in the originals, mean over pictures, in [0, 1]."""

    def __init__(self, name: str, detector: Detector, about: str) -> None:
        """about: what the convention says of the detector."""
        self.name = name
        self._about = about
        self._found = Answers(lambda signal: detector(_picture(signal).eight_bits))

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        meaning = f"F1 at IoU {OVERLAP} with what {self._about} finds in the original, mean over pictures"
        return Score(float(self.per_item(references, decoded).mean()), "", "higher", meaning)

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Array:
        """F1 of each picture; float64 (N,)."""
        check_sets(references, decoded)
        pairs = zip(references, decoded, strict=True)
        return np.array([f1(self._found(reference), self._found(other), OVERLAP) for reference, other in pairs], np.float64)

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


class ObjectDetector:
    """YOLOX: a picture scaled to fit the top left of a square, grey elsewhere; one grid for each stride, rows one after the other.

    Boxes of a cell are (centre - cell, logarithm of the size) in strides; a class's score is objectness times its own.
    """

    def __init__(self, session: Session, side: int = OBJECT_SIDE, least: float = OBJECT_SCORE) -> None:
        """session: (1, 3, side, side) float32, BGR, 0..255 -> [(1, cells, 5 + classes)]."""
        self._session, self._side, self._least = session, side, least

    def __call__(self, pixels: Array) -> Detections:
        square, scale = fitted(pixels, self._side, OBJECT_GREY, enlarge=True)
        rows = np.asarray(self._session(square)[0][0], np.float64)
        grid, strides = cells(self._side)
        centres, sizes = (rows[:, :2] + grid) * strides, np.exp(np.clip(rows[:, 2:4], -20, 20)) * strides
        scores = rows[:, 4] * rows[:, 5:].max(1)
        found = Detections(_boxes(centres, sizes) / scale, scores, rows[:, 5:].argmax(1))
        return _best(found, self._least, pixels.shape)


class FaceDetector:
    """YuNet: a picture at the top left of a square, scaled down where it is larger, black elsewhere; outputs by stride and kind.

    A cell's score is the root of its class score times its objectness.
    """

    def __init__(self, session: Session, side: int = FACE_SIDE, least: float = FACE_SCORE) -> None:
        """session: (1, 3, side, side) float32, BGR, 0..255 -> for each stride class scores, then objectness, then boxes (1, cells, 1|4)."""
        self._session, self._side, self._least = session, side, least

    def __call__(self, pixels: Array) -> Detections:
        square, scale = fitted(pixels, self._side, 0, enlarge=False)
        outputs = [np.asarray(output, np.float64)[0] for output in self._session(square)]
        count = len(STRIDES)
        classes, objectness, rows = (np.concatenate(outputs[start : start + count]) for start in (0, count, 2 * count))
        grid, strides = cells(self._side)
        scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objectness[:, 0], 0, 1))
        centres, sizes = (rows[:, :2] + grid) * strides, np.exp(np.clip(rows[:, 2:4], -20, 20)) * strides
        found = Detections(_boxes(centres, sizes) / scale, scores, np.zeros(len(scores), np.int64))
        return _best(found, self._least, pixels.shape)


def fitted(pixels: Array, side: int, grey: int, enlarge: bool) -> tuple[Array, float]:
    """uint8 (H, W, 3), RGB -> float32 (1, 3, side, side), BGR, 0..255, and by what it was scaled (Pillow's bilinear)."""
    import PIL.Image

    height, width, _ = pixels.shape
    scale = side / max(height, width)
    if scale > 1 and not enlarge:
        scale = 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.BILINEAR)) if scale != 1 else pixels
    square = np.full((side, side, 3), grey, np.float32)
    square[: scaled.shape[0], : scaled.shape[1]] = scaled
    return np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1)[None]), scale


@functools.cache
def cells(side: int) -> tuple[Array, Array]:
    """Places (N, 2), x first, and strides (N, 1) of the cells of all grids, in the order of the networks' rows."""
    places, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: side // stride, : side // stride]
        places.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(places).astype(np.float64), np.concatenate(strides).astype(np.float64)


def _boxes(centres: Array, sizes: Array) -> Array:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)


def _best(found: Detections, least: float, shape: tuple[int, ...]) -> Detections:
    """Those that score `least` or more, within the picture, one for each thing."""
    order = np.argsort(-found.scores, kind="stable")[:CANDIDATES]
    kept = found.take(order[found.scores[order] >= least])
    inside = np.clip(kept.boxes, 0, [shape[1], shape[0], shape[1], shape[0]])
    return suppressed(Detections(inside, kept.scores, kept.classes), SUPPRESSION)


def objects() -> DetectionAgreement:
    """With YOLOX-nano; ModelError where it or onnxruntime is missing."""
    detector = ObjectDetector(_session("objects", ["images"]))
    return DetectionAgreement("object-detection-agreement", detector, f"YOLOX-nano ({OBJECT_SIDE} pixels, score {OBJECT_SCORE} or more)")


def faces() -> DetectionAgreement:
    """With YuNet; ModelError where it or onnxruntime is missing."""
    outputs = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in STRIDES]
    detector = FaceDetector(_session("faces", ["input"], outputs))
    return DetectionAgreement("face-detection-agreement", detector, f"YuNet ({FACE_SIDE} pixels, score {FACE_SCORE} or more)")


@functools.cache
def _network(name: str) -> Any:
    data = judges.read(name)
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(f"{judges.FILES[name].about} needs the package onnxruntime: pip install 'smalti[machine]'") from None
    options = onnxruntime.SessionOptions()
    # as many processes may run as there are cores; and sums are the same on every machine's number of them
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _session(name: str, inputs: Sequence[str], outputs: Sequence[str] | None = None) -> Session:
    network = _network(name)
    return lambda square: network.run(outputs, {inputs[0]: square})


def _picture(signal: Signal) -> Image:
    if not isinstance(signal, Image):
        raise SignalError(f"things are detected in pictures, found {type(signal).__name__}")
    return signal
