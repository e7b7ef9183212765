import numpy as np
import pytest

from smalti.codecs.bitstream import Entry, Field, StreamInfo, inspect, parse, write, write_chunked, write_solo
from smalti.codecs.bitstream.wire import chunk, crc
from smalti.codecs.neural import write_within
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
MODEL = bytes.fromhex("0123456789ab")
IMAGE = (("height", 300), ("width", 400))
AUDIO = (("samples", 100000), ("rate", 24000), ("channels", 2))
VIDEO = (("frames", 36), ("height", 64), ("width", 64), ("rate_num", 25), ("rate_den", 1))


def _grid(side: int) -> tuple[tuple[str, int], ...]:
    return (("row", side), ("col", side))


def _tokens(axes: list[tuple[tuple[str, int], ...]], vocab: int = 4096, signal: tuple = IMAGE, mask: int = 0) -> Tokens:
    """Random tokens; mask: how many trailing axes the presence masks of stages 1.. have, 0 for none."""
    rng = np.random.default_rng(len(axes))
    stages = tuple(Stage(f"s{i}", a, vocab) for i, a in enumerate(axes))
    arrays, masks, held = [], [], None
    for k, stage in enumerate(stages):
        array = rng.integers(0, vocab, stage.shape).astype(np.int32)
        if mask and k:
            here = rng.random(stage.shape[len(stage.shape) - mask :]) < 0.8
            held = here if held is None else held & here
            array[..., ~held] = 0
        arrays.append(array)
        masks.append(held)
    return Tokens(Layout(stages, tuple(range(1, len(stages) + 1)), signal), tuple(arrays), tuple(masks))


STILL = {
    "one": _tokens([_grid(16)]),
    "residual": _tokens([_grid(120)] * 3),
    "scales": _tokens([_grid(n) for n in (1, 2, 40, 150)]),
    "masked": _tokens([_grid(120)] * 3, mask=2),
    "bands": _tokens([(("step", 2**i), *_grid(32)) for i in range(2, 5)], mask=2),
    "mixed": _tokens([_grid(4), _grid(4), _grid(130)], mask=0),
    "uneven": _tokens([(("step", 40), *_grid(20)), (("step", 50), *_grid(20))], mask=2),
}
TIMED = {
    "sound": _tokens([(("time", 3000),)] * 4, 1024, AUDIO),
    "growing": _tokens([(("time", 9 * m), *_grid(8)) for m in (1, 1, 4)], signal=VIDEO, mask=2),
    "still masks": _tokens([(("time", 60), *_grid(8))] * 3, signal=VIDEO, mask=3),
    "short": _tokens([(("time", 1),)] * 8, 1024, AUDIO),
}


def _info(tokens: Tokens, **more: object) -> StreamInfo:
    modality = {"height": "image", "samples": "audio", "frames": "video"}[tokens.layout.signal[0][0]]
    return StreamInfo(modality, MODEL, UNIFORM.id, signal=tokens.layout.signal, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["auto", "chunked"])
@pytest.mark.parametrize("name", [*STILL, *TIMED])
def test_round_trip_cuts_and_overhead(name: str, form: str) -> None:
    tokens = {**STILL, **TIMED}[name]
    data = write(tokens, UNIFORM, _info(tokens, notes=5), form)
    file = parse(data)
    assert file.tokens(tokens.layout, UNIFORM) == tokens
    assert file.streams[0].signal == tokens.layout.signal
    assert file.streams[0].notes == 5
    for k in tokens.layout.cuts:
        assert file.tokens(tokens.layout, UNIFORM, stages=k) == tokens.prefix(k)
        assert parse(file.cut(k, tokens.layout, UNIFORM)).tokens(tokens.layout, UNIFORM) == tokens.prefix(k)
    report = inspect(data)
    assert report.status == "whole"
    assert sum(count for _, count in report.bytes) == len(data)
    assert report.overhead <= (32 if file.form == "solo" else 48 + 12 * len(file.content.parts))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", STILL)
def test_every_prefix_of_chunks_is_a_file(name: str) -> None:
    tokens = STILL[name]
    file = parse(write(tokens, UNIFORM, _info(tokens), "chunked"))
    for count in range(len(file.content.parts) + 1):  # type: ignore[union-attr]
        shorter = parse(file.truncate(count))
        if whole := shorter.stages():
            assert shorter.tokens(tokens.layout, UNIFORM) == tokens.prefix(whole)
        else:
            with pytest.raises(BitstreamError):
                shorter.tokens(tokens.layout, UNIFORM)


def test_a_prefix_in_time_gives_the_steps_that_are_there() -> None:
    tokens = TIMED["sound"]
    file = parse(write(tokens, UNIFORM, _info(tokens), "chunked"))
    assert file.segments() > 3
    for count in range(1, file.segments() + 1):
        held = parse(file.truncate(count)).tokens(tokens.layout, UNIFORM)
        assert held == tokens.segment(0, held.arrays[0].shape[0])


