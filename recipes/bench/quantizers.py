"""How fast codebooks are beside their rivals, and how much memory they take: searching, quantizing, a step of training.

    python -m smalti.recipes.bench.quantizers [--json] [--runs 7]

Medians of seven runs, after one that warms up, in which all contenders for a shape take turns, so that what else the machine does hits
all alike. Memory is the growth of the resident peak over what the process held before, each contender in a process of its own (Linux).
Exit code 1 where a bar is missed, with --json too. What exceeds the memory is measured on a share of the rows and multiplied; its name
says so. Rivals: vector-quantize-pytorch (its eval or training forward, as it comes), FAISS's IndexFlatL2
(table already in the index), addmm + argmin in chunks, and the matrix product alone, which finds nothing. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.recipes.bench.bars import Bar, report

RUNS = 7
CHUNK_ELEMENTS = 2**22  # scores of the rivals made of torch alone: 16 MiB
PEER = "vector-quantize-pytorch"
ONE_GROUP = "training LFQ, one group"  # the batch's entropy is that of whole codes, as the peer's; by default ours is that of 9 bits twice
LFQ = ("training LFQ", ONE_GROUP)


@dataclass(frozen=True)
class Case:
    """rows vectors of dim numbers into a table of size entries; dim bits where 2^dim is the size and there is no table."""

    part: str  # "search", "inference", "training", "training LFQ", "training LFQ, one group"
    rows: int
    dim: int
    size: int


@dataclass(frozen=True)
class Contender:
    """Something to call again and again, and the share of the rows that it is given where all of them exceed the memory."""

    name: str
    prepare: Callable[[Case], Callable[[], object]]
    share: int = 1

    @property
    def label(self) -> str:
        """The name, and how its numbers were made where they were not measured on all rows."""
        return self.name if self.share == 1 else f"{self.name}, 1/{self.share} of the rows, times {self.share}"


@dataclass(frozen=True)
class Row:
    """A contender's median in seconds and the memory that it needs."""

    case: Case
    name: str
    seconds: float
    mebibytes: float


def latents(case: Case) -> Any:
    """Rows of the normal distribution, float32 (rows, dim)."""
    import torch

    return torch.randn(case.rows, case.dim, generator=torch.Generator().manual_seed(0))


def table(case: Case) -> Any:
    """Entries of the same distribution, (size, dim)."""
    import torch

    return torch.randn(case.size, case.dim, generator=torch.Generator().manual_seed(1))


def our_search(case: Case) -> Callable[[], object]:
    from smalti.tokenizers.codebooks import search

    return functools.partial(search.nearest, latents(case), table(case))


def faiss_search(case: Case) -> Callable[[], object]:
    import faiss
    import torch

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(case.dim)
    index.add(table(case).numpy())
    return functools.partial(index.search, latents(case).numpy(), 1)


