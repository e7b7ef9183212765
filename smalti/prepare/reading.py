"""An item's file as the signal that its model takes. Made for several threads; what lies in tables is read by one at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from smalti.prepare import remote
from smalti.prepare.inputs import Input
from smalti.prepare.sources import joined
from smalti.prepare.tables import Rows
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video


@dataclass(frozen=True)
class Read:
    """A signal with a line on each thing that its file had beyond it."""

    signal: Signal
    notes: tuple[str, ...] = ()


class Reader:
    """Reads the items of one source. column: of a table. files: sizes that tars and tables have, in bytes (-1: not known). State: the table
    that was read from last, and which files were looked at."""

    def __init__(self, root: str, column: str = "", files: Mapping[str, int] = {}) -> None:
        self.root, self.column = root, column
        self._unseen = dict(files)
        self._rows: Rows | None = None
        self._lock = threading.Lock()

    def read(self, item: Input, modality: str) -> Read:
        """SignalError where the file is missing, damaged, no such signal, or not as large as when the plan was made."""
        place = joined(self.root, item.path)
        _check_size(place, self._unseen.get(item.path, -1))
        self._unseen.pop(item.path, None)
        source: str | bytes
        if item.row >= 0:
            source = self._row(place, item.row)
        elif item.offset >= 0:
            source = remote.content(place, item.offset, item.size)
        else:
            _check_size(place, item.size)
            source = remote.content(place) if remote.is_url(place) else place
        return decoded(source, item.key, modality)

    def _row(self, place: str, row: int) -> bytes:
        with self._lock:
            if self._rows is None or self._rows.place != place:
                if self._rows is not None:
                    self._rows.close()
                self._rows = Rows(place, self.column)
            return self._rows.content(row)


def _check_size(place: str, planned: int) -> None:
    if planned >= 0 and (size := remote.size_of(place)) not in (-1, planned):
        raise SignalError(f"{place}: {size} bytes, expected {planned} as when the plan was made; prepare into another folder")


def decoded(source: str | bytes, name: str, modality: str) -> Read:
    """A path or bytes as a signal of that modality. The frames of a film are decoded when one goes through them."""
    if modality == "audio":
        from smalti.codecs.media.audio import read_audio

        return Read(read_audio(source, name))
    if modality == "video":
        from smalti.codecs.media import video

        film = video.read_noted(source, name, sound=False)
        return Read(film.video, tuple(line for line in (*film.notes, *film.lost) if not line.startswith("its sound is left out")))
    if modality == "shape":
        from smalti.codecs.media import shapes

        shape = shapes.read_noted(source, name)
        return Read(shape.shape, shape.notes)
    from smalti.codecs.media.images import read_image

    picture = read_image(source, name)
    return Read(picture, picture.notes)


def elements(signal: Signal) -> int:
    """How much of memory a signal takes, in numbers; of a film that is not decoded yet, none."""
    if isinstance(signal, Image):
        return signal.pixels.size
    if isinstance(signal, Audio):
        return signal.samples.size
    return signal.vertices.size + (signal.faces.size if signal.faces is not None else 0) if isinstance(signal, Shape) else 0


def lines_after(signal: Signal) -> tuple[str, ...]:
    """What was wrong with a film, known once its frames have passed."""
    if not isinstance(signal, Video):
        return ()
    from smalti.codecs.media.video import problems_of

    return problems_of(signal)
