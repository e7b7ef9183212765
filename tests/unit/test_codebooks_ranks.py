"""Two processes: tables, seeds, revival and entropy averages are those of the whole batch, equal on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from torch import distributed as dist

from smalti.tokenizers import codebooks
from smalti.tokenizers.codebooks import LearnedVQConfig, ProjectedConfig, VQConfig, entropy, kmeans, ranks

TABLES: dict[str, Any] = {
    "vq": VQConfig(32, 4, decay=0.9),
    "kmeans": VQConfig(32, 4, init="kmeans"),
    "anchor": VQConfig(128, 4, revival="anchor", decay=0.9),
    "cosine": VQConfig(32, 4, cosine=True),
    "learned": LearnedVQConfig(32, 4, init="kmeans"),
    "projected": ProjectedConfig(VQConfig(32, 3), 4),
}
COUNTS = (48, 20)  # latents of each rank


def latents(step: int, rank: int) -> torch.Tensor:
    return 3 * rank + torch.randn(COUNTS[rank], 4, generator=torch.Generator().manual_seed(10 * step + rank))


def exact() -> VQConfig:
    """A table whose update has nothing random in it."""
    return VQConfig(8, 4, decay=0.5, revive_below=0.0)


def fixed() -> Any:
    book: Any = codebooks.build(exact()).train()
    book.table.copy_(torch.randn(8, 4, generator=torch.Generator().manual_seed(5)))
    return book


def work(rank: int, folder: str) -> None:
    """What each process does; tensors go to FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    out: dict[str, torch.Tensor] = {}
    for name, config in TABLES.items():
        torch.manual_seed(0)
        book: Any = codebooks.build(config).train()
        torch.manual_seed(100 + rank)  # what each draws on its own differs
        for step in range(4):
            z = book.bound(latents(step, rank))
            book.update(z, book.assign(z))
            out |= {f"{name}.{key} after step {step}": value.clone() for key, value in book.state_dict().items()}
    book = fixed()
    z = latents(0, rank)
    book.update(z, book.assign(z))
    out["exact"] = book.table

    logits = latents(1, 0)[rank * 10 : rank * 10 + 10].requires_grad_()
    loss = entropy.batch_entropy(logits, 4)
    loss.backward()
    out["entropy"], out[f"own.gradient{rank}"] = loss.detach(), logits.grad
    torch.manual_seed(rank)
    out["drawn"] = ranks.draw(latents(2, rank), 7)
    out["gathered"] = ranks.gather(latents(2, rank))
    out["nobody"] = ranks.gather(latents(2, rank)[:0])
    out["seeds"] = kmeans.seed(latents(3, rank)[: 5 * rank], 3).centres  # one rank has no latents
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_what_one_with_all_latents_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for key in first.keys() & second.keys():
        assert torch.equal(first[key], second[key]) or key == "entropy", f"{key} differs between ranks"

    z = torch.cat([latents(0, 0), latents(0, 1)])
    alone = fixed()
    alone.update(z, alone.assign(z))
    assert torch.allclose(first["exact"], alone.table, atol=1e-6)

    # vector-quantize-pytorch 1.32 throws the sum over ranks away: each has half its own average
    logits = latents(1, 0)[:20].requires_grad_()
    whole = entropy.batch_entropy(logits, 4)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert torch.allclose(first["entropy"], whole.detach(), atol=1e-5)
    assert torch.allclose(second["entropy"], whole.detach(), atol=1e-5)
    # the mean over ranks of what each passes back is the whole's: a rank's share is of 10 rows, the whole's of 20
    found = torch.cat([first["own.gradient0"], second["own.gradient1"]]) / 2
    assert torch.allclose(found, gradient, atol=1e-5)

    together = torch.cat([latents(2, 0), latents(2, 1)])
    assert torch.equal(first["gathered"], together)
    assert first["nobody"].shape == (0, 4)
    assert first["seeds"].shape == (3, 4)
    assert len(first["drawn"]) == 7
    assert all(any(torch.equal(row, other) for other in together) for row in first["drawn"])
    assert {int(row.mean() > 1.5) for row in first["drawn"]} == {0, 1}, "both ranks' latents are drawn"
    used = first["vq.counts after step 3"] > 0
    assert used.all()


def test_one_process_is_left_alone() -> None:
    assert not ranks.several()
    z = latents(0, 0)
    assert torch.equal(ranks.gather(z), z)
    assert ranks.mean(z) is z
    assert len(ranks.draw(z, 5)) == 5
