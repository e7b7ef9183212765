"""Comparison runs: hand-made truths, what is kept and taken again, what fails without stopping the rest."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.compare import judging, measuring, tasks
from smalti.compare.results import Report, load, to_json
from smalti.tokenizers.errors import SignalError, UsageError

ITEMS = 6
SIDE = 24


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of toys, as comparisons import it; what processes keep is forgotten."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "compare_toys", raising=False)
    measuring._codecs.clear()
    measuring._warm.clear()
    tasks._tasks.clear()
    judging.metric.cache_clear()
    import compare_toys

    return compare_toys


def picture(path: Path, seed: int, first: int = 0) -> Path:
    """Noise on a slope, 24 x 24; first: its first sample."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (SIDE, SIDE, 3)) + np.arange(SIDE)[:, None, None] * 4
    pixels[0, 0, 0] = first
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(ITEMS):
        picture(folder / f"{i}.png", i)
    return folder


Run = Callable[..., Report]


@pytest.fixture
def run(toys: Any, photos: Path, tmp_path: Path) -> Run:
    """A comparison of toys; their calls of this run alone stand in `toys.CALLS`."""

    def compare(codecs: str = "compare_toys:coarse", out: str = "out", data: Path = photos, **more: Any) -> Report:
        toys.CALLS.clear()
        measuring._read = None
        more = {"metrics": ["psnr", "compare_toys:MeanDifference"], "tasks": [], "page": False, **more}
        return smalti.compare(data, codecs, tmp_path / out, **more)

    return compare


def comparable(report: Report) -> dict[str, Any]:
    """All of a report but times."""
    found = json.loads(to_json(report))
    for name in ("created", "manifest"):
        del found[name]
    for row in found["rows"]:
        del row["encode_seconds"], row["decode_seconds"]
    return found


def test_rows_are_what_codecs_and_metrics_say(run: Run, toys: Any, photos: Path) -> None:
    report = run()
    assert (report.kind, len(report.items), len(report.rows), report.failures) == ("image", ITEMS, 5 * ITEMS, ())
    codec, metric = toys.coarse(), toys.MeanDifference()
    for row in report.rows:
        original = smalti.read(photos / row.item)
        data = codec.compress(original, smalti.Target(quality=int(row.setting[1:])))
        assert (row.bytes, row.header_bytes, row.payload_bytes) == (len(data), 4, len(data) - 4)
        assert row.metrics["compare_toys:MeanDifference"] == metric(original, codec.decompress(data)).value
    (info,) = report.codecs
    assert (info.settings, info.version, info.bd) == (("q1", "q2", "q3", "q4", "q5"), "coarse 1", True)
    assert {metric.name: (metric.unit, metric.better) for metric in report.metrics}["compare_toys:MeanDifference"] == ("steps", "lower")
    first = next(point for curve in report.curves if curve.metric == "psnr" for point in curve.points)
    rows = [row for row in report.rows if row.setting == "q1"]
    assert first.rate == pytest.approx(np.mean([8 * row.bytes / SIDE**2 for row in rows]))
    assert first.value == pytest.approx(np.mean([row.metrics["psnr"] for row in rows]))


def test_a_codec_against_itself_and_against_twice_its_bytes(run: Run) -> None:
    report = run("compare_toys:coarse,compare_toys:doubled")
    found = {(bd.anchor, bd.codec): bd for bd in report.bd if bd.metric == "psnr"}
    assert (found["coarse", "coarse"].percent, found["coarse", "coarse"].low, found["coarse", "coarse"].high) == (0, 0, 0)
    twice, half = found["coarse", "doubled"], found["doubled", "coarse"]
    assert (twice.percent, twice.low, twice.high) == pytest.approx((100, 100, 100))
    assert (half.percent, half.verdict, twice.verdict) == (pytest.approx(-50), "better", "worse")
    ratio = next(p for p in report.paired if (p.anchor, p.codec, p.metric) == ("coarse", "doubled", "psnr"))
    assert (ratio.median, ratio.items) == (pytest.approx(2), ITEMS)


def test_the_order_of_items_changes_nothing(run: Run, photos: Path) -> None:
    codecs = "compare_toys:coarse,compare_toys:doubled"
    files = sorted(photos.iterdir())
    ahead, back = run(codecs, "a", files), run(codecs, "b", files[::-1])
    assert [item.id for item in ahead.items] == [item.id for item in back.items][::-1]
    assert (ahead.curves, ahead.bd, ahead.paired) == (back.curves, back.bd, back.paired)


