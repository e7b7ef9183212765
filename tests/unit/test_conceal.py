"""Files with damaged or missing chunks: what is left decodes, what is lost is named, neighbours stand in for it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.codecs.bitstream import Entry, StreamInfo, inspect, parse, reading, write, write_chunked
from smalti.codecs.bitstream.chunked import Part, assemble, blob
from smalti.codecs.bitstream.parts import stage_bounds
from smalti.codecs.bitstream.salvage import Salvage, salvage
from smalti.codecs.conceal import conceal
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
SIDE = 112


def _tokens(levels: int = 3, mask: np.ndarray | None = None) -> Tokens:
    rng = np.random.default_rng(2)
    stages = tuple(Stage(f"s{k}", (("row", SIDE), ("col", SIDE)), 1000) for k in range(levels))
    arrays = [rng.integers(1, 1000, stage.shape).astype(np.int32) for stage in stages]
    if mask is not None:
        arrays[-1][~mask] = 0
    layout = Layout(stages, tuple(range(1, levels + 1)), (("height", SIDE), ("width", SIDE)))
    return Tokens(layout, tuple(arrays), (*(None,) * (levels - 1), mask))


def _file(tokens: Tokens, form: str, prior: Any = UNIFORM) -> bytes:
    return write(tokens, prior, StreamInfo("image", b"model!", prior.id, signal=tokens.layout.signal), form)


def _hit(data: bytes, *numbers: int) -> bytes:
    """The file with a byte of the coder bytes of these TOKENS chunks changed."""
    wrong = bytearray(data)
    for number in numbers:
        blob = parse(data).content.parts[number].blobs[-1][1]  # type: ignore[union-attr]
        wrong[data.index(blob) + len(blob) // 2] ^= 0x40
    return bytes(wrong)


def _left(data: bytes, tokens: Tokens, prior: Any = UNIFORM, stages: int | None = None) -> Salvage:
    found = salvage(parse(data, strict=False), tokens.layout, prior, stages=stages)
    for k, received in enumerate(found.received):
        assert np.array_equal(found.tokens.arrays[k][received], tokens.arrays[k][received])
    return found


def test_the_nearest_received_neighbour_stands_in() -> None:
    layout = Layout((Stage("s", (("row", 3), ("col", 6)), 100),), (1,))
    array = np.arange(18, dtype=np.int32).reshape(3, 6)
    there = np.ones((3, 6), bool)
    there[:, 3:] = False
    there[1, 1] = False
    tokens = Tokens(layout, (array,))
    (found,) = conceal(tokens, (there,)).arrays
    assert found[there].tolist() == array[there].tolist()
    assert (found[:, 3:] == array[:, 2:3]).all()
    assert found[1, 1] in (1, 6, 8, 13)
    assert conceal(tokens, (np.ones((3, 6), bool),)) == tokens
    with pytest.raises(UsageError, match="nothing that could"):
        conceal(tokens, (np.zeros((3, 6), bool),))
    with pytest.raises(UsageError, match="boolean"):
        conceal(tokens, (np.ones((3, 5), bool),))


def lines(*steps: int, side: int = 40) -> Tokens:
    """Bands of lines; a token's hundreds are its step, so that those of other steps show."""
    stages = tuple(Stage(f"b{k}", (("step", count), ("row", side), ("col", side)), 4096) for k, count in enumerate(steps))
    rng = np.random.default_rng(4)
    arrays = [(100 * np.arange(s.shape[0])[:, None, None] + rng.integers(0, 100, s.shape)).astype(np.int32) for s in stages]
    return Tokens(Layout(stages, tuple(range(1, len(stages) + 1)), (("height", side), ("width", side))), tuple(arrays))


def test_of_a_line_the_same_step_stands_in() -> None:
    tokens = lines(3, side=6)
    there = np.ones((3, 6, 6), bool)
    there[1, :, 2:] = False  # the steps before and after came through right there
    (found,) = conceal(tokens, (there,)).arrays
    assert (found[1, :, 2:] == tokens.arrays[0][1, :, 1:2]).all()
    assert np.array_equal(found[there], tokens.arrays[0][there])
    there[1] = False
    with pytest.raises(UsageError, match="step"):
        conceal(tokens, (there,))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_band_without_one_of_its_steps_is_dropped(stage: int) -> None:
    tokens = lines(3, 9, 9)
    file = parse(_file(tokens, "chunked"))
    places = [part.stage for part in file.content.parts]  # type: ignore[union-attr]
    assert places.count(stage) > 1, "only some of the steps are lost"
    found = _left(_hit(_file(tokens, "chunked"), places.index(stage)), tokens)
    assert conceal(found.tokens, found.received) == tokens.prefix(stage)
    assert [(loss.stage, loss.dropped) for loss in found.losses] == [(k, True) for k in range(stage, 3)]


