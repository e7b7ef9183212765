"""Files of shapes: what is read of each format, what is refused, and that what is written is what was meant."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.files import SHAPE_SUFFIXES
from smalti.codecs.media.shapes import encode_shape, format_of, looks_like_shape, read_noted, read_shape, weld, write_shape
from smalti.codecs.media.surface import describe, surface_of
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Shape

ODD = Path(os.environ.get("SMALTI_DATA", "../shared")) / "data/shapes/odd"
VERTICES = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 1]], np.float64)  # no axis is like another
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int64)
WEDGE = Shape(VERTICES, FACES)
CLOUD = Shape(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32).astype(np.float64))


def corners(shape: Shape) -> np.ndarray:
    """Faces as coordinates: what must not change where vertices are numbered anew."""
    assert shape.faces is not None
    return shape.vertices[shape.faces]


@pytest.mark.parametrize("suffix", [suffix for suffix in SHAPE_SUFFIXES if suffix != ".xyz"])
def test_meshes_come_back_in_their_units_and_axes(suffix: str, tmp_path: Path) -> None:
    write_shape(WEDGE, tmp_path / f"a{suffix}")
    back = read_shape(tmp_path / f"a{suffix}")
    assert np.array_equal(corners(back), corners(WEDGE))
    assert len(back.vertices) == 4
    assert format_of((tmp_path / f"a{suffix}").read_bytes()) == suffix
    assert np.array_equal(corners(read_shape((tmp_path / f"a{suffix}").read_bytes())), corners(WEDGE))


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off", ".glb", ".xyz"])
def test_clouds_come_back(suffix: str) -> None:
    data = encode_shape(CLOUD, suffix)
    back = read_shape(data)
    assert back.faces is None
    assert np.array_equal(back.vertices, CLOUD.vertices)
    assert looks_like_shape(data)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off", ".glb"])
def test_what_lies_far_away_keeps_its_form(suffix: str) -> None:
    far = Shape(VERTICES + np.array([1e7, -3e8, 5.1]), FACES)
    assert np.abs(corners(read_shape(encode_shape(far, suffix))) - corners(far)).max() < 1e-5


def test_points_of_a_mesh_lie_on_its_surface() -> None:
    cloud = read_shape(encode_shape(WEDGE, ".xyz", points=300))
    assert cloud.vertices.shape == (300, 3)
    assert cloud.vertices.min() >= 0
    x, y, z = cloud.vertices.T
    assert np.min([np.abs(x), np.abs(y), np.abs(z), np.abs(x / 4 + y / 2 + z - 1)], 0).max() < 1e-9


def test_what_cannot_be_written() -> None:
    with pytest.raises(UsageError, match=r"unknown suffix '.png'"):
        encode_shape(WEDGE, ".png")
    with pytest.raises(UsageError, match="point cloud"):
        encode_shape(CLOUD, ".stl")


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".off", ".glb", ".xyz"])
def test_a_mesh_of_nothing(suffix: str) -> None:
    nothing = Shape(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    if suffix in (".glb", ".xyz"):
        with pytest.raises(UsageError, match="no surface to write"):
            encode_shape(nothing, suffix)
        return
    with pytest.raises(SignalError, match=r"no vertices|no faces|no shape|empty"):
        read_shape(encode_shape(nothing, suffix), f"a{suffix}")


def test_polygons_become_fans_and_relative_indices_count_back() -> None:
    obj = read_shape(b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv -1 0.5 0\nf 1//3 2//3 3//3 4//3 5//3\n")
    assert obj.faces is not None
    assert obj.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]
    relative = read_shape(b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 0 5\nv 1 0 5\nv 1 1 5\nf -3/1 -2/2 \\\n-1/3\n")
    assert corners(relative)[:, 0, 2].tolist() == [0, 5]
    off = read_shape(b"OFF 4 2 0 # counts\n0 0 0\n1 0 0\n1 1 0\n\n0 1 0\n3 0 1 2\n4 0 1 2 3 255 0 0\n")
    assert off.faces is not None
    assert off.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def ply(order: str, faces: list[list[int]]) -> bytes:
    """The wedge's vertices and any polygons, with properties before, between and behind."""
    form = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    head = (
        f"ply\nformat {form} 1.0\ncomment x\nelement vertex 4\nproperty uchar red\nproperty double x\nproperty float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nproperty short flag\nend_header\n"
    ).encode()
    if not order:
        rows = [f"7 {x} {y} {z}" for x, y, z in VERTICES] + [f"{len(face)} {' '.join(map(str, face))} -1" for face in faces]
        return head + "\n".join(rows).encode()
    body = b"".join(struct.pack(f"{order}Bdff", 7, *point) for point in VERTICES)
    return head + body + b"".join(struct.pack(f"{order}B{len(face)}ih", len(face), *face, -1) for face in faces)


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_ply_of_any_rows(order: str) -> None:
    found = read_noted(ply(order, FACES.tolist()))
    assert np.array_equal(found.shape.vertices, VERTICES)
    assert np.array_equal(found.shape.faces, FACES)  # type: ignore[arg-type]
    assert found.notes == ("dropped: colours",)
    mixed = read_shape(ply(order, [[0, 2, 1], [0, 1, 3, 2], [1, 2, 3]]))
    assert mixed.faces is not None
    assert mixed.faces.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]


