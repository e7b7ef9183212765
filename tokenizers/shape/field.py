"""Shapes as truncated signed distance fields on a cubic grid: negative inside, in half sides of the shape's cube.

Distances are exact (libigl), signs come from the winding number, so holes and gaps do no harm. Where no solid lies behind a surface (a
sheet, a leaf, an open shell), and where it is thinner than a wall can be, the surface itself is given a wall: a field that never
became negative would hold no surface. A point cloud is a wall around its points; what it shuts in is filled.

Distances of meshes with very many faces may come from a decimated copy: see MAX_FACES.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.shape.pose import Pose
from smalti.tokenizers.shape.simplified import coarser
from smalti.tokenizers.signals import Shape

Array = np.ndarray
REACH = 1.15  # the grid spans [-REACH, REACH]^3, the shape's cube being [-1, 1]^3
WALL = 0.016  # half of the least thickness, in half sides of the cube: a hundredth of the longest side is .02
MAX_FACES = 20000  # beyond it, distances come from a decimated copy
SOLID = 0.2  # of as many cells as a cloud's points fill must be shut in by them, for it to be the surface of a solid
_DEPTHS = (0.5, 1.0, 1.5, 2.0)  # in walls: where a face is probed for what lies behind it


@dataclass(frozen=True)
class Surface:
    """A mesh ready for distances, in its cube as [-1, 1]^3.

    vertices: float64 (V, 3). faces: int64 (F, 3), outsides outwards as far as that can be told. walls: float64 (F,), half of the thickness
    that each face is given, 0 where a solid lies behind it. done: what was done to the mesh, for people.
    """

    vertices: Array
    faces: Array
    walls: Array
    done: tuple[str, ...]


def igl() -> Any:
    """The module libigl; ModelError naming the extra that brings it."""
    try:
        import igl as module
    except ImportError:
        raise ModelError("distances of shapes need libigl: pip install 'smalti[shape]'") from None
    return module


@cache
def grid_points(side: int) -> Array:
    """Cell centres of the grid, float64 (side^3, 3) in C order; not to be written to."""
    axis = grid_axis(side)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    points.flags.writeable = False
    return points


def grid_axis(side: int) -> Array:
    """Coordinates of cell centres along one axis."""
    return REACH * ((2 * np.arange(side) + 1) / side - 1)


def surface_of(shape: Shape, pose: Pose) -> Surface:
    """The triangles of a mesh, mended as far as signs need it; SignalError where none has an area."""
    if shape.faces is None:
        raise SignalError("a point cloud has no triangles")
    done: list[str] = []
    vertices, faces = _welded(pose.inwards(shape.vertices), shape.faces)
    if len(faces) < len(shape.faces):
        done.append(f"{len(shape.faces) - len(faces)} triangles without area left out")
    if not len(faces):
        raise SignalError(f"none of the {len(shape.faces)} triangles has an area")
    if len(faces) > MAX_FACES:
        few = coarser(Shape(vertices, faces), MAX_FACES)
        assert few.faces is not None
        vertices, faces = _welded(few.vertices, few.faces)
        done.append(f"distances from a copy of {len(faces)} triangles")
    faces, turned = _oriented(vertices, faces)
    if turned:
        done.append(f"{turned} triangles turned outside out")
    walls = _walls(vertices, faces)
    if thin := int((walls > 0).sum()):
        done.append(f"{thin} triangles without a solid behind them given a wall")
    return Surface(vertices, faces, walls, tuple(done))


def distances(surface: Surface, points: Array, reach: float) -> Array:
    """Signed distances of points (N, 3), cut off at +-reach: float64 (N,)."""
    solid = surface.walls == 0
    out = np.full(len(points), reach)
    if solid.any():
        out = np.minimum(np.sqrt(_squared(points, surface, solid)), reach)
        out = np.where(_inside(surface, points), -out, out)
    for wall in np.unique(surface.walls[~solid]):
        out = np.minimum(out, np.sqrt(_squared(points, surface, surface.walls == wall)) - wall)
    return np.clip(out, -reach, reach)


def grid_distances(surface: Surface, side: int, reach: float) -> Array:
    """The same on the grid, float64 (side, side, side). Blocks of it that lie beyond reach are told from their middles."""
    block = next(n for n in (4, 2, 1) if side % n == 0)
    coarse = side // block
    middles = grid_points(coarse)
    inside = _inside(surface, middles)
    cell = 2 * REACH / coarse
    near = np.sqrt(_squared(middles, surface, surface.walls >= 0)) < reach + WALL + cell * 3**0.5 / 2
    out = np.where(inside, -reach, reach).reshape(coarse, 1, coarse, 1, coarse, 1) * np.ones((1, block) * 3)
    fine = (
        grid_points(side).reshape(coarse, block, coarse, block, coarse, block, 3).transpose(0, 2, 4, 1, 3, 5, 6).reshape(coarse**3, -1, 3)
    )
    blocks = out.transpose(0, 2, 4, 1, 3, 5).reshape(coarse**3, -1)
    blocks[near] = distances(surface, np.ascontiguousarray(fine[near].reshape(-1, 3)), reach).reshape(int(near.sum()), -1)
    return blocks.reshape((coarse,) * 3 + (block,) * 3).transpose(0, 3, 1, 4, 2, 5).reshape(side, side, side)


def _inside(surface: Surface, points: Array) -> Array:
    return np.asarray(igl().fast_winding_number(surface.vertices, surface.faces, points) > 0.5)


def field(shape: Shape, pose: Pose, side: int, reach: float) -> tuple[Array, tuple[str, ...]]:
    """(float32 (side, side, side) of signed distances cut off at +-reach, what was done to the shape)."""
    if shape.faces is None:
        values, done = _cloud(pose.inwards(shape.vertices), side, reach)
    else:
        surface = surface_of(shape, pose)
        values, done = grid_distances(surface, side, reach), surface.done
    return values.astype(np.float32), done


def _squared(points: Array, surface: Surface, of: Array) -> Array:
    return igl().point_mesh_squared_distance(points, surface.vertices, np.ascontiguousarray(surface.faces[of]))[0]


def _welded(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Equal vertices made one, faces without area dropped."""
    unique, index = np.unique(np.round(vertices, 7), axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces]
    sides = unique[faces]
    area = np.linalg.norm(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), axis=1)
    return unique, np.ascontiguousarray(faces[area > 1e-12], np.int64)


