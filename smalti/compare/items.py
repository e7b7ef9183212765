"""What is compared on: signals of one kind, found from files, folders, zips of shapes, or `pages:N`."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from smalti.codecs.media.files import (
    AUDIO_SUFFIXES,
    FILM_SUFFIXES,
    IMAGE_SUFFIXES,
    MAX_FILE_BYTES,
    SHAPE_SUFFIXES,
    list_files,
    open_file,
)
from smalti.compare.results import Item, Rate
from smalti.media import modality_of
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video

SUFFIXES = {"image": IMAGE_SUFFIXES, "audio": AUDIO_SUFFIXES, "video": FILM_SUFFIXES, "shape": SHAPE_SUFFIXES}
NAMES = {"image": "pictures", "audio": "sounds", "video": "films", "shape": "shapes"}
RATES = {
    "image": Rate("bits per pixel", "8 * bytes of the whole file / (height * width)", 8.0),
    "audio": Rate("kbps", "8 * bytes of the whole file / seconds of the original / 1000", 0.008),
    "video": Rate("bits per pixel", "8 * bytes of the whole file / (frames * height * width)", 8.0),
    "shape": Rate("bytes per shape", "bytes of the whole file", 1.0),
}
_BLOCK = 2**20


@dataclass(frozen=True)
class Source:
    """One signal: small, since it travels between processes. id: what reports call it. member: of a zip."""

    id: str
    kind: str
    path: str
    member: str = ""

    def read(self) -> Signal:
        """The signal; of a film its pictures alone, frame by frame. SignalError where it cannot be read."""
        if self.kind == "audio":
            from smalti.codecs.media.audio import read_audio

            return read_audio(self.path)
        if self.kind == "video":
            from smalti.codecs.media.video import read_video

            return read_video(self.path, sound=False)
        if self.kind == "shape":
            from smalti.codecs.media.shapes import read_shape

            return read_shape(self._member(), self.id) if self.member else read_shape(self.path)
        from smalti.codecs.media.images import read_image

        return replace(read_image(self.path), notes=())

    def sha256(self) -> str:
        """Of the file, in hex; SignalError where it cannot be read."""
        if self.member:
            return hashlib.sha256(self._member()).hexdigest()
        digest = hashlib.sha256()
        with open_file(self.path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _member(self) -> bytes:
        try:
            with zipfile.ZipFile(self.path) as file, file.open(self.member) as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
            raise SignalError(f"{self.path}: {self.member} cannot be read ({error}); get the zip again") from None
        if len(data) > MAX_FILE_BYTES:
            raise SignalError(f"{self.path}: {self.member} has more than {MAX_FILE_BYTES} bytes, expected fewer; make it smaller")
        return data


def find(data: Sequence[str], limit: int | None = None) -> list[Source]:
    """The signals of all that was named, in its order; folders sorted by path. limit: the first so many.

    UsageError where nothing is found, or signals are of several kinds.
    """
    if not data:
        raise UsageError("nothing to compare on; name files or folders of pictures, sounds, films or shapes")
    found = [source for place in data for source in (_of(place))]
    kinds = sorted({source.kind for source in found})
    if not found:
        raise UsageError(f"{', '.join(data)}: no picture, sound, film or shape in there; name another folder")
    if len(kinds) > 1:
        some = ", ".join(f"{sum(s.kind == kind for s in found)} {NAMES[kind]}" for kind in kinds)
        raise UsageError(f"{some}: one report is of one kind; name the files or folders of one, and run again for the other")
    return _named(found)[:limit]


def _of(place: str) -> list[Source]:
    path = Path(place)
    if path.is_dir():
        files = [(file, kind) for kind, suffixes in SUFFIXES.items() for file in list_files(path, suffixes)]
        ordered = sorted(files, key=lambda pair: pair[0].parts)
        return [Source(file.relative_to(path).as_posix(), kind, str(file)) for file, kind in ordered]
    if path.suffix.lower() == ".zip":
        return _members(path)
    if not path.exists():
        raise SignalError(f"{place}: no such file or folder; check the name")
    return [Source(path.name, modality_of(place), place)]


def _members(path: Path) -> list[Source]:
    """The shapes of a zip."""
    try:
        with zipfile.ZipFile(path) as file:
            names = sorted(name for name in file.namelist() if Path(name).suffix.lower() in SHAPE_SUFFIXES)
    except (OSError, zipfile.BadZipFile) as error:
        raise SignalError(f"{path}: no zip that can be read ({error}); get it again") from None
    return [Source(name, "shape", str(path), name) for name in names]


def _named(sources: Iterable[Source]) -> list[Source]:
    """With ids that differ: of files of one name in two folders, the second gets a number. A file that is named twice counts once."""
    out: list[Source] = []
    seen: set[tuple[str, str]] = set()
    taken: dict[str, int] = {}
    for source in sources:
        place = (str(Path(source.path).resolve()), source.member)
        if place in seen:
            continue
        seen.add(place)
        count = taken[source.id] = taken.get(source.id, 0) + 1
        out.append(source if count == 1 else replace(source, id=f"{source.id} ({count})"))
    return out


def describe(source: Source) -> Item:
    """The item of a report: size, units and hash; SignalError where it cannot be read. A film's frames are counted."""
    digest = source.sha256()
    signal = source.read()
    if isinstance(signal, Image):
        return Item(source.id, digest, {"height": float(signal.height), "width": float(signal.width)}, float(signal.height * signal.width))
    if isinstance(signal, Audio):
        size = {"seconds": signal.seconds, "rate": float(signal.rate), "channels": float(signal.samples.shape[0])}
        return Item(source.id, digest, size, signal.seconds)
    if isinstance(signal, Shape):
        size = {"vertices": float(len(signal.vertices)), "faces": float(0 if signal.faces is None else len(signal.faces))}
        return Item(source.id, digest, size, 1.0)
    return _described_film(source, digest, signal)


def _described_film(source: Source, digest: str, film: Video) -> Item:
    count, height, width = 0, 0, 0
    for pixels in film.frames:
        height, width = pixels.shape[:2]
        count += 1
    if not count:
        raise SignalError(f"{source.path}: a film without frames; leave it out")
    rate = film.timing if isinstance(film.timing, Fraction) else _mean_rate(film.timing, count)
    size = {"frames": float(count), "height": float(height), "width": float(width), "fps": float(rate)}
    return Item(source.id, digest, size, float(count * height * width))


def _mean_rate(times: Sequence[Fraction], count: int) -> Fraction:
    from smalti.codecs.media.video_files.timing import mean_rate

    return mean_rate(times, count)
