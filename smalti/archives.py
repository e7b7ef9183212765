"""Many pictures, sounds, films or shapes in one `.smt` file: made, opened, and read one by one.

data = smalti.compress_archive({"cat.jpg": "photos/cat.jpg", "dog.jpg": "photos/dog.jpg"}, bits_per_pixel=0.05)
archive = smalti.open_archive(data)                 # or a path
picture = archive.decompress("dog.jpg")             # or its number, 1
names = archive.names
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from smalti import api
from smalti.api import DEFAULT_MODEL
from smalti.codecs import films
from smalti.codecs.bitstream import Archive, File, Whole, check_applied, recover, write_archive
from smalti.codecs.bitstream.names import key_of
from smalti.codecs.bitstream.wire import MAX_PAYLOAD
from smalti.codecs.media.files import MAX_FILE_BYTES, open_file
from smalti.codecs.neural import NeuralCodec
from smalti.media import AnySignal, PathOrBytes, default_model
from smalti.opened import Opened, the_stream
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

_FILE_ROOM = 300  # bytes of a chunk beside the file in it, at most
_TOGETHER = 16  # signals that are encoded together


class SignalArchive:
    """An archive of pictures, sounds, films or shapes. Items are named by their number, from 0, or by name: the first one of that name.

    data: its bytes, or an open seekable file, of which then no more than the index and the wanted items are read. Where its index is
    damaged, all of it is read and items are found without. problems: a line on each thing that is wrong with the archive itself; whether an
    item is whole shows when it is read. model, device, prior: as for `smalti.decompress`. Raises BitstreamError where nothing can be found.
    """

    def __init__(
        self,
        data: bytes | BinaryIO,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        prior: str | os.PathLike[str] = "",
    ) -> None:
        self.problems: tuple[str, ...] = ()
        try:
            self.items = Archive(data)
        except BitstreamError as error:
            self.items, _ = recover(data if isinstance(data, bytes) else _all(data))
            if not len(self.items):
                raise
            self.problems = self.items.problems or (str(error),)
        self._with = model, device, prior
        self._kept: dict[tuple[bytes, bytes, bool], Opened] = {}

    def __len__(self) -> int:
        """How many items were written; of an archive without its index, one more than the last that was found: `numbers` were."""
        return len(self.items)

    @property
    def numbers(self) -> Iterator[int]:
        """Of the items that were found, ascending."""
        return self.items.numbers

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all items, "" for one that has none or is damaged."""
        found = [""] * len(self)
        for number in self.numbers:
            found[number] = self.name(number)
        return tuple(found)

    @cached_property
    def _numbered(self) -> dict[str, int]:
        """The first number of each name."""
        return {name: number for number, name in reversed(list(enumerate(self.names))) if name}

    def name(self, number: int) -> str:
        """The name of one item, "" where it has none or is damaged."""
        try:
            return self.items.salvaged(number)[0]
        except BitstreamError:
            return ""

    def number(self, key: int | str) -> int:
        """The number of an item by itself or by its name; UsageError where there is none."""
        if isinstance(key, str):
            found = self._numbered.get(key)
            if found is None:
                raise UsageError(f"no item of the {len(self)} in this archive has the name {key!r}; `smalti info` lists them")
            return found
        if not 0 <= key < len(self):
            raise UsageError(f"there is no item {key}; this archive has {len(self)}, counted from 0")
        return key

    def file(self, number: int, lenient: bool = False) -> File:
        """An item, checked and not decoded. lenient: what is left of a damaged one, as far as its own chunks are whole."""
        return (self.items.salvaged(number) if lenient else self.items.item(number))[1]

    def opened(self, number: int, lenient: bool = False) -> Opened:
        """An item with what its tokens need; models and priors are looked for once."""
        file = self.file(number, lenient)
        info = the_stream(file)
        if len(file.streams) > 1:  # a film with its sound
            return api.opened(file, *self._with)
        key = info.fingerprint, info.prior_id, info.layout is None
        if key not in self._kept:
            self._kept[key] = api.opened(file, *self._with)
        return replace(self._kept[key], file=file, info=info)

    def tokens(self, key: int | str, stages: int | None = None) -> Tokens:
        """The tokens of an item, as `smalti.open` gives those of a file."""
        number = self.number(key)

        def tokens() -> Tokens:
            found = self.opened(number)
            check_applied(found.info, films.APPLIED if found.info.modality == "video" else ())
            return found.tokens(stages)

        return api.with_name(title(number, self.name(number)), tokens)

    def decompress(
        self,
        key: int | str,
        stages: int | None = None,
        start: float | None = None,
        end: float | None = None,
        conceal: bool = False,
    ) -> AnySignal:
        """The picture, sound, film or shape of an item, as `smalti.decompress` gives that of a file."""
        number = self.number(key)
        lenient = conceal or start is not None or end is not None
        return api.with_name(title(number, self.name(number)), lambda: self.opened(number, lenient).signal(stages, start, end, conceal))


def title(number: int, name: str) -> str:
    """What messages call an item."""
    return f"item {number} ({name})" if name else f"item {number}"


