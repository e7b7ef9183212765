"""What a newcomer sees first: help, suggestions, and nothing heavy loaded for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import smalti
from smalti.cli import COMMANDS

HEAVY = "{'numpy', 'torch', 'rich', 'numba', 'PIL', 'accelerate', 'safetensors', 'importlib.metadata'}"
NEEDLESS = "{'rich', 'accelerate', 'lpips', 'sklearn', 'scipy.ndimage', 'torchvision', 'smalti.recipes', 'smalti.metrics'}"


def loaded(calls: list[list[str]], heavy: str) -> str:
    """Which of `heavy` are loaded in a fresh process after these calls, all of which must succeed."""
    code = f"""
import sys
from smalti.cli import main
for call in {calls!r}:
    try:
        main(call)
    except SystemExit as left:
        assert not left.code, left.code
print(*sorted({heavy} & set(sys.modules)), file=sys.stderr)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.strip()


def test_help_of_every_command(cli: Any) -> None:
    overview = cli("--help")
    assert overview.code == 0
    for command, line in COMMANDS.items():
        assert f"  {command} " in overview.out
        ran = cli(command, "--help")
        assert (ran.code, ran.err) == (0, "")
        assert f"Usage: smalti {command} " in ran.out
        assert len(line) < 70


def test_without_arguments_help_is_shown(cli: Any) -> None:
    assert cli().stdout == cli("-h").stdout


def test_the_version(cli: Any) -> None:
    ran = cli("--version")
    assert (ran.code, ran.out) == (0, f"smalti {smalti.__version__}\n")


def test_help_loads_nothing_heavy() -> None:
    assert loaded([["--help"], *([command, "--help"] for command in COMMANDS)], HEAVY) == ""


def test_work_loads_nothing_needless(samples: Any, tmp_path: Any) -> None:
    calls = [["tokenize", str(samples.photo), "-q", "-o", f"{tmp_path}/a.smt"], ["detokenize", f"{tmp_path}/a.smt", "-q"]]
    assert loaded(calls, NEEDLESS) == ""


def test_info_needs_no_torch(samples: Any) -> None:
    assert loaded([["info", str(samples.solo)], ["verify", "--fast", str(samples.solo)]], "{'torch', 'numba', 'PIL'}") == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tokenise", "x.png"], "no command 'tokenise'; did you mean 'tokenize'? (see smalti --help)"),
        (["frobnicate"], "no command 'frobnicate' (see smalti --help)"),
        (["tokenize", "x.png", "--stagse", "1"], "--stages"),
        (["tokenize"], "SRC"),
        (["tokenize", "x.png", "--stages", "0"], "0"),
        (["tokenize", "x.png", "--bytes", "many"], "many"),
        (["tokenize", "x.png", "--device", "tpu"], "cuda"),
        (["cut", "x.smt"], "--stages or --bytes"),
        (["cut", "x.smt", "--stages", "1", "--bytes", "9"], "--stages or --bytes"),
        (["detokenize", "x.smt", "--stages", "1", "--bytes", "9"], "not both"),
        (["tokenize", "x.png", "--bpp", "1", "--stages", "1"], "one target at a time"),
        (["tokenize", "x.png", "--format", "npy", "--bpp", "1"], "--stages"),
    ],
)
def test_wrong_calls_are_one_line(cli: Any, arguments: list[str], expected: str) -> None:
    assert expected in cli(*arguments).refusal()


def test_a_model_that_is_almost_right(cli: Any, samples: Any, tmp_path: Any) -> None:
    for arguments in (["models", "image-gird-16"], ["tokenize", samples.photo, "-m", "image-gird-16", "-o", tmp_path / "a.smt"]):
        assert "did you mean 'image-grid-16'?" in cli(*arguments).refusal()


def test_interruption_is_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("smalti.tokenizers.zoo.known", interrupt)
    ran = cli("models")
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == "smalti: interrupted"
