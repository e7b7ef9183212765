"""Training on packs: it learns what is there, judges each token once, goes on as if never stopped, and draws documents that decode."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.prepare.imported import write_codes
from smalti.prepare.packs import PackOptions, write_packs
from smalti.prepare.plan import PlannedModel
from smalti.prepare.reader import PackReader, open_pack
from smalti.recipes import token_sheet, train_tokens
from smalti.recipes.token_model import Cache, TokenModel, TokenModelConfig, positions_of
from smalti.recipes.train_tokens import Config, judge, order_0, sample
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import SingleConfig
from smalti.tokenizers.tokens import Layout, Stage, Tokens

SMALL = ["--width", "16", "--blocks", "1", "--heads", "2", "--batch", "8", "--dropout", "0", "--warmup", "5", "--rate", "0.02"]
CONFIG = Config(batch=8, width=16, blocks=1, heads=2)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Documents that count up from a random start: of order 0 three bits, and none once one is known."""
    layout = Layout((Stage("grid", (("row", 2), ("col", 4)), 8),), (1,), (("height", 8), ("width", 16)))
    random = np.random.default_rng(0)
    items = [
        (f"{i}.png", 0, Tokens(layout, ((np.arange(8, dtype=np.int32).reshape(2, 4) + int(random.integers(8))) % 8,))) for i in range(120)
    ]
    codes = write_codes(tmp_path / "OUT", [PlannedModel("tiny", "tiny@1", "x", "image", "a" * 64, {}, "")], items, held_out=0.2)
    write_packs(codes, PackOptions(context=27))
    return tmp_path / "OUT"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["train_tokens", *map(str, arguments), "--quiet"])
    return train_tokens.main()


def reader_of(prepared: Path, name: str = "tokens-held-out") -> PackReader:
    return open_pack(prepared / "packs" / name)


def test_it_beats_the_entropy_of_order_0(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(train_tokens, "draw", lambda model, pack, made, real, path: f"{len(made)} {len(real)} {path.name}")
    assert run(monkeypatch, prepared, "-o", tmp_path / "run", "--steps", 60, "--json", *SMALL) == 0
    result = json.loads(capsys.readouterr().out)
    held_out = reader_of(prepared)
    assert result["tokens"] == 8 * len(held_out)
    assert 2.9 < result["order_0"] <= 3
    assert result["bits"] < 1.5  # 3 bits of 8 tokens, .375 a token, are all there is to say; .9 was reached
    assert result["sheet"] == "8 8 sheet.png"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]


def test_an_untrained_model_does_not_beat_it(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, prepared, "-o", tmp_path / "run", "--steps", 0, "--samples", 0, *SMALL) == 1


def test_a_run_goes_on_as_if_never_stopped(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tokens, "KEEP_EVERY", 6)
    common = [prepared, "--samples", 0, *SMALL, "--dropout", "0.1", "--steps", 12]
    assert run(monkeypatch, *common, "-o", tmp_path / "whole") in (0, 1)

    class StoppedError(Exception):
        pass

    def stop(run: Path, model: Any, optimizer: Any, state: dict[str, Any]) -> None:
        kept(run, model, optimizer, state)
        if state["step"] == 6:
            raise StoppedError

    kept = train_tokens.keep
    with monkeypatch.context() as patch:
        patch.setattr(train_tokens, "keep", stop)
        with pytest.raises(StoppedError):
            run(patch, *common, "-o", tmp_path / "stopped")
    run(monkeypatch, *common, "-o", tmp_path / "stopped")
    whole, again = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "stopped"))
    assert whole["bits"] == again["bits"]


