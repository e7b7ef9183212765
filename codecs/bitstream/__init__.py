"""The `.smt` file, version 1: tokens in and out of bytes, and never trusting a length. `../FORMAT.md` has it byte by byte.

file = parse(data)                      # structure, limits and CRCs are checked; nothing is decoded; standard library and NumPy only
tokens = file.tokens(layout, prior)     # the layout comes from the model: the file holds the signal's size, not its grid
data = write(tokens, prior, info)       # solo where it fits, chunked else
shorter = file.cut(2, layout, prior)    # the first two stages; chunked files are cut without decoding
data = write_archive(items)             # many signals in one file, five bytes beside the payload of a small one
file = Archive(data)[7]                 # the eighth of them; a path's open file does as well, and is read only where it must be
data = transcode(data, choose)          # the same tokens under another prior
report = inspect(data)                  # whole, damaged or refused, and where the bytes go; never raises
"""

from smalti.codecs.bitstream.archive import Archive, is_archive
from smalti.codecs.bitstream.archive_scan import recover
from smalti.codecs.bitstream.archive_writer import Item, Whole, write_archive
from smalti.codecs.bitstream.chunked import Entry, write_chunked
from smalti.codecs.bitstream.file import File, parse, write
from smalti.codecs.bitstream.report import Report, StreamReport, inspect
from smalti.codecs.bitstream.solo import write_solo
from smalti.codecs.bitstream.streams import MODALITIES, OWN_PRIOR, Field, StreamInfo, check_applied
from smalti.codecs.bitstream.transcode import Change, transcode

__all__ = [
    "MODALITIES",
    "OWN_PRIOR",
    "Archive",
    "Change",
    "Entry",
    "Field",
    "File",
    "Item",
    "Report",
    "StreamInfo",
    "StreamReport",
    "Whole",
    "check_applied",
    "inspect",
    "is_archive",
    "parse",
    "recover",
    "transcode",
    "write",
    "write_archive",
    "write_chunked",
    "write_solo",
]
