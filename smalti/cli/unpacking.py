"""What the token files of a command hold: each of them one signal, or an archive, whose items become jobs of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smalti.archives import SignalArchive, open_archive
from smalti.cli.files import PIPE, Job, name_of, read
from smalti.cli.signals import ENDINGS, known
from smalti.codecs.bitstream import is_archive
from smalti.codecs.bitstream.names import restored
from smalti.codecs.media.files import AUDIO_SUFFIXES, FILM_SUFFIXES, IMAGE_SUFFIXES, SHAPE_SUFFIXES, open_file
from smalti.tokenizers.errors import BitstreamError, SmaltiError, UsageError

SUFFIXES = (*IMAGE_SUFFIXES, *AUDIO_SUFFIXES, *FILM_SUFFIXES, *SHAPE_SUFFIXES)


@dataclass(frozen=True)
class Unpacked:
    """The jobs of archives' items. said: a line on each archive that is damaged, and each name that is not followed."""

    jobs: tuple[Job, ...]
    said: tuple[str, ...]


class Inputs:
    """The sources of a command. State: what came through standard input, which is read once, and the archive that was opened last."""

    def __init__(self, model: str | None, device: str, prior: str) -> None:
        self._with = model, device, prior
        self._piped: bytes | None = None
        self._opened: tuple[str, SignalArchive] | None = None

    def data(self, source: str) -> bytes:
        """The bytes of a source."""
        if source != PIPE:
            return read(source)
        if self._piped is None:
            self._piped = read(PIPE)
        return self._piped

    def is_archive(self, source: str) -> bool:
        """Whether a source is an archive; one that cannot be read is none, which is said when it is decoded."""
        if source == PIPE:
            return is_archive(self.data(PIPE))
        try:
            with open_file(source) as file:
                return is_archive(file.read(6))
        except SmaltiError:
            return False

    def archive(self, source: str) -> SignalArchive:
        """An archive; the last one is kept."""
        if self._opened is None or self._opened[0] != source:
            from smalti import api

            self._opened = source, api.with_name(name_of(source), lambda: self._archive(source))
        return self._opened[1]

    def _archive(self, source: str) -> SignalArchive:
        return SignalArchive(self.data(PIPE), *self._with) if source == PIPE else open_archive(source, *self._with)

    def modality(self, source: str, number: int) -> str | None:
        """Of an item; None where it is damaged."""
        try:
            return known(self.archive(source).file(number, lenient=True).streams[0].modality)
        except BitstreamError:
            return None


def unpacked(jobs: Sequence[Job], inputs: Inputs, out: str | None, key: str | None, alone: bool) -> Unpacked:
    """The jobs with those of items in the place of those of archives, whose targets are folders.

    key: the number or name of the one item that is wanted, else all are. alone: the one source is no folder, so that `out` is the archive's
    folder, or with a key the item's file. UsageError where a key names nothing, or a place is missing.
    """
    if key is not None and not (alone and inputs.is_archive(jobs[0].source)):
        raise UsageError(f"{name_of(jobs[0].source)}: --key is for one archive; leave it out")
    found: list[Job] = []
    said: list[str] = []
    for job in jobs:
        if not inputs.is_archive(job.source):
            found.append(job)
            continue
        archive, name = inputs.archive(job.source), name_of(job.source)
        said += [f"{name}: {problem}" for problem in archive.problems]
        numbers = list(archive.numbers) if key is None else [_number(archive, key, name)]
        if key is not None and out is not None and not _is_folder(out):
            found.append(Job(job.source, out, numbers[0]))
            continue
        if PIPE in (out, job.target):
            raise UsageError(f"{name}: an archive of {len(archive)} items; name a folder for them with -o, or one of them with --key")
        root = Path(out) if alone and out is not None else Path(job.target)
        endings = [ENDINGS[inputs.modality(job.source, number) or "image"] for number in numbers]
        items = [(number, archive.name(number), ending) for number, ending in zip(numbers, endings, strict=True)]
        for number, place in zip(numbers, restored(items, SUFFIXES), strict=True):
            found.append(Job(job.source, str(root / place.path), number))
            said += [f"{name}: item {number}: {place.problem}"] if place.problem else []
    return Unpacked(tuple(found), tuple(said))


def _number(archive: SignalArchive, key: str, name: str) -> int:
    """The item of that name, or else of that number."""
    from smalti import api

    if key.isascii() and key.isdigit() and len(key) < 10 and key not in archive.names:
        return api.with_name(name, lambda: archive.number(int(key)))
    return api.with_name(name, lambda: archive.number(key))


def _is_folder(out: str) -> bool:
    return out.endswith(("/", "\\")) or Path(out).is_dir()
