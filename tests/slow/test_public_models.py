"""Public networks, tiny and untrained, go the whole way by the commands of our own: files and back, reports, documents for trainers.

python -m pytest -m slow tests/slow/test_public_models.py -s
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import smalti
from smalti.cli import program
from smalti.codecs.media.audio import read_audio, write_audio
from smalti.codecs.media.images import read_image, write_image
from smalti.prepare import open_codes
from smalti.recipes import tiny_peers
from smalti.tokenizers.signals import Audio, Image

SOUNDS, PICTURES = ("encodec", "dac", "mimi", "snac", "wavtokenizer"), ("janus", "taming", "llamagen", "open-magvit2", "one-d-piece")
HEAD = 40  # bytes beside the tokens, of a file of one signal


def signals(kind: str, folder: Path) -> list[Path]:
    """Two of odd sizes, as files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        if kind == "audio":
            wave = rng.uniform(-0.5, 0.5, (1, 5001 + 777 * number)).astype(np.float32)
            write_audio(Audio(wave, 24000), folder / f"{number}.wav")
        else:
            write_image(Image(rng.integers(0, 256, (37, 50 + 9 * number, 3), np.uint8)), folder / f"{number}.png")
    return sorted(folder.iterdir())


def run(*arguments: object) -> None:
    ran = CliRunner().invoke(program, [str(word) for word in arguments], standalone_mode=False)
    assert ran.exception is None, (arguments, ran.output, ran.exception)
    assert ran.return_value == 0, (arguments, ran.output)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "families"), [("audio", SOUNDS), ("image", PICTURES)])
def test_families_take_the_whole_way(kind: str, families: tuple[str, ...], tmp_path: Path) -> None:
    for package in {package for family in families for package in tiny_peers.PACKAGES[family]}:
        pytest.importorskip(package)
    data, suffix = tmp_path / "data", ".wav" if kind == "audio" else ".png"
    originals = signals(kind, data)
    sources = {family: tiny_peers.save(family, tmp_path / family) for family in families}
    print()
    for family, source in sources.items():
        files, back = tmp_path / f"{family}.files", tmp_path / f"{family}.back"
        run("tokenize", data, "-m", source, "-o", files, "--prior", "uniform", "-q")
        run("detokenize", files, "-m", source, "-o", back, "-q")
        total, claimed = 0, 0.0
        for original in originals:
            (file,) = files.glob(f"{original.stem}*.smt")
            tokens = smalti.open(file.read_bytes(), source)
            size, bits = file.stat().st_size, tokens.uniform_bits / 8
            assert bits <= size <= bits * 1.01 + HEAD
            total, claimed = total + size, claimed + bits
            (decoded,) = back.glob(f"{original.stem}*{suffix}")
            if kind == "audio":
                assert read_audio(decoded).samples.shape == read_audio(original).samples.shape
            else:
                assert read_image(decoded).pixels.shape == read_image(original).pixels.shape
        out = tmp_path / f"{family}.codes"
        run("prepare", data, out, "-m", source, "-j", 1, "-q", "--force")
        codes = open_codes(out)
        assert [document.key for document in codes] == [path.name for path in originals]
        print(f"{family}: {total} bytes, codes x log2 K {claimed:.0f}; {sum(d.tokens.count for d in codes)} tokens prepared")
    metric = "mel-distance" if kind == "audio" else "psnr"
    report = tmp_path / "report"
    run(
        "compare",
        data,
        "--codecs",
        ",".join(sources.values()),
        "-o",
        report,
        "-j",
        1,
        "--rates",
        2,
        "--metrics",
        metric,
        "--tasks",
        "none",
        "-q",
    )
    told = json.loads((report / "report.json").read_text())
    assert {row["codec"] for row in told["rows"]} == set(sources.values())
    assert not told["failures"]
    assert (report / "report.html").is_file()
