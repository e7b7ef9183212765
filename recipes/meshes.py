"""Meshes out of zip files, for the recipes that learn or judge them; and whether two are the same."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.shape import mesh_walk
from smalti.tokenizers.signals import Array, Shape


@dataclass(frozen=True)
class Named:
    """A mesh and its name in the zip file."""

    name: str
    shape: Shape


def meshes_of(path: Path) -> Iterator[Named]:
    """All meshes of a zip file of PLY, OBJ, OFF or STL files, by name; SignalError names the first that cannot be read."""
    import trimesh

    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                kind = name.rpartition(".")[2].lower()
                if kind not in ("ply", "obj", "off", "stl"):
                    continue
                found = trimesh.load(io.BytesIO(archive.read(name)), file_type=kind, process=kind == "stl", force="mesh")
                yield Named(name, Shape(np.array(found.vertices, np.float64), np.array(found.faces, np.int64)))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise SignalError(f"{path}: no zip file of meshes ({error})") from None


def triangles(cells: Array, faces: Array) -> Array:
    """int64 (F, 9): the corners of faces (F, 3) over whole numbers (V, 3), turned and sorted: equal for meshes that differ in
    nothing but numbering."""
    rows = cells[mesh_walk.least_first(cells, faces)].reshape(-1, 9)
    return rows[np.lexsort(rows.T)]
