"""Items of parquet files: a row each, whose column of bytes is a media file."""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smalti.codecs.media.files import MAX_FILE_BYTES, reason
from smalti.prepare import remote
from smalti.prepare.inputs import Input
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError

if TYPE_CHECKING:
    from smalti.prepare.sources import Takes

SNIFFED = 2**16  # bytes that tell what a row is
MAX_GROUP = 2**32  # bytes of a row group, of which one is in memory
ROWS = 256  # that are read together to tell what they are


def items(root: str, files: tuple[str, ...], takes: Takes, left_out: Counter[str], column: str, key_column: str) -> Iterator[Input]:
    """All rows. column: of bytes, or of tables with `bytes` and `path` as the datasets of Hugging Face have; by default the first such one.
    key_column: of unique names; by default the file's name and the number of the row."""
    from smalti.prepare.sources import joined

    for name in files:
        place = joined(root, name)
        with _table(place) as table:
            chosen = column_of(table, place, column)
            if key_column and key_column not in table.schema_arrow.names:
                raise UsageError(f"{place}: no column {key_column!r}; it has {', '.join(table.schema_arrow.names)}")
            several = len(takes.modalities) > 1
            wanted = [*([chosen] if several else []), *([key_column] if key_column else [])]
            row = 0
            for batch in _batches(table, wanted, place):
                for at in range(batch.num_rows if wanted else batch):
                    data, path = _cell(batch.column(chosen)[at].as_py()) if several else (b"", "")
                    key = str(batch.column(key_column)[at].as_py()) if key_column else f"{name.rpartition('://')[2]}/{row:08d}"
                    model = takes.of_bytes(data[:SNIFFED], path)
                    if model is None:
                        left_out["no model"] += 1
                    else:
                        yield Input(key, model, name, -1, -1, row)
                    row += 1


def column_of(table: Any, place: str, column: str) -> str:
    """The column of bytes; UsageError where there is none, or no such one."""
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(kind.field(i).name == "bytes" and holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    schema = table.schema_arrow
    found = [field.name for field in schema if holds_bytes(field.type)]
    if column and column not in found:
        raise UsageError(f"{place}: {column!r} is no column of bytes; it has {', '.join(found) or 'none'}")
    if not found:
        raise UsageError(f"{place}: no column of bytes among {', '.join(schema.names)}; write the files' bytes into one")
    return column or found[0]


class Rows:
    """Bytes of rows of one table, a row group in memory at a time. Not for several threads at once."""

    def __init__(self, place: str, column: str) -> None:
        self.place, self.stack = place, contextlib.ExitStack()
        self.table = self.stack.enter_context(_table(place))
        self.column = column_of(self.table, place, column)
        sizes = [self.table.metadata.row_group(i).num_rows for i in range(self.table.metadata.num_row_groups)]
        self.starts = [0, *itertools.accumulate(sizes)]
        self._group = functools.lru_cache(1)(self._read)

    def close(self) -> None:
        self.stack.close()

    def content(self, row: int) -> bytes:
        """SignalError where the row is not there, empty or too long."""
        group = bisect.bisect_right(self.starts, row) - 1
        if not 0 <= row < self.starts[-1]:
            raise SignalError(f"{self.place}: no row {row}; it has {self.starts[-1]}. Has the table changed?")
        data, _ = _cell(self._group(group)[row - self.starts[group]].as_py())
        if not 0 < len(data) <= MAX_FILE_BYTES:
            raise SignalError(f"{self.place}: row {row} has {len(data)} bytes, expected 1 to {MAX_FILE_BYTES}")
        return data

    def _read(self, group: int) -> Any:
        if (size := self.table.metadata.row_group(group).total_byte_size) > MAX_GROUP:
            raise SignalError(f"{self.place}: a row group of {size} bytes, expected {MAX_GROUP} at most; write smaller ones")
        with _said(self.place):
            return self.table.read_row_group(group, columns=[self.column]).column(self.column)


def _cell(value: Any) -> tuple[bytes, str]:
    """(bytes, name) of a cell of bytes, or of a table of them with a path."""
    if isinstance(value, dict):
        return value.get("bytes") or b"", str(value.get("path") or "")
    return value or b"", ""


def _batches(table: Any, columns: list[str], place: str) -> Iterator[Any]:
    """Record batches of these columns, or of none their lengths."""
    if not columns:
        yield table.metadata.num_rows
        return
    with _said(place):
        yield from table.iter_batches(ROWS, columns=columns)


@contextlib.contextmanager
def _table(place: str) -> Iterator[Any]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError(f"{place}: tables need pyarrow; pip install 'smalti[prepare]'") from None
    with remote.opened(place) as file, _said(place):
        yield parquet.ParquetFile(file)


@contextlib.contextmanager
def _said(place: str) -> Iterator[None]:
    try:
        yield
    except (SmaltiError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # pyarrow's own, and OSError
        raise SignalError(f"{place}: no parquet file that can be read ({reason(error)}); get it again") from None
