"""The command line on forged files, odd names and too little memory: one line each, never a traceback or a forged line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.codecs.bitstream import Field, StreamInfo, check_applied, inspect, parse, write
from smalti.codecs.bitstream.wire import crc
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.tokens import Layout, Stage, Tokens

MODEL = ("-m", "image-grid-16")


def raw(signal: tuple[tuple[str, int], ...], form: str = "auto") -> bytes:
    layout = Layout((Stage("s", (("row", 3), ("col", 2)), 4),), (1,), signal)
    return write(Tokens(layout, (np.ones((3, 2), np.int32),)), UniformPrior(), StreamInfo("raw", bytes(6), layout=layout), form)


@pytest.mark.parametrize("form", ["solo", "chunked"])
@pytest.mark.parametrize("signal", [(), (("height", 0), ("width", 0)), (("width", 7),), (("height", 3), ("width", 4), ("frames", 1))])
def test_info_on_raw_tokens(cli: Any, form: str, signal: tuple[tuple[str, int], ...]) -> None:
    data = raw(signal, form)
    (stream,) = cli("info", "-", "--json", stdin=data).json[0]["streams"]
    assert (stream["modality"], stream["size"], "bits_per_pixel" in stream) == ("raw", dict(signal), False)
    ran = cli("info", "-", stdin=data)
    assert (ran.code, ran.err) == (0, "")
    assert all(f"{name} {value}" in ran.out for name, value in signal)


def test_info_on_forged_raw_tokens(cli: Any) -> None:
    """Mutations with their CRC mended reach whatever is printed: a report of so many lines, or one line of refusal."""
    rng = np.random.default_rng(5)
    data = raw((("height", 3), ("width", 4)))[:-4]
    good = 0
    for _ in range(300):
        wrong = bytearray(data)
        for _ in range(int(rng.integers(1, 3))):
            wrong[int(rng.integers(6, len(wrong)))] = int(rng.integers(0, 128))
        forged = bytes(wrong) + crc(bytes(wrong)).to_bytes(4, "little")
        ran = cli("info", "-", stdin=forged)
        if ran.code == 2:
            assert ran.refusal().startswith("standard input: ")
            continue
        good += 1
        assert ran.out.replace("\n", "").isprintable()
        assert ran.out.count("\n") == 5 + bool(parse(forged).streams[0].notes) + len(inspect(forged).bytes)
        cli("verify", "-", stdin=forged)
    assert good > 50


def test_raw_tokens_are_no_picture(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.smt").write_bytes(raw(()))
    assert smalti.open(tmp_path / "a.smt").count == 6
    assert "made by no model" in cli("detokenize", tmp_path / "a.smt").refusal()
    with pytest.raises(smalti.ModelError, match=r"a\.smt: raw tokens"):
        smalti.decompress(tmp_path / "a.smt")


def npy(header: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode("latin1") + b"\n"
    size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + size + text + body


@pytest.mark.parametrize(
    "data",
    [
        *(
            npy(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}", bytes(64))
            for dtype, shape in (
                ("<i4", (1 << 40, 1 << 10)),
                ("<i4", (1 << 70, 1)),
                ("<i4", (1, 1 << 70, 0)),
                ("<i4", (3, 4, 1 << 35)),
                ("<i4", (-1, 4, 4)),
                ("<i8", (1, 3, 3)),
                ("|O", (1, 2, 2)),
                ("<V9999999999", (1, 1, 1)),
                ("nothing", (1, 1, 1)),
            )
        ),
        npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1099511627776, 4)}", bytes(64), b"\2\0"),
        npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2, 2)}", bytes(64), b"\3\0"),
        npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2, 2)}", bytes(64), b"\7\0"),
        npy("{'descr': '<i4', 1: 2}", bytes(64)),
        npy("(" * 3000, bytes(64)),
        npy("{'descr': '''", bytes(64)),
        b"\x93NUMPY",
    ],
)
def test_forged_npy(cli: Any, model: str, data: bytes) -> None:
    assert cli("detokenize", "-", *MODEL, stdin=data).refusal().startswith("standard input: ")


def test_npy_in_every_order(cli: Any, samples: Any) -> None:
    array = np.stack(smalti.open(samples.solo).arrays)
    pictures = []
    for same in (array, np.asfortranarray(array), array.astype(">i8"), array.astype(np.uint16)):
        np.save(buffer := io.BytesIO(), same)
        pictures.append(cli("detokenize", "-", *MODEL, stdin=buffer.getvalue()).stdout)
    assert pictures[0].startswith(b"\x89PNG")
    assert len(set(pictures)) == 1


def test_json_numbers_that_are_no_integers(cli: Any, samples: Any) -> None:
    about = json.loads(cli("tokenize", samples.photo, "-o", "-", "--format", "json").stdout)
    assert cli("detokenize", "-", stdin=json.dumps(about).encode()).code == 0
    first, tokens = about["stages"][0], about["stages"][0]["tokens"]
    for value in (3.9, 3.0, True, "3", None, 1 << 32, 1 << 70, -1):
        rows = [[value, *tokens[0][1:]], *tokens[1:]] if value is not True else [[True] * len(row) for row in tokens]
        wrong = about | {"stages": [first | {"tokens": rows}, *about["stages"][1:]]}
        assert "standard input: " in cli("detokenize", "-", stdin=json.dumps(wrong).encode()).refusal()
    for wrong in ({"signal": {"height": 56.5, "width": 80}}, {"cuts": [1.2, 2]}, {"stages": [first | {"vocab": 1024.5}]}):
        assert "float" in cli("detokenize", "-", stdin=json.dumps(about | wrong).encode()).refusal()


def test_side_fields_that_must_be_applied(cli: Any, samples: Any, tmp_path: Path) -> None:
    """This release applies none: what is critical is refused before a picture is made without it, and `info` lists it."""
    file = parse(samples.solo.read_bytes())
    codec = smalti.api.codec("image-grid-16")  # type: ignore[attr-defined]
    tokens = smalti.open(samples.solo)
    names = {}
    for critical in (True, False):
        info = replace(file.streams[0], fields=(Field(1, b"\6", critical), Field(5, b"a\nb")))
        for form in ("solo", "chunked"):
            name = tmp_path / f"{form}-{critical}.smt"
            name.write_bytes(write(tokens, codec.prior, info, form))
            names[form, critical] = name
    for form in ("solo", "chunked"):
        skippable, name = names[form, False], names[form, True]
        assert np.array_equal(smalti.decompress(skippable).pixels, smalti.decompress(samples.solo).pixels)
        for call in (smalti.open, smalti.decompress, lambda name: codec.decompress(name.read_bytes())):
            with pytest.raises(smalti.BitstreamError, match="orientation"):
                call(name)
        assert "orientation" in cli("detokenize", name, "-o", tmp_path / "x.png").refusal()
        assert cli("verify", name).code == 0
        (stream,) = cli("info", name, "--json").json[0]["streams"]
        title = {"name": "title", "bytes": 3, "critical": False}
        assert stream["fields"] == [{"name": "orientation", "bytes": 1, "critical": True}, title]
        assert "side field   orientation, 1 bytes, critical\n  side field   title, 3 bytes\n" in cli("info", name).out
        assert parse(cli("cut", name, "--stages", "1", "-o", "-").stdout).streams[0].fields[0].critical
    check_applied(parse(names["solo", True].read_bytes()).streams[0], applied=(1,))


def test_other_signals_than_pictures(cli: Any, samples: Any) -> None:
    of_pictures = parse(samples.solo.read_bytes()).streams[0]
    tokens = smalti.open(samples.solo)
    pose = (("scale", 0), ("x", 1), ("y", 2), ("z", 3))
    shape = write(tokens, UniformPrior(), replace(of_pictures, modality="shape", signal=pose), "solo")
    assert "tokenizes pictures" in cli("detokenize", "-", stdin=shape).refusal()
    sound = replace(of_pictures, modality="audio", signal=(("samples", 9), ("channels", 1), ("rate", 8000)))
    forged = write(tokens, UniformPrior(), sound, "solo")
    assert "tokenizes pictures" in cli("detokenize", "-", stdin=forged).refusal()
    for data in (shape, forged):
        assert cli("info", "-", stdin=data).code == 0


def test_names_that_are_no_utf_8(cli: Any, samples: Any, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"b\xff.smt")
    with contextlib.suppress(OSError, UnicodeError):
        shutil.copy(samples.solo, name)
    if not name.exists():
        pytest.skip("this file system has names in UTF-8 only")
    for arguments in (["info"], ["verify"], ["detokenize"], ["cut", "--stages", "1"]):
        ran = cli(*arguments, name)
        assert (ran.code, "b\\udcff" in ran.out) == (0, True)
    assert "b\\udcff.smt exists" in cli("cut", name, "--stages", "1", "-o", name).refusal()
    assert "c\\udcff.smt: no such file" in cli("info", tmp_path / os.fsdecode(b"c\xff.smt")).refusal()


def test_too_little_memory(cli: Any, samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("smalti.codecs.bitstream.inspect", fail)
    assert cli("info", samples.solo).refusal() == "not enough memory for smalti info; give it smaller inputs, or fewer at a time"
