"""Codes -> a pack: documents woven into ids, laid into rows, and written in a trainer's format. Pure and in bounded memory.

The same codes and options give the same bytes. No network is run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smalti.prepare.codes import Codes, UnitCodes
from smalti.prepare.packs import formats
from smalti.prepare.packs.files import Draft, Folder, new_folder
from smalti.prepare.packs.formats import Document, Given, Piece, Sink
from smalti.prepare.packs.pack import DOCUMENTS, FORMAT, LAYOUTS, MANIFEST, RECORD, Pack, PackedModel, PackOptions, open_manifest
from smalti.prepare.packs.packing import best_fit
from smalti.prepare.packs.vocabulary import Vocabulary, build, shares_codebook
from smalti.prepare.packs.weaving import Weave, Weaver
from smalti.prepare.places import canonical, digest_of
from smalti.prepare.records import DocumentLayout, layout_to_json
from smalti.tokenizers.errors import SmaltiError, UsageError

Array = np.ndarray
Progress = Callable[[int, int], None]  # documents done, documents in all
WINDOW = 2**14  # documents that are packed together at most
WINDOW_IDS = 2**23
BLOCK = 2**21  # codes that are woven at a time


class EmptySubsetError(UsageError):
    """A subset is empty."""


@dataclass(frozen=True, eq=False)
class Part:
    """Documents of one unit: their places in it."""

    unit: UnitCodes
    places: Array


def write_pack(codes: Codes, options: PackOptions, progress: Progress | None = None, force: bool = False) -> Pack:
    """The pack OUT/packs/NAME. One that stands there already with the same identity is left as it is.

    Killed on the way, it leaves what was there before. UsageError where another pack stands there and `force` is not given, where the
    pattern does not suit the layouts, or where the subset is empty.
    """
    folder = codes.places.packs / options.name
    vocabulary = options.vocabulary or vocabulary_of(codes)
    identity = _identity(codes, options, vocabulary)
    if folder.exists() and not force:
        there = _there(folder)
        if there is not None and there.identity == identity:
            return there
        raise UsageError(f"{folder}: another pack, or none of ours, stands there; choose another name for this one, or use --repack")
    with new_folder(folder) as draft:
        pack = _Writer(codes, options, vocabulary, draft, progress).pack(folder, identity)
        draft.write(MANIFEST, canonical(pack.to_json()))
    return pack


def write_packs(codes: Codes, options: PackOptions, progress: Progress | None = None, force: bool = False) -> list[Pack]:
    """The pack of all documents; where the plan holds some out, those of training, and the others, if any, as NAME-held-out."""
    if options.subset != "all" or not codes.plan["held_out"]:
        return [write_pack(codes, options, progress, force)]
    values = dict(vars(options))
    train = PackOptions(**{**values, "subset": "train"})
    rest = PackOptions(**{**values, "subset": "held-out", "name": f"{options.name}-held-out"})
    made = [write_pack(codes, train, progress, force)]
    with contextlib.suppress(EmptySubsetError):  # so few that none is held out
        made.append(write_pack(codes, rest, progress, force))
    return made


def vocabulary_of(codes: Codes) -> Vocabulary:
    """Of all documents, whatever subset is packed, so that packs of one folder share it."""
    found = dict.fromkeys(entry for unit in codes.units() for entry in unit.layouts)
    shared = [model["modality"] for model in codes.models if shares_codebook(model["config"])]
    return build(((codes.models[entry.model]["modality"], entry.layout) for entry in found), shared)


def _identity(codes: Codes, options: PackOptions, vocabulary: Vocabulary) -> str:
    """Hash of all that the bytes depend on."""
    said = {key: value for key, value in vars(options).items() if key not in ("name", "vocabulary")}
    said["shard_bytes"] = options.shard_bytes or formats.FORMATS[options.format][1]
    held_out = None if options.subset == "all" else codes.plan["held_out"]
    return digest_of({"format": FORMAT, "codes": codes.digest, "held_out": held_out, "vocabulary": vocabulary.to_json(), **said})


def _there(folder: Path) -> Pack | None:
    try:
        return open_manifest(folder)
    except SmaltiError:
        return None


@dataclass
class _Writer:
    """State: what of the pack is written so far, and the end of a row that is not full yet."""

    codes: Codes
    options: PackOptions
    vocabulary: Vocabulary
    folder: Folder
    progress: Progress | None
    layouts: dict[DocumentLayout, int] = field(default_factory=dict)
    documents: int = 0
    tokens: int = 0
    ids: int = 0  # handed to the sink
    used: int = 0  # by documents
    sequences: int = 0
    in_shard: int = 0

    def __post_init__(self) -> None:
        options, dtype = self.options, self.vocabulary.dtype
        self.modalities = [str(model["modality"]) for model in self.codes.models]
        self.weaver = Weaver(self.vocabulary, options.pattern, options.row_ends, options.bos)
        shard_bytes = options.shard_bytes or formats.FORMATS[options.format][1]
        names = "+".join(str(model["name"]) for model in self.codes.models)
        self.sink: Sink = formats.open_sink(options.format, self.folder, Given(dtype, options.row, shard_bytes, names))
        self.limit = max(1, shard_bytes // dtype.itemsize)
        self.rest = np.empty(0, dtype)
        self.rest_ends = np.empty(0, np.int64)

    def pack(self, folder: Path, identity: str) -> Pack:
        """Write all but the manifest."""
        options = self.options
        records = self.folder.draft(DOCUMENTS)
        for window in self._windows():
            self._write(window, records)
            if self.progress is not None:
                self.progress(self.documents, len(self.codes))
        if not self.documents:
            raise EmptySubsetError(f"{self.codes.places.folder}: no documents for subset {options.subset}; nothing to pack")
        if len(self.rest):
            self._rows(np.empty(0, self.rest.dtype), np.empty(0, np.int64), last=True)
        self.sink.finish()
        self.folder.keep(records)
        table = [{"model": entry.model, **layout_to_json(entry.layout)} for entry in self.layouts]
        self.folder.write(LAYOUTS, canonical({"layouts": table}))
        models = tuple(PackedModel(*(str(m[key]) for key in ("name", "kind", "modality", "fingerprint"))) for m in self.codes.models)
        return Pack(
            folder, options.name, self.codes.digest, identity, models, self.vocabulary, options.pattern, options.row_ends, options.bos,
            options.packing, options.row, options.subset, options.format, self.documents, self.sequences, self.tokens, self.ids,
            self.ids - self.used, tuple(self.folder.files),
        )  # fmt: skip

    def _windows(self) -> Iterator[list[Part]]:
        """Documents that are packed together: so many that best fit has a choice, so few that they fit into memory."""
        window: list[Part] = []
        count = ids = 0
        for unit in self.codes.units():
            unit.check()  # before there are tables as large as layouts say
            lengths = self._lengths(unit)
            for first in range(0, len(unit.documents), WINDOW):
                places = np.arange(first, min(first + WINDOW, len(unit.documents)))
                places = places[self._chosen(unit, places)]
                while len(places):
                    total = np.cumsum(lengths[places])
                    fit = int(np.searchsorted(total, WINDOW_IDS - ids, side="right"))
                    fit = min(max(fit, 0 if count else 1), WINDOW - count)
                    if fit:
                        window.append(Part(unit, places[:fit]))
                        count, ids = count + fit, ids + int(total[fit - 1])
                        places = places[fit:]
                    if len(places):
                        yield window
                        window, count, ids = [], 0, 0
        if window:
            yield window

    def _chosen(self, unit: UnitCodes, places: Array) -> Array:
        if self.options.subset == "all":
            return np.ones(len(places), bool)
        keys = (self.codes.inputs[int(item)].key for item in unit.documents["item"][places])
        held = np.fromiter((self.codes.is_held_out(key) for key in keys), bool, len(places))
        return held if self.options.subset == "held-out" else ~held

    def _weave(self, entry: DocumentLayout) -> Weave:
        return self.weaver.weave(self.modalities[entry.model], entry.layout)

    def _lengths(self, unit: UnitCodes) -> Array:
        """Ids of each document of a unit."""
        used = np.unique(unit.documents["layout"])
        of_layout = np.zeros(len(unit.layouts), np.int64)
        for number in used.tolist():
            of_layout[number] = self._weave(unit.layouts[number]).length
        return of_layout[unit.documents["layout"]]

    def _write(self, window: list[Part], records: Draft) -> None:
        lengths = np.concatenate([self._lengths(part.unit)[part.places] for part in window])
        row = self.options.row
        if self.options.packing == "best-fit":
            starts, rows = best_fit(lengths, row)
            size = rows * row
        else:
            size = int(lengths.sum())
            starts = np.cumsum(lengths) - lengths
        out = np.full(size, self.vocabulary.special("pad"), self.vocabulary.dtype)
        made = np.zeros(len(lengths), RECORD)
        made["start"], made["count"] = starts + self.ids + len(self.rest), lengths
        first = 0
        for part in window:
            last = first + len(part.places)
            self._weave_part(part, starts[first:last], out, made[first:last])
            first = last
        order = np.argsort(starts, kind="stable")
        records.write(made[order].tobytes())
        self.documents += len(lengths)
        self.used += int(lengths.sum())
        ends = _ends(starts[order], lengths[order], size)
        if row:
            self._rows(out, ends)
        else:
            self._put(Piece(out, lengths, ends, self._about(window)))

    def _weave_part(self, part: Part, starts: Array, out: Array, records: Array) -> None:
        """Write the ids of a unit's documents into the stream, those of one layout together."""
        documents = part.unit.documents[part.places]
        records["item"] = documents["item"]
        for number in np.unique(documents["layout"]).tolist():
            entry = part.unit.layouts[number]
            weave, count = self._weave(entry), entry.layout.count
            chosen = np.flatnonzero(documents["layout"] == number)
            records["layout"][chosen] = self.layouts.setdefault(entry, len(self.layouts))
            self.tokens += count * len(chosen)
            together = max(1, BLOCK // max(weave.length, 1))
            for i in range(0, len(chosen), together):
                some = chosen[i : i + together]
                given = np.stack([part.unit.array[at : at + count] for at in documents["start"][some].tolist()])
                out[starts[some][:, None] + np.arange(weave.length)] = weave.ids(given)

    def _rows(self, ids: Array, ends: Array, last: bool = False) -> None:
        """Hand whole rows on, and keep what is left; at the end pad it. ends: ascending."""
        row, begin = self.options.row, len(self.rest)
        ids = np.concatenate([self.rest, ids])
        ends = np.concatenate([self.rest_ends, ends + begin])
        if last:
            missing = -len(ids) % row
            ids = np.concatenate([ids, np.full(missing, self.vocabulary.special("pad"), ids.dtype)])
            ends = np.append(ends, len(ids)) if missing else ends
        whole = len(ids) // row * row
        self.rest, self.rest_ends = ids[whole:], ends[ends > whole] - whole
        if whole:
            self._put(Piece(ids[:whole], np.full(whole // row, row, np.int64), ends[ends <= whole]))

    def _put(self, piece: Piece) -> None:
        self.in_shard = formats.split(self.sink, piece, self.in_shard, self.limit)
        self.ids += len(piece.ids)
        self.sequences += len(piece.lengths)

    def _about(self, window: list[Part]) -> tuple[Document, ...]:
        """What formats that name documents say of each."""
        if self.options.format not in ("parquet", "mds", "webdataset"):
            return ()
        found = []
        for part in window:
            for item, number in part.unit.documents[["item", "layout"]][part.places].tolist():
                entry = part.unit.layouts[number]
                shapes = tuple(stage.shape for stage in entry.layout.stages)
                found.append(Document(self.codes.inputs[item].key, self.modalities[entry.model], shapes))
        return tuple(found)


def _ends(starts: Array, lengths: Array, size: int) -> Array:
    """Where documents and runs of padding between them end, ascending, without twins, the last at `size`."""
    bounds = np.unique(np.concatenate([starts, starts + lengths, [size]]))
    return bounds[bounds > 0]
