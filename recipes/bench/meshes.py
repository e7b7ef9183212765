"""Meshes kept face by face, ours against Draco at equal bits of a coordinate: whole files, pooled, and the worst mesh.

    python -m smalti.recipes.bench.meshes ZIP [ZIP ...] [--model mesh] [--bits 7,8,10] [--json]

Ours: the file of the model with its own prior, checked: what decodes has, face for face, the coordinates that the grid gives, and as many
vertices. Draco: the shortest of levels 7, 8 and 10, needs DracoPy. Bits are of the cube's side (ours, up to 1.5 % longer than the box) and
of the box's longest side (Draco). Draco drops faces without area; how many it kept is not checked.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smalti.codecs.bitstream import write
from smalti.codecs.classical.draco import Draco
from smalti.codecs.neural import NeuralCodec, info_of
from smalti.codecs.priors import stored
from smalti.recipes.meshes import Named, meshes_of, triangles
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.shape import mesh_grid
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.shape.pose import pose_from
from smalti.tokenizers.signals import Shape

GROUPS = ((1, 799), (800, 3000), (3001, 1 << 30))  # faces


@dataclass(frozen=True)
class Case:
    """One mesh at some bits: bytes of whole files, and seconds of ours there and back."""

    name: str
    faces: int
    bits: int
    ours: int
    draco: int
    encode_seconds: float
    decode_seconds: float


def case(item: Named, bits: int, codec: NeuralCodec) -> Case:
    """Measured and checked; AssertionError where another mesh comes back."""
    shape = item.shape
    started = time.perf_counter()
    (tokens,) = Mesh(MeshConfig(bits)).encode([shape])
    data = write(tokens, codec.prior, info_of(codec.tokenizer, shape, tokens, codec.prior_id))
    middle = time.perf_counter()
    back = codec.decompress(data)
    ended = time.perf_counter()
    assert isinstance(back, Shape)
    assert back.faces is not None
    assert shape.faces is not None
    pose = pose_from(tokens.layout.signal)
    sent, got = (mesh_grid.quantized(pose, one.vertices, bits) for one in (shape, back))
    assert np.array_equal(mesh_grid.places(pose, got, bits), back.vertices), f"{item.name}: vertices off the grid"
    assert np.array_equal(triangles(sent, shape.faces), triangles(got, back.faces)), f"{item.name}: other faces came back"
    assert len(back.vertices) == len(np.unique(shape.faces)), f"{item.name}: {len(back.vertices)} vertices came back"
    rival = len(Draco().compress(shape, Target(quality=bits)))
    return Case(item.name, len(shape.faces), bits, len(data), rival, middle - started, ended - middle)


def table(cases: Sequence[Case]) -> list[str]:
    """Lines for people."""
    lines = ["faces        bits  meshes   ours B  Draco B   ratio  worst", "-" * 72]
    for low, high in GROUPS:
        for bits in sorted({c.bits for c in cases}):
            some = [c for c in cases if c.bits == bits and low <= c.faces <= high]
            if not some:
                continue
            ours, draco = sum(c.ours for c in some), sum(c.draco for c in some)
            worst = max(some, key=lambda c: c.ours / c.draco)
            span = f"{min(c.faces for c in some)}-{max(c.faces for c in some)}"
            lines.append(
                f"{span:12} {bits:4} {len(some):7} {ours:8} {draco:8}   {ours / draco:.3f}  {worst.ours / worst.draco:.3f} {worst.name}"
            )
    faces = sum(c.faces for c in cases)
    there, back = sum(c.encode_seconds for c in cases), sum(c.decode_seconds for c in cases)
    return [*lines, f"{faces / there:.0f} faces a second there, {faces / back:.0f} back, one thread; all {len(cases)} came back"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path, nargs="+")
    parser.add_argument("--model", default="mesh")
    parser.add_argument("--bits", default="7,8,10")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    info = zoo.find(options.model)
    codec = NeuralCodec(zoo.load_model(info), stored.load_default(info.folder / stored.DEFAULT, info.prior), default_prior=True)
    meshes = [item for path in options.meshes for item in meshes_of(path)]
    case(meshes[0], 8, codec)  # compiles
    cases = [case(item, bits, codec) for item in meshes for bits in map(int, options.bits.split(","))]
    print(json.dumps([asdict(c) for c in cases], indent=1) if options.json else "\n".join(table(cases)))


if __name__ == "__main__":
    main()
