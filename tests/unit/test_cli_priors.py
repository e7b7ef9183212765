"""Files coded with tables of one's own: written by `tokenize --prior FILE`, read back wherever the same FILE is given."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.api import codec, opened
from smalti.codecs.bitstream import StreamInfo, parse, write
from smalti.codecs.conceal import conceal
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.codecs.restore import restore, vectors_of
from smalti.tokenizers import zoo
from smalti.tokenizers.tokens import Tokens


@dataclass(frozen=True)
class Fitted:
    tables: Path  # fitted to the sample's tokens alone
    other: Path
    file: Path  # coded with `tables`


@pytest.fixture
def fitted(cli: Any, samples: Any, tmp_path: Path) -> Fitted:
    made = Fitted(tmp_path / "tables.safetensors", tmp_path / "other.safetensors", tmp_path / "own.smt")
    tokens = smalti.open(samples.solo)
    StaticPrior.fit([tokens]).save(made.tables)
    StaticPrior.fit([tokens, tokens]).save(made.other)
    assert cli("tokenize", samples.photo, "-o", made.file, "--prior", made.tables).code == 0
    return made


def test_read_back_with_its_tables(cli: Any, samples: Any, fitted: Fitted, tmp_path: Path) -> None:
    prior = ("--prior", fitted.tables)
    assert smalti.open(fitted.file, prior=fitted.tables) == smalti.open(samples.solo)
    same = smalti.decompress(samples.solo)
    assert np.array_equal(smalti.decompress(fitted.file, prior=str(fitted.tables)).pixels, same.pixels)
    assert cli("detokenize", fitted.file, *prior, "-o", tmp_path / "a.png").code == 0
    assert np.array_equal(smalti.read(tmp_path / "a.png").pixels, same.pixels)
    assert cli("cut", fitted.file, *prior, "--stages", "1", "-o", tmp_path / "cut.smt").code == 0
    assert smalti.open(tmp_path / "cut.smt", prior=fitted.tables) == smalti.open(samples.solo, stages=1)
    shorter = ("--bytes", fitted.file.stat().st_size - 1)
    assert cli("detokenize", fitted.file, *prior, *shorter, "-o", tmp_path / "b.png", "--json").json[0]["stages"] == 1
    assert cli("verify", fitted.file, *prior).out == f"{fitted.file}: whole\n"


def test_not_without_them(cli: Any, fitted: Fitted, tmp_path: Path) -> None:
    id = StaticPrior.load(fitted.tables).id.hex()
    calls = (["detokenize", "-o", tmp_path / "x.png"], ["cut", "--stages", "1", "-o", tmp_path / "x.smt"])
    for arguments in calls:
        assert f"coded with prior {id}, which image-grid-16" in cli(*arguments, fitted.file).refusal()
    for wrong in (fitted.other, "uniform"):
        for arguments in (*calls, ["verify"]):
            assert f"{fitted.file}: coded with prior {id}, but {wrong} is " in cli(*arguments, fitted.file, "--prior", wrong).refusal()
        with pytest.raises(smalti.ModelError, match=id):
            smalti.open(fitted.file, prior=wrong)
    with pytest.raises(smalti.UsageError, match="no prior 'nothing'"):
        smalti.decompress(fitted.file, prior="nothing")
    assert "only checksums" in cli("verify", fitted.file).out


def test_the_models_own_by_name(cli: Any, samples: Any, fitted: Fitted) -> None:
    uniform = cli("tokenize", samples.photo, "-o", "-", "--prior", "uniform").stdout
    assert smalti.open(uniform, prior="uniform") == smalti.open(samples.solo)
    with pytest.raises(smalti.ModelError, match="leave it out"):
        smalti.open(samples.solo, prior=fitted.tables)
    array = cli("tokenize", samples.photo, "-o", "-", "--format", "json").stdout
    assert "leave it out" in cli("detokenize", "-", "--prior", "uniform", stdin=array).refusal()


# --- masked -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(samples: Any, tmp_path: Path) -> Path:
    """The folder of a small model that brings a masked prior."""
    folder = tmp_path / "beside"
    shutil.copytree(samples.tiny, folder)
    config = MaskedConfig(8, ((4, 16), (16,)), side=6, margin=1, entry=2, channels=4, heads=2, blocks=1, wide=8)
    rng = np.random.default_rng(0)
    MaskedPrior(config, {name: rng.integers(-3000, 3000, shape).astype(kind(name)) for name, shape in config.shapes().items()}).save(
        folder / "masked.safetensors"
    )
    return folder


def test_the_masked_prior_beside_a_model_codes_where_asked_and_is_found_again(cli: Any, samples: Any, beside: Path, tmp_path: Path) -> None:
    model = ("-m", beside)
    id = MaskedPrior.load(beside / "masked.safetensors").id.hex()
    own, asked = tmp_path / "own.smt", tmp_path / "asked.smt"
    assert cli("tokenize", samples.photo, *model, "-o", own).code == 0
    assert cli("tokenize", samples.photo, *model, "-o", asked, "--prior", "masked").code == 0
    assert id not in cli("info", own).out
    assert id in cli("info", asked).out
    tokens = smalti.open(own, beside)
    for prior in ((), ("--prior", "masked"), ("--prior", beside / "masked.safetensors")):
        assert cli("detokenize", asked, *model, *prior, "-o", tmp_path / "a.png", "--force").code == 0
        assert np.array_equal(smalti.read(tmp_path / "a.png").pixels, smalti.decompress(own, beside).pixels)
        assert cli("verify", asked, *model, *prior).out == f"{asked}: whole\n"
        assert cli("info", "--entropy", asked, *model, *prior).code == 0
        assert cli("cut", asked, *model, *prior, "--stages", "1", "-o", tmp_path / "cut.smt", "--force").code == 0
        assert smalti.open(tmp_path / "cut.smt", beside) == tokens.prefix(1)
    assert cli("transcode", own, *model, "--prior", "masked", "-o", tmp_path / "b.smt").code == 0
    assert (tmp_path / "b.smt").read_bytes() == asked.read_bytes()
    assert cli("transcode", asked, *model, "-o", tmp_path / "c.smt").code == 0
    assert (tmp_path / "c.smt").read_bytes() == own.read_bytes()


def test_chunked_files_take_the_masked_prior_too(cli: Any, samples: Any, beside: Path, tmp_path: Path) -> None:
    tokenizer = smalti.load(beside)
    (tokens,) = tokenizer.encode([smalti.read(samples.photo)])
    info = StreamInfo("image", bytes.fromhex(tokenizer.fingerprint)[:6], UniformPrior.id, signal=tokens.layout.signal)
    plain = write(tokens, UniformPrior(), info, "grouped")
    (tmp_path / "a.smt").write_bytes(plain)
    assert cli("transcode", tmp_path / "a.smt", "-m", beside, "--prior", "masked", "-o", tmp_path / "b.smt").code == 0
    assert smalti.open(tmp_path / "b.smt", beside) == tokens
    assert cli("cut", tmp_path / "b.smt", "--stages", "1", "-o", tmp_path / "c.smt").code == 0
    assert smalti.open(tmp_path / "c.smt", beside) == tokens.prefix(1)


def test_without_a_masked_prior_the_way_to_one_is_named(cli: Any, samples: Any, beside: Path, tmp_path: Path) -> None:
    tokenize = ("tokenize", samples.photo, "-o", tmp_path / "x.smt", "--prior", "masked", "-m")
    assert "train_prior" in cli(*tokenize, samples.tiny).refusal()
    assert cli(*tokenize, beside).code == 0
    id = MaskedPrior.load(beside / "masked.safetensors").id.hex()
    (beside / "masked.safetensors").unlink()
    assert f"coded with prior {id}, which beside does not bring" in cli("detokenize", tmp_path / "x.smt", "-m", beside).refusal()
    StaticPrior((np.full(8, 1 << 13),)).save(beside / "masked.safetensors")
    assert "no masked prior" in cli(*tokenize, beside, "--force").refusal()


def test_a_masked_prior_is_no_models_default(beside: Path) -> None:
    masked = MaskedPrior.load(beside / "masked.safetensors")
    fingerprint = smalti.load(beside).fingerprint
    (beside / "masked.safetensors").unlink()
    assert smalti.load(beside).fingerprint == fingerprint
    zoo.save(zoo.load(str(beside)), beside, masked)
    with pytest.raises(smalti.ModelError, match="no model's default"):
        codec(beside)


def test_conceal_takes_the_masked_prior_where_there_is_one(samples: Any, beside: Path) -> None:
    tokenizer = smalti.load(beside)
    layout = tokenizer.layout((("height", 960), ("width", 960)))
    rng = np.random.default_rng(5)
    tokens = Tokens(layout, tuple(rng.integers(0, s.vocab, s.shape).astype(np.int32) for s in layout.stages))
    info = StreamInfo("image", bytes.fromhex(tokenizer.fingerprint)[:6], UniformPrior.id, signal=layout.signal)
    data = bytearray(write(tokens, UniformPrior(), info, "grouped"))
    data[len(data) // 3] ^= 1
    filled = {}
    for model in (samples.tiny, beside):
        found = opened(parse(bytes(data), strict=False), model).concealed()
        assert found.losses
        for array, before, there in zip(found.tokens.arrays, tokens.arrays, found.received, strict=True):
            assert np.array_equal(array[there], before[there])
        filled[model] = found
    assert filled[samples.tiny].tokens == conceal(filled[beside].tokens, filled[beside].received)
    vectors = vectors_of(tokenizer.net.quantizer, 8, 2)
    masked = MaskedPrior.load(beside / "masked.safetensors")
    assert filled[beside].tokens == restore(masked, filled[samples.tiny].tokens, filled[beside].received, vectors)
    assert filled[beside].tokens != filled[samples.tiny].tokens