def test_welding() -> None:
    soup = Shape(corners(WEDGE).reshape(-1, 3), np.arange(12, dtype=np.int64).reshape(-1, 3))
    welded = weld(soup)
    assert np.array_equal(corners(welded), corners(WEDGE))
    assert welded.faces is not None
    assert welded.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 1], [2, 1, 3]]  # numbered by first use
    assert read_noted(encode_shape(WEDGE, ".stl")).notes == ("12 vertices welded to 4",)
    apart = Shape(np.concatenate([VERTICES, VERTICES]), np.concatenate([FACES, FACES + 4]))
    assert len(read_shape(encode_shape(apart, ".ply")).vertices) == 8  # parts of a file that can share vertices and does not


def test_text_stl() -> None:
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n" + "".join(f"vertex {x} {y} {z}\n" for x, y, z in face) + "endloop\nendfacet\n"
        for face in corners(WEDGE)
    )
    text = f"solid vertexes\n{facets}endsolid\n".replace("solid vertexes", "solid a").encode()
    assert np.array_equal(corners(read_shape(text)), corners(WEDGE))
    with pytest.raises(SignalError, match="cut short"):
        read_shape(text[:-60], "a.stl")
    with pytest.raises(SignalError, match="corners"):
        read_shape(text.replace(b"vertex 4.0 0.0 0.0", b"vertex 4.0 0.0"), "a.stl")


def glb(tree: dict[str, Any], binary: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(binary), b"BIN\0") + binary if binary else b""
    body = struct.pack("<I4s", len(text), b"JSON") + text + chunk
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def scene(nodes: list[dict[str, Any]], roots: list[int], **more: Any) -> bytes:
    """The wedge as mesh 0, drawn by these nodes."""
    binary = VERTICES.astype("<f4").tobytes() + FACES.astype("<u2").tobytes()
    tree: dict[str, Any] = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": roots}], "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 24}],
        "buffers": [{"byteLength": len(binary)}],
    }  # fmt: skip
    return glb(tree | more, binary)


def test_nodes_of_glb_place_and_mirror_their_parts() -> None:
    nodes: list[dict[str, Any]] = [
        {"translation": [10, 0, 0], "children": [1]}, {"scale": [-1, 3, 1], "mesh": 0}, {"mesh": 0},
    ]  # fmt: skip
    found = read_shape(scene(nodes, [0, 2]))
    assert found.vertices.shape == (8, 3)
    assert sorted(found.vertices.max(0).tolist()) == [1, 6, 10]
    assert found.vertices[:, 0].max() == 10
    about = surface_of(found)
    assert about.watertight
    assert about.volume == pytest.approx(4 / 3 * (1 + 3))  # the mirrored part looks outwards too


def test_hostile_glb() -> None:
    one = [{"mesh": 0}]
    tree: dict[str, Any] = {"asset": {"version": "2.0"}}
    for wrong, why in [
        (scene(one, [0])[:-30], "longer than the file"),
        (scene(one, [0])[:16], "no whole GLB header"),
        (scene([{"mesh": 0, "children": [0]}], [0]), "two parents"),
        (scene(one, [7]), "damaged"),
        (scene(one, [0], buffers=[{"byteLength": 72, "uri": "other.bin"}]), "outside the file"),
        (scene(one, [0], extensionsRequired=["KHR_draco_mesh_compression"]), "packed by KHR_draco"),
        (scene(one, [0], accessors=[{"componentType": 5126, "count": 2**40, "type": "VEC3"}]), "counts more"),
        (scene(one, [0], accessors=[{"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"}] * 2), "damaged"),
        (scene([{"mesh": 0}], [0], bufferViews=[{"buffer": 0, "byteLength": 2**40}] * 2), "damaged"),
        (glb(tree | {"scenes": {"a": 1}}), "damaged"),
        (glb(tree), "no vertices"),
    ]:
        with pytest.raises(SignalError, match=why) as caught:
            read_shape(wrong, "a.glb")
        assert str(caught.value).startswith("a.glb: ")
        assert "\n" not in str(caught.value)


