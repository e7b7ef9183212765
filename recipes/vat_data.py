"""What `train_vat` learns from: of each shape places on its surface, and distances at places near it and anywhere; computed once, kept."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import sys
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.recipes.prime_prior import Progress
from smalti.recipes.shape_data import Source
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.shape.field import REACH, distances, field, grid_points, surface_of
from smalti.tokenizers.shape.places import on_surface, places_of
from smalti.tokenizers.shape.pose import pose_of
from smalti.tokenizers.signals import Shape

Array = np.ndarray
SURFACE = 4096  # places on a surface that are kept
ASKED = 6144  # places anywhere, and as many near the surface
SPREADS = (0.02, 0.06)  # deviations of those near it, half of them each, in half sides
FIELD_REACH = 0.25  # where kept distances are cut off
GRID = 64  # of point clouds, whose distances are those of a grid


@dataclass(frozen=True, eq=False)
class Example:
    """surface: float32 (SURFACE, 6), as `places_of` gives them. places: float32 (2, ASKED, 3), anywhere and near. values: float32
    (2, ASKED), distances there in half sides, cut off at FIELD_REACH."""

    name: str
    surface: Array
    places: Array
    values: Array


def example_of(name: str, shape: Shape) -> Example:
    """Of one shape, by chance that hangs on its name alone; SignalError."""
    pose = pose_of(shape)
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:8]))
    if shape.faces is None:
        return _of_cloud(name, shape, rng)
    surface = surface_of(shape, pose)
    read = on_surface(surface, SURFACE)
    near = read[rng.integers(len(read), size=ASKED), :3] + rng.normal(size=(ASKED, 3)) * np.repeat(SPREADS, ASKED // 2)[:, None]
    # rounded before they are asked for, so that distances are those of what is kept
    places = np.stack([rng.uniform(-REACH, REACH, (ASKED, 3)), near.clip(-REACH, REACH)]).astype(np.float32)
    values = distances(surface, places.reshape(-1, 3).astype(np.float64), FIELD_REACH).reshape(2, ASKED)
    return Example(name, read, places, values.astype(np.float32))


def _of_cloud(name: str, shape: Shape, rng: np.random.Generator) -> Example:
    pose = pose_of(shape)
    values, points = field(shape, pose, GRID, FIELD_REACH)[0].ravel(), grid_points(GRID)
    near = np.flatnonzero(np.abs(values) < 2 * max(SPREADS))
    if not len(near):
        raise SignalError(f"{name}: no surface near its {len(shape.vertices)} points")
    chosen = np.stack([rng.integers(len(points), size=ASKED), rng.choice(near, ASKED)])
    return Example(name, places_of(shape, pose, SURFACE), points[chosen].astype(np.float32), values[chosen])


@dataclass(frozen=True)
class Work:
    """What one process is asked for; names, not shapes: they travel."""

    source: Source
    name: str
    cache: Path


def works_of(places: Sequence[str], cache: Path, most: int = 0) -> list[Work]:
    """All shapes of all places, or `most` of each, evenly spread over their names."""
    out = []
    for source in map(Source, places):
        names = source.names
        count = min(most or len(names), len(names))
        out += [Work(source, names[i * len(names) // count], cache) for i in range(count)]
    return out


def kept(work: Work) -> tuple[str, Example | None]:
    """(what was wrong, the example from the cache or made now)."""
    key = hashlib.sha256(f"{work.source.place.rpartition('/')[2]} {work.name} {SURFACE} {ASKED} {SPREADS}".encode()).hexdigest()[:24]
    path = work.cache / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return "", Example(work.name, file["surface"], file["places"], file["values"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass  # not there, or broken off
    try:
        example = example_of(work.name, work.source.read(work.name))
    except SignalError as error:
        return f"{work.name}: {error}", None
    part = path.with_suffix(f".{multiprocessing.current_process().pid}.part.npz")
    np.savez(part, surface=example.surface, places=example.places, values=example.values)
    part.replace(path)
    return "", example


def examples(works: Sequence[Work], processes: int) -> list[Example]:
    """In order; what cannot be read is named on standard error. UsageError where nothing can."""
    for work in works[:1]:
        work.cache.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if processes > 1:
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")))
            made: Iterable[tuple[str, Example | None]] = pool.map(kept, works, chunksize=4)
        else:
            made = map(kept, works)
        progress, out = Progress("shapes", len(works)), []
        for done, (wrong, example) in enumerate(made, 1):
            if example is None:
                print(wrong, file=sys.stderr)
            else:
                out.append(example)
            progress(done)
    if not out:
        raise UsageError("no shape that can be learned from")
    return out
