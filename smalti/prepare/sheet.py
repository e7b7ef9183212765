"""A contact sheet: some documents of a folder, decoded, to look at before one trains for a week on them."""

from __future__ import annotations

import math
import random
from collections.abc import Sized
from pathlib import Path

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.codecs.media.images import encode_image
from smalti.prepare.codes import Codes
from smalti.prepare.decoding import Decoder
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Array, Audio, Image, Shape, Signal, Video

SIDE = 192  # pixels of a cell
GAP = 4
POINTS = 40_000  # of a surface


def draw(codes: Codes, count: int, device: str = "cpu", seed: int = 0) -> Path:
    """Write sheet.png with that many documents, picked by a seed, in order; a film by its middle picture, a sound by its waveform."""
    chosen = sorted(random.Random(seed).sample(range(len(codes)), min(count, len(codes))))
    decoder = Decoder(codes, _device(device))
    cells = [cell_of(decoder.decode(codes.document(number))) for number in chosen]
    columns = max(1, math.ceil(math.sqrt(len(cells))))
    rows = -(-max(len(cells), 1) // columns)
    page = np.full((rows * (SIDE + GAP) - GAP, columns * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for place, cell in enumerate(cells):
        top, left = place // columns * (SIDE + GAP), place % columns * (SIDE + GAP)
        page[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    path = codes.places.folder / "sheet.png"
    write_atomically(path, encode_image(Image(page), ".png", str(path)))
    return path


def cell_of(signal: Signal) -> Array:
    """A picture of a signal, uint8 (at most SIDE, at most SIDE, 3)."""
    if isinstance(signal, Image):
        return _shrunk(signal.eight_bits)
    if isinstance(signal, Video):
        frames = signal.frames
        middle = len(frames) // 2 if isinstance(frames, Sized) else 0
        return _shrunk(next(frame for number, frame in enumerate(frames) if number == middle))
    return _waveform(signal) if isinstance(signal, Audio) else _silhouette(signal)


def _shrunk(pixels: Array) -> Array:
    from PIL import Image as Pil

    picture = Pil.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _waveform(sound: Audio) -> Array:
    """The range of the samples of each column, from the first channel."""
    cell = np.full((SIDE // 2, SIDE, 3), 245, np.uint8)
    for column, part in enumerate(np.array_split(sound.samples[0], SIDE)):
        if len(part):
            high, low = (int((1 - float(value)) / 2 * (SIDE // 2 - 1)) for value in (part.max(), part.min()))
            cell[max(high, 0) : min(low, SIDE // 2 - 1) + 1, column] = (40, 70, 140)
    return cell


def _silhouette(shape: Shape) -> Array:
    """Points of the surface seen along an oblique axis, nearer ones darker."""
    from smalti.codecs.media.shapes import is_empty, sampled

    cell = np.full((SIDE, SIDE, 3), 245, np.uint8)
    if is_empty(shape):
        return cell
    points = shape.vertices
    if shape.faces is not None:
        try:
            points = sampled(shape, POINTS).vertices
        except UsageError:  # a surface without area: its corners will do
            points = shape.vertices
    points = points - (points.min(0) + points.max(0)) / 2
    points = points / max(float(np.linalg.norm(points, axis=1).max()), 1e-12)
    a, b = math.radians(35), math.radians(25)
    turn = np.array([[math.cos(a), 0, math.sin(a)], [math.sin(a) * math.sin(b), math.cos(b), -math.cos(a) * math.sin(b)]])
    depth = np.array([-math.sin(a) * math.cos(b), math.sin(b), math.cos(a) * math.cos(b)])
    flat, far = points @ turn.T, points @ depth
    order = np.argsort(far)
    columns, rows = ((flat[order, 0] + 1) / 2 * (SIDE - 1)).astype(int), ((1 - flat[order, 1]) / 2 * (SIDE - 1)).astype(int)
    cell[rows, columns] = (200 - 160 * (far[order] + 1) / 2).clip(0, 255).astype(np.uint8)[:, None]
    return cell


def _device(device: str) -> str:
    from smalti.prepare.run import device_of

    return device_of(device)