def test_regions_that_a_stage_does_not_hold_stay_so() -> None:
    mask = np.array([True, True, False, True])
    layout = Layout((Stage("s", (("x", 4),), 100),), (1,))
    tokens = Tokens(layout, (np.array([7, 8, 0, 9], np.int32),), (mask,))
    found = conceal(tokens, (np.array([True, False, False, False]),))
    assert found.arrays[0].tolist() == [7, 7, 0, 7]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", ["chunked", "grouped"])
def test_every_single_chunk_may_go(form: str, masked: bool) -> None:
    mask = np.random.default_rng(0).random((SIDE, SIDE)) < 0.8 if masked else None
    tokens = _tokens(mask=mask)
    data = _file(tokens, form)
    file = parse(data)
    parts = file.content.parts  # type: ignore[union-attr]
    assert len(parts) > 3
    for number in (0, len(parts) // 2, len(parts) - 1):
        part = parts[number]
        damaged = _left(_hit(data, number), tokens)
        missing = _left(assemble(file.streams, [p for p in parts if p is not part]), tokens)
        assert damaged.losses == missing.losses
        assert {loss.stage for loss in damaged.losses} == ({0, 1, 2} if form == "grouped" else {part.stage})
        assert not any(loss.dropped for loss in damaged.losses)
        lost = sum(int((~received).sum()) for received in damaged.received)
        assert lost == sum((loss.stop - loss.start) * SIDE for loss in damaged.losses) > 0
        whole = conceal(damaged.tokens, damaged.received)
        assert all(array[~there].all() for array, there in zip(whole.arrays[:2], damaged.received, strict=False))
        assert not masked or not whole.arrays[2][damaged.received[2] & ~tokens.present[2]].any()  # type: ignore[operator]


def test_a_lost_stretch_holds_what_the_stage_before_does() -> None:
    mask = np.random.default_rng(0).random((SIDE, SIDE)) < 0.8
    arrays = [np.where(mask, array, 0) if k else array for k, array in enumerate(_tokens().arrays)]
    tokens = Tokens(_tokens().layout, tuple(arrays), (None, mask, mask))
    data = _file(tokens, "chunked")
    for stage in (1, 2):
        place = [part.stage for part in parse(data).content.parts].index(stage)  # type: ignore[union-attr]
        found = _left(_hit(data, place), tokens).tokens.present
        lost = slice(0, _left(_hit(data, place), tokens).losses[0].stop)
        assert found[stage] is not None
        assert np.array_equal(found[stage][lost], mask[lost] if stage == 2 else np.ones_like(mask[lost]))
        assert np.array_equal(found[stage][lost.stop :], mask[lost.stop :])


def test_a_first_stage_with_a_hole_is_damaged_not_refused() -> None:
    """Nothing whole is left of it, and what can be concealed is."""
    tokens = _tokens()
    data = _hit(_file(tokens, "chunked"), 0)
    report = inspect(data)
    assert (report.status, report.streams[0].stages) == ("damaged", 0)
    assert len(_left(data, tokens).tokens.arrays) == 3
    assert inspect(_hit(_file(_tokens(1), "chunked"), *range(len(parse(_file(_tokens(1), "chunked")).content.parts)))).status == "refused"  # type: ignore[union-attr]


def test_a_whole_stage_that_is_gone_is_dropped_and_named() -> None:
    tokens = _tokens()
    file = parse(_file(tokens, "chunked"))
    parts = file.content.parts  # type: ignore[union-attr]
    for gone, kept in ((2, 2), (1, 1)):
        found = _left(assemble(file.streams, [p for p in parts if p.stage != gone]), tokens)
        assert found.tokens == tokens.prefix(kept)
        assert [(loss.stage, loss.dropped) for loss in found.losses] == [(k, True) for k in range(kept, 3)]
    with pytest.raises(BitstreamError, match="too little"):
        _left(assemble(file.streams, [p for p in parts if p.stage]), tokens)
    assert _left(_hit(_file(tokens, "chunked"), len(parts) - 1), tokens, stages=2).losses == ()


def test_what_stood_on_lost_tokens_is_lost_too_and_the_rest_is_right() -> None:
    """The adaptive prior looks at the stage before: a later segment that leant on lost tokens fails its hash, and is not shown."""
    tokens, prior = _tokens(2), AdaptivePrior()
    data = _file(tokens, "chunked", prior)
    found = _left(_hit(data, 0), tokens, prior)
    first = found.losses[0]
    assert (first.stage, first.start) == (0, 0)
    assert [loss.stage for loss in found.losses] in ([0, 1], [0])
    assert found.received[1][SIDE - 1].all()


def test_sound_loses_stretches_of_time() -> None:
    stages = (Stage("a", (("time", 16000),), 1024), Stage("b", (("time", 32000),), 1024))
    layout = Layout(stages, (1, 2), (("samples", 16000 * 320), ("rate", 24000), ("channels", 1)))
    rng = np.random.default_rng(1)
    tokens = Tokens(layout, tuple(rng.integers(0, 1024, stage.shape).astype(np.int32) for stage in stages))
    data = write_chunked([Entry(tokens, UNIFORM, StreamInfo("audio", b"model!", UNIFORM.id, signal=layout.signal))])
    count = len(parse(data).content.parts)  # type: ignore[union-attr]
    found = _left(_hit(data, 1, 2, count - 1), tokens)
    assert [loss.stage for loss in found.losses] == [0, 0, 1, 1]
    assert found.losses[0].axis == "time"
    assert (found.losses[2].start, found.losses[2].stop) == (2 * found.losses[0].start, 2 * found.losses[0].stop)
    assert found.losses[1].stop == 16000


def test_a_few_bytes_do_not_claim_a_huge_picture() -> None:
    """Not even where they are right: the first 32 of 8192 rows, as they stand in the file of the whole."""
    layout = Layout((Stage("s0", (("row", 8192), ("col", 8192)), 2),), (1,), (("height", 65535), ("width", 65535)))
    rows = Layout((Stage("s0", (("row", 32), ("col", 8192)), 2),), (1,), layout.signal)
    piece = Tokens(rows, (np.ones((32, 8192), np.int32),))
    part = Part(0, 0, 0, False, (blob(piece, 0, UNIFORM),))
    info = StreamInfo("image", b"model!", UNIFORM.id, 1, layout.signal)
    for grouped, unit in ((False, 0), (True, 5)):
        file = parse(assemble([replace(info, grouped=grouped, unit=unit)], [part]), strict=False)
        if grouped:
            assert file.region(layout, UNIFORM, 0, 32) == piece
        else:
            assert reading.still_piece(file.content.parts[0], layout, None, stage_bounds(layout.stages[0], unit), UNIFORM) == piece  # type: ignore[union-attr]
        with pytest.raises(BitstreamError, match="too little"):
            salvage(file, layout, UNIFORM)


def test_the_command(cli: Any, samples: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert "damaged" in cli("detokenize", samples.damaged, "-o", out).refusal()
    ran = cli("detokenize", samples.damaged, "--conceal", "-o", out)
    assert ran.code == 1
    assert "stage 2 of 2 left out" in ran.err
    assert ran.out == f"{out}: 80 x 56 from 1 stage\n"
    first = cli("detokenize", samples.chunked, "--stages", "1", "-o", "-").stdout
    assert out.read_bytes() == first
    whole = cli("detokenize", samples.chunked, "--conceal", "-o", "-")
    assert (whole.code, whole.err) == (0, "standard output: 80 x 56 from 2 stages\n")
    assert whole.stdout == cli("detokenize", samples.chunked, "-o", "-").stdout
    ran = cli("detokenize", samples.damaged, "--conceal", "-o", out, "--force", "--json")
    assert ran.json[0]["lost"][-1] == "stage 2 of 2 left out"
    broken = tmp_path / "solo.smt"
    broken.write_bytes(samples.solo.read_bytes()[:-1] + b"?")
    assert "damaged" in cli("detokenize", broken, "--conceal").refusal()
    assert "--stages" in cli("detokenize", broken, "--conceal", "--bytes", "9").refusal()


def test_a_picture_with_a_hole(cli: Any, samples: Any, tmp_path: Path) -> None:
    import smalti

    model = smalti.load(samples.tiny)
    layout = model.layout((("height", 960), ("width", 960)))
    rng = np.random.default_rng(5)
    tokens = Tokens(layout, tuple(rng.integers(0, s.vocab, s.shape).astype(np.int32) for s in layout.stages))
    info = StreamInfo("image", bytes.fromhex(model.fingerprint)[:6], UNIFORM.id, signal=layout.signal)
    path = tmp_path / "hole.smt"
    path.write_bytes(_hit(write(tokens, UNIFORM, info, "grouped"), 1))
    ran = cli("detokenize", path, "--conceal", "-m", samples.tiny, "-o", "-")
    assert ran.code == 1
    assert "is damaged: its CRC-32 does not match" in ran.err
    assert "stage 1 of 2 concealed in rows " in ran.err
    with PIL.Image.open(io.BytesIO(ran.stdout)) as shown:
        assert shown.size == (960, 960)
