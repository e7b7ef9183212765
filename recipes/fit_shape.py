"""Fit the tokenizer `shape` to shapes: its linear basis, its prior. No gradient and no GPU: principal components, and counts.

    python -m smalti.recipes.fit_shape DATA [DATA ...] -o FOLDER [--cache FOLDER] [--components N ...] [--processes 2]

DATA: folders or zips of meshes and point clouds, or procedural:N. FOLDER: the model. --cache keeps distance fields, so that another fit, or
one that was broken off, computes none twice. Shapes that cannot be read are named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from smalti.codecs.priors import stored
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.shape import ShapePrior
from smalti.recipes.prime_prior import Progress
from smalti.recipes.shape_data import Source
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SignalError, SmaltiError
from smalti.tokenizers.shape.basis import FINENESSES, ShapeBasis, ShapeBasisConfig
from smalti.tokenizers.shape.field import field, grid_axis
from smalti.tokenizers.shape.linear import CLASSES, FAMILIES, LinearBasis, class_of, cosines, family_of
from smalti.tokenizers.shape.parts import fitted
from smalti.tokenizers.shape.pose import Pose, pose_of
from smalti.tokenizers.shape.primitives import NUMBERS, Primitives, distance
from smalti.tokenizers.signals import Shape

Array = np.ndarray
ORDER = 32  # cosine orders that are looked at
KEPT = 5000  # of their coefficients
PRICED = 0.4  # share of all ways that the prior is counted from
FIELD_REACH = 0.25  # of cached fields, so that a smaller reach can be tried without computing them again


@dataclass(frozen=True)
class Example:
    """One shape with one way of saying it. whole, known: float16 cosines of its field and of its primitives' field, order^3, flat."""

    whole: Array
    known: Array
    primitives: Array

    @property
    def kind(self) -> int:
        return class_of(len(self.primitives))


@dataclass(frozen=True)
class Work:
    """What one process is asked for; names, not shapes: they travel."""

    source: Source
    name: str
    config: ShapeBasisConfig
    cache: str


def examples_of(work: Work) -> tuple[str, list[Example]]:
    """(what was wrong, all ways of one shape)."""
    try:
        shape = work.source.read(work.name)
        pose = pose_of(shape)
        ways = [Primitives(np.zeros((0, NUMBERS), np.int64)), *fitted(pose.inwards(shape.vertices), shape.faces, work.config.counts)]
        values = _field(work, shape, pose)
    except SignalError as error:
        return f"{work.name}: {error}", []
    axis = grid_axis(work.config.side)
    whole = cosines(np.clip(values, -work.config.reach, work.config.reach), ORDER).ravel().astype(np.float16)
    out = []
    for way in ways:
        known = cosines(distance(way, (axis, axis, axis), work.config.reach), ORDER)
        out.append(Example(whole, known.ravel().astype(np.float16), way.numbers))
    return "", out


def _field(work: Work, shape: Shape, pose: Pose) -> Array:
    sha = hashlib.sha256(f"{FIELD_REACH} {work.config.side} ".encode())
    for array in (shape.vertices, shape.faces):
        sha.update(b"cloud" if array is None else np.ascontiguousarray(array).tobytes())
    key = sha.hexdigest()[:24]
    path = Path(work.cache) / f"{key}.npy"
    if work.cache and path.is_file():
        return np.load(path, allow_pickle=False).astype(np.float32)
    values, _ = field(shape, pose, work.config.side, FIELD_REACH)
    if work.cache:
        part = path.with_suffix(f".{multiprocessing.current_process().pid}.part.npy")
        np.save(part, values.astype(np.float16))
        part.replace(path)
    return values


def all_examples(places: Sequence[str], config: ShapeBasisConfig, cache: str, processes: int) -> Iterator[list[Example]]:
    """The ways of each shape, in order; what cannot be read is named on standard error."""
    works = [Work(source, name, config, cache) for source in map(Source, places) for name in source.names]
    progress = Progress("fields", len(works))
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) if processes else None
    with pool or contextlib.nullcontext():
        for done, (wrong, examples) in enumerate(pool.map(examples_of, works, chunksize=4) if pool else map(examples_of, works), 1):
            if wrong:
                print(wrong, file=sys.stderr)
            else:
                yield examples
            progress(done)


