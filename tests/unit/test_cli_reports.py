"""info, verify, models, recipes, evaluate and demo: what they say and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.codecs.bitstream import inspect
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import BitstreamError


def test_info(cli: Any, samples: Any) -> None:
    ran = cli("info", samples.solo, samples.chunked, "--json")
    assert (ran.code, ran.err) == (0, "")
    for item, path in zip(ran.json, (samples.solo, samples.chunked), strict=True):
        (stream,) = item["streams"]
        assert (item["file"], item["form"], item["status"]) == (str(path), path.stem, "whole")
        assert sum(item["parts"].values()) == item["bytes"] == path.stat().st_size
        assert stream["size"] == {"height": 56, "width": 80}
        assert stream["model"].startswith("image-grid-16@")
        assert (stream["stages"], stream["whole_stages"], stream["prior"]) == (2, 2, "the model's own")
        assert sum(stream["stage_bytes"]) == item["parts"]["payload"]
    text = cli("info", samples.solo).out
    assert f"{samples.solo}: .smt version 1.0, solo, {samples.solo.stat().st_size} bytes, whole" in text
    assert "80 x 56" in text


def test_info_sets_bits_beside_the_entropy(cli: Any, samples: Any) -> None:
    tokens = smalti.open(samples.solo)
    for path in (samples.solo, samples.chunked):
        (item,) = cli("info", path, "--entropy", "--json").json
        rows = item["streams"][0]["entropy"]
        assert [row["tokens"] for row in rows] == [array.size for array in tokens.arrays]
        assert sum(row["payload_bits"] for row in rows) == pytest.approx(8 * item["parts"]["payload"], abs=8 * 4 * len(rows))
        for row, array in zip(rows, tokens.arrays, strict=True):
            counts = np.unique(array, return_counts=True)[1]
            assert row["order0_bits"] == pytest.approx(float((counts * np.log2(array.size / counts)).sum()))
            assert row["gap"] == pytest.approx(row["payload_bits"] / row["order0_bits"] - 1)
    assert "at order-0 entropy: " in cli("info", samples.solo, "--entropy").out
    assert "not installed" in cli("info", samples.foreign, "--entropy").refusal()
    assert "--entropy" in cli("info", samples.solo, "--prior", "uniform").refusal()


def test_info_and_verify_of_an_archive(cli: Any, tmp_path: Path) -> None:
    from smalti.codecs.bitstream import Item, StreamInfo, write_archive
    from smalti.codecs.priors.uniform import UniformPrior
    from smalti.tokenizers.tokens import Layout, Stage, Tokens

    prior, items = UniformPrior(), []
    for side in (3, 4):
        signal = (("height", side), ("width", side))
        layout = Layout((Stage("s", (("row", side), ("col", side)), 9),), (1,), signal)
        tokens = Tokens(layout, (np.ones((side, side), np.int32),))
        items.append(Item(tokens, prior, StreamInfo("image", b"nobody", prior.id, signal=signal)))
    path = tmp_path / "a.smt"
    data = write_archive(items)
    path.write_bytes(data)
    (item,) = cli("info", path, "--json").json
    assert (item["form"], item["items"], sum(item["parts"].values())) == ("archive", 2, len(data))
    shown = cli("info", path)
    assert (shown.code, shown.err, "sizes differ" in shown.out, "items        2" in shown.out) == (0, "", True, True)
    assert cli("verify", path).out.startswith(f"{path}: whole; only checksums of 2 items, tokens not checked: item 0: written by model ")
    assert cli("verify", path, "--fast").out == f"{path}: whole\n"
    assert "item 0: written by model" in cli("verify", path, "-m", "image-grid-16").refusal()
    ran = cli("detokenize", path)
    assert (ran.code, ran.err.count("written by model 6e6f626f6479, which is not installed")) == (2, 2)
    assert "an archive" in cli("info", path, "--entropy").refusal()
    path.write_bytes(data[:-1])
    damaged = cli("verify", path)
    assert (damaged.code, "damaged" in damaged.out) == (1, True)
    assert cli("info", path).code == 1


def test_verify(cli: Any, samples: Any, tmp_path: Path) -> None:
    assert cli("verify", samples.solo, samples.chunked).out == f"{samples.solo}: whole\n{samples.chunked}: whole\n"
    damaged = cli("verify", samples.damaged)
    assert damaged.code == 1
    assert damaged.out.startswith(f"{samples.damaged}: damaged; ")
    assert cli("verify", samples.damaged, "--json").json[0]["whole_stages"] == [1]
    assert cli("info", samples.damaged).code == 1
    (tmp_path / "a.smt").write_bytes(samples.solo.read_bytes()[:-1])
    refused = cli("verify", tmp_path / "a.smt", "--fast")
    assert refused.code == 2
    assert refused.out.startswith(f"{tmp_path / 'a.smt'}: refused; ")
    ran = cli("verify", samples.solo, samples.damaged, tmp_path / "a.smt", tmp_path / "missing.smt", "--json")
    assert (ran.code, [item["status"] for item in ran.json]) == (2, ["whole", "damaged", "refused"])
    assert ran.err.startswith(f"smalti: {tmp_path / 'missing.smt'}: no such file")
    assert cli("verify", samples.solo, samples.damaged, "-q").code == 1
    assert "no such file" in cli("verify", tmp_path / "missing.smt").refusal()


def test_verify_without_the_model(cli: Any, samples: Any) -> None:
    ran = cli("verify", samples.foreign)
    assert ran.code == 0
    assert ran.out.startswith(f"{samples.foreign}: whole; only checksums, tokens not checked: written by model ")
    assert cli("verify", samples.foreign, "--fast").out == f"{samples.foreign}: whole\n"


def test_verify_finds_tokens_that_are_not_those_written(cli: Any, samples: Any, tmp_path: Path) -> None:
    from smalti.codecs.bitstream.wire import crc

    data = samples.solo.read_bytes()
    place = inspect(data).bytes[0][1]  # behind the header: the token hash
    body = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 : -4]
    (tmp_path / "a.smt").write_bytes(body + crc(body).to_bytes(4, "little"))
    assert cli("verify", tmp_path / "a.smt", "--fast").code == 0
    ran = cli("verify", tmp_path / "a.smt")
    assert (ran.code, "not those that were written" in ran.out) == (2, True)
    assert "not those that were written" in cli("detokenize", tmp_path / "a.smt").refusal()


@pytest.mark.parametrize("form", ["solo", "chunked"])
def test_no_damage_goes_unseen(samples: Any, form: str) -> None:
    data = getattr(samples, form).read_bytes()
    wrong = [data[:length] for length in range(len(data))] + [data + b"\0"]
    for bit in np.random.default_rng(5).integers(0, 8 * len(data), 500):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append(bytes(flipped))
    for damaged in wrong:
        assert inspect(damaged).status in ("damaged", "refused")
        with pytest.raises(BitstreamError):
            smalti.open(damaged)


def test_models(cli: Any, model: str, samples: Any) -> None:
    found = cli("models", "--json").json
    assert any(item["name"].startswith("image-grid-16@") and len(item["fingerprint"]) == 64 for item in found)
    assert "image-grid-16@" in cli("models").out
    card = cli("models", "image-grid-16").out
    assert card == cli("models", "image-grid-16", "--json").json[0]["card"].rstrip() + "\n"
    assert cli("models", samples.tiny).out == "tiny: no card\n"


def test_no_models(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.tokenizers.zoo.known", list)
    ran = cli("models")
    assert (ran.code, "SMALTI_MODELS" in ran.out) == (0, True)
    assert cli("models", "--json").json == []


def test_recipes(cli: Any) -> None:
    found = cli("recipes", "--json").json
    assert "image-grid-16" in [item["name"] for item in found]
    assert all(Path(item["file"]).is_file() and item["about"] for item in found)
    assert "image-grid-16" in cli("recipes").out


def test_evaluate(cli: Any, samples: Any, tmp_path: Path) -> None:
    ran = cli("evaluate", "image-grid-16", samples.photo, "--json", "--batch", "1")
    assert (ran.code, ran.err) == (0, "")
    assert [rate["stages"] for rate in ran.json["rates"]] == [1, 2]
    assert ran.json["rates"][1]["bytes"] == samples.solo.stat().st_size
    assert ran.json["rates"][1]["bits_per_pixel"] == pytest.approx(8 * samples.solo.stat().st_size / (80 * 56))
    assert len(ran.json["codebooks"]) == 2
    assert all(book["used"] + book["dead"] == book["size"] for book in ran.json["codebooks"])
    (tight, roomy) = cli("evaluate", "image-grid-16", samples.photo, "--bpp", "0.1", "--bpp", "9", "--json").json["rates"]
    assert (tight["stages"], roomy["stages"]) == (1, 2)
    assert tight["bits_per_pixel"] <= 0.1
    assert roomy == ran.json["rates"][1]
    drawn = tmp_path / "use.png"
    assert cli("evaluate", samples.tiny, samples.photo, "--use-picture", drawn).code == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    for path in (drawn, samples.photo):  # no results, so not to be written over unasked
        before = path.read_bytes()
        refused = cli("evaluate", samples.tiny, samples.photo, "--use-picture", path).refusal()
        assert refused == f"{path} exists; --force writes over it, --use-picture names another place"
        assert path.read_bytes() == before
    drawn.write_bytes(b"")
    assert cli("evaluate", samples.tiny, samples.photo, "--use-picture", drawn, "--force", "-q").code == 0
    assert drawn.read_bytes().startswith(b"\x89PNG")
    drawn.unlink()
    text = cli("evaluate", samples.tiny, samples.photo, samples.photo.parent)
    assert (text.code, text.out.startswith("tiny on 2 pictures")) == (0, True)
    assert cli("evaluate", samples.tiny, samples.photo, "-q").out == ""
    (tmp_path / "bad.png").write_text("no picture")
    partly = cli("evaluate", samples.tiny, samples.photo, tmp_path, "--json")
    assert (partly.code, partly.json["pictures"], len(partly.json["skipped"])) == (1, 1, 1)
    assert partly.err.startswith(f"smalti: {tmp_path / 'bad.png'}: no known image")
    assert "no picture to evaluate on" in cli("evaluate", samples.tiny, tmp_path).refusal()
    (tmp_path / "bad.png").unlink()
    assert "no pictures in there" in cli("evaluate", samples.tiny, tmp_path).refusal()


def test_json_has_no_infinities(cli: Any, samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.metrics.image.PSNR.__call__", lambda self, a, b: Score(float("inf"), "dB", "higher", "all equal"))
    ran = cli("evaluate", samples.tiny, samples.photo, "--json")
    assert ran.json["rates"][0]["scores"] == {"psnr": None}


def test_demo(cli: Any, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli("demo", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [rate["bytes"] for rate in ran.json["rates"]] == [Path(rate["file"]).stat().st_size for rate in ran.json["rates"]]
    with PIL.Image.open(ran.json["picture"]) as picture, PIL.Image.open(ran.json["side_by_side"]) as side:
        assert picture.size == (640, 427)
        assert side.width > 3 * 640
    assert np.array_equal(np.asarray(PIL.Image.open("smalti-demo/china.png")), smalti.decompress("smalti-demo/china.smt").pixels)
