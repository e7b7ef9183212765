"""Frechet distance between two sets of films, in the feature space of a video network that its user brings.

Unterthiner et al., "FVD: A new Metric for Video Generation" (arXiv 1812.01717), which takes the logits of an I3D network. No such weights
are ours to ship or to name, so the network is a local ONNX file, video_features.onnx in the folder of judges: one input, float32
(N, 3, T, H, W) in [-1, 1] with T, H and W written down in it, one output (N, D). The score says the file's hash: numbers by different
networks do not compare, and only with the authors' network is it an FVD.

Each film gives its windows of T frames, one after the other, the last one drawn back to end with the film; of a shorter film the last
frame stands still. Frames are scaled to (H, W) by Lanczos, whatever their aspect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from smalti.metrics import judges
from smalti.metrics.distributions import frechet_distance
from smalti.metrics.pairs import check_sets
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Array, Signal, Video

FILE = "video_features.onnx"
LARGEST = 2**28  # numbers in one window, that a file may ask for


class VideoFeatures:
    """Features of films by an ONNX network. path: of the file. Raises ModelError where it is missing or takes something else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ModelError(f"{path}: not found; put an ONNX network there that takes (N, 3, T, H, W) in [-1, 1], or set SMALTI_JUDGES")
        try:
            import onnxruntime
        except ImportError:
            raise ModelError("the network of films needs onnxruntime; pip install 'smalti[onnx]'") from None
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()[:12]
        try:
            self.session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's kinds have no common parent of their own
            raise ModelError(f"{path}: not readable as an ONNX network: {str(error).splitlines()[0]}") from None
        inputs = self.session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        if len(shape) != 5 or shape[1] != 3 or not all(isinstance(size, int) and size > 0 for size in shape[2:]):
            raise ModelError(f"{path}: takes {[item.shape for item in inputs]}, expected one (N, 3, T, H, W) with T, H and W written down")
        if 3 * shape[2] * shape[3] * shape[4] > LARGEST:
            raise ModelError(f"{path}: a window of {shape[2:]} is too large, expected up to {LARGEST} numbers")
        self.name, self.frames, self.size = inputs[0].name, shape[2], (shape[3], shape[4])

    def __call__(self, films: Sequence[Signal]) -> Array:
        """float64 (windows, D) of all films."""
        return np.concatenate([self._of(film) for film in films])

    def _of(self, film: Signal) -> Array:
        if not isinstance(film, Video):
            raise SignalError(f"metrics of films compare films, found {type(film).__name__}")
        found = []
        for window in windows((self._scaled(frame) for frame in film.frames), self.frames):
            stacked = np.stack(window, 1)[None].astype(np.float32) / 127.5 - 1
            (features,) = self.session.run(None, {self.name: stacked})[:1]
            found.append(np.asarray(features, np.float64).reshape(1, -1))
        return np.concatenate(found)

    def _scaled(self, frame: Array) -> Array:
        from PIL import Image

        height, width = self.size
        return np.moveaxis(np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)), -1, 0)


def windows(frames: Iterable[Array], count: int) -> Iterator[list[Array]]:
    """Lists of `count` frames, one after the other; the last ends with the last frame, and a short film's last frame is repeated."""
    going = iter(frames)
    last = list(islice(going, count))
    if not last:
        raise SignalError("a film has at least one frame, found none")
    if len(last) < count:
        yield last + [last[-1]] * (count - len(last))
        return
    while True:
        yield last
        more = list(islice(going, count))
        if len(more) < count:
            if more:
                yield (last + more)[-count:]
            return
        last = more


class FrechetVideoDistance:
    """Frechet distance of the features of windows; 0 for equal sets."""

    name = "frechet-video-distance"

    def __init__(self, network: VideoFeatures) -> None:
        self.network = network

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded)
        a, b = self.network(references), self.network(decoded)
        if min(len(a), len(b)) < 2:
            raise SignalError(f"{self.name} needs two windows of {self.network.frames} frames or more on each side; give more films")
        meaning = f"windows of {self.network.frames} frames, {len(a)} of them; features of {FILE} ({self.network.digest})"
        return Score(frechet_distance(a, b), "", "lower", meaning)

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def load() -> FrechetVideoDistance:
    """By the network in the folder of judges."""
    return FrechetVideoDistance(VideoFeatures(judges.folder() / FILE))
