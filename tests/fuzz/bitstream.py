"""Fuzz the reader of `.smt` files with atheris, guided by the paths that it takes.

    pip install -c constraints.txt -e '.[fuzz]'
    PYTHONPATH=. python tests/fuzz/bitstream.py FOLDER [-runs=N] [-max_total_time=SECONDS]

FOLDER holds files to start from, as tests/golden does; further arguments are libFuzzer's. Without a limit it runs until it finds an
error, and leaves what caused it as `crash-*` in the working folder.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

# the compiled kernels come later, when they are first used: numba cannot read what atheris makes of a function
with atheris.instrument_imports(include=["smalti.codecs.bitstream"]):
    from smalti.recipes.bench.hostile_files import mended, mutated, read_all


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    files = [path.read_bytes() for path in sorted(folder.glob("*.smt"))]
    if not files:
        raise SystemExit(f"{folder}: no .smt file to start from; name a folder that holds some, as tests/golden does")

    def one(data: bytes) -> None:
        read_all(mended(data))

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutated([data, *files], rng)[:most] if len(data) > 8 and rng.random() < 0.7 else atheris.Mutate(data, most)

    for data in files:
        read_all(data)  # kernels are compiled before the clock of libFuzzer runs
    settings = ["-timeout=60", "-rss_limit_mb=2048", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *settings, *sys.argv[2:]], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
