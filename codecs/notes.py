"""What a source file had that the tokens of it no longer carry: names for people, bits for the file.

The order is the format's (`FORMAT.md`): a name's place is its bit, and names are only ever added at the end. The low seven bits are the
most common ones, so that a file usually spends one byte on them.
"""

from __future__ import annotations

from smalti.tokenizers.errors import UsageError

ORIENTATION = "EXIF orientation applied"
ALPHA = "alpha dropped (flattened on white)"
METADATA = "metadata dropped (EXIF, XMP, comments)"
PROFILE = "colour profile converted to sRGB"
DEPTH = "16 bits reduced to 8"
PALETTE = "palette expanded"
GRAY = "gray made RGB"
CMYK = "CMYK converted to RGB"
LATER_FRAMES = "later frames dropped (animation)"
BROKEN_METADATA = "broken metadata ignored"

NAMES = (ORIENTATION, ALPHA, METADATA, PROFILE, DEPTH, PALETTE, GRAY, CMYK, LATER_FRAMES, BROKEN_METADATA)
MAX_BITS = 28  # what a 4-byte uvarint holds


def to_bits(notes: tuple[str, ...]) -> int:
    """The bit set of these notes; raises UsageError for a note that is not in `NAMES` (or not of the form `from_bits` gives)."""
    bits = 0
    for note in notes:
        if note in NAMES:
            bits |= 1 << NAMES.index(note)
        elif (place := _unknown_place(note)) is not None:
            bits |= 1 << place
        else:
            raise UsageError(f"unknown note {note!r}; the known ones are {', '.join(map(repr, NAMES))}")
    return bits


def from_bits(bits: int) -> tuple[str, ...]:
    """The notes of a bit set, in the format's order; a bit of a later release reads "unknown note N" and survives `to_bits`."""
    if not 0 <= bits < 1 << MAX_BITS:
        raise UsageError(f"note bits lie in 0..2^{MAX_BITS} - 1, found {bits}")
    return tuple(NAMES[i] if i < len(NAMES) else f"unknown note {i}" for i in range(MAX_BITS) if bits >> i & 1)


def _unknown_place(note: str) -> int | None:
    number = note.removeprefix("unknown note ")
    if number == note or not (number.isascii() and number.isdigit()):
        return None
    return int(number) if len(NAMES) <= int(number) < MAX_BITS else None