def open_archive(
    source: PathOrBytes,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    prior: str | os.PathLike[str] = "",
) -> SignalArchive:
    """An archive from a path or its bytes, as `compress_archive` or `smalti tokenize --archive` writes it; model, device, prior as for
    `smalti.decompress`. A path's file stays open as long as the archive is in use, and is read only where it must be. Raises BitstreamError
    for what is none.
    """
    if isinstance(source, bytes) or not isinstance(source, str | os.PathLike):
        whole = api.data_of(source)
        return api.with_name(source, lambda: SignalArchive(whole, model, device, prior))
    with ExitStack() as stack:
        file = stack.enter_context(open_file(source))
        data: bytes | BinaryIO = file if file.seekable() else file.read(MAX_FILE_BYTES)
        found = api.with_name(source, lambda: SignalArchive(data, model, device, prior))
        weakref.finalize(found, stack.pop_all().close)
    return found


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BitstreamError(f"more than {MAX_FILE_BYTES} bytes and no index that can be read")
    return data


def compress_archive(
    signals: Mapping[str, AnySignal | PathOrBytes] | Iterable[AnySignal | PathOrBytes],
    model: str | os.PathLike[str] | None = None,
    *,
    bytes: int | None = None,
    bits_per_pixel: float | None = None,
    kbps: float | None = None,
    stages: int | None = None,
    device: str = "auto",
    tone_passes: int | None = None,
    allocate: bool = True,
) -> bytes:
    """Pictures, sounds, films (without their sound) or shapes, or the files of them, as the bytes of one archive, in this order.

    signals: by name; without names, files get their own. Names are printable, at most 255 bytes of UTF-8. model: by default that of
    `smalti.compress` for the first signal. The target, at most one, and the other arguments are those of `smalti.compress`, for each item
    as if it were a file of its own. Raises as that does, naming the item.
    """
    target = Target(bytes=bytes, bits_per_pixel=bits_per_pixel, kbps=kbps, stages=stages)
    named = _named(signals)
    if model is None:
        first = next(named, None)
        model = DEFAULT_MODEL if first is None else default_model(first[2])
        named = chain([first] if first is not None else [], named)
    codec = api.codec(model, device, tone_passes=tone_passes, allocate=allocate)
    draft = ArchiveDraft()
    while group := list(islice(named, _TOGETHER)):
        given = [_read(called, signal, model) for called, _, signal in group]
        for (called, key, _), signal, tokens in zip(group, given, codec.encode(given, target), strict=True):
            api.with_name(called, partial(_put, draft, key, codec, signal, tokens, target))
    return draft.data()


class ArchiveDraft:
    """An archive that is being made, of files of one signal. State: the items so far, as their bytes."""

    def __init__(self) -> None:
        self._items: list[Whole] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, data: bytes, key: str) -> int:
        """One more item; returns its number. UsageError where it is too large; whether all together are, `data` tells at the latest."""
        if len(data) > MAX_PAYLOAD - _FILE_ROOM:
            raise UsageError(
                f"{len(data)} bytes, and an item of an archive has {MAX_PAYLOAD - _FILE_ROOM} at most; write a file of its own"
            )
        if self._size + len(data) > MAX_FILE_BYTES - _FILE_ROOM:
            raise UsageError(f"with it the archive has more than {MAX_FILE_BYTES} bytes, which no release reads; write several archives")
        self._items.append(Whole(data, key))
        self._size += len(data)
        return len(self._items) - 1

    def data(self) -> bytes:
        """The bytes of the archive; UsageError where nobody would read so many."""
        made = write_archive(self._items)
        if len(made) > MAX_FILE_BYTES:
            raise UsageError(f"the archive has {len(made)} bytes, and releases read {MAX_FILE_BYTES}; write several archives")
        return made


def _read(called: str, signal: AnySignal | PathOrBytes, model: str | os.PathLike[str]) -> AnySignal:
    return signal if isinstance(signal, AnySignal) else api.with_name(called, lambda: api.read_for(model, signal))


def _put(draft: ArchiveDraft, key: str, codec: NeuralCodec, signal: AnySignal, tokens: Tokens, target: Target) -> None:
    draft.add(codec.pack(tokens, signal.notes if isinstance(signal, Image) else (), target, signal), key)


def _named(
    signals: Mapping[str, AnySignal | PathOrBytes] | Iterable[AnySignal | PathOrBytes],
) -> Iterator[tuple[str, str, AnySignal | PathOrBytes]]:
    """(what messages call it, name, signal) of each."""
    if isinstance(signals, str | bytes | os.PathLike | AnySignal):
        raise UsageError("an archive is made of a mapping or a list of signals; found one alone: smalti.compress is for that")
    if isinstance(signals, Mapping):
        yield from ((title(i, key), key, signal) for i, (key, signal) in enumerate(signals.items()))
        return
    for i, signal in enumerate(signals):
        name = key_of(Path(Path(signal).name)) if isinstance(signal, str | os.PathLike) else ""
        yield title(i, name), name, signal
