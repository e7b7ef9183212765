"""The table of our files beside those of the projects that the tokenizers come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.media.audio import write_audio
from smalti.recipes import peer_files, tiny_peers
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.tokens import Tokens


def test_our_file_is_within_a_hundredth_of_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    assert peer_files.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["seconds"] for row in rows} == set(peer_files.SECONDS)
    for row in rows:
        assert row["claimed"] <= row["uniform"] <= row["claimed"] * 1.01 + 40
    dac = [row for row in rows if row["peer_format"] == ".dac"]
    assert len(dac) == len(peer_files.SECONDS)
    assert all(row["peer"] > 1.55 * row["uniform"] for row in dac)
    short = [row for row in rows if row["peer_format"] == ".ecdc" and row["seconds"] <= 10]
    assert short
    assert all(row["uniform"] < row["peer"] for row in short)


def test_durations_are_those_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    assert peer_files.main(["--json", "--seconds", "1.37", "3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [round(row["seconds"], 2) for row in rows] == [1.37, 3] * len(peer_files.PUBLISHED)
    assert all(row["claimed"] <= row["uniform"] <= row["claimed"] * 1.01 + 40 for row in rows)
    with pytest.raises(SystemExit):
        peer_files.main(["--seconds", "0"])


def test_their_sizes_are_those_that_their_programs_write() -> None:
    """A header of 67 bytes and 10 bits a code; 16,073 bytes of .dac for ten seconds: both were measured."""
    pytest.importorskip("transformers")
    layout = peer_files.layout_of("encodec", {}, 10, 8)
    codes = Tokens(layout, tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages))
    assert peer_files.ecdc_bytes(codes) == 67 + 8 * 750 * 10 // 8
    layout = peer_files.layout_of("dac", {"sampling_rate": 44100, "n_codebooks": 9}, 10, 9)
    codes = Tokens(layout, tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages))
    assert peer_files.dac_bytes(codes) == 16073


def test_a_models_own_codes_are_smaller_with_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    source = tiny_peers.save("dac", tmp_path / "model")
    rng = np.random.default_rng(0)
    for number in range(2):
        write_audio(Audio(rng.uniform(-1e-3, 1e-3, (1, 8000)).astype(np.float32), 16000), tmp_path / f"{number}.wav")
    assert peer_files.main(["--model", source, str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2
    assert all(row["static"] < row["uniform"] < row["peer"] for row in rows)
    assert peer_files.main(["--model", source]) == 2
    assert "go together" in capsys.readouterr().err
