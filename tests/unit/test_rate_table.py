"""The table of rivals on small pictures: equal bytes, each metric's own best, and runs that go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.media.images import write_image
from smalti.codecs.registry import resolve
from smalti.metrics.image import PSNR
from smalti.metrics.rate_distortion import bootstrap_mean
from smalti.recipes.rate_table import __main__ as program
from smalti.recipes.rate_table import rivals
from smalti.recipes.rate_table.ledger import Entry, Key, Ledger
from smalti.recipes.rate_table.rivals import Bench, Judges, Rival
from smalti.recipes.rate_table.table import markdown, own_row, rival_row
from smalti.tokenizers.contracts import Score, Target
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Image, Signal

CHEAP = (Rival("WebP", ("webp", "webp/2"), range(101)), Rival("JPEG", ("jpeg-420",)))


class Blur:
    """A metric that likes smooth pictures whatever the original: what PSNR does not choose."""

    name = "blur"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        assert isinstance(decoded, Image)
        rough = np.abs(np.diff(decoded.pixels.astype(float), axis=1)).mean()
        return Score(float(rough), "", "lower", "mean gradient")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "resolve_metric", lambda name: {"blur": Blur, "psnr": PSNR}[name]())


def picture(seed: int = 0, height: int = 48, width: int = 64) -> Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 3, y * 4, (x + y) * 2], -1) + rng.normal(0, 12, (height, width, 3))
    return Image(pixels.clip(0, 255).astype(np.uint8))


def test_a_rival_spends_no_more_than_it_may_and_each_metric_has_its_best() -> None:
    bench = Bench(picture(), Judges(["psnr", "blur"]), Ledger())
    room = 700
    answer = bench.answer(CHEAP[0], room)
    files = {setting: resolve(setting).compress(picture(), Target(bytes=room)) for setting in CHEAP[0].settings}
    for name, metric in (("psnr", PSNR()), ("blur", Blur())):
        scores = {setting: metric(picture(), resolve(setting).decompress(data)).value for setting, data in files.items()}
        chosen = answer.chosen[name]
        assert chosen.score == (max if name == "psnr" else min)(scores.values())
        assert (chosen.score, chosen.bytes) == (scores[chosen.setting], len(files[chosen.setting]))
        assert chosen.bytes <= room
    assert answer.chosen["blur"].setting != answer.chosen["psnr"].setting


def test_where_nothing_fits_the_smallest_file_is_named() -> None:
    bench = Bench(picture(), Judges(["psnr"]), Ledger())
    answer = bench.answer(CHEAP[1], 50)
    assert not answer.chosen
    assert answer.smallest == len(resolve("jpeg-420").compress(picture(), Target(quality=1)))
    row = rival_row(0.1, "JPEG", [answer], [48 * 64], ["psnr"])
    assert row.fits == 0
    assert f"none fits; its smallest files have {8 * answer.smallest / (48 * 64):.4f}" in markdown([row], ["psnr"])


def test_the_costly_judge_sees_the_best_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Costly(Blur):
        def __call__(self, reference: Signal, decoded: Signal) -> Score:
            seen.append("costly")
            return super().__call__(reference, decoded)

    monkeypatch.setattr(rivals, "resolve_metric", lambda name: {"lpips-vgg": Costly, "lpips-alex": Blur, "psnr": PSNR}[name]())
    judges = Judges(["lpips-vgg", "lpips-alex", "psnr"])
    seen.clear()
    rival = Rival("both", ("webp", "webp/2", "jpeg-420/2", "jpeg-444/2", "jpeg-420/4"))
    answer = Bench(picture(), judges, Ledger()).answer(rival, 3000)
    assert set(answer.chosen) == {"lpips-vgg", "lpips-alex", "psnr"}
    assert len(seen) == 3  # one of each size
    assert answer.chosen["lpips-vgg"].setting == answer.chosen["lpips-alex"].setting


def test_the_ledger_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    first = Bench(picture(), Judges(["psnr"]), Ledger(path)).answer(CHEAP[0], 600)
    with path.open("a") as file:
        file.write('\n{"picture": "cut sho')
    ledger = Ledger(path)
    ledger.put(Key("p", "c", 1), Entry(None))
    assert Ledger(path).get(Key("p", "c", 1)) == Entry(None)
    with monkeypatch.context() as patch:
        patch.setattr(rivals, "resolve", None)  # nothing is coded again
        assert Bench(picture(), Judges(["psnr"]), Ledger(path)).answer(CHEAP[0], 600) == first
    other = Bench(picture(1), Judges(["psnr"]), Ledger(path)).answer(CHEAP[0], 600)
    assert other != first


def test_rows_compare_the_same_pictures() -> None:
    entries = [Entry(100, {"psnr": 20.0}), Entry(300, {"psnr": 30.0})]
    row = own_row("ours, 1 stage", entries, [1000, 3000])
    assert row.rate == 8 * 400 / 4000
    assert row.scores == {"psnr": 25.0}
    fits = rivals.Answer({"psnr": rivals.Chosen("webp/2", 3, 290, 28.0)}, 250)
    rival = rival_row(row.rate, "WebP", [rivals.Answer({}, 120), fits], [1000, 3000], ["psnr"], entries)
    assert (rival.fits, rival.pictures, rival.scores) == (1, 2, {"psnr": 28.0})
    assert rival.bits_per_pixel == 8 * 290 / 3000
    assert rival.smallest == 8 * 370 / 4000
    assert rival.differences["psnr"].mean == -2.0  # from 30, not from 25
    assert rival.settings == {"psnr": {"webp/2": 1}}
    assert "| 0.7733 | WebP (1 of 2 pictures; the others do not fit) | 28.00 (-2.00, -2.00 to -2.00) |" in markdown([row, rival], ["psnr"])


def test_intervals_cover_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 1, 50)
    found = bootstrap_mean(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 50**0.5
    # the percentile interval of a mean is the normal one but for 10,000 draws' noise
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert bootstrap_mean([2.0]).low == 2.0
    with pytest.raises(UsageError, match="at least one value"):
        bootstrap_mean([])


def test_the_program(tmp_path: Path, samples: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "RIVALS", CHEAP)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        write_image(picture(i), folder / f"{i}.png")
    tiny = str(samples.tiny)  # type: ignore[attr-defined]
    command = ["rate_table", str(folder), "--model", tiny, "--rate", "3", "--json", str(tmp_path / "t.json")]
    monkeypatch.setattr(sys, "argv", [*command, "--figure", str(tmp_path / "t.png"), "--ledger", str(tmp_path / "l.jsonl")])
    assert program.main() == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0].startswith("1 of 2: 0.png")
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [row["codec"] for row in rows] == [f"{c}" for k in (1, 2) for c in (f"tiny, {k} stage{'s' * (k > 1)}", "WebP", "JPEG")] + [
        "WebP",
        "JPEG",
    ]
    assert printed.out.count("\n") == 2 + len(rows)
    assert all(row["bits_per_pixel"] <= row["rate"] for row in rows)
    assert rows[-2]["fits"] == 2
    assert rows[-2]["bits_per_pixel"] > 1.5
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["rate_table", str(folder)])
    assert program.main() == 2
    assert "needs pictures, and a model or a rate" in capsys.readouterr().err


def test_a_ledger_makes_its_folder_or_refuses_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "rates.jsonl"
    Ledger(path).put(Key("p", "c", 1), Entry(7))
    assert Ledger(path).get(Key("p", "c", 1)) == Entry(7)
    with pytest.raises(UsageError, match=r"x\.jsonl: its folder cannot be made"):
        Ledger(path / "x.jsonl")
    ledger = Ledger(path.with_name("other"))
    path.with_name("other").mkdir()
    with pytest.raises(UsageError, match=r"other: cannot be written"):
        ledger.put(Key("p", "c", 1), Entry(7))


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_a_place_for_results_is_asked_before_they_are_made(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rate_table", "a.png", "--rate", "1", option, str(tmp_path / "none" / "x")])
    monkeypatch.setattr(program, "measure", None)
    assert program.main() == 2
    assert "its folder does not exist" in capsys.readouterr().err
