"""Shapes for recipes: those of a folder or a zip, one by one, and procedural ones."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.codecs.media.files import SHAPE_SUFFIXES
from smalti.codecs.media.shapes import MAX_BYTES, read_shape
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Shape

Array = np.ndarray


@dataclass(frozen=True)
class Source:
    """A folder or a zip of shape files, or "procedural:N" for that many made-up ones. Small: it travels between processes."""

    place: str

    @property
    def names(self) -> list[str]:
        """Of all shapes, sorted; UsageError where there are none."""
        if self.place.startswith("procedural:"):
            return [f"procedural-{i:05d}" for i in range(int(self.place.partition(":")[2]))]
        path = Path(self.place)
        if path.is_dir():
            found = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.suffix.lower() in SHAPE_SUFFIXES)
        else:
            with _opened(path) as file:
                found = sorted(n for n in file.namelist() if Path(n).suffix.lower() in SHAPE_SUFFIXES)
        if not found:
            raise UsageError(f"{path}: no shapes; expected a folder or a zip of {', '.join(sorted(SHAPE_SUFFIXES))} files")
        return found

    def read(self, name: str) -> Shape:
        """One of them; SignalError."""
        if self.place.startswith("procedural:"):
            return procedural(int(name.rpartition("-")[2]))
        path = Path(self.place)
        if path.is_dir():
            return read_shape(path / name)
        with _opened(path) as file:
            if file.getinfo(name).file_size > MAX_BYTES:
                raise SignalError(f"{name}: larger than {MAX_BYTES} bytes")
            return read_shape(file.read(name), name)


def shapes_of(place: str | Path) -> Iterator[tuple[str, Shape]]:
    """Names and shapes of a folder or a zip, sorted by name."""
    source = Source(str(place))
    for name in source.names:
        yield name, source.read(name)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: no folder and no zip of shapes ({error})") from None


def procedural(seed: int) -> Shape:
    """A made-up solid: two to six boxes, balls, cylinders, tubes and turned profiles, joined or cut; often symmetric. Always closed."""
    try:
        from manifold3d import CrossSection, Manifold
    except ImportError:
        raise ModelError("procedural shapes need manifold3d: pip install 'smalti[shape]'") from None
    rng = np.random.default_rng([7, seed])

    def piece() -> Manifold:
        kind = rng.integers(5)
        size = rng.uniform(0.1, 1.0, 3)
        if kind == 0:
            made = Manifold.cube(size.tolist(), True)
        elif kind == 1:
            made = Manifold.sphere(0.5, 32).scale(size.tolist())
        elif kind == 2:
            made = Manifold.cylinder(size[2], size[0] / 2, size[0] / 2 * rng.choice([1.0, 0.6, 0.05]), 32, True)
        elif kind == 3:
            radius = size[0] / 2
            made = Manifold.cylinder(size[2], radius, radius, 32, True) - Manifold.cylinder(
                size[2] * 2, radius * 0.8, radius * 0.8, 32, True
            )
        else:
            heights = np.sort(rng.uniform(-0.5, 0.5, 4))
            profile = [
                [0, heights[0]],
                *([float(r), float(h)] for r, h in zip(rng.uniform(0.1, 0.5, 4), heights, strict=True)),
                [0, heights[3]],
            ]
            made = Manifold.revolve(CrossSection([profile]), 32)
        turn = [float(90 * rng.integers(4)), float(90 * rng.integers(4)), float(rng.choice([0, 0, 0, 45]))]
        return made.rotate(turn).translate(rng.uniform(-0.5, 0.5, 3).tolist())

    solid = piece()
    for _ in range(rng.integers(1, 6)):
        other = piece()
        if rng.random() < 0.5:
            other += other.mirror([1.0, 0.0, 0.0])
        solid = solid - other if rng.random() < 0.2 and not (solid - other).is_empty() else solid + other
    mesh = solid.to_mesh()
    return Shape(np.asarray(mesh.vert_properties[:, :3], np.float64), np.asarray(mesh.tri_verts, np.int64))