def expectation(examples: Sequence[Sequence[Example]]) -> tuple[Array, Array]:
    """(mean, gain), each (classes, ORDER^3): what a field is expected to be, given its primitives' field; by regression in each class."""
    size = ORDER**3
    sums = np.zeros((len(CLASSES), 5, size))
    for ways in examples:
        for way in ways:
            whole, known = way.whole.astype(np.float64), way.known.astype(np.float64)
            sums[way.kind] += np.stack([np.ones(size), known, whole, known * known, known * whole])
    count = np.maximum(sums[:, 0], 1)
    known, whole = sums[:, 1] / count, sums[:, 2] / count
    spread = sums[:, 3] / count - known**2
    # shrunk towards 1, which trusts the primitives: few shapes say something of a fine coefficient
    noise = np.median(spread, 1, keepdims=True) * 0.1 + 1e-12
    gain = (sums[:, 4] / count - known * whole + noise) / (spread + noise)
    return whole - gain * known, gain


def components(missing: Array, orders: Array, count: int) -> tuple[Array, list[Array], Array]:
    """(families (C,), unit rows by family, deviations (C,)) of what is missing (n, M), the largest first."""
    own = family_of(orders)
    found: list[tuple[float, int, Array]] = []
    for family in range(FAMILIES):
        part = missing[:, own == family].astype(np.float64)
        values, vectors = np.linalg.eigh(part.T @ part / len(part))
        found += [(float(value), family, vectors[:, i]) for i, value in enumerate(values)]
    found = sorted(found, key=lambda item: -item[0])[:count]
    families = np.array([family for _, family, _ in found], np.uint8)
    rows = [np.array([row for _, f, row in found if f == family]).reshape(-1, int((own == family).sum())) for family in range(FAMILIES)]
    return families, rows, np.sqrt(np.maximum([value for value, _, _ in found], 0))


def fit_basis(examples: Sequence[Sequence[Example]], count: int, kept: int) -> LinearBasis:
    """The basis of what primitives miss; every way of a shape counts alike."""
    mean, gain = expectation(examples)
    # over shapes and their mirror images it is 0 in odd families
    odd = family_of(np.stack(np.unravel_index(np.arange(ORDER**3), (ORDER,) * 3), 1)) > 0
    mean[:, odd] = 0
    ways = [way for shape in examples for way in shape]
    variance = np.zeros(ORDER**3)
    for way in ways:
        variance += (way.whole - (way.known * gain[way.kind] + mean[way.kind])) ** 2
    chosen = np.sort(np.argsort(-variance)[:kept])
    print(
        f"{kept} of {ORDER**3} cosine coefficients hold {variance[chosen].sum() / variance.sum():.4f} of what is missing", file=sys.stderr
    )
    orders = np.stack(np.unravel_index(chosen, (ORDER,) * 3), 1)
    mean, gain = mean[:, chosen], gain[:, chosen]
    missing = np.empty((len(ways), kept), np.float32)
    for row, way in zip(missing, ways, strict=True):
        row[:] = way.whole[chosen] - (way.known[chosen] * gain[way.kind] + mean[way.kind])
    families, rows, deviations = components(missing, orders, count)
    print(f"{count} components hold {(deviations**2).sum() * len(ways) / variance[chosen].sum():.4f} of that", file=sys.stderr)
    scales = np.empty(count)
    whole_rows = []
    for family, part in enumerate(rows):
        largest = np.abs(part).max(1, initial=1e-9) / 127
        scales[families == family] = largest
        whole_rows.append(np.rint(part / largest[:, None]).astype(np.float32))
    return LinearBasis(orders, mean, gain, families, tuple(whole_rows), scales, deviations)


def counts_of_scales(deviations: Array, step: float, scales: int) -> tuple[int, ...]:
    """How many components each scale has: those that deviate by more than a third of its step."""
    found = [int((deviations > 0.33 * step * 2.0**-scale).sum()) for scale in range(scales)]
    return tuple(int(n) for n in np.maximum.accumulate(np.clip(found, 8, len(deviations))))


