"""GLB, binary glTF 2.0, by trimesh: all parts of its scene in one mesh, where its nodes place them.

The JSON at its start is checked first: that nothing lies outside the file, that no accessor holds more than its bytes bear out, that
nodes are a forest, and how many faces and points the scene draws, since one mesh may be drawn many times.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.codecs.media.shape_files.parts import COLOURS, LINES, NORMALS, TEXTURES, Parts, check_counts
from smalti.tokenizers.errors import SignalError

MAX_JSON = 2**26
MAX_DRAWN = 2**16  # pieces of a scene
_PACKED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
_POINTS, _TRIANGLES = 0, (4, 5)


def read_glb(data: bytes) -> Parts:
    """Triangles of the scene; points only where it has no triangle."""
    tree = _tree(data)
    if packed := [name for name in _PACKED if name in tree.get("extensionsRequired", ())]:
        raise SignalError(f"packed by {packed[0]}, expected plain buffers; unpack it first")
    if any("uri" in buffer for buffer in tree.get("buffers", ())):
        raise SignalError("its buffers lie outside the file, expected all in one GLB; pack it first")
    drawn = _drawn(tree)
    _check(tree, drawn, len(data))
    return _parts(_loaded(data), _dropped(tree, drawn))


def _tree(data: bytes) -> dict[str, Any]:
    """The JSON, all chunks measured."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise SignalError("damaged or cut short: no whole GLB header; get it again")
    version, size = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise SignalError(f"glTF version {version}, expected 2; convert it first")
    place = 12
    while place < len(data):
        length = struct.unpack_from("<I", data, place)[0] if place + 8 <= len(data) else len(data)
        if length > len(data) - place - 8:
            raise SignalError("damaged or cut short: a chunk is longer than the file; get it again")
        place += 8 + length
    length, kind = struct.unpack_from("<II", data, 12)
    if size != len(data) or kind != 0x4E4F534A or length > MAX_JSON:
        raise SignalError(f"damaged: its header announces {size} bytes of GLB, found {len(data)}; get it again")
    try:
        tree = json.loads(data[20 : 20 + length])
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise SignalError("damaged: its JSON cannot be read; get it again")
    return tree


def _drawn(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The primitives that the scene draws, one for each time."""
    nodes, meshes = tree.get("nodes", []), tree.get("meshes", [])
    scenes = tree.get("scenes", [])
    waiting = list(scenes[tree.get("scene", 0)].get("nodes", ())) if scenes else []
    seen, found = set[int](), list[dict[str, Any]]()
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise SignalError("damaged: a node of its scene has two parents; get it again")
        seen.add(number)
        waiting += nodes[number].get("children", ())
        if "mesh" in nodes[number]:
            found += meshes[nodes[number]["mesh"]]["primitives"]
            if len(found) > MAX_DRAWN:
                raise SignalError(f"its scene draws more than {MAX_DRAWN} pieces; join them first")
    return found


def _check(tree: dict[str, Any], drawn: Sequence[dict[str, Any]], size: int) -> None:
    accessors = tree.get("accessors", ())
    if any(not 0 <= accessor["count"] <= size for accessor in accessors):
        raise SignalError("damaged: an accessor counts more than its file holds; get it again")
    if sum(accessor["count"] for accessor in accessors if "bufferView" not in accessor) > size:
        raise SignalError("damaged: accessors without bytes count more than the file holds; get it again")
    points, faces = 0, 0
    for primitive in drawn:
        held = accessors[primitive["attributes"]["POSITION"]]["count"]
        points += held
        if (mode := primitive.get("mode", 4)) in _TRIANGLES:
            corners = accessors[primitive["indices"]]["count"] if "indices" in primitive else held
            faces += corners // 3 if mode == 4 else corners
    check_counts(points, faces)


def _loaded(data: bytes) -> Any:
    import trimesh

    found = trimesh.load(io.BytesIO(data), file_type="glb", resolver=None, skip_materials=True, process=False)
    return found if isinstance(found, trimesh.Scene) else trimesh.Scene(found)


def _parts(scene: Any, dropped: tuple[str, ...]) -> Parts:
    import trimesh

    points: list[np.ndarray] = []
    corners: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    held = 0
    for name in scene.graph.nodes_geometry:
        matrix, geometry = scene.graph[name]
        part = scene.geometry[geometry]
        place = np.asarray(part.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        if isinstance(part, trimesh.Trimesh):
            turned = np.linalg.det(matrix[:3, :3]) < 0  # a mirror turns faces inside out
            faces.append(np.asarray(part.faces, np.int64)[:, :: -1 if turned else 1] + held)
            corners.append(place)
            held += len(place)
        elif isinstance(part, trimesh.PointCloud):
            points.append(place)
    if faces:
        return Parts(np.concatenate(corners), np.concatenate(faces), dropped, split=True)
    return Parts(np.concatenate(points) if points else np.zeros((0, 3)), None, dropped)


def _dropped(tree: dict[str, Any], drawn: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    names = {name for primitive in drawn for name in primitive["attributes"]}
    modes = {primitive.get("mode", 4) for primitive in drawn}
    loose = modes - {*_TRIANGLES} if modes & {*_TRIANGLES} else modes - {_POINTS}
    held = {
        COLOURS: any(name.startswith("COLOR") for name in names),
        NORMALS: "NORMAL" in names,
        TEXTURES: "materials" in tree or any(name.startswith("TEXCOORD") for name in names),
        LINES: bool(loose),
        "animations": "animations" in tree,
        "skins (rest pose kept)": "skins" in tree,
    }
    return tuple(name for name, there in held.items() if there)
