"""The reader as torch's data sets.

dataset = TokenWindows(open_pack(FOLDER))                                       # for samplers of one's own
loader = DataLoader(TokenBatches(reader.batches(64), start=1000), batch_size=None, num_workers=4)     # resumes at step 1000
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from smalti.prepare.reader import Batches, PackReader


class TokenWindows(Dataset[torch.Tensor]):
    """Windows by number, int64 (length,) each, in the order of the stream."""

    def __init__(self, reader: PackReader, length: int | None = None) -> None:
        self.windows = reader.windows(length)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(self.windows[number])


class TokenBatches(IterableDataset[torch.Tensor]):
    """The batches of the steps from `start` on, to `stop` or without end: int64 (rows, length).

    Of several workers each takes every so manieth step, so that a DataLoader with batch_size=None gives them in order, however many there
    are. `batches.rank(rank, world)` makes the part of one process.
    """

    def __init__(self, batches: Batches, start: int = 0, stop: int | None = None) -> None:
        self.batches, self.start, self.stop = batches, start, stop

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        step, stride = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        while self.stop is None or step < self.stop:
            yield torch.from_numpy(self.batches[step])
            step += stride
