"""Items of tar files, as WebDataset lays samples down. Only headers are read; each item is found again by its place."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smalti.codecs.media.files import reason
from smalti.prepare import remote
from smalti.prepare.inputs import Input
from smalti.tokenizers.errors import SignalError

if TYPE_CHECKING:
    from smalti.prepare.sources import Takes


def items(root: str, files: tuple[str, ...], takes: Takes, left_out: Counter[str]) -> Iterator[Input]:
    """The members that a model takes, in the order of the files and in them; labels and texts beside them are left out."""
    from smalti.prepare.sources import joined

    for name in files:
        place = joined(root, name)
        with remote.opened(place) as file:
            yield from _members(file, place, name, takes, left_out)


def _members(file: object, place: str, name: str, takes: Takes, left_out: Counter[str]) -> Iterator[Input]:
    size = file.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
    file.seek(0)  # type: ignore[attr-defined]
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # else all headers stay in memory
                if not member.isreg() or member.issparse() or os.path.basename(member.name).startswith("."):
                    continue
                if not 0 <= member.offset_data <= member.offset_data + member.size <= size:
                    raise SignalError(
                        f"{place}: cut short, {member.name} ends at {member.offset_data + member.size} of {size} bytes; get it again"
                    )
                model = takes.of_name(member.name)
                if model is None:
                    left_out[os.path.splitext(member.name)[1].lower() or "no ending"] += 1
                    continue
                yield Input(f"{_key(name)}/{member.name}", model, name, member.size, member.offset_data)
            _check_end(file, archive.offset, place)
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        hint = "; unpack a compressed one first (gunzip)" if name.endswith("gz") else ""
        raise SignalError(f"{place}: no tar file that can be read ({reason(error)}){hint}; get it again") from None


def _check_end(file: Any, offset: int, place: str) -> None:
    """SignalError unless the archive's end is marked where the members end: Python's reader takes a damaged header for the end too."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        raise SignalError(f"{place}: cut short, no end is marked after {offset} bytes; get it again, or append 1,024 bytes of zeros")
    if any(block):
        raise SignalError(f"{place}: damaged, no header of a member at byte {offset}; get it again")


def _key(name: str) -> str:
    return name.rpartition("://")[2]
