"""The `.smt` file, version 1: tokens in and out of bytes, and never trusting a length. `../FORMAT.md` has it byte by byte.

file = parse(data)                      # structure, limits and CRCs are checked; nothing is decoded; standard library and NumPy only
tokens = file.tokens(layout, prior)     # the layout comes from the model: the file holds the signal's size, not its grid
data = write(tokens, prior, info)       # solo where it fits, chunked else
shorter = file.cut(2, layout, prior)    # the first two stages; chunked files are cut without decoding
report = inspect(data)                  # whole, damaged or refused, and where the bytes go; never raises
"""

from smalti.codecs.bitstream.chunked import Entry, write_chunked
from smalti.codecs.bitstream.file import File, parse, write
from smalti.codecs.bitstream.report import Report, StreamReport, inspect
from smalti.codecs.bitstream.solo import write_solo
from smalti.codecs.bitstream.streams import MODALITIES, OWN_PRIOR, Field, StreamInfo, check_applied

__all__ = [
    "MODALITIES",
    "OWN_PRIOR",
    "Entry",
    "Field",
    "File",
    "Report",
    "StreamInfo",
    "StreamReport",
    "check_applied",
    "inspect",
    "parse",
    "write",
    "write_chunked",
    "write_solo",
]