@pytest.mark.parametrize("name", ["residual", "masked", "sound", "still masks"])
def test_a_region_is_read_from_the_groups_that_hold_it(name: str) -> None:
    """Decoded alone: all other chunks may be damaged, and so may later levels."""
    tokens = {**STILL, **TIMED}[name]
    data = write(tokens, UNIFORM, _info(tokens), "grouped")
    file = parse(data)
    assert file.streams[0].grouped
    assert file.segments() > 3
    assert file.tokens(tokens.layout, UNIFORM) == tokens
    assert parse(file.cut(2)).tokens(tokens.layout, UNIFORM) == tokens.prefix(2)
    steps = tokens.layout.stages[0].shape[0]
    parts = file.content.parts  # type: ignore[union-attr]
    wrong = bytearray(data)
    wrong[data.index(parts[-1].blobs[0][1])] ^= 1
    damaged = parse(bytes(wrong), strict=False)
    for start, stop in ((0, 1), (steps // 3, steps // 2), (0, steps * 2 // 3)):
        for k in (None, 1):
            part = file.region(tokens.layout, UNIFORM, start, stop, stages=k)
            assert part == damaged.region(tokens.layout, UNIFORM, start, stop, stages=k)
            assert part.layout.stages[0].shape[0] == stop - start
            for held, whole, stage in zip(part.arrays, tokens.arrays, tokens.layout.stages, strict=False):
                ratio = stage.shape[0] // steps
                assert np.array_equal(held, whole[start * ratio : stop * ratio])
    assert parse(write(tokens, UNIFORM, _info(tokens), "chunked")).region(tokens.layout, UNIFORM, 1, 3) == file.region(
        tokens.layout, UNIFORM, 1, 3
    )
    with pytest.raises(BitstreamError, match="missing"):
        damaged.region(tokens.layout, UNIFORM, 0, steps)
    for start, stop, k in ((3, 3, None), (0, steps + 1, None), (0, 1, 9)):
        with pytest.raises(UsageError):
            file.region(tokens.layout, UNIFORM, start, stop, stages=k)


def test_groups_need_stages_of_one_shape() -> None:
    with pytest.raises(UsageError, match="same axes"):
        write(STILL["scales"], UNIFORM, _info(STILL["scales"]), "grouped")


def test_later_minor_versions_are_read() -> None:
    tokens = STILL["one"]
    body = write_solo(tokens, UNIFORM, _info(tokens))[:-4]
    body = body[:4] + b"\x17" + body[5:]
    file = parse(body + crc(body).to_bytes(4, "little"))
    assert (file.version, file.tokens(tokens.layout, UNIFORM)) == ((1, 7), tokens)


def test_two_streams_side_fields_and_a_long_index() -> None:
    picture, sound = _tokens([(("time", 2000), *_grid(8))] * 2, signal=VIDEO), TIMED["sound"]
    fields = (Field(1, b"\x06", critical=True), Field(5, "Ölbild".encode()), Field(90, b"?"))
    data = write_chunked([Entry(picture, UNIFORM, _info(picture, fields=fields)), Entry(sound, UNIFORM, _info(sound))])
    file = parse(data)
    assert file.tokens(picture.layout, UNIFORM, 0) == picture
    assert file.tokens(sound.layout, UNIFORM, 1) == sound
    assert [f.id for f in file.streams[0].fields] == [1, 5, 90]  # the unknown skippable one is kept
    assert len(file.content.parts) > 40  # type: ignore[union-attr]
    cut = parse(file.cut(1))
    assert cut.tokens(sound.layout, UNIFORM, 1) == sound.prefix(1)


def test_side_fields_in_solo_form_and_critical_ones() -> None:
    tokens = STILL["one"]
    data = write_solo(tokens, UNIFORM, _info(tokens, fields=(Field(5, b"title"),)))
    assert parse(data).streams[0].fields == (Field(5, b"title"),)
    with pytest.raises(UsageError, match="90"):
        write_solo(tokens, UNIFORM, _info(tokens, fields=(Field(90, b"?", critical=True),)))


@pytest.mark.parametrize("form", ["solo", "chunked"])
def test_raw_tokens_carry_their_layout(form: str) -> None:
    whole = _tokens([_grid(5), (("x", 3),)], 70000, (("a", 1), ("b", 2**31)))
    tokens = Tokens(Layout(whole.layout.stages, (2,), whole.layout.signal), whole.arrays)
    data = write(tokens, UNIFORM, StreamInfo("raw", bytes(6), layout=tokens.layout), form)
    assert parse(data).tokens(None, UNIFORM) == tokens
    assert inspect(data).overhead <= 60


@pytest.mark.parametrize("form", ["solo", "chunked"])
@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (2**20 - 1, 2**32 - 1, 0, 2**32 - 1), (300, 5, 6, 7, 2**28, 0, 31)])
def test_the_size_of_a_shape_is_its_pose(numbers: tuple[int, ...], form: str) -> None:
    signal = tuple(zip(("scale", "x", "y", "z", "vertices", "faces", "bits"), numbers, strict=False))
    tokens = Tokens(Layout((Stage("t", (("token", 9),), 5),), (1,), signal), (np.arange(9, dtype=np.int32) % 5,))
    file = parse(write(tokens, UNIFORM, StreamInfo("shape", MODEL, signal=signal), form))
    assert file.streams[0].signal == signal
    assert file.tokens(tokens.layout, UNIFORM) == tokens


