"""Probes: who learns from what and is tried on what; descriptors of shapes, histograms of tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from smalti.metrics.machine import probes, shapes, token_probe
from smalti.metrics.machine.probes import KINDS, ProbeTask, kind_table, split
from smalti.metrics.machine.token_probe import TokenProbe, entries, histograms
from smalti.recipes import token_probe as recipe
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens


def flat(value: int) -> Image:
    return Image(np.full((20, 30, 3), value, np.uint8))


def test_every_item_is_tried_once_by_what_did_not_learn_from_it() -> None:
    labels = [0] * 6 + [1] * 9 + [2] * 2
    parts = split(labels, seed=3)
    assert parts.part[-2:].tolist() == [-1, -1], "two cannot be split in three"
    tried = np.concatenate([test for _, test in parts.rounds()])
    assert sorted(tried) == list(range(15))
    for learn, test in parts.rounds():
        assert not set(learn) & set(test)
        assert np.bincount(parts.labels[test]).tolist() == [2, 3]
    assert np.array_equal(split(labels, seed=3).part, parts.part)
    assert not np.array_equal(split(labels, seed=4).part, parts.part)


def test_a_group_is_on_one_side() -> None:
    groups = [f"g{i % 5}" for i in range(30)]
    parts = split([i % 3 for i in range(30)], groups)
    assert all(len({parts.part[i] for i in range(30) if groups[i] == group}) == 1 for group in groups)
    with pytest.raises(UsageError, match="2 groups cannot be split into 3"):
        split([0, 1] * 6, ["a", "a", "b", "b"] * 3)
    with pytest.raises(UsageError, match="4 labels for 3 groups"):
        split([0, 1, 0, 1], ["a"] * 3)


@pytest.mark.parametrize("labels", [[], [1] * 9, [0, 1, 2, 3], [0, 0, 0, 1, 1]])
def test_what_cannot_be_told_apart(labels: list[int]) -> None:
    with pytest.raises(UsageError, match=r"that have 3 items or more, found [01] such"):
        split(labels)


def grey(signals: Sequence[Signal]) -> np.ndarray:
    return np.array([[float(signal.pixels.mean())] for signal in signals])  # type: ignore[union-attr]


def test_the_two_protocols() -> None:
    """What is 100 brighter after decoding is beyond a probe of originals, and nothing to one that learned from it both ways."""
    labels = [0, 1] * 6
    originals = [flat((20, 60)[i % 2] + i) for i in range(12)]
    brighter = [flat((120, 160)[i % 2] + i) for i in range(12)]
    forth, back = (ProbeTask("toy", grey, labels, from_decoded=way) for way in (False, True))
    assert (forth.name, back.name) == ("toy", "toy-from-decoded")
    assert forth.per_item(originals, brighter).tolist() == [0.0, 1.0] * 6, "all looks like the bright class"
    assert back.per_item(originals, brighter).tolist() == [1.0, 0.0] * 6, "all looks like the dark class"
    assert forth.ceiling(originals).value == back.ceiling(originals).value == 1
    assert "learned from originals, tried on decoded, 3 parts by items, 2 classes, 12 items" in forth.ceiling(originals).convention
    with pytest.raises(SignalError, match="3 signals for 12 labels"):
        forth(originals[:3], originals[:3])


def test_classes_too_small_are_not_scored() -> None:
    originals = [flat(20 + i) for i in range(4)] + [flat(200 + i) for i in range(4)] + [flat(100)]
    task = ProbeTask("toy", grey, [0] * 4 + [1] * 4 + [2])
    outcomes = task.per_item(originals, originals)
    assert outcomes[:8].tolist() == [1] * 8
    assert np.isnan(outcomes[8])
    assert task.ceiling(originals).value == 1


def test_a_probe_learns_once_from_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    fit = probes._fit
    monkeypatch.setattr(probes, "_fit", lambda features, labels: (fits.append(len(labels)), fit(features, labels))[1])  # type: ignore[func-returns-value]
    probes._probes.clear()
    labels, originals = [0, 1] * 6, [flat((20, 60)[i % 2] + i) for i in range(12)]
    for shift in range(3):
        task = ProbeTask("toy", grey, labels)
        task(originals, [flat((20, 60)[i % 2] + i + shift) for i in range(12)])
    assert fits == [8, 8, 8]


# --- shapes -------------------------------------------------------------------------------------------------------------------------


def cube(scale: float, shift: float = 0.0) -> Shape:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64) * scale + shift
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Shape(corners, np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))], np.int64))


def test_descriptors_have_no_unit_and_no_place() -> None:
    plain = shapes.descriptor(cube(1))
    assert plain.shape == (shapes.BINS + shapes.CELLS**3,)
    assert np.square(plain[: shapes.BINS]).sum() == pytest.approx(1)
    assert np.square(plain[shapes.BINS :]).sum() == pytest.approx(1)
    assert shapes.descriptor(cube(8, 4)) == pytest.approx(plain, abs=0.05)
    inner = plain[shapes.BINS :].reshape((shapes.CELLS,) * 3)[1:-1, 1:-1, 1:-1]
    assert not inner.any(), "a surface has nothing inside"
    cloud = shapes.descriptor(Shape(cube(1).vertices))
    assert np.count_nonzero(cloud[shapes.BINS :]) == 8


def test_what_is_nothing_has_no_descriptor() -> None:
    for empty in (Shape(np.zeros((0, 3))), Shape(np.zeros((3, 3)), np.zeros((0, 3), np.int64)), Shape(np.ones((5, 3)))):
        assert not shapes.descriptor(empty).any()
    with pytest.raises(SignalError, match="not finite"):
        shapes.descriptor(Shape(np.full((4, 3), np.nan)))
    with pytest.raises(SignalError, match="classified here, found Image"):
        shapes.descriptor(flat(0))


# --- tokens -------------------------------------------------------------------------------------------------------------------------


def tokens(first: Sequence[int], second: Sequence[int] | None = None, present: Sequence[bool] | None = None) -> Tokens:
    levels = [first] if second is None else [first, second]
    stages = tuple(Stage(f"level {i}", (("time", len(level)),), 8) for i, level in enumerate(levels))
    masks = (None, None if present is None else np.array(present))[: len(levels)]
    layout = Layout(stages, tuple(range(1, len(stages) + 1)))
    return Tokens(layout, tuple(np.array(level, np.int32) for level in levels), masks)


def test_histograms_by_hand() -> None:
    items = [tokens([1, 1, 1, 5], [2, 0, 0, 0], [True, False, False, False]), tokens([5, 5, 5, 5], [2, 2, 3, 3])]
    columns = entries(items)
    assert columns == [(0, 1), (0, 5), (1, 2), (1, 3)]
    assert np.square(histograms(items, columns)) == pytest.approx(np.array([[0.75, 0.25, 1, 0], [0, 1, 0.5, 0.5]]))
    # a prefix has none of the second stage, entries that were never learned have no column
    assert np.square(histograms([tokens([1, 7, 7, 7])], columns)) == pytest.approx(np.array([[0.25, 0, 0, 0]]))


def test_only_the_most_used_entries_have_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_probe, "MOST_ENTRIES", 2)
    assert entries([tokens([3, 4, 4, 1, 1, 1])]) == [(0, 1), (0, 4)]
    with pytest.raises(UsageError, match="no token to learn from"):
        entries([])


def test_tokens_are_read_without_being_decoded() -> None:
    rng = np.random.default_rng(0)
    labels = [0, 1] * 6
    items = [tokens(rng.choice(8, 30, p=np.r_[[0.2] * 4, [0.05] * 4] if label else np.r_[[0.05] * 4, [0.2] * 4])) for label in labels]
    probe = TokenProbe(labels)
    assert probe(items).value >= 0.9
    assert probe.per_item(items).shape == (12,)
    turned = [Tokens(item.layout, (7 - item.arrays[0],), item.present) for item in items]
    assert probe(turned, items).value <= 0.1, "learned from the one, tried on the other"
    with pytest.raises(SignalError, match="tokens of 2 items for 12 labels"):
        probe(items[:2])


def test_kinds_are_all_classes_once() -> None:
    table = kind_table()
    assert table.min() == 0
    assert sum(last - first + 1 for _, ranges in KINDS for first, last in ranges) == 1000
    names = [name for name, _ in KINDS]
    told = {1: "fish", 7: "birds", 62: "reptiles and amphibians", 76: "invertebrates", 207: "dogs and wolves", 388: "other mammals"}
    told |= {145: "birds", 323: "invertebrates", 999: "things", 954: "food and plants", 980: "places and people"}
    assert {number: names[table[number]] for number in told} == told
    with pytest.raises(UsageError, match=r"ImageNet's classes 0\.\.999, found 3\.\.1000"):
        probes.of_kinds([3, 1000])


# --- the recipe ---------------------------------------------------------------------------------------------------------------------


class Pitch:
    """A tokenizer of tones: two stages of the same four tokens, each the number of half waves in a quarter; decodes to nothing like it."""

    name = "pitch"

    def encode(self, sounds: Sequence[Signal]) -> list[Tokens]:
        made = []
        for sound in sounds:
            assert isinstance(sound, Audio)
            counts = [int((np.diff(np.sign(part)) != 0).sum() // 32) for part in np.split(sound.samples[0], 4)]
            made.append(tokens(counts, counts))
        return made

    def decode(self, items: Sequence[Tokens]) -> list[Signal]:
        return [Audio(np.full((1, 4000), 0.1, np.float32), 8000) for _ in items]


def test_tokens_are_set_beside_decoded_sounds() -> None:
    sounds = [Audio(np.sin(np.arange(4000) * (0.2 + 0.4 * (i % 2) + 0.002 * i)).astype(np.float32)[None], 8000) for i in range(12)]
    ceiling, rows = recipe.measure(Pitch(), sounds, [i % 2 for i in range(12)], [f"s{i // 4}" for i in range(12)], "spoken-digits")  # type: ignore[arg-type]
    assert ceiling.mean == 1
    assert [row.stages for row in rows] == [1, 2]
    assert [row.rate for row in rows] == [12 * 4 * 3 / 6, 12 * 8 * 3 / 6]
    for row in rows:
        assert row.tokens_from_same.mean == row.tokens_from_whole.mean == 1
        assert row.decoded_from_originals.mean == row.originals_from_decoded.mean == 0.5


def test_labels_are_found_by_the_end_of_a_path(tmp_path: Path) -> None:
    table = {"a/x.flac": 1, "x.flac": 2}
    assert [recipe.labels_of(Path(name), table) for name in ("b/a/x.flac", "c/x.flac")] == [1, 2]
    with pytest.raises(UsageError, match=r"y\.flac: no label"):
        recipe.labels_of(Path("y.flac"), table)
    file = tmp_path / "labels.json"
    for content, said in (("[1]", "no labels"), ('{"a": -1}', "no labels"), ('{"a": true}', "no labels"), ("{", "not readable as JSON")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=said):
            recipe.read_table(file)
    file.write_text('{"a": 3}', encoding="utf-8")
    assert recipe.read_table(file) == {"a": 3}


def test_the_recipe_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("smalti.tokenizers.zoo.load", lambda name: Pitch())
    monkeypatch.setattr(sys, "argv", ["token_probe", "pitch", str(tmp_path), "--labels", str(tmp_path / "labels.json")])
    assert recipe.main() == 2
    assert "no pictures and no sounds in there" in capsys.readouterr().err