def test_what_is_measured_is_not_measured_again(run: Run, toys: Any) -> None:
    before = run()
    assert toys.CALLS.count("compress coarse") > 5 * ITEMS
    again = run()
    # previews decode; files and scores are there, but for those of the small signals that codecs and metrics are known by
    assert (toys.CALLS.count("compress coarse"), toys.CALLS.count("mean-difference")) == (1, 1)
    assert comparable(again) == comparable(before)
    assert [row.encode_seconds for row in again.rows] == [row.encode_seconds for row in before.rows]
    run(resume=False)
    assert toys.CALLS.count("compress coarse") >= 5 * ITEMS


def test_a_killed_run_goes_on(run: Run, toys: Any, tmp_path: Path) -> None:
    clean = run(out="clean")

    def kill(what: str, done: int, total: int) -> None:
        if what == "measuring" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(step=kill)
    lines = tmp_path / "out" / "cache" / "units.jsonl"
    assert not (tmp_path / "out" / "report.json").exists()
    whole = lines.read_text()
    lines.write_text(whole + whole[: len(whole) // 7].rpartition("\n")[2][:40])  # and one line that was cut short
    resumed = run()
    asked = toys.CALLS.count("compress coarse")
    assert comparable(resumed) == comparable(clean)
    run(out="third")
    assert 0 < asked < toys.CALLS.count("compress coarse")


def test_new_content_versions_settings_and_metrics_are_measured(run: Run, toys: Any, photos: Path) -> None:
    run()
    picture(photos / "0.png", 99)
    changed = run()
    assert next(row for row in changed.rows if row.item == "0.png").bytes > 0
    assert 5 <= toys.CALLS.count("compress coarse") < 5 * ITEMS
    assert run("compare_toys:newer").codecs[0].version == "coarse 2"
    assert toys.CALLS.count("compress coarse") > 5 * ITEMS
    run("compare_toys:coarse:2,6")
    assert {CALL for CALL in toys.CALLS if CALL.startswith("compress")} == {"compress coarse"}
    assert run("compare_toys:quieter").rows[0].bytes > 0  # the version is the same, its files are not
    assert toys.CALLS.count("compress coarse") > 5 * ITEMS
    more = run(metrics=["psnr", "psnr-y"])
    assert toys.CALLS.count("compress coarse") == 1
    assert all(row.metrics["psnr-y"] is not None for row in more.rows)


def test_a_damaged_file_in_the_cache_is_made_anew(run: Run, toys: Any, tmp_path: Path) -> None:
    clean = run(tasks=["compare_toys:Bright"])
    kept = sorted(path for path in (tmp_path / "out" / "cache" / "files").rglob("*") if path.is_file())
    kept[0].unlink()
    again = run(tasks=["compare_toys:Bright"])
    assert kept[0].is_file()
    assert comparable(again) == comparable(clean)


def test_one_failing_file_stops_nothing(run: Run, photos: Path) -> None:
    picture(photos / "3.png", 3, first=5)
    (photos / "4.png").write_bytes(b"no picture")
    report = run("compare_toys:failing,compare_toys:coarse", metrics=["compare_toys:ScoresEven"])
    assert {item.id for item in report.items} == {"0.png", "1.png", "2.png", "3.png", "5.png"}
    said = {(f.codec, f.item, f.stage): f.error for f in report.failures}
    assert said.pop((None, "4.png", "read")).startswith(str(photos / "4.png"))
    assert said.pop(("failing", "3.png", "compress")) == "ZeroDivisionError: a bug of this codec"
    assert said == {("coarse", "3.png", "metric compare_toys:ScoresEven"): "this picture is odd"}
    rows = {(row.codec, row.item) for row in report.rows}
    assert ("failing", "2.png") in rows
    assert ("failing", "3.png") not in rows
    assert next(row for row in report.rows if row.item == "3.png").metrics == {"compare_toys:ScoresEven": None}
    pair = next(p for p in report.paired if p.anchor == "failing")
    assert pair.items == 4
    # what failed is tried again, and what could not be scored is said again
    assert comparable(run("compare_toys:failing,compare_toys:coarse", metrics=["compare_toys:ScoresEven"])) == comparable(report)


def test_processes_give_the_same_and_may_die(run: Run, toys: Any, photos: Path) -> None:
    alone = run("compare_toys:failing", "alone", rates=2)
    together = run("compare_toys:failing", "together", rates=2, processes=2)
    assert comparable(together) == comparable(alone)
    picture(photos / "2.png", 2, first=toys.CRASH_AT)
    report = run("compare_toys:failing", "together", rates=2, processes=2)
    (failure,) = report.failures
    assert (failure.codec, failure.item, failure.stage) == ("failing", "2.png", "worker")
    assert "died" in failure.error
    assert {row.item for row in report.rows} == {item.id for item in report.items} - {"2.png"}


def test_tasks_with_ceilings_outcomes_and_labels(run: Run, toys: Any, photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("name\tlabel\n" + "".join(f"photos/{path.name}\t0\n" for path in photos.iterdir()))
    names = ["compare_toys:Bright", "compare_toys:Labelled"]
    report = run(tasks=names, labels=labels, metrics=["psnr"])
    bright, labelled = report.tasks
    assert (bright.name, bright.ceiling, bright.protocol, labelled.ceiling) == (names[0], 1.0, "nothing is trained", 1.0)
    for score in report.task_scores:
        if score.task == names[0]:
            assert score.per_item is not None
            assert score.value == pytest.approx(np.mean(score.per_item))
        else:
            assert (score.per_item, score.value) == (None, 0.0)  # the middle of the lowest step is never 0
    assert {(c.task, c.metric, c.points) for c in report.correlations} == {(name, "psnr", 5) for name in names}
    assert any(bd.metric == names[0] for bd in report.bd)
    assert run(tasks=names, labels=labels, metrics=["psnr"]).task_scores == report.task_scores
    assert toys.CALLS.count("bright") == 1  # the ceiling, by which what is kept is known
    with pytest.raises(UsageError, match="needs labels, one class for each file"):
        run(tasks=names)
    with pytest.raises(UsageError, match="--labels is for a task that wants labels"):
        run(tasks=names[:1], labels=labels)
    labels.write_text("0.png\t3\n")
    with pytest.raises(UsageError, match=r"1\.png and 4 more: no label"):
        run(tasks=names, labels=labels)


def test_what_is_not_at_hand_is_listed(run: Run) -> None:
    report = run("compare_toys:missing,compare_toys:coarse")
    (absent,) = report.absent
    assert (absent.name, absent.reason, absent.remedy) == (
        "compare_toys:missing", "this codec needs the package nowhere", "pip install nowhere",
    )  # fmt: skip
    with pytest.raises(UsageError, match="none of these codecs is at hand"):
        run("compare_toys:missing")


def test_refusals(run: Run, tmp_path: Path, photos: Path) -> None:
    for codecs, message in (
        ("jpge", "did you mean 'jpeg'"),
        ("image-lines", "did you mean 'image-line'"),
        ("opus", "opus is for sounds, and the data are pictures"),
        ("audio-residual-16k", "a model of sounds"),
        ("compare_toys:nothing", "cannot be imported"),
        ("jpeg,webp,jpeg", "named twice"),
        (",", "no codec named"),
    ):
        with pytest.raises(UsageError, match=message):
            run(codecs)
    with pytest.raises(UsageError, match="did you mean 'psnr'"):
        run(metrics=["psnrr"])
    with pytest.raises(UsageError, match="anchor 'webp' is none of the codecs"):
        run(anchor="webp")
    with pytest.raises(UsageError, match="limit is 0"):
        run(limit=0)
    (photos / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="1 sounds, 6 pictures: one report is of one kind"):
        run()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no picture, sound, film or shape"):
        run(data=tmp_path / "empty")
    with pytest.raises(SignalError, match="no such file"):
        run(data=tmp_path / "nothing")


def test_a_report_holds_together(run: Run, tmp_path: Path) -> None:
    report = run()
    path = tmp_path / "out" / "report.json"
    assert to_json(load(path)) == path.read_text()
    assert dataclasses.replace(load(path), created="") == dataclasses.replace(report, created="") or load(path).rows == report.rows
    good = json.loads(path.read_text())
    for change, message in (
        ({"schema": "smalti-compare/0"}, "schema 'smalti-compare/0'"),
        ({"row": []}, "did you mean 'rows'"),
        ({"items": []}, "not in its lists"),
        ({"items": [{**good["items"][0], "media": "media/../../secret"}, *good["items"][1:]]}, "below media/"),
        ({"kind": "smell"}, "kind 'smell'"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(UsageError, match=message):
            load(path)
    path.write_text("{")
    with pytest.raises(UsageError, match="no JSON"):
        load(path)
