"""What a damaged or hostile file may do: raise BitstreamError, and be found by `inspect`. Nothing else."""

import contextlib
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.bitstream import Entry, Field, StreamInfo, inspect, parse, write_chunked, write_solo
from smalti.codecs.bitstream.chunked import Part, assemble
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


def assert_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        parse(data)
    assert inspect(data).status != "whole"


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation(form: str) -> None:
    for length in range(len(FORMS[form])):
        assert_refused(FORMS[form][:length])


@pytest.mark.parametrize("form", FORMS)
def test_every_single_bit_flip(form: str) -> None:
    data = FORMS[form]
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        assert_refused(bytes(wrong))


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
            assert_refused(bytes(wrong))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\x89SMT\x10\x08", b"\x89SMT\x10\x0c", HEADER]))
def test_anything_after_a_header(tail: bytes, head: bytes) -> None:
    """With a CRC that fits, so that the parser behind it is reached."""
    solo = head + tail
    for data in (solo, solo + zlib.crc32(solo).to_bytes(4, "little"), HEADER + chunk(STREAM, tail, crc(HEADER))):
        with contextlib.suppress(BitstreamError):  # any other error fails the test
            parse(data)
        assert inspect(data).size == len(data)  # it reports on anything, and never raises


def _with_chunks(*made: tuple[int, bytes]) -> bytes:
    info = StreamInfo("image", b"model!", UNIFORM.id, 3, SIGNAL, unit=12)
    first = chunk(STREAM, write_stream(info, 0), crc(HEADER))
    seed = int.from_bytes(first[-4:], "little")
    return HEADER + first + b"".join(chunk(kind, payload, seed) for kind, payload in made)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, TOKENS, SIDE, STREAM, 0x85, 9]), st.binary(max_size=12)), max_size=4))
def test_any_chunks_with_crcs_that_fit(made: list[tuple[int, bytes]]) -> None:
    data = _with_chunks(*made)
    assert_refused(data)
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


@contextlib.contextmanager
def _little_memory(megabytes: int = 16) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def _huge(vocab: int) -> Layout:
    return Layout((Stage("s", (("row", 16384), ("col", 16384)), vocab),), (1,), (("height", 65535), ("width", 16384)))


def _chunks(info: StreamInfo, segments: int, blob: bytes, levels: int = 1) -> bytes:
    """A chunked file of that many equal TOKENS chunks, the last of them marked as such."""
    return assemble([info], [Part(0, s, 0, s + 1 == segments, ((b"\0\0", blob),) * levels) for s in range(segments)])


@pytest.mark.parametrize("vocab", [1, 2, 1024, 2**31 - 1])
@pytest.mark.parametrize("blob", [b"", b"\1", b"\1" + bytes(range(60))])
def test_declared_huge_sizes_take_no_memory(vocab: int, blob: bytes) -> None:
    """Files whose structure fits a huge layout, so that the coder is what must refuse them; the messages say that it did."""
    layout = _huge(vocab)
    info = StreamInfo("image", b"model!", UNIFORM.id, 1, layout.signal)
    tiny = Tokens(Layout((Stage("s", (("row", 3),), 9),), (1,), layout.signal), (np.arange(3, dtype=np.int32),))
    solo = write_solo(tiny, UNIFORM, info)[:-5]
    files = [solo + blob + crc(solo + blob).to_bytes(4, "little")]
    for unit in (20, 24, 28):
        files.append(_chunks(replace(info, unit=unit), 2 ** (28 - unit), blob))
    for data in files:
        # 2^25 tokens that cost no bytes are allowed
        with _little_memory(160 if vocab == 1 else 16), pytest.raises(BitstreamError, match=r"coder stream|come from|one entry|not those"):
            parse(data).tokens(layout, UNIFORM)


@pytest.mark.parametrize("steps", [2**21, 2**28])
@pytest.mark.parametrize("vocab", [2, 1024])
@pytest.mark.parametrize("segments", [1, 3])
def test_a_forged_unit_of_time_takes_no_memory(steps: int, vocab: int, segments: int) -> None:
    layout = Layout((Stage("s", (("time", steps),), vocab),), (1,))
    for unit in (0, 1, 8, 28):
        data = _chunks(StreamInfo("raw", bytes(6), UNIFORM.id, 1, layout=layout, grouped=True, unit=unit), segments, b"")
        assert len(data) < 120
        with _little_memory(80), pytest.raises(BitstreamError, match=r"segments|come from"):
            parse(data).tokens(None, UNIFORM)


