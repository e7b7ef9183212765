"""Files that lie: mutations of good ones, most with checksums that fit again, and whether reading them keeps its promises.

The promises: a `SmaltiError` or tokens, nothing else; `inspect` never raises. `tests/unit/test_fuzz.py` runs this on the golden files, and
`tests/fuzz/bitstream.py` for as long as one likes. A model is stood in for by layouts that follow the size which a file claims, as those of
real ones do.
"""

from __future__ import annotations

import contextlib
import random
from binascii import crc_hqx
from collections.abc import Sequence

from smalti.codecs.bitstream import Change, File, StreamInfo, inspect, parse, recover, transcode
from smalti.codecs.bitstream.archive import Archive, is_archive
from smalti.codecs.bitstream.archive import end_chunk as archive_end
from smalti.codecs.bitstream.chunked import end_chunk
from smalti.codecs.bitstream.salvage import salvage
from smalti.codecs.bitstream.wire import END, FILE, ITEMS, MAGIC, MAX_PAYLOAD, SET, TOKENS, Cursor, chunk, crc
from smalti.codecs.priors.adaptive import UNPRIMED, AdaptivePrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage

UNIFORM, ADAPTIVE = UniformPrior(), AdaptivePrior()
MOST_ITEMS = 20  # of an archive that are decoded


