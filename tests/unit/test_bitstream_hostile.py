"""What a damaged or hostile file may do: raise BitstreamError, and be found by `inspect`. Nothing else."""

import contextlib
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.bitstream import Entry, Field, StreamInfo, inspect, parse, write_chunked, write_solo
from smalti.codecs.bitstream.streams import write_stream
from smalti.codecs.bitstream.wire import SIDE, STREAM, TOKENS, chunk, crc
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
SIGNAL = (("height", 40), ("width", 40))
HEADER = b"\x89SMT\x10\0"


def _tokens(rows: int, cols: int, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    stages = tuple(Stage(f"s{k}", (("row", rows), ("col", cols)), 1000) for k in range(3))
    return Tokens(Layout(stages, (1, 2, 3), SIGNAL), tuple(rng.integers(0, 1000, s.shape).astype(np.int32) for s in stages))


def _info(fields: tuple[Field, ...] = ()) -> StreamInfo:
    return StreamInfo("image", b"model!", UNIFORM.id, signal=SIGNAL, fields=fields)


SMALL = _tokens(3, 3)
FORMS = {
    "solo": write_solo(SMALL, UNIFORM, _info((Field(5, b"t"),))),
    "chunked": write_chunked([Entry(SMALL, UNIFORM, _info((Field(5, b"t"),))), Entry(SMALL, UNIFORM, _info())]),
}


def _refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        parse(data)
    assert inspect(data).status != "whole"


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation(form: str) -> None:
    for length in range(len(FORMS[form])):
        _refused(FORMS[form][:length])


@pytest.mark.parametrize("form", FORMS)
def test_every_single_bit_flip(form: str) -> None:
    data = FORMS[form]
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        _refused(bytes(wrong))


@pytest.mark.parametrize("form", FORMS)
def test_random_damage(form: str) -> None:
    rng, data = np.random.default_rng(7), FORMS[form]
    for _ in range(500):
        wrong = bytearray(data)
        a, b = sorted(rng.integers(0, len(data), 2))
        match rng.integers(0, 5):
            case 0:
                wrong[a] ^= int(rng.integers(1, 256))
            case 1:
                wrong[a:b] = rng.bytes(int(b - a))
            case 2:
                del wrong[a : b + 1]
            case 3:
                wrong[a:a] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                wrong += rng.bytes(int(rng.integers(1, 20)))
        if bytes(wrong) != data:
            _refused(bytes(wrong))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\x89SMT\x10\x08", b"\x89SMT\x10\x0c", HEADER]))
def test_anything_after_a_header(tail: bytes, head: bytes) -> None:
    """With a CRC that fits, so that the parser behind it is reached."""
    solo = head + tail
    for data in (solo, solo + zlib.crc32(solo).to_bytes(4, "little"), HEADER + chunk(STREAM, tail, crc(HEADER))):
        with contextlib.suppress(BitstreamError):
            parse(data)
        inspect(data)


def _with_chunks(*made: tuple[int, bytes]) -> bytes:
    info = StreamInfo("image", b"model!", UNIFORM.id, 3, SIGNAL, unit=12)
    first = chunk(STREAM, write_stream(info, 0), crc(HEADER))
    seed = int.from_bytes(first[-4:], "little")
    return HEADER + first + b"".join(chunk(kind, payload, seed) for kind, payload in made)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, TOKENS, SIDE, STREAM, 0x85, 9]), st.binary(max_size=12)), max_size=4))
def test_any_chunks_with_crcs_that_fit(made: list[tuple[int, bytes]]) -> None:
    data = _with_chunks(*made)
    _refused(data)
    file = inspect(data).file
    if file is not None:
        with pytest.raises((BitstreamError, ModelError)):
            file.tokens(SMALL.layout, UNIFORM)


def test_forged_coder_bytes_raise_ours_only() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        for known in (None, Tokens(SMALL.layout.prefix(1), SMALL.arrays[:1])):
            with pytest.raises(BitstreamError):
                UNIFORM.decode(rng.bytes(int(rng.integers(0, 60))), SMALL.layout, known)


