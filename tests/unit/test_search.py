"""Search: every path gives what a brute force in float64 gives, whatever the table, the chunks and the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smalti.tokenizers.codebooks import search
from smalti.tokenizers.codebooks.search import blocked, kernel
from smalti.tokenizers.errors import UsageError

Nearest = Callable[[Tensor, Tensor], Tensor]
PATHS = [pytest.param(kernel.nearest, id="kernel"), pytest.param(blocked.nearest, id="blocked")]


def brute_force(z: Tensor, table: Tensor) -> Tensor:
    """Of equal entries the first: argmin of torch promises none."""
    distances = torch.stack([(row.double() - table.double()).square().sum(1) for row in z])
    equal = distances == distances.min(1, keepdim=True).values
    return torch.where(equal, torch.arange(len(table)), len(table)).min(1).values


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("nearest", PATHS)
@pytest.mark.parametrize(
    ("count", "dim", "size"),
    [(1, 1, 1), (1, 8, 5), (15, 3, 2), (16, 1, 4), (17, 2, 4097), (129, 8, 1000), (300, 31, 515), (64, 256, 70), (40, 1100, 130)],
)
def test_the_nearest_entry_is_found_in_every_shape(nearest: Nearest, count: int, dim: int, size: int) -> None:
    z, table = normal(count, dim), normal(size, dim, seed=1)
    found = nearest(z, table)
    assert found.dtype == torch.int64
    assert torch.equal(found, brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
def test_no_rows_have_no_indices(nearest: Nearest) -> None:
    found = nearest(torch.empty(0, 4), normal(9, 4))
    assert found.shape == (0,)
    assert found.dtype == torch.int64


@pytest.mark.parametrize("nearest", PATHS)
def test_each_entry_finds_itself(nearest: Nearest) -> None:
    table = normal(3001, 4)
    assert torch.equal(nearest(table, table), torch.arange(3001))


@pytest.mark.parametrize("nearest", PATHS)
@pytest.mark.parametrize("offset", [3.0, -300.0])
def test_the_nearest_entry_is_exact_far_from_the_origin(nearest: Nearest, offset: float) -> None:
    table, z = offset + 0.015 * normal(1024, 8, seed=1), offset + 0.015 * normal(512, 8)
    plain = torch.addmm(table.square().sum(1), z, table.t(), alpha=-2).argmin(1)
    expected = brute_force(z, table)
    assert int((plain != expected).sum()) >= 10  # the trap is there
    assert torch.equal(nearest(z, table), expected)


@pytest.mark.parametrize("nearest", PATHS)
def test_latents_far_from_the_table_find_the_nearest_entry(nearest: Nearest) -> None:
    z, table = 1000 + normal(100, 8), normal(900, 8, seed=1)
    assert torch.equal(nearest(z, table), brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
def test_entries_that_float32_cannot_tell_apart_are_decided_in_float64(nearest: Nearest) -> None:
    """Each entry has a twin elsewhere in the table, off by a last bit in one dimension."""
    table = normal(2600, 6, seed=1)
    twins = table.clone()
    twins[:, 2] = torch.nextafter(twins[:, 2], torch.tensor(torch.inf))
    table = torch.cat([table, twins])[torch.randperm(5200, generator=torch.Generator().manual_seed(2))]
    z = normal(300, 6)
    assert torch.equal(nearest(z, table), brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
@pytest.mark.parametrize("distinct", [1, 2, 700])
def test_of_equal_entries_the_lowest_index_is_taken(nearest: Nearest, distinct: int) -> None:
    table = normal(distinct, 3, seed=1).repeat(2101 // distinct, 1)
    found = nearest(normal(50, 3), table)
    assert torch.equal(found, brute_force(normal(50, 3), table))
    assert int(found.max()) < distinct


@pytest.mark.parametrize("nearest", PATHS)
def test_entries_equally_far_on_both_sides_are_a_tie(nearest: Nearest) -> None:
    table = torch.tensor([[3.0], [1.0], [-1.0], [1.0]])
    assert nearest(torch.tensor([[0.0], [2.0], [-5.0]]), table).tolist() == [1, 0, 2]


@pytest.mark.parametrize("nearest", PATHS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_searched_as_they_are(nearest: Nearest, dtype: torch.dtype) -> None:
    z, table = normal(200, 5).to(dtype), normal(600, 5, seed=1).to(dtype)
    assert torch.equal(nearest(z, table), brute_force(z, table))
    assert torch.equal(nearest(z, table.float()), brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
def test_float64_is_not_rounded_before_the_decision(nearest: Nearest) -> None:
    table = torch.tensor([[1.0], [1.0 + 1e-12], [-1.0]], dtype=torch.float64)
    assert nearest(torch.tensor([[2.0], [0.0]], dtype=torch.float64), table).tolist() == [1, 0]


@pytest.mark.parametrize("nearest", PATHS)
def test_latents_that_are_not_numbers_get_index_0_and_leave_others_alone(nearest: Nearest) -> None:
    z, table = normal(40, 3), normal(100, 3, seed=1)
    expected = brute_force(z, table)
    z[3, 1], z[17, 0], z[18] = torch.nan, torch.inf, -torch.inf
    expected[[3, 17, 18]] = 0
    assert torch.equal(nearest(z, table), expected)


@pytest.mark.parametrize("nearest", PATHS)
def test_scores_that_overflow_are_decided_in_float64(nearest: Nearest) -> None:
    z, table = 1e25 * normal(20, 3), 1e25 * normal(200, 3, seed=1)
    assert torch.equal(nearest(z, table), brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
def test_rows_that_lie_apart_in_memory_are_read_where_they_lie(nearest: Nearest) -> None:
    z, table = normal(6, 50).t(), normal(12, 80, seed=1)[::2].t()
    assert torch.equal(nearest(z, table), brute_force(z, table))


@pytest.mark.parametrize("nearest", PATHS)
def test_one_at_a_time_equals_all_at_once(nearest: Nearest) -> None:
    z, table = normal(70, 4), normal(200, 4, seed=1).repeat(2, 1)
    assert torch.equal(torch.cat([nearest(row, table) for row in z.split(1)]), nearest(z, table))


@pytest.mark.parametrize("threads", [2, 3, 50])
def test_threads_share_the_rows(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    z, table = normal(500, 4), normal(200, 4, seed=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(kernel, "THREAD_FROM", 1)
    assert torch.equal(kernel.nearest(z, table), brute_force(z, table))


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had that any operation made."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = result if isinstance(result, tuple | list) else [result]
        self.numbers = max(self.numbers, *(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor)), 0)
        return result


@pytest.mark.parametrize("distinct", [300, 3])
def test_the_matrix_of_distances_is_never_held(monkeypatch: pytest.MonkeyPatch, distinct: int) -> None:
    z, table = normal(400, 4), normal(distinct, 4, seed=1).repeat(300 // distinct, 1)
    monkeypatch.setattr(blocked, "CHUNK_ELEMENTS", 3000)
    monkeypatch.setattr(blocked, "PAIR_ELEMENTS", 1000)
    with Largest() as largest:
        found = blocked.nearest(z, table)
    assert 1200 <= largest.numbers <= 3000  # 400 x 300 is 120,000
    assert torch.equal(found, brute_force(z, table))


def test_search_is_in_float32_under_autocast_and_without_gradient() -> None:
    z, table = normal(512, 8).requires_grad_(), normal(1024, 8, seed=1).requires_grad_()
    expected = brute_force(z.detach(), table.detach())
    for nearest in (search.nearest, blocked.nearest):
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(nearest(z, table), expected)


@pytest.mark.parametrize(("z", "table"), [((3, 4), (5, 3)), ((4,), (5, 4)), ((3, 4), (0, 4)), ((3, 0), (5, 0)), ((2, 3, 4), (5, 4))])
def test_shapes_that_do_not_fit_are_refused(z: tuple[int, ...], table: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="needs latents"):
        search.nearest(torch.zeros(z), torch.zeros(table))
