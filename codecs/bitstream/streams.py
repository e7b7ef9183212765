"""What a file says about one signal: modality, model, prior, size, notes, side fields, and for raw tokens the layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smalti.codecs.bitstream.wire import SKIPPABLE, Cursor, uvarint
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import MAX_STAGES, MAX_VOCAB, Layout, Stage

MODALITIES = ("image", "video", "audio", "shape", "raw")
MAX_TOKENS = 1 << 28
MAX_FREE = 1 << 25  # raw tokens of codebooks with one entry: they cost no bytes, so bytes do not bound them
MAX_SIDE = 65535
MAX_UNIT = 28
_U32 = 2**32 - 1
OWN_PRIOR = bytes(4)  # how a file names its model's own default prior
# (name, smallest, largest) in file order; the file stores value - smallest
_SIZES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "image": (("width", 1, MAX_SIDE), ("height", 1, MAX_SIDE)),
    "video": (("frames", 0, MAX_TOKENS), ("width", 1, MAX_SIDE), ("height", 1, MAX_SIDE)),
    "audio": (("samples", 0, _U32), ("channels", 1, 256)),
    "shape": (),  # see `_write_pose`
    "raw": (),
}
_POSE = ("scale", "x", "y", "z")
_COUNTS = ("vertices", "faces", "bits")  # of shapes whose triangles are kept
_MAX_SCALE = 1 << 20
# a rate is one byte, its place here + 1; 0 announces the explicit one
_AUDIO_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
_VIDEO_RATES = ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1), (12, 1), (15, 1), (10, 1), (1, 1))
# what files may carry beside tokens: id -> (name, smallest length, largest length)
FIELDS = {
    1: ("orientation", 1, 1),
    2: ("alpha", 1, 1 << 20),
    3: ("pose", 96, 96),
    4: ("timing", 1, 1 << 20),
    5: ("title", 1, 1024),
    6: ("aspect", 8, 8),
}
_MAX_FIELDS = 1 << 21  # bytes of all fields of a stream


@dataclass(frozen=True)
class Field:
    """A side field: its id, its bytes, and whether a reader that does not know the id must refuse the file."""

    id: int
    data: bytes
    critical: bool = False

    @property
    def name(self) -> str:
        return FIELDS[self.id][0] if self.id in FIELDS else f"field {self.id}"


@dataclass(frozen=True)
class StreamInfo:
    """What a file says about one signal.

    modality: one of MODALITIES. fingerprint: the model's first 6 bytes. prior_id: 4 bytes, OWN_PRIOR for the model's own prior.
    stages: how many the file was written with (the writer fills it in). signal: the size by name, as in `Layout.signal`.
    notes: bit set, see `codecs.notes`. layout: of raw tokens. fields: side fields, ascending ids.
    grouped (all levels of a stretch of time or of rows a chunk), unit, mark: filled in by the writer of chunked files, see FORMAT.md.
    """

    modality: str
    fingerprint: bytes
    prior_id: bytes = OWN_PRIOR
    stages: int = 0
    signal: tuple[tuple[str, int], ...] = ()
    notes: int = 0
    layout: Layout | None = None
    fields: tuple[Field, ...] = ()
    grouped: bool = False
    unit: int = 0
    mark: bytes = b"\0\0\0\0"

    def checked(self) -> StreamInfo:
        """Itself; raises UsageError for values that no file can hold."""
        if self.modality not in MODALITIES or len(self.fingerprint) != 6 or len(self.prior_id) != 4 or not 0 <= self.notes < 1 << 28:
            raise UsageError(f"a stream has a modality of {MODALITIES}, 6 fingerprint bytes, 4 prior bytes, notes < 2^28; found {self}")
        if (self.modality == "raw") != (self.layout is not None):
            raise UsageError("raw tokens carry their layout, other modalities none")
        try:
            read_size(Cursor(write_size(self), "the signal's size"), self.modality)
            if self.layout is not None:
                read_layout(Cursor(write_layout(self.layout), "the layout"))
            read_fields(write_fields(self.fields))
        except BitstreamError as error:
            raise UsageError(str(error)) from error
        return self


def write_size(info: StreamInfo) -> bytes:
    """The signal's size and the note bits."""
    size = dict(info.signal)
    if info.modality == "shape":
        return _write_pose(size) + uvarint(info.notes)
    names = [name for name, _, _ in _SIZES[info.modality]]
    names += {"audio": ["rate"], "video": ["rate_num", "rate_den"]}.get(info.modality, [])
    if info.modality != "raw" and sorted(size) != sorted(names):
        raise UsageError(f"the size of {info.modality} has {', '.join(names) or 'no values'}; found {info.signal}")
    out = b""
    for name, least, most in _SIZES[info.modality]:
        if not least <= size[name] <= most:
            raise UsageError(f"{info.modality} {name} lies in {least}..{most}, found {size[name]}")
        out += uvarint(size[name] - least)
    if info.modality == "audio":
        out += _write_rate(size["rate"], _AUDIO_RATES, (size["rate"],))
    if info.modality == "video":
        rate = (size["rate_num"], size["rate_den"])
        out += _write_rate(rate, _VIDEO_RATES, rate)
    return out + uvarint(info.notes)


