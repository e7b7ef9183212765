"""One shape through a tokenizer and into a file of so many bytes: processor seconds each way, in one run.

    python -m smalti.recipes.bench.shapes FILE [--model shape] [--bytes 256] [--json]

Compiled and loaded beforehand on a box, so that a first call's seconds do not count. `encode` is the layout that all shapes share,
`compress` the search for the nearest way within the bytes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import trimesh

from smalti.codecs.media.shapes import read_shape
from smalti.recipes.models import codec
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SmaltiError
from smalti.tokenizers.signals import Shape


def measured(model: str, shape: Shape, size: int) -> dict[str, float]:
    """Processor seconds of each step, and the bytes of the file."""
    by = codec(model)
    box = trimesh.creation.box()
    by.tokenizer.decode(by.tokenizer.encode([Shape(box.vertices, box.faces)]))
    found: dict[str, float] = {}
    began = time.process_time()
    tokens = by.tokenizer.encode([shape])
    found["encode_seconds"] = time.process_time() - began
    began = time.process_time()
    by.tokenizer.decode(tokens)
    found["decode_seconds"] = time.process_time() - began
    began = time.process_time()
    data = by.compress(shape, Target(bytes=size))
    found["compress_seconds"] = time.process_time() - began
    return {**found, "bytes": len(data)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.bench.shapes", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="shape")
    parser.add_argument("--bytes", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        shape = read_shape(given.file)
        found = measured(given.model, shape, given.bytes)
    except SmaltiError as error:
        raise SystemExit(f"shapes: {error}") from None
    faces = 0 if shape.faces is None else len(shape.faces)
    if given.json:
        print(json.dumps({"file": given.file.name, "faces": faces, **found}, indent=1))
        return
    print(f"{given.file.name}, {faces} faces, {given.model}: processor seconds")
    print(f"  encode {found['encode_seconds']:.1f}, decode {found['decode_seconds']:.2f}")
    print(f"  the nearest file within {given.bytes} bytes, of {found['bytes']:.0f}: {found['compress_seconds']:.1f}")


if __name__ == "__main__":
    main()
