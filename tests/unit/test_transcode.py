"""Another prior for the same tokens, in every form; what a file says of its signal stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti import api
from smalti.codecs.bitstream import (
    Archive,
    Change,
    Entry,
    Field,
    Item,
    StreamInfo,
    Whole,
    inspect,
    parse,
    transcode,
    write,
    write_archive,
    write_chunked,
)
from smalti.codecs.bitstream.chunked import Unknown, assemble
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM, ADAPTIVE = UniformPrior(), AdaptivePrior()
FIELDS = (Field(5, b"title"), Field(90, b"of a later version"))


def _tokens(side: int, levels: int = 2, masked: bool = False) -> Tokens:
    rng = np.random.default_rng(side)
    stages = tuple(Stage(f"s{k}", (("row", side), ("col", side)), 1024) for k in range(levels))
    arrays = [np.minimum(rng.geometric(0.02, stage.shape), 1023).astype(np.int32) for stage in stages]
    mask = rng.random((side, side)) < 0.7 if masked else None
    if mask is not None:
        arrays[-1][~mask] = 0
    layout = Layout(stages, tuple(range(1, levels + 1)), (("height", 16 * side), ("width", 16 * side)))
    return Tokens(layout, tuple(arrays), (None,) * (levels - 1) + (mask,))


def _info(tokens: Tokens, fields: tuple[Field, ...] = FIELDS) -> StreamInfo:
    return StreamInfo("image", b"model!", UNIFORM.id, signal=tokens.layout.signal, notes=5, fields=fields)


def _to(layout: Layout | None, new: Any = ADAPTIVE, old: Any = UNIFORM) -> Any:
    return lambda info: Change(layout, old, new, new.id)


def same(info: StreamInfo, other: StreamInfo, prior: Any) -> bool:
    return replace(info, prior_id=prior.id) == other


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", ["solo", "chunked", "grouped"])
def test_tokens_and_all_else_stay(form: str, masked: bool) -> None:
    tokens = _tokens(100 if form != "solo" else 20, masked=masked)
    data = write(tokens, UNIFORM, _info(tokens), form)
    assert form == "solo" or len(parse(data).content.parts) > 2  # type: ignore[union-attr]
    for prior in (ADAPTIVE, StaticPrior.fit([tokens])):
        made = transcode(data, _to(tokens.layout, prior))
        file = parse(made)
        assert file.form == parse(data).form
        assert file.tokens(tokens.layout, prior) == tokens
        assert same(parse(data).streams[0], file.streams[0], prior)
        assert file.streams[0].fields == FIELDS
        assert len(made) < len(data)
        assert transcode(made, _to(tokens.layout, UNIFORM, prior)) == data


@pytest.mark.parametrize("form", ["chunked", "grouped"])
def test_a_file_that_ends_early_stays_one(form: str) -> None:
    tokens = _tokens(100)
    file = parse(write(tokens, UNIFORM, _info(tokens), form))
    count = len(file.content.parts)  # type: ignore[union-attr]
    for held in (1, count // 2 + 1, count - 1):
        part = file.truncate(held)
        if form == "grouped" or held > count // 2:
            made = parse(transcode(part, _to(tokens.layout)))
            assert made.tokens(tokens.layout, ADAPTIVE) == parse(part).tokens(tokens.layout, UNIFORM)
        assert transcode(transcode(part, _to(tokens.layout)), _to(tokens.layout, UNIFORM, ADAPTIVE)) == part


def test_several_streams_and_chunks_of_later_versions() -> None:
    one, two = _tokens(60), _tokens(90)
    made = write_chunked([Entry(one, UNIFORM, _info(one)), Entry(two, UNIFORM, _info(two, ()), grouped=True)])
    file = parse(made)
    extra = (Unknown(0, 0x89, b"first"), Unknown(3, 0x8A, b""), Unknown(len(file.content.parts), 0x8B, b"x" * 300))  # type: ignore[union-attr]
    data = assemble(file.streams, file.content.parts, extra)  # type: ignore[union-attr]
    assert parse(data).content.unknown == extra  # type: ignore[union-attr]
    layouts = {one.layout.signal: one.layout, two.layout.signal: two.layout}
    result = parse(transcode(data, lambda info: Change(layouts[info.signal], UNIFORM, ADAPTIVE, ADAPTIVE.id)))
    assert result.content.unknown == extra  # type: ignore[union-attr]
    assert [result.tokens(t.layout, ADAPTIVE, i) for i, t in enumerate((one, two))] == [one, two]


def test_archives() -> None:
    small, large = _tokens(8), _tokens(60)
    grouped = write(large, UNIFORM, _info(large), "grouped")
    items = [
        Item(small, UNIFORM, _info(small), "a"),
        Whole(grouped, "b"),
        Item(large, UNIFORM, _info(large, ())),
        Item(small, UNIFORM, _info(small)),
    ]
    data = write_archive(items, [(0x89, b"of a later version")])
    assert inspect(data).status == "whole"
    layouts = {t.layout.signal: t.layout for t in (small, large)}
    made = transcode(data, lambda info: Change(layouts[info.signal], UNIFORM, ADAPTIVE, ADAPTIVE.id))
    before, after = Archive(data), Archive(made)
    assert [after.key(i) for i in range(4)] == ["a", "b", "", ""]
    assert [f.tokens(layouts[f.streams[0].signal], ADAPTIVE) for f in after] == [small, large, large, small]
    assert all(same(old.streams[0], new.streams[0], ADAPTIVE) for old, new in zip(before, after, strict=True))
    assert after[1].form == "chunked"
    assert b"of a later version" in made
    assert transcode(made, lambda info: Change(layouts[info.signal], ADAPTIVE, UNIFORM, UNIFORM.id)) == data


def test_damage_and_other_priors_are_refused() -> None:
    tokens = _tokens(100)
    data = write(tokens, UNIFORM, _info(tokens), "chunked")
    with pytest.raises(BitstreamError):
        transcode(data[:-40] + b"?" + data[-39:], _to(tokens.layout))
    with pytest.raises(ModelError, match=UNIFORM.id.hex()):
        transcode(data, _to(tokens.layout, UNIFORM, ADAPTIVE))
    with pytest.raises(BitstreamError):
        transcode(data, _to(_tokens(90).layout))


def test_cut_keeps_what_it_may_skip_and_refuses_what_it_must_not() -> None:
    tokens = _tokens(100)
    file = parse(write(tokens, UNIFORM, _info(tokens), "chunked"))
    count = len(file.content.parts)  # type: ignore[union-attr]
    extra = [Unknown(0, 0x89, b"first"), Unknown(count, 0x8A, b"last")]
    cut = parse(parse(assemble(file.streams, file.content.parts, extra)).cut(1))  # type: ignore[union-attr]
    assert [(e.type, e.payload) for e in cut.content.unknown] == [(0x89, b"first"), (0x8A, b"last")]  # type: ignore[union-attr]
    assert cut.streams[0].fields == FIELDS
    assert cut.tokens(tokens.layout, UNIFORM) == tokens.prefix(1)
    solo = parse(write(tokens, UNIFORM, _info(tokens), "solo"))
    assert parse(solo.cut(1, tokens.layout, UNIFORM)).streams[0].fields == FIELDS
    with pytest.raises(BitstreamError, match="install a later"):
        parse(assemble(file.streams, file.content.parts, [Unknown(0, 0x09, b"critical")]))  # type: ignore[union-attr]
    critical = (*FIELDS, Field(91, b"?", critical=True))
    with pytest.raises(BitstreamError, match="field 91 must be understood"):
        parse(assemble([replace(file.streams[0], fields=critical)], file.content.parts))  # type: ignore[union-attr]


def test_the_command(cli: Any, samples: Any, tmp_path: Path) -> None:
    out = tmp_path / "uniform.smt"
    for source in (samples.solo, samples.chunked):
        ran = cli("transcode", source, "--prior", "uniform", "-o", out, "--force")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == f"{out}: {out.stat().st_size} bytes ({source} has {source.stat().st_size} bytes)\n"
        assert cli("info", out, "--json").json[0]["streams"][0]["prior"] == "uniform"
        assert smalti.open(out) == smalti.open(source)
        back = cli("transcode", out, "-o", "-")
        assert back.stdout == source.read_bytes()
        again = cli("transcode", out, "--prior", "uniform", "-o", tmp_path / "again.smt", "--force")
        assert "nothing changed" in again.out
        assert (tmp_path / "again.smt").read_bytes() == out.read_bytes()
    tables = tmp_path / "tables.safetensors"
    StaticPrior.fit([smalti.open(samples.solo)]).save(tables)
    assert cli("transcode", samples.solo, "--prior", tables, "-o", out, "--force", "-q").code == 0
    assert smalti.open(out, prior=tables) == smalti.open(samples.solo)
    assert cli("transcode", out, "--source-prior", tables, "-o", "-").stdout == samples.solo.read_bytes()
    assert "name its file as the prior" in cli("transcode", out, "-o", "-").refusal()


def test_what_the_command_refuses(cli: Any, samples: Any, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "x.smt")
    assert "not installed" in cli("transcode", samples.foreign, "--prior", "uniform", *out).refusal()
    assert "no prior 'other'" in cli("transcode", samples.solo, "--prior", "other", *out).refusal()
    assert "damaged" in cli("transcode", samples.damaged, "--prior", "uniform", *out).refusal()
    assert "a folder" in cli("transcode", samples.folder, *out).refusal()
    tokens = _tokens(8)
    raw = write(tokens, UNIFORM, StreamInfo("raw", bytes(6), UNIFORM.id, layout=tokens.layout))
    assert smalti.open(api.transcode(raw, "adaptive")) == tokens
    with pytest.raises(UsageError, match="raw tokens"):
        api.transcode(raw)
    own = api.prior_of(api.zoo.find("image-grid-16"))
    if not isinstance(own, StaticPrior):
        assert "brings no static tables" in cli("transcode", samples.solo, "--prior", "static", *out).refusal()
    assert not list(tmp_path.iterdir())
