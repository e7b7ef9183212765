"""Pictures of shapes without a display: rays through pixels (embree), light from the eye and from above, one colour.

Faces are lit from both sides, since meshes in the wild look inwards as often as outwards. A point cloud is drawn as small balls.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.signals import Shape

Array = np.ndarray
_SKY = np.array([0.25, 0.9, 0.35])
_COLOUR = np.array([214, 196, 164])
_PAPER = np.array([246, 244, 239])
_ELEVATION = np.radians(22)


def turntable(shape: Shape, views: int, size: int, centre: Array, radius: float) -> Array:
    """Views side by side, uint8 (size, views * size, 3), y up, turned about it from the front on. centre, radius: of the ball that is
    seen, so that several shapes of one cube are seen alike."""
    vertices, faces = _triangles(shape, radius)
    scene = _scene((vertices - centre) / radius, faces) if len(faces) else None
    return np.concatenate([_view(scene, 2 * np.pi * k / views + 0.5, size) for k in range(views)], 1)


def frame_of(shape: Shape) -> tuple[Array, float]:
    """(centre, radius) of a ball that holds a shape."""
    points = shape.vertices if shape.faces is None else shape.vertices[np.unique(shape.faces)]
    centre = (points.min(0) + points.max(0)) / 2
    return centre, float(np.linalg.norm(points - centre, axis=1).max()) or 1.0


def _triangles(shape: Shape, radius: float) -> tuple[Array, Array]:
    if shape.faces is not None:
        return shape.vertices, shape.faces
    from smalti.tokenizers.shape.primitives import Primitives, triangles

    ball, faces = triangles(Primitives(np.array([[4, 26, 0, 96, 0, 96, 0, 96]])))
    some = shape.vertices[:: max(1, len(shape.vertices) // 3000)]
    vertices = (some[:, None] + ball * radius * 0.012).reshape(-1, 3)
    return vertices, (faces[None] + len(ball) * np.arange(len(some))[:, None, None]).reshape(-1, 3)


def _scene(vertices: Array, faces: Array) -> Any:
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError:
        raise ModelError("pictures of shapes need embreex: pip install 'smalti[shape]'") from None
    corner = vertices[faces].astype(np.float32)
    scene = EmbreeScene()
    TriangleMesh(scene, corner)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return scene, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _view(scene: Any, angle: float, size: int) -> Array:
    back = np.array([np.sin(angle) * np.cos(_ELEVATION), np.sin(_ELEVATION), np.cos(angle) * np.cos(_ELEVATION)])
    right = np.array([np.cos(angle), 0, -np.sin(angle)])
    up = np.cross(back, right)
    fine = 2 * size  # four rays a pixel
    at = (np.arange(fine) + 0.5) / fine * 2.1 - 1.05
    across, down = np.meshgrid(at, -at)
    origins = (across[..., None] * right + down[..., None] * up + 3 * back).reshape(-1, 3).astype(np.float32)
    picture = np.tile(_PAPER.astype(np.float64), (fine * fine, 1))
    if scene is not None:
        world, normals = scene
        hit = np.asarray(world.run(origins, np.tile(-back.astype(np.float32), (len(origins), 1))))
        seen = hit >= 0
        normal = normals[hit[seen]]
        normal = normal * np.sign(normal @ back + 1e-9)[:, None]
        light = 0.25 + 0.45 * np.abs(normal @ back) + 0.3 * np.clip(normal @ (_SKY / np.linalg.norm(_SKY)), 0, 1)
        picture[seen] = _COLOUR * light[:, None]
    return np.rint(picture.reshape(size, 2, size, 2, 3).mean((1, 3))).astype(np.uint8)
