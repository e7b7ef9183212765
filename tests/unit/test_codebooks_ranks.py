"""Two processes: tables, seeds, revival, entropy averages, whitening and centring are those of the whole batch, equal on both."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from torch import distributed as dist

from smalti.tokenizers import codebooks, quantizers
from smalti.tokenizers.codebooks import BSQConfig, IBQConfig, LearnedVQConfig, LFQConfig, ProjectedConfig, VQConfig, entropy, kmeans, ranks
from smalti.tokenizers.errors import SmaltiError
from smalti.tokenizers.nets.centring import StepCentring
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers import SingleConfig

TABLES: dict[str, Any] = {
    "vq": VQConfig(32, 4, decay=0.9),
    "kmeans": VQConfig(32, 4, init="kmeans"),
    "anchor": VQConfig(128, 4, revival="anchor", decay=0.9),
    "cosine": VQConfig(32, 4, cosine=True),
    "learned": LearnedVQConfig(32, 4, init="kmeans"),
    "projected": ProjectedConfig(VQConfig(32, 3), 4),
}
ENTROPIES: dict[str, Any] = {
    "lfq": LFQConfig(4, commitment=0.0, temperature=1.0, group_bits=3),
    "bsq": BSQConfig(4, temperature=1.0, group_bits=3),
    "ibq": IBQConfig(8, 4, commitment=0.0, temperature=1.0),
}
COUNTS = (48, 20)  # latents of each rank
SPLIT = [14, 6]
PATIENCE = timedelta(seconds=60)  # a rank that waits for one that never comes fails, and does not hang


def latents(step: int, rank: int) -> torch.Tensor:
    return 3 * rank + torch.randn(COUNTS[rank], 4, generator=torch.Generator().manual_seed(10 * step + rank))


def exact() -> VQConfig:
    """A table whose update has nothing random in it."""
    return VQConfig(8, 4, decay=0.5, revive_below=0.0)


def fixed() -> Any:
    book: Any = codebooks.build(exact()).train()
    book.table.copy_(torch.randn(8, 4, generator=torch.Generator().manual_seed(5)))
    return book


def own_loss(config: Any, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """The entropy loss of some rows, its gradient with respect to them, and those of parameters."""
    torch.manual_seed(3)
    book: Any = codebooks.build(config).train()
    z = rows.clone().requires_grad_()
    bound = book.bound(z)
    loss = book.loss(bound, bound.detach())
    loss.backward()
    assert z.grad is not None
    return z.grad, loss.detach(), {name: parameter.grad for name, parameter in book.named_parameters()}


def refusals(rank: int) -> dict[str, torch.Tensor]:
    """Whether a quantizer refuses what rank 1 alone has, and its table once both go on."""
    torch.manual_seed(0)
    quantizer: Any = quantizers.build(SingleConfig(exact())).train()
    good = latents(0, 0).reshape(4, 4, 12)
    out: dict[str, torch.Tensor] = {}
    for name, bad in {"empty": good[:0], "nan": good * torch.nan, "narrow": good[:, :3]}.items():
        try:
            quantizer(bad if rank else good)
        except SmaltiError:
            out[f"refused.{name}"] = torch.tensor(1)
    quantizer(good)
    return out | {f"went on.{key}": value for key, value in quantizer.state_dict().items()}


def work(rank: int, folder: str) -> None:
    """What each process does; tensors go to FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=PATIENCE)
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

    logits = latents(1, 0)[:20].split(SPLIT)[rank].requires_grad_()
    loss = entropy.entropy_loss(logits, 0.5, 3)
    loss.backward()
    out["entropy"], out[f"own.gradient{rank}"] = loss.detach(), logits.grad
    for name, config in ENTROPIES.items():
        for rows in SPLIT, (20, 0):
            z, loss, gradients = own_loss(config, latents(1, 0)[:20].split(rows)[rank])
            kind = f"{name} {rows[1]}"
            out |= {kind: loss, f"own.{kind}.z{rank}": z} | {f"own.{kind}.{key}.{rank}": value for key, value in gradients.items()}
    whitening = Whitening(4).train()
    for step in range(3):
        whitening(latents(step, rank)[:, :, None, None])
    out |= {"mean": whitening.mean, "covariance": whitening.covariance}
    centring = StepCentring(2, 2, momentum=0.4).train()
    for step in range(4):
        centring(latents(step, rank).reshape(-1, 2, 2)[: None if step else 20 * rank])  # one rank has no lines in the first step
    out["step means"] = centring.mean
    torch.manual_seed(rank)
    out["drawn"] = ranks.draw(latents(2, rank), 7)
    out["gathered"] = ranks.gather(latents(2, rank))
    out["nobody"] = ranks.gather(latents(2, rank)[:0])
    out["seeds"] = kmeans.seed(latents(3, rank)[: 5 * rank], 3).centres  # one rank has no latents
    out |= refusals(rank)
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_learn_what_one_with_all_latents_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    losses = {"entropy", *(f"{name} {rows}" for name in ENTROPIES for rows in (6, 0))}
    for key in first.keys() & second.keys() - losses:
        assert torch.equal(first[key], second[key]), f"{key} differs between ranks"

    z = torch.cat([latents(0, 0), latents(0, 1)])
    alone = fixed()
    alone.update(z, alone.assign(z))
    assert torch.allclose(first["exact"], alone.table, atol=1e-6)

    # vector-quantize-pytorch 1.32 throws the sum over ranks away: each has half its own average
    logits = latents(1, 0)[:20].requires_grad_()
    whole = entropy.entropy_loss(logits, 0.5, 3)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert torch.allclose(first["entropy"], whole.detach(), atol=1e-5)
    assert torch.allclose(second["entropy"], whole.detach(), atol=1e-5)
    # the mean over ranks of what each passes back is the whole's
    found = torch.cat([first["own.gradient0"], second["own.gradient1"]]) / 2
    assert torch.allclose(found, gradient, atol=1e-5)
    check_entropies(first, second)
    check_whitening(first)
    check_centring(first)

    together = torch.cat([latents(2, 0), latents(2, 1)])
    assert torch.equal(first["gathered"], together)
    assert first["nobody"].shape == (0, 4)
    assert first["seeds"].shape == (3, 4)
    assert len(first["drawn"]) == 7
    assert all(any(torch.equal(row, other) for other in together) for row in first["drawn"])
    assert {int(row.mean() > 1.5) for row in first["drawn"]} == {0, 1}, "both ranks' latents are drawn"
    assert {"refused.empty", "refused.nan", "refused.narrow"} <= first.keys(), "rank 0 does not wait for a rank that has raised"
    assert first.keys() >= {key for key in second if key.startswith(("refused", "went on"))}
    used = first["vq.counts after step 3"] > 0
    assert used.all()