def chunked_search(case: Case) -> Callable[[], object]:
    import torch

    z, entries = latents(case), table(case)

    def run() -> object:
        offsets = entries.square().sum(1)
        parts = z.split(max(1, CHUNK_ELEMENTS // case.size))
        return torch.cat([torch.addmm(offsets, part, entries.t(), alpha=-2).argmin(1) for part in parts])

    return run


def product(case: Case) -> Callable[[], object]:
    z, entries = latents(case), table(case)

    def run() -> None:
        for part in z.split(max(1, CHUNK_ELEMENTS // case.size)):
            part @ entries.t()

    return run


def _quantizer(case: Case) -> Any:
    """Ours: a grid of one codebook."""
    from smalti.tokenizers import codebooks, quantizers

    if case.part == "training LFQ":
        config: codebooks.CodebookConfig = codebooks.LFQConfig(bits=case.dim)
    elif case.part == ONE_GROUP:
        config = codebooks.LFQConfig(bits=case.dim, group_bits=case.dim)
    else:
        config = codebooks.VQConfig(case.size, case.dim)
    return quantizers.Single(quantizers.SingleConfig(config))


def our_inference(case: Case) -> Callable[[], object]:
    import torch

    quantizer, z = _quantizer(case).eval(), latents(case).t()[None]
    return torch.no_grad()(functools.partial(quantizer, z))


def our_training(case: Case) -> Callable[[], object]:
    quantizer, z = _quantizer(case).train(), latents(case).t()[None].requires_grad_()

    def run() -> None:
        result = quantizer(z)
        (result.z_q.square().mean() + sum(result.losses.values())).backward()

    return run


def _peer(case: Case) -> Any:
    import vector_quantize_pytorch

    if case.part in LFQ:
        return vector_quantize_pytorch.LFQ(dim=case.dim, codebook_size=case.size)
    return vector_quantize_pytorch.VectorQuantize(case.dim, case.size)


def peer_inference(case: Case) -> Callable[[], object]:
    import torch

    return torch.no_grad()(functools.partial(_peer(case).eval(), latents(case)[None]))


def peer_training(case: Case) -> Callable[[], object]:
    quantizer, z = _peer(case).train(), latents(case)[None].requires_grad_()

    def run() -> None:
        z_q, _, loss = quantizer(z)
        (z_q.square().mean() + loss.sum()).backward()

    return run


SHAPES = ((16384, 8, 1024), (16384, 8, 16384), (16384, 32, 8192), (16384, 256, 1024), (4096, 8, 65536))
PARTS = {
    "search": (
        Contender("ours", our_search),
        Contender("FAISS", faiss_search),
        Contender("chunked addmm", chunked_search),
        Contender("product alone", product),
    ),
    "inference": (Contender("ours", our_inference), Contender(PEER, peer_inference)),
    "training": (Contender("ours", our_training), Contender(PEER, peer_training)),
    # all 2^18 probabilities of 4096 rows are 4 GiB, and the peer's gradient needs several such tensors
    **{part: (Contender("ours", our_training), Contender(PEER, peer_training, share=16)) for part in LFQ},
}
CASES = [Case(part, *shape) for part in ("search", "inference", "training") for shape in SHAPES]
CASES += [Case(part, 4096, 18, 2**18) for part in LFQ]


def measure(case: Case, runs: int = RUNS) -> list[Row]:
    """A row of the table for each contender, ours first."""
    contenders = PARTS[case.part]
    peaks = [contender.share * _alone(case, i) for i, contender in enumerate(contenders)]
    calls = [contender.prepare(_share(case, contender)) for contender in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    for run in range(runs + 1):
        for call, found in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            found += [time.perf_counter() - started] if run else []
    medians = [contender.share * statistics.median(found) for contender, found in zip(contenders, seconds, strict=True)]
    return [Row(case, contender.label, *numbers) for contender, *numbers in zip(contenders, medians, peaks, strict=True)]


def _share(case: Case, contender: Contender) -> Case:
    return Case(case.part, case.rows // contender.share, case.dim, case.size)


def _alone(case: Case, contender: int) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(peak, case, contender).result()


def peak(case: Case, contender: int) -> float:
    """MiB that a call needs at most beyond what the process holds with the inputs ready and everything loaded and compiled."""
    chosen = PARTS[case.part][contender]
    small = Case(case.part, 64, case.dim, case.size if case.part in LFQ else 64)
    importlib.import_module("numba")  # not loaded for small searches, and no part of what a call needs
    chosen.prepare(small)()
    call = chosen.prepare(_share(case, chosen))
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the peak becomes what is held now
    before = _peak()
    call()
    return _peak() - before


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts in bytes


def bars(rows: Iterable[Row]) -> list[Bar]:
    """What the numbers must fulfil."""
    by_case: dict[Case, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case, {})[row.name] = row
    found = []
    for case, named in by_case.items():
        ours, peer = named["ours"], next((row for name, row in named.items() if name.startswith(PEER)), None)
        what = f"{case.part} {_shape(case)}"
        if case.part == "search":
            fastest = min(named["FAISS"].seconds, named["chunked addmm"].seconds)
            found.append(Bar(f"{what}: the faster of FAISS and chunked addmm / ours", fastest / ours.seconds, ">=", 0.9))
        least = {"inference": 4.0, "training": 5.0, **dict.fromkeys(LFQ, 10.0)}.get(case.part)
        if peer and least and (case.part != "training" or case.size >= 8192):
            found.append(Bar(f"{what}: {PEER} / ours", peer.seconds / ours.seconds, ">=", least))
        if case.part in LFQ or (case.part != "training" and case.size >= 65536):
            found.append(Bar(f"{what}: MiB", ours.mebibytes, "<=", 64.0))
    return found


def _shape(case: Case) -> str:
    return f"({case.rows}, {case.dim}, {case.size})"


def _print(rows: list[Row]) -> None:
    for row in rows:
        times = f"{row.seconds / rows[0].seconds:>7.2f}x"
        print(f"{row.case.part:<23} {_shape(row.case):<18} {row.name:<52} {row.seconds:>9.4f} {times} {row.mebibytes:>7.1f}", flush=True)


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="codebooks beside their rivals: seconds and memory")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"per contender (default {RUNS})")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"{'':<23} {'(N, D, K)':<18} {'':<52} {'seconds':>9} {'of ours':>8} {'MiB':>7}")
    rows = []
    for case in CASES:
        rows += (measured := measure(case, arguments.runs))
        if not arguments.json:
            _print(measured)
    return report(rows, bars(rows), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