def _oriented(vertices: Array, faces: Array) -> tuple[Array, int]:
    """Faces of each connected patch turned alike, and patches of negative volume turned outside out unless they line a cavity."""
    oriented, patches = igl().bfs_orient(faces)
    # of two ways to turn a patch alike, the one that keeps most faces as they came
    same = (_rotated(oriented) == _rotated(faces)).all(1)
    count = np.bincount(patches)
    kept = np.bincount(patches, weights=same)
    oriented[(kept < count / 2)[patches]] = oriented[(kept < count / 2)[patches]][:, ::-1]
    corners = vertices[oriented]
    volume = np.bincount(patches, weights=np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)
    edges = np.sort(np.stack([oriented, np.roll(oriented, -1, 1)], -1), -1).reshape(-1, 2)
    _, inverse, uses = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    shut = np.bincount(np.repeat(patches, 3), weights=uses[inverse.reshape(-1)] % 2 == 1) == 0
    wrong = np.flatnonzero((volume < 0) & shut)
    if len(wrong):
        # just off such a patch, on what would be its outside, it counts for nothing itself: one tree of all faces tells what is around it
        first = np.zeros(len(count), np.int64)
        first[patches[::-1]] = np.arange(len(faces))[::-1]
        corner = vertices[oriented[first[wrong]]]
        inwards = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        probes = corner.mean(1) - 1e-4 * inwards / np.linalg.norm(inwards, axis=1, keepdims=True)
        cavity = igl().fast_winding_number(vertices, np.ascontiguousarray(oriented), np.ascontiguousarray(probes)) > 0.5
        turn = np.isin(patches, wrong[~cavity])
        oriented[turn] = oriented[turn][:, ::-1]
    turned = int((_rotated(oriented) != _rotated(faces)).any(1).sum())
    return np.ascontiguousarray(oriented), turned


def _rotated(faces: Array) -> Array:
    """Each face from its lowest vertex on, its turning sense kept."""
    start = np.argmin(faces, 1)[:, None]
    return np.take_along_axis(faces, (start + np.arange(3)) % 3, 1)


def _walls(vertices: Array, faces: Array) -> Array:
    """Half the thickness that each face needs as a wall of its own: all of WALL for sheets, the missing part where the solid is thin."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # three places of a face, not its middle alone: large faces pass over many things
    places = np.einsum("pk,fkc->fpc", np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]), corners)
    depths = np.array([-0.25, *_DEPTHS]) * WALL
    probes = places[:, :, None, :] - normal[:, None, None, :] * depths[:, None]
    inside = igl().fast_winding_number(vertices, faces, probes.reshape(-1, 3)).reshape(len(faces), 3, len(depths)) > 0.5
    before, behind = inside[:, :, 0], inside[:, :, 1:]
    thickness = np.where(behind.all(2), np.inf, np.argmin(behind, 2) * 0.5 * WALL + 0.25 * WALL * behind[:, :, 0])
    missing = np.where(before == behind[:, :, 0], np.where(before, 0.0, WALL), np.maximum(WALL - thickness / 2, 0))
    # quantized, so that few trees of distances are built
    return np.round(np.median(missing, 1) / WALL * 2) / 2 * WALL


def _cloud(points: Array, side: int, reach: float) -> tuple[Array, tuple[str, ...]]:
    from scipy import ndimage
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    sample = points[:: max(1, len(points) // 2000)]
    spacing = float(np.median(tree.query(sample, k=min(7, len(points)))[0].reshape(len(sample), -1)[:, -1]))
    away = tree.query(grid_points(side), distance_upper_bound=reach + max(1.5 * spacing, WALL))[0].reshape(side, side, side)
    cell = 2 * REACH / side
    wall = max(WALL, 0.6 * spacing)
    # what the outside does not reach between the points is inside
    shell = away < max(1.5 * spacing, 0.9 * cell)
    regions, _ = ndimage.label(np.pad(~shell, 1, constant_values=True))  # all of the outside is one region
    inside = ~shell & (regions != regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
    walls = np.where(inside, -away, np.minimum(away, reach + wall) - wall)
    if inside.sum() > SOLID * shell.sum():
        done = (f"{len(points)} points as a surface, what they shut in is solid",)
        return np.clip(np.where(inside, -away, np.minimum(away, reach)), -reach, reach), done
    return np.clip(walls, -reach, reach), (f"{len(points)} points as walls {wall:.3f} thick",)