def layout_of(info: StreamInfo) -> Layout | None:
    """What a model would say of a signal of that size; None for raw tokens."""
    size = dict(info.signal)
    if info.modality == "raw":
        return None
    if info.modality == "audio":
        steps = size["samples"] // 320 + 1
        stages = (Stage("coarse", (("time", steps),), 4096), Stage("fine", (("time", 2 * steps),), 70000))
        return Layout(stages, (1, 2), info.signal)
    if info.modality == "shape":
        return Layout((Stage("tokens", (("token", 64),), 512),), (1,))
    grid = (("row", size["height"] // 8 or 1), ("col", size["width"] // 8 or 1))
    axes = (("time", size["frames"] or 1), *grid) if info.modality == "video" else grid
    return Layout(tuple(Stage(f"level{k}", axes, 1000) for k in range(3)), (1, 2, 3), info.signal)


def read_all(data: bytes) -> str:
    """Everything a program may do with a file that it does not trust; any error but ours is a bug.

    Says how far it came: "structure" (refused before tokens are decoded), "tokens" (refused there), "read".
    """
    report = inspect(data)
    assert report.size == len(data)
    if report.file is not None and report.status == "damaged":
        _read_what_is_left(report.file)
    try:
        files = _items(data) if is_archive(data) else [parse(data)]
    except BitstreamError:
        return "structure"
    try:
        for file in files:
            _read_file(file)
        transcode(data, _other_prior)
    except (BitstreamError, ModelError, UsageError):  # the latter two: of another model or prior, as far as one can tell
        return "tokens"
    return "read"


def _read_file(file: File) -> None:
    for number, info in enumerate(file.streams):
        file.tokens(layout_of(info), _prior(info), number)
    if file.form == "chunked":
        with contextlib.suppress(UsageError):
            parse(file.cut(1))


def _items(data: bytes) -> list[File]:
    with contextlib.suppress(BitstreamError):
        recover(data)
    archive = Archive(data)
    for number in range(min(len(archive), MOST_ITEMS)):
        archive.key(number)
        with contextlib.suppress(BitstreamError):
            archive.salvaged(number)
    return [archive[number] for number in range(min(len(archive), MOST_ITEMS))]


def _read_what_is_left(file: File) -> None:
    for number, info in enumerate(file.streams):
        with contextlib.suppress(BitstreamError, ModelError):
            salvage(file, layout_of(info), _prior(info), number)


def _prior(info: StreamInfo) -> Prior:
    return ADAPTIVE if info.prior_id == UNPRIMED else UNIFORM


def _other_prior(info: StreamInfo) -> Change:
    return Change(layout_of(info), _prior(info), UNIFORM, UNIFORM.id)


def mutated(files: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the files with a few changes: bytes, stretches, lengths, pieces of another; mostly with its checksums made to fit again."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        a = rng.randrange(len(data)) if rng.random() < 0.5 else min(rng.randrange(80), len(data) - 1)  # heads are where lies live
        b = min(len(data), a + rng.choice((1, 2, 4, 16, 200)))
        match rng.randrange(7):
            case 0:
                data[a] ^= 1 << rng.randrange(8)
            case 1:
                data[a] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                data[a:b] = rng.randbytes(b - a)
            case 3:
                del data[a:b]
            case 4:
                data[a:a] = rng.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x0f", b"\0" * 4, rng.randbytes(8)))
            case 5:
                other = rng.choice(files)
                c = rng.randrange(len(other))
                data[a:b] = other[c : c + rng.choice((4, 40, 400))]
            case _:
                data[a:a] = data[a:b]
        if len(data) < 8:
            break
    return mended(bytes(data)) if rng.random() < 0.8 else bytes(data)


def mended(data: bytes) -> bytes:
    """The file with all checksums that can be found made to fit; what has no chunks any more comes back as far as it was mended."""
    if len(data) < 7 or data[:4] != MAGIC:
        return data
    if data[5] & 8:
        return data[:-4] + crc(data[:-4]).to_bytes(4, "little")
    archive = bool(data[5])
    out, place, seed = bytearray(data[:6]), 6, crc(data[:6])
    sets: list[int] = []  # their CRCs
    starts: list[tuple[int, int]] = []  # of the chunks that the index names, and how many items they hold
    while place < len(data):
        cursor = Cursor(data, "", place)
        try:
            kind = cursor.byte()
            payload = cursor.take(cursor.uvarint(MAX_PAYLOAD))
            cursor.skip(4)
        except BitstreamError:
            break
        if archive and kind in (ITEMS, FILE):
            starts.append((len(out), _items_in(payload) if kind == ITEMS else 1))
            payload = _mended_items(payload, sets) if kind == ITEMS else _mended_file(payload, seed)
        elif kind == TOKENS:
            starts.append((len(out), 1))
        made = chunk(kind, payload, seed)
        if kind == END and cursor.place == len(data):
            made = archive_end(starts, seed) if archive else end_chunk([start for start, _ in starts], seed)
        own = int.from_bytes(made[-4:], "little")
        seed = own if place == 6 else seed
        sets += [own] if kind == SET else []
        out += made
        place = cursor.place
    return bytes(out) + data[place:]


def _items_in(payload: bytes) -> int:
    cursor = Cursor(payload, "")
    try:
        cursor.skip(1)
        cursor.uvarint(1 << 24)
        return cursor.uvarint(256)
    except BitstreamError:
        return 1


def _mended_file(payload: bytes, seed: int) -> bytes:
    start = payload.find(MAGIC)
    if start < 2:
        return payload
    head = payload[: start - 2]
    return head + crc_hqx(head, seed & 0xFFFF).to_bytes(2, "little") + mended(payload[start:])


def _mended_items(payload: bytes, sets: Sequence[int]) -> bytes:
    """An ITEMS chunk with its CRC-16s made to fit."""
    cursor, out = Cursor(payload, ""), bytearray(payload)
    try:
        seed = sets[cursor.byte(len(sets) - 1)] & 0xFFFF
        first, count = cursor.uvarint(1 << 24), cursor.uvarint(256)
        lengths = [cursor.uvarint(1 << 14) for _ in range(count)]
        end = cursor.place
        cursor.skip(2)
        out[end : end + 2] = crc_hqx(payload[:end], seed).to_bytes(2, "little")
        for number, length in enumerate(lengths, first):
            item = cursor.take(length)
            cursor.skip(2)
            out[cursor.place - 2 : cursor.place] = crc_hqx(number.to_bytes(4, "little") + item, seed).to_bytes(2, "little")
    except (BitstreamError, IndexError):
        pass
    return bytes(out)