@pytest.mark.parametrize(("name", "value"), [("scale", 2**20), ("x", 2**32), ("z", -1), ("bits", 32), ("faces", 2**28 + 1)])
def test_poses_that_no_file_holds_are_refused(name: str, value: int) -> None:
    signal = tuple((dict.fromkeys(("scale", "x", "y", "z", "vertices", "faces", "bits"), 1) | {name: value}).items())
    with pytest.raises(UsageError, match=name):
        StreamInfo("shape", MODEL, stages=1, signal=signal).checked()
    with pytest.raises(UsageError, match="scale, x, y, z"):
        StreamInfo("shape", MODEL, stages=1, signal=signal[:3]).checked()


def test_other_priors_and_models_are_named() -> None:
    tokens = STILL["one"]
    prior = StaticPrior.fit([tokens])
    file = parse(write(tokens, UNIFORM, _info(tokens)))
    with pytest.raises(ModelError, match=UNIFORM.id.hex()):
        file.tokens(tokens.layout, prior)
    unnamed = parse(write(tokens, UNIFORM, StreamInfo("image", MODEL, signal=IMAGE)))
    with pytest.raises(BitstreamError):  # the hash, the end of the coder stream, or both
        unnamed.tokens(tokens.layout, prior)
    other = Layout((Stage("s0", _grid(17), 4096),), (1,), IMAGE)
    with pytest.raises(BitstreamError):
        file.tokens(other, UNIFORM)


def test_solo_takes_small_signals_only() -> None:
    with pytest.raises(UsageError, match="chunked"):
        write_solo(STILL["residual"], UNIFORM, StreamInfo("image", MODEL, signal=(("height", 65535), ("width", 65535)), notes=1 << 21))
    large = _tokens([_grid(250)])
    with pytest.raises(UsageError, match="chunked"):
        write_solo(large, UNIFORM, _info(large))
    with pytest.raises(UsageError):
        write(STILL["one"], UNIFORM, StreamInfo("image", MODEL, signal=(("height", 65536), ("width", 1))))


def test_solo_with_a_byte_of_payload() -> None:
    """One token of a single likely value, of a picture of one pixel: the shortest files there are."""
    layout = Layout((Stage("s0", _grid(1), 2),), (1,), (("height", 1), ("width", 1)))
    prior, one = AdaptivePrior(), Tokens(layout, (np.zeros((1, 1), np.int32),))
    data = write_solo(one, prior, StreamInfo("image", MODEL, prior.id, signal=layout.signal))
    assert len(data) < 30
    assert parse(data).tokens(layout, prior) == one
    for held in range(len(data)):
        with pytest.raises(BitstreamError):
            parse(data[:held])


def test_unknown_chunks_and_versions() -> None:
    tokens = STILL["residual"]
    data = write(tokens, UNIFORM, _info(tokens), "chunked")
    file = parse(data)
    first = len(data) - sum(p.size for p in file.content.parts) - file.content.end_bytes  # type: ignore[union-attr]
    seed = int.from_bytes(data[first - 4 : first], "little")
    later = data[:first] + chunk(0x85, b"of a later minor version", seed) + data[first:]
    assert parse(later).tokens(tokens.layout, UNIFORM) == tokens
    with pytest.raises(BitstreamError, match="install a later"):
        parse(data[:first] + chunk(5, b"", seed) + data[first:])
    with pytest.raises(BitstreamError, match=r"version 2\.0.*version 1"):
        parse(data[:4] + b"\x20" + data[5:])


def test_target_chooses_the_longest_prefix_that_fits() -> None:
    tokens = STILL["residual"]
    info = _info(tokens)
    sizes = [len(write(tokens.prefix(k), UNIFORM, info)) for k in (1, 2, 3)]
    assert len(write_within(tokens, UNIFORM, info)) == sizes[2]
    assert len(write_within(tokens, UNIFORM, info, Target(bytes=sizes[1]))) == sizes[1]
    assert len(write_within(tokens, UNIFORM, info, Target(bytes=sizes[1] - 1))) == sizes[0]
    assert len(write_within(tokens, UNIFORM, info, Target(bits_per_pixel=8 * sizes[1] / (300 * 400)))) == sizes[1]
    assert len(write_within(tokens, UNIFORM, info, Target(stages=2))) == sizes[1]
    with pytest.raises(UsageError, match=str(sizes[0])):
        write_within(tokens, UNIFORM, info, Target(bytes=100))
    with pytest.raises(UsageError):
        write_within(tokens, UNIFORM, info, Target(quality=3))