def fit_prior(tokenizer: ShapeBasis, examples: Sequence[Sequence[Example]], mesh: MeshPrior) -> ShapePrior:
    """From the tokens of some ways of every shape, each at one fineness. mesh: for simplified meshes."""
    basis, rng = tokenizer.basis, np.random.default_rng(0)
    squares, seen = np.zeros((len(CLASSES), basis.count)), np.zeros(len(CLASSES))
    tokens = []
    layout = tokenizer.layout((("scale", 0), ("x", 0), ("y", 0), ("z", 0)))
    cube = (ORDER,) * 3
    for ways in examples:
        for way in ways:
            coefficients = basis.coefficients(way.whole.reshape(cube), way.known.reshape(cube), way.kind)
            squares[way.kind] += coefficients**2
            seen[way.kind] += 1
            if rng.random() < PRICED:
                tokens.append(tokenizer.tokens_of(layout, Primitives(way.primitives), coefficients, int(rng.integers(FINENESSES))))
    deviations = np.sqrt(squares / np.maximum(seen, 1)[:, None])
    levels = np.clip(np.rint(4 * np.log2(np.maximum(deviations, 1e-9) / tokenizer.config.step)), -120, 120).astype(np.int64)
    return ShapePrior.fit(tokens, levels, basis.families, CLASSES, mesh)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m smalti.recipes.fit_shape", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", nargs="+", help="folders or zips of shapes, or procedural:N")
    parser.add_argument("-o", "--output", required=True, help="folder of the model")
    parser.add_argument("--cache", default="", help="folder for distance fields")
    parser.add_argument("--components", type=int, default=1200, help="of the basis (1200)")
    parser.add_argument("--kept", type=int, default=KEPT, help=f"cosine coefficients ({KEPT})")
    parser.add_argument("--reach", type=float, default=0.15, help="where distances are cut off, in half sides (0.15)")
    parser.add_argument("--step", type=float, default=0.008, help="of the first scale (0.008)")
    parser.add_argument("--scales", type=int, default=5, help="each of half the step (5)")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(argv)
    try:
        _run(given)
    except SmaltiError as error:
        print(f"fit_shape: {error}", file=sys.stderr)
        return 2
    return 0


def fit(
    places: Sequence[str], config: ShapeBasisConfig, count: int, kept: int = KEPT, cache: str = "", processes: int = 0
) -> tuple[ShapeBasis, ShapePrior, int]:
    """(tokenizer, its prior, number of shapes). config: whose scales are as many as its `components`, which are chosen here. count: of the
    basis. processes: 0 for none beside this one. Simplified meshes are coded as the shipped `mesh` codes."""
    examples = list(all_examples(places, config, cache, processes))
    basis = fit_basis(examples, count, kept)
    config = replace(config, components=(*counts_of_scales(basis.deviations, config.step, len(config.components))[:-1], count))
    # what is stored is what is used: rounded before the prior is fitted
    tokenizer = ShapeBasis(config, basis)
    tokenizer = ShapeBasis.from_tensors(config, tokenizer.tensors(), tokenizer.fingerprint, "shape")
    mesh = MeshPrior.load(zoo.find("mesh").folder / stored.DEFAULT)
    return tokenizer, fit_prior(tokenizer, examples, mesh), len(examples)


def _run(given: argparse.Namespace) -> None:
    if given.cache:
        Path(given.cache).mkdir(parents=True, exist_ok=True)
    config = ShapeBasisConfig(reach=given.reach, step=given.step, components=(given.components,) * given.scales)
    tokenizer, prior, shapes = fit(given.data, config, given.components, given.kept, given.cache, given.processes)
    print(f"scales of {', '.join(map(str, tokenizer.config.components))} components", file=sys.stderr)
    info = zoo.save(tokenizer, Path(given.output), prior=prior, half=False)
    print(f"{info.folder}: {info.bytes} bytes, {shapes} shapes", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