def read_size(cursor: Cursor, modality: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """(signal, note bits); pictures' sizes come height first, as `Layout.signal` has them."""
    size = (
        {name: cursor.uvarint(most - least) + least for name, least, most in _SIZES[modality]}
        if modality != "shape"
        else _read_pose(cursor)
    )
    if "width" in size:
        size["width"] = size.pop("width")
    if modality == "audio":
        code = cursor.byte(len(_AUDIO_RATES))
        size["rate"] = _AUDIO_RATES[code - 1] if code else _explicit(cursor, _AUDIO_RATES)[0]
        size["channels"] = size.pop("channels")
    if modality == "video":
        code = cursor.byte(len(_VIDEO_RATES))
        pair = _VIDEO_RATES[code - 1] if code else _explicit(cursor, _VIDEO_RATES, 2)
        size["rate_num"], size["rate_den"] = pair[0], pair[1]
    return tuple(size.items()), cursor.uvarint((1 << 28) - 1)


def _write_pose(size: dict[str, int]) -> bytes:
    if tuple(size) not in (_POSE, _POSE + _COUNTS):
        raise UsageError(f"the size of a shape has {', '.join(_POSE)}, and perhaps {', '.join(_COUNTS)}; found {', '.join(size) or 'none'}")
    limits = (_MAX_SCALE - 1, _U32, _U32, _U32, MAX_TOKENS, MAX_TOKENS, 31)
    for (name, value), most in zip(size.items(), limits, strict=False):
        if not 0 <= value <= most:
            raise UsageError(f"shape {name} lies in 0..{most}, found {value}")
    counted = len(size) > len(_POSE)
    first = 2 * size["scale"] + counted
    return b"".join(map(uvarint, (first, *list(size.values())[1:])))


def _read_pose(cursor: Cursor) -> dict[str, int]:
    first = cursor.uvarint(2 * _MAX_SCALE - 1)
    size = {"scale": first >> 1} | {name: cursor.uvarint(_U32) for name in _POSE[1:]}
    if first & 1:
        size |= {name: cursor.uvarint(most) for name, most in zip(_COUNTS, (MAX_TOKENS, MAX_TOKENS, 31), strict=True)}
    return size


def _write_rate(rate: object, known: tuple, numbers: tuple[int, ...]) -> bytes:
    if any(not 1 <= n <= _U32 for n in numbers):
        raise UsageError(f"rates are positive and below 2^32, found {rate}")
    return bytes([known.index(rate) + 1]) if rate in known else b"\0" + b"".join(map(uvarint, numbers))


def _explicit(cursor: Cursor, known: tuple, count: int = 1) -> tuple[int, ...]:
    numbers = tuple(cursor.uvarint(_U32) for _ in range(count))
    if 0 in numbers or (numbers if count > 1 else numbers[0]) in known:
        raise BitstreamError(f"{cursor.what}: the rate {numbers} is zero, or has a code of its own")
    return numbers


def write_layout(layout: Layout) -> bytes:
    """The layout of raw tokens."""
    cuts = sum(1 << (c - 1) for c in layout.cuts)
    out = bytes([len(layout.stages)]) + cuts.to_bytes(4, "little")
    for stage in layout.stages:
        axes = b"".join(_name(n) + uvarint(size) for n, size in stage.axes)
        out += _name(stage.name) + bytes([len(stage.axes)]) + axes + uvarint(stage.vocab)
    return out + bytes([len(layout.signal)]) + b"".join(_name(n) + uvarint(value) for n, value in layout.signal)


def _name(text: str) -> bytes:
    data = text.encode("utf-8")
    if len(data) > 64:
        raise UsageError(f"names in a layout have at most 64 bytes, found {text!r}")
    return bytes([len(data)]) + data


def read_layout(cursor: Cursor) -> Layout:
    """The layout of raw tokens, bounded in every direction."""
    count = cursor.byte(MAX_STAGES)
    bits = int.from_bytes(cursor.take(4), "little")
    try:
        stages = tuple(_read_stage(cursor) for _ in range(count))
        signal = tuple((cursor.text(64), cursor.uvarint(_U32)) for _ in range(cursor.byte(8)))
        layout = Layout(stages, tuple(i + 1 for i in range(32) if bits >> i & 1), signal)
    except UsageError as error:
        raise BitstreamError(f"{cursor.what}: {error}") from error
    # empty axes count as one: NumPy refuses the shape (0, 2^60)
    if sum(math.prod(max(size, 1) for size in stage.shape) for stage in stages) > MAX_TOKENS:
        raise BitstreamError(f"{cursor.what}: {layout.count} tokens, at most 2^28 are read")
    if (free := sum(stage.count for stage in layout.stages if stage.vocab == 1)) > MAX_FREE:
        raise BitstreamError(f"{cursor.what}: {free} tokens of codebooks with one entry, at most 2^25 are read")
    return layout


def _read_stage(cursor: Cursor) -> Stage:
    name = cursor.text(64)
    axes = tuple((cursor.text(64), cursor.uvarint(MAX_TOKENS)) for _ in range(cursor.byte(8)))
    if len({axis for axis, _ in axes}) < len(axes):
        raise BitstreamError(f"{cursor.what}: two axes of stage {name} have one name")
    return Stage(name, axes, cursor.uvarint(MAX_VOCAB))


def write_fields(fields: tuple[Field, ...]) -> bytes:
    """Fields one after the other, ascending ids."""
    ids = [f.id for f in fields]
    if ids != sorted(set(ids)) or any(not 1 <= i <= 127 for i in ids):
        raise UsageError(f"side fields have ascending ids of 1..127, found {ids}")
    for f in fields:
        _, least, most = FIELDS.get(f.id, ("", 0, _MAX_FIELDS))
        if not least <= len(f.data) <= most:
            raise UsageError(f"side field {f.name} has {len(f.data)} bytes, expected {least}..{most}")
    out = b"".join(bytes([f.id | (0 if f.critical else SKIPPABLE)]) + uvarint(len(f.data)) + f.data for f in fields)
    if len(out) > _MAX_FIELDS:
        raise UsageError(f"side fields have at most {_MAX_FIELDS} bytes in all, found {len(out)}")
    return out


def read_fields(data: bytes) -> tuple[Field, ...]:
    """All fields, those unknown to this release too; raises BitstreamError for unknown critical ones, disorder or wrong lengths."""
    cursor = Cursor(data, "the side fields")
    fields, before = [], 0
    while cursor.left:
        kind = cursor.byte()
        number, critical = kind & 0x7F, not kind & SKIPPABLE
        content = cursor.take(cursor.uvarint(_MAX_FIELDS))
        if number <= before:
            raise BitstreamError("side fields do not ascend")
        before = number
        if number not in FIELDS:
            if critical:
                raise BitstreamError(f"side field {number} must be understood and is not known to this release: install a later one")
            fields.append(Field(number, content))
            continue
        name, least, most = FIELDS[number]
        if not least <= len(content) <= most:
            raise BitstreamError(f"side field {name} has {len(content)} bytes, expected {least}..{most}")
        fields.append(Field(number, content, critical))
    return tuple(fields)


def check_applied(info: StreamInfo, applied: Sequence[int] = ()) -> None:
    """For whoever decodes to a signal and applies the side fields with these ids: BitstreamError where another one is critical."""
    for field in info.fields:
        if field.critical and field.id not in applied:
            raise BitstreamError(
                f"side field {field.name} must be applied to what is decoded, and this release does not: install a later one"
            )


def write_stream(info: StreamInfo, number: int) -> bytes:
    """The payload of a STREAM chunk."""
    return (
        bytes([number << 4 | info.grouped << 3 | MODALITIES.index(info.modality)])
        + info.fingerprint
        + info.prior_id
        + bytes([info.stages - 1, info.unit])
        + info.mark
        + write_size(info)
        + (write_layout(info.layout) if info.layout is not None else b"")
    )


def read_stream(payload: bytes, number: int) -> StreamInfo:
    """The stream that a STREAM chunk describes; `number` is the one it must have."""
    cursor = Cursor(payload, "a STREAM chunk")
    head = cursor.byte()
    if head >> 4 != number or head & 7 >= len(MODALITIES):
        raise BitstreamError(f"stream {number} is announced as stream {head >> 4} of modality {head & 7}")
    modality = MODALITIES[head & 7]
    fingerprint, prior_id = cursor.take(6), cursor.take(4)
    stages, unit, mark = cursor.byte(MAX_STAGES - 1) + 1, cursor.byte(MAX_UNIT), cursor.take(4)
    signal, notes = read_size(cursor, modality)
    layout = read_layout(cursor) if modality == "raw" else None
    cursor.close()
    info = StreamInfo(modality, fingerprint, prior_id, stages, signal, notes, layout, (), bool(head & 8), unit, mark)
    return replace(check_raw(info), signal=layout.signal if layout is not None else signal)


def check_raw(info: StreamInfo) -> StreamInfo:
    """Itself; raises BitstreamError where raw tokens hold more stages than their layout has."""
    if info.layout is not None and info.stages > len(info.layout.stages):
        raise BitstreamError(f"raw tokens of {info.stages} stages, their layout has {len(info.layout.stages)}")
    return info