def test_raw_files_that_do_not_fit_their_own_layout() -> None:
    """No model is to blame there."""
    rows = Layout((Stage("s", (("row", 64), ("col", 64)), 4),) * 2, (2,))
    steps = Layout((Stage("s", (("time", 4096),), 4),) * 2, (2,))
    other = Layout((Stage("s", (("row", 64),), 4), Stage("s", (("row", 32),), 4)), (2,))
    for layout, timed, more, expected in (
        (rows, False, {"segments": 5}, "other segments"),
        (rows, True, {"segments": 4, "levels": 2}, "4 segments"),
        (other, True, {"segments": 4, "levels": 2}, "no axis"),
        (steps, True, {"segments": 5, "levels": 2}, "5 segments"),
    ):
        info = StreamInfo("raw", bytes(6), UNIFORM.id, 2 if timed else 1, layout=replace(layout, cuts=(1, 2)), grouped=timed, unit=10)
        with pytest.raises(BitstreamError, match=expected):
            parse(_chunks(info, blob=b"", **more)).tokens(None, UNIFORM)  # type: ignore[arg-type]
    whole = Layout(rows.stages, (2,))
    body = write_solo(_zeros(whole), UNIFORM, StreamInfo("raw", bytes(6), layout=whole))[:-4]
    forged = body[:16] + b"\0" + body[17:]  # one stage of two, and the layout says that one does not decode
    with pytest.raises(BitstreamError):
        parse(forged + crc(forged).to_bytes(4, "little")).tokens(None, UNIFORM)


def test_a_segment_missing_between_others_of_a_damaged_file() -> None:
    """A stage of which an early segment claims to be the last one and later ones follow: not strict, all of them are kept."""
    tokens = _tokens(64, 64)
    info = replace(parse(write_chunked([Entry(tokens, UNIFORM, _info())])).streams[0], unit=10, stages=1)
    held = [Part(0, s, 0, last, ((b"\0\0", b""),)) for s, last in ((0, True), (3, True))]
    file = inspect(assemble([info], held)).file
    assert file is not None
    with pytest.raises(ModelError, match="other segments"):
        file.tokens(tokens.layout.prefix(1), UNIFORM)


def test_names_in_raw_layouts() -> None:
    """They are shown to people, one line each, and pieces are put together by them."""
    good = Layout((Stage("s", (("row", 2), ("Spalte ü", 2)), 4),), (1,), (("x", 3),))
    data = write_solo(_zeros(good), UNIFORM, StreamInfo("raw", bytes(6), layout=good))
    assert parse(data).streams[0].layout == good
    for bad in ("a\nb", "\x1b[2J", "\u202e", "\x00"):
        for layout in (
            replace(good, signal=((bad, 3),)),
            replace(good, stages=(replace(good.stages[0], name=bad),)),
            replace(good, stages=(replace(good.stages[0], axes=((bad, 2), ("col", 2))),)),
        ):
            with pytest.raises(UsageError, match="not printable"):
                StreamInfo("raw", bytes(6), stages=1, layout=layout).checked()
    twice = replace(good, stages=(replace(good.stages[0], axes=(("time", 2), ("time", 2))),))
    with pytest.raises(UsageError, match="one name"):
        StreamInfo("raw", bytes(6), stages=1, layout=twice).checked()
    start = data.index(b"row")
    forged = data[:start] + b"r\nw" + data[start + 3 : -4]
    assert_refused(forged + crc(forged).to_bytes(4, "little"))


def _zeros(layout: Layout) -> Tokens:
    return Tokens(layout, tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages))


def test_raw_layouts_are_bounded() -> None:
    for axes in ((("a", 2**14), ("b", 2**14), ("c", 2)), (("a", 0), ("b", 2**28), ("c", 2**28)), (("a", 2**26),)):
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
        assert report.status == "damaged"  # also where the first stage has a hole: --conceal decodes what is left
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
        assert file.status == "damaged"  # a stage-0 segment is gone
        assert len(parse(bytes(wrong), strict=False).content.parts) == len(parse(PARTS).content.parts) - 1  # type: ignore[union-attr]


def test_chunks_of_another_file_do_not_splice_in() -> None:
    other = write_chunked([Entry(_tokens(120, 120, seed=1), UNIFORM, _info())])
    first = parse(PARTS).content.parts[0].size  # type: ignore[union-attr]
    head = len(PARTS) - sum(p.size for p in parse(PARTS).content.parts) - parse(PARTS).content.end_bytes  # type: ignore[union-attr]
    assert_refused(PARTS[:head] + other[head : head + first] + PARTS[head + first :])


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
            assert inspect(forged).size == len(forged)  # it reports on anything, and never raises
            with contextlib.suppress(BitstreamError, ModelError):  # any other error fails the test
                parse(forged).tokens(SMALL.layout, UNIFORM)