@pytest.mark.parametrize("form", ["solo", "chunked"])
def test_declared_huge_sizes_take_no_memory(form: str) -> None:
    signal = (("height", 65535), ("width", 65535 if form == "chunked" else 16384))
    info = StreamInfo("image", b"model!", UNIFORM.id, 1, signal)
    tokens = Tokens(Layout((Stage("s", (("row", 3),), 9),), (1,), signal), (np.arange(3, dtype=np.int32),))
    data = write_solo(tokens, UNIFORM, info) if form == "solo" else write_chunked([Entry(tokens, UNIFORM, info)])
    tracemalloc.start()
    for vocab in (2, 1024, 2**31 - 1):
        huge = Layout((Stage("s", (("row", 16384), ("col", 16384)), vocab),), (1,), signal)
        with pytest.raises((BitstreamError, ModelError)):
            parse(data).tokens(huge, UNIFORM)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 << 20


def test_raw_layouts_are_bounded() -> None:
    for axes in ((("a", 2**14), ("b", 2**14), ("c", 2)), (("a", 0), ("b", 2**28), ("c", 2**28))):
        layout = Layout((Stage("s", axes, 1),), (1,))
        with pytest.raises(UsageError):
            StreamInfo("raw", bytes(6), stages=1, layout=layout).checked()


BIG = _tokens(120, 120)
PARTS = write_chunked([Entry(BIG, UNIFORM, _info())])


def test_damage_is_located_and_the_rest_decodes() -> None:
    parts = parse(PARTS).content.parts  # type: ignore[union-attr]
    offsets = [PARTS.index(p.blobs[0][1]) for p in parts]
    for part, offset in zip(parts, offsets, strict=True):
        wrong = bytearray(PARTS)
        wrong[offset + 5] ^= 255
        report = inspect(bytes(wrong))
        assert report.status == ("damaged" if part.stage else "refused")
        assert len(report.problems) >= 1
        if part.stage:
            assert report.streams[0].stages == part.stage
            assert report.file is not None
            assert report.file.tokens(BIG.layout, UNIFORM) == BIG.prefix(part.stage)


def test_a_lost_end_leaves_everything_readable() -> None:
    report = inspect(PARTS[:-5])
    assert report.status == "damaged"
    assert report.file is not None
    assert report.file.tokens(BIG.layout, UNIFORM) == BIG


def test_a_damaged_length_is_stepped_over() -> None:
    second = parse(PARTS).content.parts[1]  # type: ignore[union-attr]
    place = PARTS.index(second.blobs[0][1]) - 6
    for byte in range(place, place + 4):
        wrong = bytearray(PARTS)
        wrong[byte] ^= 0x15
        file = inspect(bytes(wrong))
        assert file.status == "refused"  # a stage-0 segment is gone
        assert len(parse(bytes(wrong), strict=False).content.parts) == len(parse(PARTS).content.parts) - 1  # type: ignore[union-attr]


def test_chunks_of_another_file_do_not_splice_in() -> None:
    other = write_chunked([Entry(_tokens(120, 120, seed=1), UNIFORM, _info())])
    first = parse(PARTS).content.parts[0].size  # type: ignore[union-attr]
    head = len(PARTS) - sum(p.size for p in parse(PARTS).content.parts) - parse(PARTS).content.end_bytes  # type: ignore[union-attr]
    _refused(PARTS[:head] + other[head : head + first] + PARTS[head + first :])


def test_many_damaged_chunks_do_not_hang() -> None:
    """Type bytes of chunks all over the place, each claiming megabytes: looking for the next one has a budget."""
    data = PARTS[:60] + b"\x02\xff\xff\x7f" * 300_000 + PARTS[-400:]
    assert inspect(data).status == "refused"


def test_forged_files_with_crcs_that_fit_raise_ours_only() -> None:
    """Mutations of a masked solo file with its CRC mended reach header, fields, coder and masks."""
    rng = np.random.default_rng(11)
    mask = rng.random((3, 3)) < 0.6
    arrays = (*SMALL.arrays[:2], np.where(mask, SMALL.arrays[2], 0).astype(np.int32))
    masked = Tokens(SMALL.layout, arrays, (None, None, mask))
    raw = StreamInfo("raw", bytes(6), layout=masked.layout)
    for data in (write_solo(masked, UNIFORM, _info((Field(5, b"t"),))), write_solo(masked, UNIFORM, raw)):
        for _ in range(400):
            wrong = bytearray(data[:-4])
            for _ in range(int(rng.integers(1, 4))):
                wrong[int(rng.integers(6, len(wrong)))] = int(rng.integers(0, 256))
            forged = bytes(wrong) + crc(bytes(wrong)).to_bytes(4, "little")
            inspect(forged)
            with contextlib.suppress(BitstreamError, ModelError):
                parse(forged).tokens(SMALL.layout, UNIFORM)
