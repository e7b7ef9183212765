"""Metrics of shapes: F-score, Chamfer distance, normals, intersection over union, and the D1 PSNR of point clouds.

`surfaces` says how points, distances and insides are had. Shapes may differ in vertices and faces; both are in the same units and place,
and nothing is aligned. A decoded shape without a vertex or face is the worst that there is: it is scored, never left out.

F-score: Tatarchenko et al., "What Do Single-view 3D Reconstruction Networks Learn?" (arXiv 1905.03678), with exact distances to surfaces
in the place of those between points. D1: MPEG's common test conditions for point clouds, the larger of the two directions' mean squares.
"""

from __future__ import annotations

import functools

import numpy as np

from smalti.metrics.surfaces import POINTS, SEED, Distances, Surface, compared, decibels, f_score, inside, points_of, shapes, surface
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Shape, Signal

Array = np.ndarray
DRAWN = f"{POINTS} points by area (of a cloud its own, {POINTS} at most), seed {SEED}, to the other's surface (of a cloud its points)"
SIDE = "longest side of the reference's box"
SPREAD = 0.02  # of points near the surface, per axis, in the longest side
_MESHES = "inside: |winding number| > 1/2 (fast approximation; a guess where a mesh is open)"


class FScore:
    """Share of surface that is near the other's, both ways: 1 is best. percent: of the longest side that is near."""

    def __init__(self, percent: int) -> None:
        self.name = f"f-score-{percent}"
        self.tau = percent / 100

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        found = _compared(reference, decoded)
        value = f_score(found[0].values, found[1].values, self.tau) if found else 0.0
        return Score(value, "", "higher", f"tau {self.tau:.0%} of the {SIDE}; {DRAWN}; empty scores 0")


def f_score_1() -> FScore:
    """Within 1 % of the longest side."""
    return FScore(1)


def f_score_2() -> FScore:
    """Within 2 % of the longest side."""
    return FScore(2)


class ChamferL1:
    """Mean distance of the surfaces, in the longest side."""

    name = "chamfer"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        found = _compared(reference, decoded)
        value = float(found[0].values.mean() + found[1].values.mean()) / 2 if found else 1.0
        return Score(value, "", "lower", f"L1: (mean d + mean d) / 2, not squared, / {SIDE}; {DRAWN}; empty scores 1")


class NormalConsistency:
    """How far normals agree at the nearest places, whichever side faces look to: 1 is best."""

    name = "normal-consistency"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        _meshes(reference, decoded, "have no normals")
        found = _compared(reference, decoded)
        both = [side.normals for side in found if side.normals is not None]
        value = float(np.mean([side.mean() for side in both])) if len(both) == 2 else 0.0
        return Score(value, "", "higher", f"mean |cos| of faces' normals, mean of both ways; {DRAWN}; empty scores 0")


class VolumeIoU:
    """Intersection over union of what lies inside: 1 is best."""

    name = "volume-iou"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        whole, found = _meshes(reference, decoded, "have no inside")
        both = [surface(shape, whole) for shape in (whole, found)]
        box = np.concatenate([side.vertices if side.faces is None else side.vertices[np.unique(side.faces)] for side in both])
        points = np.random.default_rng(SEED).uniform(box.min(0), box.max(0), (POINTS, 3))
        value = _overlap(points, inside(points, both[0]), both[1])
        return Score(value, "", "higher", f"{POINTS} points evenly in the box around both, seed {SEED}; {_MESHES}; empty scores 0")


class SurfaceIoU:
    """The same near the reference's surface, where thick shapes cannot hide what is wrong."""

    name = "surface-iou"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        whole, found = _meshes(reference, decoded, "have no inside")
        value = _overlap(*near(whole), surface(found, whole))
        how = f"{POINTS} points of the reference's surface by area, moved by normal noise of {SPREAD:.0%} of the {SIDE} per axis"
        return Score(value, "", "higher", f"{how}, seed {SEED}; {_MESHES}; empty scores 0")


class D1PSNR:
    """Peak signal-to-noise ratio of distances in dB; infinite for equal shapes."""

    name = "d1-psnr"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        found = _compared(reference, decoded)
        value = decibels(max(float(np.square(side.values).mean()) for side in found)) if found else 0.0
        convention = f"10 log10(3 p^2 / e), p the {SIDE}, e the larger of both ways' mean squared distances; {DRAWN}; empty scores 0"
        return Score(value, "dB", "higher", convention)


def _compared(reference: Signal, decoded: Signal) -> tuple[Distances, Distances] | tuple[()]:
    """(of the decoded shape's points, of the reference's); nothing where the decoded shape is empty."""
    found = compared(*shapes(reference, decoded))
    return (found.of_decoded, found.of_reference) if found.of_decoded and found.of_reference else ()


def _meshes(reference: Signal, decoded: Signal, why: str) -> tuple[Shape, Shape]:
    whole, found = shapes(reference, decoded)
    if surface(whole, whole).faces is None or (found.faces is None and len(found.vertices)):
        raise SignalError(f"this metric compares meshes, and clouds of points {why}")
    return whole, found


def _overlap(points: Array, within: Array, decoded: Surface) -> float:
    """within: which points lie inside the reference."""
    if not within.any():
        raise SignalError("the reference encloses no volume; its intersection over union with another says nothing")
    found = inside(points, decoded)
    return float((within & found).sum() / (within | found).sum())


@functools.lru_cache(maxsize=2)
def near(reference: Shape) -> tuple[Array, Array]:
    """(points near a mesh's surface, in its longest side: (100000, 3); which of them lie inside it)."""
    whole = surface(reference, reference)
    drawn = points_of(whole).points
    points = drawn + np.random.default_rng(SEED).normal(0, SPREAD, drawn.shape)
    return points, inside(points, whole)