def test_a_mesh_that_is_drawn_too_often_is_refused_before_it_is_made() -> None:
    indices = {"bufferView": 1, "componentType": 5121, "count": 21, "type": "SCALAR"}
    binary = VERTICES.astype("<f4").tobytes()
    accessors = [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}, indices]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    data = scene([{"mesh": 0}] * 1000, list(range(1000)), accessors=accessors, meshes=[{"primitives": [primitive] * 5000}])
    assert binary
    with pytest.raises(SignalError, match="its scene draws more than 65536 pieces"):
        read_shape(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999999999999999\n", "names the vertex"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "outside 0..2"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -4\n", "outside 0..2"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "counts from 1"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n", "no index"),
        (b"v 0 0\nv 1 0 0\n", "fewer than three"),
        (b"v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "1 of 3 vertices are not finite"),
        (b"v 0 0 0\nv 1 0 1e999\nv 0 1 0\nf 1 2 3\n", "not finite"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\n", "cut short"),
        (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2\n", "cut short"),
        (b"OFF\n3 50000000 0\n0 0 0\n", "50000000 faces, expected 8388608 at most"),
        (b"OFF\nBINARY 3 1 0\n", "convert"),
        (b"0 0 0\n1 0\n", "no point cloud"),
        (b"0 0 0\n1 0 x\n", "a number is expected"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\n", "no PLY header"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "no PLY header"),
        (b"ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n", "points, expected"),
        (ply("<", FACES.tolist())[:-1], "cut short"),
        (ply("", FACES.tolist())[:-3], "cut short"),
        (ply("<", [[0, 1, 2]]).replace(b"list uchar int", b"list uint int"), "cut short"),
        (ply("<", [[0, 1, 2]]).replace(b"list uchar int", b"list char double"), "cut short"),
        (ply("", [[0, 1, 2]]).replace(b"\n3 0", b"\n1000000000 0"), "cut short"),
        (ply("", [[0, 1, 2]]).replace(b"\n3 0", b"\n-1 0"), "cut short"),
        (ply(">", [[0, 1]]), "no faces of three corners"),
        (ply("<", [[0, 1, 9], [0, 1, 2, 3]]), "outside 0..3"),
        (encode_shape(WEDGE, ".stl")[:-10], "4 triangles announced, bytes for 3.8"),
        (b"binary STL".ljust(80) + (50_000_000).to_bytes(4, "little"), "50000000 faces, expected 8388608"),
        (b"", "empty"),
        (b"nothing of the kind", "no shape that can be read"),
        (b"\x89PNG\r\n", "no shape that can be read"),
    ],
)
def test_hostile_and_damaged_files(data: bytes, why: str, tmp_path: Path) -> None:
    suffix = ".stl" if data.startswith(b"binary STL") else format_of(data)
    with pytest.raises(SignalError, match=why) as caught:
        read_shape(data, f"a{suffix}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"a{suffix}" if suffix or data[:1] in (b"n", b"\x89", b"") else "")
    (tmp_path / f"b{suffix}").write_bytes(data)
    with pytest.raises(SignalError, match=why):
        read_shape(tmp_path / f"b{suffix}")


def test_fifty_million_faces_are_refused_by_what_a_file_announces(tmp_path: Path) -> None:
    with (tmp_path / "a.stl").open("wb") as file:
        file.write(b"big".ljust(80) + (50_000_000).to_bytes(4, "little"))
        file.truncate(84 + 50 * 50_000_000)  # sparse
    with pytest.raises(SignalError, match=r"a.stl: 50000000 faces, expected 8388608 at most; simplify it"):
        read_shape(tmp_path / "a.stl")
    head = ply("<", []).replace(b"face 0", b"face 50000000")
    with (tmp_path / "a.ply").open("wb") as file:
        file.write(head)
        file.truncate(2**31)
    with pytest.raises(SignalError, match="50000000 faces"):
        read_shape(tmp_path / "a.ply")
    with (tmp_path / "a.obj").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(SignalError, match="more than 536870912 bytes"):
        read_shape(tmp_path / "a.obj")


def test_no_other_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.mtl").write_text("newmtl a\nmap_Kd t.png\n")
    (tmp_path / "t.png").write_bytes(b"x")
    (tmp_path / "a.obj").write_bytes(b"mtllib m.mtl\nusemtl a\n" + encode_shape(WEDGE, ".obj"))
    (tmp_path / "a.ply").write_bytes(
        encode_shape(WEDGE, ".ply").replace(b"\nelement vertex", b"\ncomment TextureFile t.png\nelement vertex")
    )
    (tmp_path / "a.glb").write_bytes(
        scene([{"mesh": 0}], [0], images=[{"uri": "t.png"}], textures=[{"source": 0}], materials=[{"name": "a"}])
    )
    import trimesh.exchange.load  # noqa: F401  # what trimesh reads of itself when it starts is not meant
    from trimesh.exchange import gltf  # noqa: F401

    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and watching and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))

    import sys

    watching = False
    sys.addaudithook(watch)
    for name in ("a.obj", "a.ply", "a.glb"):
        read_shape(tmp_path / name)  # lazy imports are done
        watching = True
        found = read_noted(tmp_path / name)
        watching = False
        assert len(found.shape.vertices) == 4
        assert {Path(path).name for path in opened if str(tmp_path) in path} == {name}, opened
        opened.clear()
    assert read_noted(tmp_path / "a.obj").dropped == ("textures and materials",)


def test_pictures_in_a_file_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    import PIL.Image

    opened: list[object] = []
    monkeypatch.setattr(PIL.Image, "open", lambda *arguments, **options: opened.append(arguments))
    textured = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    found = read_noted(
        scene([{"mesh": 0}], [0], images=[{"bufferView": 0}], textures=[{"source": 0}], materials=[textured])
    )  # fmt: skip
    assert found.dropped == ("textures and materials",)
    assert not opened


@pytest.mark.skipif(not ODD.is_dir(), reason=f"needs {ODD}")
def test_all_odd_files_are_read_or_refused_in_one_line() -> None:
    refused: dict[str, str] = {}
    for path in sorted(ODD.iterdir()):
        try:
            found = read_shape(path)
        except SignalError as error:
            refused[path.name] = str(error).removeprefix(f"{path}: ")
        else:
            assert len(found.vertices)
            assert (found.faces is None) == ("cloud" in path.name)
            describe(found)
    assert all("\n" not in line and "/" not in line for line in refused.values()), refused
    assert set(refused) == {
        "empty-0-bytes.ply", "empty-comment-only.obj", "empty-no-elements.ply", "index-out-of-range.ply", "nan-and-inf-vertices.ply",
        "truncated.ply",
    }  # fmt: skip


@pytest.mark.skipif(not ODD.is_dir(), reason=f"needs {ODD}")
def test_a_scene_is_what_trimesh_makes_of_it() -> None:
    import trimesh

    expected = trimesh.load(ODD / "multi-part-transforms.glb", force="mesh", process=False)
    found = read_shape(ODD / "multi-part-transforms.glb")
    assert found.faces is not None
    assert found.faces.shape == expected.faces.shape
    assert np.allclose([found.vertices.min(0), found.vertices.max(0)], expected.bounds, atol=1e-9)
    joined = weld(Shape(np.asarray(expected.vertices), np.asarray(expected.faces)))
    assert surface_of(found).volume == pytest.approx(surface_of(joined).volume)


def test_what_a_mesh_is_like() -> None:
    assert describe(WEDGE) == ()
    assert surface_of(WEDGE).volume == pytest.approx(8 / 6)
    assert describe(CLOUD) == ()
    assert describe(Shape(VERTICES, FACES[:, ::-1].copy())) == ("inside out: its faces look inwards",)
    assert describe(Shape(VERTICES, FACES[1:])) == ("not watertight: 3 open edges",)
    turned = FACES.copy()
    turned[0] = turned[0][::-1]
    assert describe(Shape(VERTICES, turned)) == ("faces look to different sides across 3 edges",)
    more = np.concatenate([FACES, FACES[:1], [[0, 0, 1]]])
    assert describe(Shape(np.concatenate([VERTICES, VERTICES[:1]]), more)) == (
        "not watertight: 3 edges of three faces or more",
        "1 faces without area",
        "1 repeated faces",
        "1 vertices of no face",
    )