def test_a_checkpoint_of_another_run_is_refused(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run(monkeypatch, prepared, "-o", tmp_path / "run", "--samples", 0, "--steps", 1, *SMALL)
    capsys.readouterr()
    assert run(monkeypatch, prepared, "-o", tmp_path / "run", "--samples", 0, "--steps", 2, *SMALL, "--seed", 5) == 2
    assert "this state is of another run: seed 0, expected 5" in capsys.readouterr().err
    assert run(monkeypatch, prepared, "-o", tmp_path / "run", "--samples", 0, "--steps", 2, *SMALL, "--blocks", 2) == 2
    assert "checkpoint.safetensors: damaged, or of another model" in capsys.readouterr().err
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(b"torn")
    assert run(monkeypatch, prepared, "-o", tmp_path / "run", "--samples", 0, "--steps", 2, *SMALL) == 2
    assert "checkpoint.safetensors: damaged, or of another model" in capsys.readouterr().err


def test_each_token_is_judged_once(prepared: Path) -> None:
    held_out = reader_of(prepared)
    vocabulary = held_out.pack.vocabulary
    model = TokenModel(TokenModelConfig(vocabulary.total, 16, 1, 2))
    torch.nn.init.zeros_(model.table.weight)  # all ids equally likely
    for length in (0, 10, 25):  # the last windows overlap those before
        found = judge(model, held_out, Config(batch=3, length=length))
        assert found.tokens <= 8 * len(held_out)
        assert found.tokens >= 8 * len(held_out) - len(held_out.windows(length or None))  # the first of a window has nothing before it
        assert math.isclose(found.bits, math.log2(vocabulary.total), rel_tol=1e-5)


def test_order_0_by_hand(prepared: Path) -> None:
    held_out = reader_of(prepared)
    codes = np.concatenate([held_out.tokens(i).arrays[0].ravel() for i in range(len(held_out))])
    shares = np.bincount(codes) / len(codes)
    assert math.isclose(order_0(held_out), float(-(shares * np.log2(shares)).sum()), rel_tol=1e-9)


def test_samples_are_documents(prepared: Path) -> None:
    held_out = reader_of(prepared)
    torch.manual_seed(0)
    model = TokenModel(TokenModelConfig(held_out.pack.vocabulary.total, 16, 2, 2))
    made = sample(model, held_out, 0, 5, seed=1)
    assert len(made) == 5
    assert {item.layout for item in made} == {held_out.layout(0).layout}
    assert sample(model, held_out, 0, 5, seed=1) == made != sample(model, held_out, 0, 5, seed=2)


def test_one_id_at_a_time_equals_all_at_once() -> None:
    torch.manual_seed(0)
    model = TokenModel(TokenModelConfig(30, 16, 2, 2)).eval()
    ids = torch.randint(30, (3, 12))
    positions = positions_of(ids, 1)
    whole = model(ids, positions)
    cache = [Cache() for _ in range(2)]
    parts = [model(ids[:, i : i + 1], positions[:, i : i + 1], cache) for i in range(12)]
    assert torch.allclose(whole, torch.cat(parts, 1), atol=1e-5)


def test_positions_begin_anew_with_each_document() -> None:
    assert positions_of(torch.tensor([[5, 1, 7, 7, 1, 1, 7]]), 1).tolist() == [[0, 0, 1, 2, 0, 0, 1]]


def test_training_begins_at_order_0_with_codebooks(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = reader_of(prepared)
    model = TokenModel(TokenModelConfig(held_out.pack.vocabulary.total, 16, 1, 2))
    assert train_tokens.begin(model, held_out, 0) == []  # no such model is installed
    ids = held_out.ids.read(0, len(held_out.ids))
    expected = np.log((np.bincount(ids, minlength=len(model.order_0)) + 1) / (len(ids) + len(model.order_0)))
    assert np.allclose(model.order_0.detach().numpy(), expected, atol=1e-6)
    entries = torch.tensor([[1.0, 0.0], [1.01, 0.0], *([-1.0, float(k)] for k in range(6))])
    monkeypatch.setattr(train_tokens, "vectors_of", lambda made_by, pack, ranges: [entries])
    before = model.table.weight.detach().clone()
    assert train_tokens.begin(model, held_out, 0) == ["image.grid"]
    base = held_out.pack.vocabulary.of_stage("image", "grid", 8).base
    rows = model.table.weight.detach()
    assert torch.equal(rows[:base], before[:base])
    apart = torch.cdist(rows[base:], rows[base:])
    assert apart[0, 1] < apart[0, 2:].min()


def test_vectors_come_from_the_model_that_made_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.prepare.packs.pack import PackedModel
    from smalti.tokenizers import zoo

    torch.manual_seed(0)
    widths: dict[str, Any] = {"widths": (8, 8), "encoder_depths": (1, 1), "decoder_depths": (1, 1), "head_width": 8}
    zoo.save(ImageGrid.from_config(ImageGridConfig(SingleConfig(VQConfig(8, 4)), **widths)), tmp_path / "m", half=False)
    mark = zoo.fingerprint_of(zoo.find(str(tmp_path / "m")))
    (found,) = train_tokens.vectors_of(PackedModel(str(tmp_path / "m"), "image-grid", "image", mark), tmp_path, 1)
    assert found is not None
    assert found.shape == (8, 4)
    assert train_tokens.vectors_of(PackedModel(str(tmp_path / "m"), "image-grid", "image", "b" * 64), tmp_path, 1) == [None]
    with pytest.raises(ModelError, match="the tokens were made by bbbbbbbbbbbb"):
        token_sheet.draw(PackedModel(str(tmp_path / "m"), "image-grid", "image", "b" * 64), tmp_path, [], [], tmp_path / "x.png")


def test_a_sheet_has_a_row_of_each() -> None:
    made, real = [np.zeros((2, 3, 3), np.uint8)] * 2, [np.full((2, 3, 3), 7, np.uint8)]
    found = token_sheet.sheet([made, real])
    assert found.shape == (2 * 6 + 4, 2 * 7 + 4, 3)
    assert (found == 0).all(-1).sum() == 2 * 6
    assert (found == 7).all(-1).sum() == 6


def test_learning_rates_go_up_and_down() -> None:
    config = Config(steps=100, rate=1.0, warmup=10)
    assert config.learning_rate(0) == pytest.approx(0.1)
    assert config.learning_rate(9) == config.learning_rate(10) == pytest.approx(1.0)
    assert config.learning_rate(55) == pytest.approx(0.55)
    assert config.learning_rate(100) == pytest.approx(0.1)


def test_packs_that_do_not_belong_together_are_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from smalti.prepare import open_codes

    write_packs(open_codes(prepared), PackOptions("plain", context=27, bos=False))
    assert run(monkeypatch, prepared, "--pack", "plain", "-o", tmp_path / "run", *SMALL) == 2
    assert "without bos" in capsys.readouterr().err
    assert run(monkeypatch, prepared, "--pack", "none", "-o", tmp_path / "run", *SMALL) == 2
    assert "no pack" in capsys.readouterr().err
    with pytest.raises(UsageError, match="a multiple of twice its heads"):
        TokenModelConfig(10, width=10, heads=4)
