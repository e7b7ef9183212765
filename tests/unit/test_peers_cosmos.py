"""Cosmos' tokenizers are programs: they run where somebody said so, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import smalti
from smalti.cli import program
from smalti.recipes import tiny_peers
from smalti.testing import check_tokenizer
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.trust import is_trusted, trusted
from smalti.tokenizers.signals import Image


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_peers.save("cosmos", tmp_path_factory.mktemp("models") / "Cosmos-DI4x4")


def pictures() -> list[Image]:
    rng = np.random.default_rng(0)
    return [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in ((8, 12), (5, 3), (30, 22))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, arguments, standalone_mode=False)


def test_it_runs_only_where_it_may(source: str) -> None:
    with pytest.raises(ModelError, match="--trust-code or trust_code=True"):
        smalti.load(source)
    tokenizer = smalti.load(source, trust_code=True)
    assert not is_trusted()
    (tokens,) = tokenizer.encode([Image(np.full((8, 8, 3), 100, np.uint8))])
    assert np.array_equal(tokens.arrays[0], np.full((2, 2), 100))
    assert tokens.layout.stages[0].vocab == 64000
    with trusted():
        check_tokenizer(tokenizer, pictures())


def test_its_fingerprint_is_that_of_the_programs_which_do_not_run_for_it(source: str, tmp_path: Path) -> None:
    fingerprint = zoo.fingerprint_of(zoo.find(source))
    assert fingerprint == smalti.load(source, trust_code=True).fingerprint
    changed = tmp_path / "other-DI4x4"
    tiny_peers.save("cosmos", changed)
    (changed / "encoder.jit").write_bytes(b"nothing that runs")
    assert zoo.fingerprint_of(zoo.find(f"hf:{changed}")) != fingerprint
    with pytest.raises(ModelError, match=r"encoder\.jit is no TorchScript program"):
        smalti.load(f"hf:{changed}", trust_code=True)


def test_the_command_line_asks_for_the_word(source: str, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(pictures()[0].pixels).save(tmp_path / "a.png")
    refused = run("tokenize", str(tmp_path / "a.png"), "-m", source, "-o", str(tmp_path / "a.smt"))
    assert isinstance(refused.exception, ModelError)
    assert not (tmp_path / "a.smt").exists()
    done = run("tokenize", str(tmp_path / "a.png"), "-m", source, "--trust-code", "-o", str(tmp_path / "a.smt"))
    assert done.return_value == 0, done.output
    back = run("detokenize", str(tmp_path / "a.smt"), "-m", source, "--trust-code", "-o", str(tmp_path / "b.png"))
    assert back.return_value == 0, back.output
    with PIL.Image.open(tmp_path / "b.png") as drawn:
        assert drawn.size == (12, 8)
    assert not is_trusted(), "it was for that command alone"


def test_a_name_that_does_not_say_the_pixels_is_refused(tmp_path: Path) -> None:
    tiny_peers.save("cosmos", tmp_path / "a-DI4x4")
    (tmp_path / "a-DI4x4").rename(tmp_path / "some")
    with pytest.raises(ModelError, match="how many pixels"):
        zoo.find(f"hf:{tmp_path / 'some'}")
