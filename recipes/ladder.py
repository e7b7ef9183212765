"""A ladder of rates from one picture model: its tables clustered into fewer entries, encoder and decoder as they are.

    python -m smalti.recipes.ladder MODEL SIZE... -o FOLDER [--data DIR] [--force] [--device cpu] [--json]

For each SIZE a model folder FOLDER/NAME-SIZE/1 whose tables have at most SIZE entries (Extreme VQGAN, see `codebooks/ladder.py`); smaller
ones stay as they are. With --data entries weigh as much as they are used on these pictures, and tables of probabilities are fitted to
their tokens; without, by what training kept, and tokens are coded uniformly. Encoder and decoder don't learn on: that is
`smalti train RECIPE init=FOLDER/NAME-SIZE/1`. Levels are clustered one by one: a coarser first level leaves the second more to code than
its table was made for.

-m takes such a folder, and SMALTI_MODELS=FOLDER makes all of them known by name. Exit code 1: some pictures could not be read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.codecs.media.files import list_images
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.prime_prior import tokenize
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import IBQConfig, LearnedVQConfig, SimVQConfig, VQConfig
from smalti.tokenizers.codebooks.ladder import TABLES, reduced
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridNet
from smalti.tokenizers.quantizers.grouped import books
from smalti.tokenizers.zoo import ModelInfo

TABLE_CONFIGS = (VQConfig, LearnedVQConfig, SimVQConfig, IBQConfig)


@dataclasses.dataclass(frozen=True)
class Rung:
    """A model folder that was made. tables: entries of each stage. prior: hex id, "" for uniform coding."""

    size: int
    folder: str
    fingerprint: str
    tables: tuple[int, ...]
    prior: str
    bytes: int


def table_of(book: nn.Module) -> Any:
    """The table that a codebook is or holds; None for FSQ, LFQ and BSQ."""
    return next((module for module in book.modules() if isinstance(module, TABLES)), None)


def use(tokenizer: ImageGrid, files: Sequence[Path]) -> tuple[dict[nn.Module, Tensor], int]:
    """How often these pictures use each entry of each table, once more than counted, and how many of them could be read."""
    tokens = tokenize(tokenizer, files, mirrored=False)
    counts: dict[nn.Module, Tensor] = {}
    for stage, book in enumerate(books(tokenizer.net.quantizer)):
        found = np.bincount(np.concatenate([item.arrays[stage].ravel() for item in tokens]), minlength=book.size)
        if (table := table_of(book)) is not None:
            counts[table] = torch.from_numpy(found + 1.0).float().to(tokenizer.device)  # 0 would let unused entries fall together
    return counts, len(tokens)


def smaller(tokenizer: ImageGrid, size: int, counts: dict[nn.Module, Tensor]) -> ImageGrid:
    """The same model with tables of at most `size` entries. counts: as from `use`, or empty. Random draws have a seed of their own."""
    net = ImageGridNet(_with_size(tokenizer.config, size))
    before = tokenizer.net.state_dict()
    fitting = {key: before[key] for key, value in net.state_dict().items() if value.shape == before[key].shape}
    net.load_state_dict(fitting, strict=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for old, new in zip(tokenizer.net.modules(), net.modules(), strict=True):
            if isinstance(old, TABLES) and old.size > size:
                new.load_state_dict(reduced(old, size, counts.get(old))[0].state_dict())
    return ImageGrid(net, name=f"{tokenizer.name}-{size}", device=str(tokenizer.device))


def _with_size(config: Any, size: int) -> Any:
    """A config with every table in it, at any depth, of at most `size` entries."""
    if isinstance(config, tuple):
        return tuple(_with_size(item, size) for item in config)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    if isinstance(config, TABLE_CONFIGS):
        return dataclasses.replace(config, codebook_size=min(size, config.codebook_size))
    return dataclasses.replace(
        config, **{field.name: _with_size(getattr(config, field.name), size) for field in dataclasses.fields(config)}
    )


def make(
    model: str, sizes: Sequence[int], out: Path, data: Path | None = None, force: bool = False, device: str = "cpu"
) -> tuple[list[Rung], int]:
    """The rungs, and how many pictures could not be read. UsageError where a size does not fit or a folder exists."""
    info = zoo.find(model)
    tokenizer = zoo.load_model(info, device)
    if not isinstance(tokenizer, ImageGrid):
        raise UsageError(f"{model}: a ladder is made of models of the kind image-grid, found {info.kind}")
    _check_sizes(model, tokenizer, sizes)
    stem = info.folder.resolve().parent.name if info.folder.name.isdecimal() else info.folder.resolve().name
    folders = {size: out / f"{stem}-{size}" / "1" for size in sizes}
    for folder in folders.values():
        if (folder / "config.json").exists() and not force:
            raise UsageError(f"{folder} exists; --force writes over it, -o names another place")
    files = list_images(data) if data else []
    if data and not files:
        raise UsageError(f"{data}: no pictures in there; name another folder")
    for folder in folders.values():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: the folder cannot be made ({error.strerror}); choose another with -o") from None
    counts, read = use(tokenizer, files) if files else ({}, 0)
    rungs = []
    for size, folder in folders.items():
        print(f"clustering to {size} entries", file=sys.stderr)
        rungs.append(_write(smaller(tokenizer, size, counts), size, folder, info, files))
    return rungs, len(files) - read


def _check_sizes(model: str, tokenizer: ImageGrid, sizes: Sequence[int]) -> None:
    found = list(books(tokenizer.net.quantizer))
    tables = [table.size for book in found if (table := table_of(book)) is not None]
    if not tables:
        kinds = ", ".join(sorted({book.config.kind for book in found}))
        raise UsageError(f"{model}: its codebooks ({kinds}) have no table to cluster; train them with fewer levels or bits instead")
    for size in sizes:
        if not 2 <= size < max(tables):
            raise UsageError(f"{model}: tables of {max(tables)} entries can be brought to 2 to {max(tables) - 1}, asked for {size}")


def _write(tokenizer: ImageGrid, size: int, folder: Path, info: ModelInfo, files: Sequence[Path]) -> Rung:
    prior = StaticPrior.fit(tokenize(tokenizer, files, mirrored=False)) if files else ""
    tables = tuple(book.size for book in books(tokenizer.net.quantizer))
    coded = f"entries weighed and probabilities fitted on {len(files)} pictures" if files else "coded uniformly"
    summary = f"{info.name} with tables of at most {size} entries, {coded}"
    card = f"# {tokenizer.name}\n\n{summary}. Encoder and decoder are those of {info.name}; not measured yet, see `smalti evaluate`.\n"
    about = {"summary": summary, "licence": info.licence}
    saved = zoo.save(tokenizer, folder, prior, _is_half(tokenizer), card, about)
    return Rung(size, str(folder), zoo.load(str(folder)).fingerprint, tables, saved.prior, saved.bytes)


def _is_half(tokenizer: ImageGrid) -> bool:
    """Whether the weights are numbers that float16 has, as those of stored models are: then they are stored so again, unchanged."""
    tensors = tokenizer.tensors()
    with np.errstate(over="ignore"):
        return all(np.array_equal(tensors[name].astype(np.float16), tensors[name]) for name in tokenizer.parameter_names())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where some pictures could not be read, 2 where nothing was made."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.ladder", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="name, name@number or folder")
    parser.add_argument("sizes", type=int, nargs="+", metavar="size", help="entries of each table at most")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the model folders")
    parser.add_argument("--data", type=Path, help="folder of pictures that say how entries are used")
    parser.add_argument("--force", action="store_true", help="write over model folders that exist")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    given = parser.parse_args(arguments)
    try:
        rungs, missed = make(given.model, list(dict.fromkeys(given.sizes)), given.out, given.data, given.force, given.device)
    except SmaltiError as error:
        print(f"ladder: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([dataclasses.asdict(rung) for rung in rungs], indent=1))
    for rung in [] if given.json else rungs:
        print(f"{rung.folder}: tables of {', '.join(map(str, rung.tables))} entries, {rung.bytes / 1e6:.1f} MB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