def check_entropies(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Loss and gradients are those of one process with all rows, also where one of two has no rows."""
    for name, config in ENTROPIES.items():
        gradient, whole, parameters = own_loss(config, latents(1, 0)[:20])
        for kind in f"{name} 6", f"{name} 0":
            assert torch.allclose(first[kind], whole, atol=1e-5), kind
            assert torch.allclose(second[kind], whole, atol=1e-5), kind
            found = torch.cat([first[f"own.{kind}.z0"], second[f"own.{kind}.z1"]]) / 2
            assert torch.allclose(found, gradient, atol=1e-5), kind
            for key, value in parameters.items():
                found = (first[f"own.{kind}.{key}.0"] + second[f"own.{kind}.{key}.1"]) / 2
                assert torch.allclose(found, value, atol=1e-5), kind


def check_whitening(first: dict[str, torch.Tensor]) -> None:
    """Running statistics are those of one process with all latents."""
    whitening = Whitening(4).train()
    for step in range(3):
        whitening(torch.cat([latents(step, 0), latents(step, 1)])[:, :, None, None])
    assert torch.allclose(first["mean"], whitening.mean, atol=1e-6)
    assert torch.allclose(first["covariance"], whitening.covariance, atol=1e-5)


def check_centring(first: dict[str, torch.Tensor]) -> None:
    """Running means of steps are those of one process with all lines."""
    centring = StepCentring(2, 2, momentum=0.4).train()
    for step in range(4):
        lines = [latents(step, rank).reshape(-1, 2, 2) for rank in range(2)]
        centring(torch.cat(lines) if step else lines[1])
    assert torch.allclose(first["step means"], centring.mean, atol=1e-6)


def test_one_process_is_left_alone() -> None:
    assert not ranks.several()
    z = latents(0, 0)
    assert torch.equal(ranks.gather(z), z)
    assert torch.equal(ranks.mean(z.sum(0), len(z)), z.sum(0) / len(z))
    assert torch.equal(ranks.mean(z[:0].sum(0), 0), torch.zeros(4))
    assert len(ranks.draw(z, 5)) == 5
