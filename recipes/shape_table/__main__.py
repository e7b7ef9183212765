"""A model of shapes beside its rivals at equal bytes of whole files.

    python -m smalti.recipes.shape_table DATA [--train TRAIN] [--model shape] [--bytes 64 --bytes 128 --bytes 256] [-o FILE] [--json]

DATA: meshes to judge on, a folder or a zip. TRAIN: the shapes that the rival "nearest training shape" knows; without it ours alone is
measured, and --without meshes, scales or primitives leaves ways out. Of each shape and number of
bytes: F-score at 2 % and 1 % of the longest side and Chamfer L1 (100,000 points to the surface itself), ours and the best of all rivals of
that very shape. FILE keeps what is done, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.recipes.prime_prior import Progress
from smalti.recipes.shape_data import Source
from smalti.recipes.shape_table.measuring import FAMILIES, WAYS, row_of, start
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SmaltiError, UsageError

BYTES = (64, 128, 256)


def table(rows: Sequence[dict[str, Any]], sizes: Sequence[int]) -> str:
    """Means over shapes, in Markdown; the last lines compare with the best rival of each shape by that very number, where bootstrap over
    shapes gives the 95 % interval of the ratio of means."""
    lines = ["| bytes | way | F 2 % | F 1 % | Chamfer | bytes, mean |", "|---|---|---|---|---|---|"]
    for size in sizes:
        of = [row[str(size)] for row in rows]
        if FAMILIES[0] not in of[0]:
            lines.append(_line(size, "ours", [r["ours"] for r in of]))
            continue
        best = [max((r[f] for f in FAMILIES), key=lambda s: s["f2"]) for r in of]
        nearest = [min((r[f] for f in FAMILIES), key=lambda s: s["chamfer"]) for r in of]
        lines += [_line(size, way, [r[way] for r in of]) for way in ("ours", *FAMILIES)]
        lines.append(_line(size, "best rival of each", best, nearest))
        lines.append(_ratios(size, of, best, nearest))
        fits = [r for r in of if r["draco"]["bytes"]]
        if 0 < len(fits) < len(of):
            some = [max((r[f] for f in FAMILIES), key=lambda s: s["f2"]) for r in fits]
            close = [min((r[f] for f in FAMILIES), key=lambda s: s["chamfer"]) for r in fits]
            lines.append(_ratios(f"{size}, the {len(fits)} that Draco fits", fits, some, close))
    if found := [row["ceiling"] for row in rows if "ceiling" in row]:
        f2, f1 = np.mean(found, 0)
        lines.append(
            f"\nTwo samplings of 100,000 points of one shape, point to point, have an F-score of {f2:.4f} at 2 % and {f1:.4f} at 1 %."
        )
    return "\n".join(lines)


def _line(size: int, way: str, found: Sequence[dict[str, Any]], nearest: Sequence[dict[str, Any]] | None = None) -> str:
    f2, f1, used = (np.mean([s[key] for s in found]) for key in ("f2", "f1", "bytes"))
    chamfer = np.mean([s["chamfer"] for s in nearest or found])
    return f"| {size} | {way} | {f2:.3f} | {f1:.3f} | {chamfer:.4f} | {used:.0f} |"


def _ratios(title: object, of: Sequence[dict[str, Any]], best: Sequence[dict[str, Any]], nearest: Sequence[dict[str, Any]]) -> str:
    ours = np.array([[r["ours"]["f2"], r["ours"]["chamfer"]] for r in of])
    theirs = np.array([[b["f2"], n["chamfer"]] for b, n in zip(best, nearest, strict=True)])
    take = np.random.default_rng(0).integers(0, len(of), (2000, len(of)))
    parts = []
    for k, name in enumerate(("F 2 %", "Chamfer")):
        ratio = ours[:, k].mean() / theirs[:, k].mean()
        low, high = np.percentile(ours[take, k].mean(1) / theirs[take, k].mean(1), [2.5, 97.5])
        parts.append(f"{name} {ratio:.3f} x ({low:.3f} to {high:.3f})")
    return f"| {title} | ours / best rival of each | {parts[0]} |  | {parts[1]} |  |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m smalti.recipes.shape_table", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", help="folder or zip of meshes to judge on")
    parser.add_argument("--train", default="", help="folder or zip of the training shapes; without it no rivals are measured")
    parser.add_argument("--without", action="append", choices=sorted(WAYS), help="leave ways of saying a shape out; may be repeated")
    parser.add_argument("--model", default="shape", help="name or folder (shape)")
    parser.add_argument("--bytes", type=int, action="append", help="of whole files at most; may be repeated (64, 128, 256)")
    parser.add_argument("-o", "--output", default="", help="JSON file of all rows; what it holds is not measured again")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="rows on standard output")
    given = parser.parse_args(argv)
    try:
        rows = _rows(given)
    except SmaltiError as error:
        print(f"shape_table: {error}", file=sys.stderr)
        return 2
    print(json.dumps(rows, indent=1) if given.json else table(rows, given.bytes or BYTES))
    return 0


def _rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    sizes, source, kept = given.bytes or BYTES, Source(given.data), Path(given.output) if given.output else None
    made_by = {
        "model": zoo.fingerprint_of(zoo.find(given.model)),
        "without": sorted(given.without or ()),
        "train": Path(given.train).name,
        "data": Path(given.data).name,
    }
    rows: dict[str, dict[str, Any]] = {}
    if kept is not None and kept.is_file():
        found = json.loads(kept.read_text())
        if found["made_by"] != made_by:
            raise UsageError(f"{kept}: rows of another run ({found['made_by']}, this is {made_by}); name another file")
        rows = {row["name"]: row for row in found["rows"]}
    left = [name for name in source.names if name not in rows or any(str(size) not in rows[name] for size in sizes)]
    progress = Progress("shapes", len(left))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, context, start, (given.model, given.train, given.without or ())) as pool:
        for done, row in enumerate(pool.map(row_of, [source] * len(left), left, [sizes] * len(left)), 1):
            rows[row["name"]] = row
            if kept is not None:
                write_atomically(kept, json.dumps({"made_by": made_by, "rows": list(rows.values())}).encode())
            progress(done)
    return [rows[name] for name in source.names]


if __name__ == "__main__":
    sys.exit(main())
