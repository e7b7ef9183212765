"""Machine tasks with networks played by functions: boxes, decoding of grids, pages, windows of sound, answers that are kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.metrics import judges
from smalti.metrics.classifier import Classifier
from smalti.metrics.machine import detection, digits, reading, sound_events
from smalti.metrics.machine.answers import Answers, content
from smalti.metrics.machine.boxes import Detections, f1, matches, overlaps, suppressed
from smalti.metrics.machine.classification import ClassificationAccuracy, ClassificationAgreement
from smalti.metrics.machine.detection import DetectionAgreement, FaceDetector, ObjectDetector, cells, fitted
from smalti.metrics.machine.reading import CharacterErrorRate
from smalti.metrics.machine.sound_events import WINDOW, SoundEventAgreement, windows
from smalti.metrics.registry import resolve_task
from smalti.recipes import pages
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal


def flat(value: int, height: int = 20, width: int = 30) -> Image:
    return Image(np.full((height, width, 3), value, np.uint8))


def found(*boxes: Sequence[float], scores: Sequence[float] = (), classes: Sequence[int] = ()) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float64).reshape(count, 4),
        np.array(scores or [1.0] * count, np.float64),
        np.array(classes or [0] * count, np.int64),
    )


# --- boxes --------------------------------------------------------------------------------------------------------------------------


def test_overlaps_by_hand() -> None:
    a = np.array([[0.0, 0, 2, 2], [5, 5, 5, 5]])
    b = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 5, 5]])
    assert overlaps(a, b).tolist() == [[1, pytest.approx(1 / 3), 0, 0], [0, 0, 0, 0]]


def test_suppression_keeps_the_best_of_each_class() -> None:
    boxes = found(
        [0, 0, 10, 10],
        [1, 0, 11, 10],
        [0, 0, 10, 10],
        [20, 0, 30, 10],
        [2, 0, 12, 10],
        scores=[0.6, 0.9, 0.8, 0.5, 0.7],
        classes=[0, 0, 1, 0, 0],
    )
    kept = suppressed(boxes, 0.45)
    assert kept.scores.tolist() == [0.9, 0.8, 0.5], "best first; what overlaps in another class stays"
    chain = found([0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10], scores=[0.9, 0.8, 0.7])
    assert suppressed(chain, 0.45).scores.tolist() == [0.9, 0.7], "a box that is gone suppresses none"


def test_matches_are_one_to_one() -> None:
    truth = found([0, 0, 10, 10], [20, 0, 30, 10])
    assert matches(truth, found([0, 0, 10, 10], [1, 0, 11, 10]), 0.5) == 1
    assert matches(truth, found([1, 0, 11, 10], [21, 0, 31, 10]), 0.5) == 2
    assert matches(truth, found([0, 0, 10, 10], classes=[1]), 0.5) == 0
    assert matches(truth, found([5, 0, 15, 10]), 0.5) == 0, "a third of the union"
    # the surer one chooses first: it takes the left of two that both reach, which the other needs
    both = found([0, 0, 10, 10], [4, 0, 14, 10])
    assert matches(both, found([1, 0, 11, 10], [0, 0, 10, 10], scores=[0.5, 0.9]), 0.5) == 2
    assert matches(both, found([-1, 0, 9, 10], [1, 0, 11, 10], scores=[0.5, 0.9]), 0.5) == 1


def test_f1_by_hand() -> None:
    two, three = found([0, 0, 9, 9], [20, 0, 29, 9]), found([0, 0, 9, 9], [50, 0, 59, 9], [70, 0, 79, 9])
    assert f1(two, three) == pytest.approx(2 / 5)
    assert (f1(two, two), f1(two, found()), f1(found(), two), f1(found(), found())) == (1, 0, 0, 1)


# --- detectors ----------------------------------------------------------------------------------------------------------------------


def test_a_picture_is_fitted_into_the_corner_of_a_square() -> None:
    pixels = np.full((20, 40, 3), 0, np.uint8)
    pixels[..., 0] = 200
    square, scale = fitted(pixels, 80, 114, enlarge=True)
    assert (square.shape, square.dtype, scale) == ((1, 3, 80, 80), np.float32, 2)
    assert square[0, :, 10, 10].tolist() == [0, 0, 200], "blue first"
    assert (square[0, :, 40:] == 114).all()
    same, scale = fitted(pixels, 80, 0, enlarge=False)
    assert (scale, same[0, 2, 19, 39], same[0, 2, 20, 40]) == (1, 200, 0)
    assert fitted(np.zeros((1, 900, 3), np.uint8), 80, 0, enlarge=True)[1] == 80 / 900


def test_cells_are_rows_of_three_grids() -> None:
    places, strides = cells(64)
    assert len(places) == len(strides) == 64 + 16 + 4
    assert places[9].tolist() == [1, 1]
    assert strides[[0, 63, 64, 79, 80], 0].tolist() == [8, 8, 16, 16, 32]


def test_objects_come_out_where_they_were_put() -> None:
    rows = np.zeros((1, 84, 5 + 3), np.float32)
    # around pixel (28, 20) of the square, 16 x 24 pixels: cell (3, 2) of stride 8
    rows[0, 2 * 8 + 3] = [0.5, 0.5, np.log(2), np.log(3), 0.9, 0.1, 0.8, 0.0]
    rows[0, 2 * 8 + 4] = [-0.5, 0.5, np.log(2), np.log(3), 0.9, 0.0, 0.7, 0.0]  # the same from the next cell, less sure
    rows[0, 64] = [0, 0, 0, 0, 0.5, 0.5, 0, 0]  # 0.25 is too little
    seen: list[np.ndarray] = []
    detector = ObjectDetector(lambda square: (seen.append(square), [rows])[1], side=64)  # type: ignore[func-returns-value]
    boxes = detector(np.zeros((32, 16, 3), np.uint8))
    assert seen[0].shape == (1, 3, 64, 64)
    # scaled to twice its size and clipped to its 16 columns
    assert boxes.boxes.tolist() == [pytest.approx([10, 4, 16, 16])]
    assert (boxes.scores.tolist(), boxes.classes.tolist()) == ([pytest.approx(0.72)], [1])


def test_faces_come_out_where_they_were_put() -> None:
    counts = (64, 16, 4)
    outputs = [np.zeros((1, count, width), np.float32) for width in (1, 1, 4) for count in counts]
    outputs[1][0, 5], outputs[4][0, 5], outputs[7][0, 5] = 0.9, 0.81, [0, 1, np.log(2), 0]  # cell (1, 1) of stride 16
    faces = FaceDetector(lambda square: outputs, side=64)(np.zeros((64, 64, 3), np.uint8))
    assert faces.boxes.tolist() == [pytest.approx([0, 24, 32, 40])]
    assert faces.scores.tolist() == [pytest.approx(np.sqrt(0.9 * 0.81))]


def test_detection_is_averaged_over_pictures() -> None:
    def tops(pixels: np.ndarray) -> Detections:
        return found(*[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]][: int(pixels[0, 0, 0])])

    task = DetectionAgreement("toy", tops, "a toy")
    originals, decoded = [flat(0), flat(1), flat(2)], [flat(0), flat(2), flat(0)]
    assert task.per_item(originals, decoded).tolist() == [1, pytest.approx(2 / 3), 0]
    assert task(originals, decoded).value == pytest.approx(5 / 9)
    assert task.ceiling(originals).value == 1
    with pytest.raises(SignalError, match="detected in pictures, found Audio"):
        task([Audio(np.zeros((1, 9), np.float32), 8)], [flat(0)])


@pytest.mark.parametrize("name", ["objects", "faces"])
def test_the_real_detectors_see_a_person(name: str) -> None:
    if not judges.FILES[name].path.is_file():
        pytest.skip(f"needs the judge {judges.FILES[name].path}; smalti fetch-judges {name} brings it")
    pytest.importorskip("onnxruntime")
    from skimage.data import astronaut

    task = getattr(detection, name)()
    (person,) = task._found(Image(astronaut())).boxes
    expected = {"objects": [10, 20, 370, 507], "faces": [181, 60, 270, 172]}[name]
    assert person == pytest.approx(expected, abs=12)
    assert task.ceiling([Image(astronaut())]).value == 1
    assert task([Image(astronaut())], [flat(128, 512, 512)]).value == 0


@pytest.mark.parametrize(
    ("task", "judge", "package"),
    [
        ("object-detection-agreement", "objects", "onnxruntime"),
        ("face-detection-agreement", "faces", "onnxruntime"),
        ("sound-event-agreement", "sound-events", "ai_edge_litert"),
    ],
)
def test_what_a_network_needs_is_named(task: str, judge: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    detection._network.cache_clear()
    sound_events.load.cache_clear()
    with pytest.raises(ModelError, match=f"not found; .*smalti fetch-judges {judge}"):
        resolve_task(task)
    monkeypatch.setattr(judges, "read", lambda name: b"")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.interpreter", raising=False)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[machine\]'"):
        resolve_task(task)


# --- pages --------------------------------------------------------------------------------------------------------------------------


def reader(pixels: np.ndarray) -> str:
    return {0: "Nothing here", 1: "Nothing\nthere", 2: "not HIM 9!", 3: ""}[int(pixels[0, 0, 0])]


def test_characters_are_counted_over_all_pages() -> None:
    task = CharacterErrorRate(reader)
    # nothinghere -> nothingthere: one of 11; nothim9 -> nothing: 7 of 7
    originals, decoded = [flat(0), flat(2)], [flat(1), flat(3)]
    assert task(originals, decoded).value == pytest.approx(8 / 18)
    assert task.per_item(originals, decoded) == pytest.approx([1 / 9, 7 / 9])
    assert task.ceiling(originals).value == 0
    known = CharacterErrorRate(reader, ["nothing there", "not him 9"])
    assert known.ceiling(originals).value == pytest.approx(1 / 19)
    assert "against texts" in known.ceiling(originals).convention


def test_pages_that_cannot_be_read() -> None:
    with pytest.raises(SignalError, match="nothing is written"):
        CharacterErrorRate(reader)([flat(3)], [flat(0)])
    with pytest.raises(SignalError, match="2 pages for 1 texts"):
        CharacterErrorRate(reader, ["a"])([flat(0)] * 2, [flat(0)] * 2)
    with pytest.raises(SignalError, match="pages are pictures, found Audio"):
        CharacterErrorRate(reader)([Audio(np.zeros((1, 9), np.float32), 8)], [flat(0)])


def test_the_reader_needs_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    reading.load.cache_clear()
    with pytest.raises(ModelError, match=r"needs the package rapidocr: pip install 'smalti\[machine\]'"):
        resolve_task("character-error-rate")
    with pytest.raises(ModelError, match=r"holds no network \*rec\*\.onnx"):
        reading._network(tmp_path, "*rec*")


def test_pages_are_what_their_texts_say() -> None:
    first, again, other = pages.page(3, 1), pages.page(3, 1), pages.page(4, 1)
    assert np.array_equal(first.image.pixels, again.image.pixels)
    assert first.text == again.text != other.text
    assert first.image.pixels.shape == (pages.HEIGHT, pages.WIDTH, 3)
    lines = first.text.split("\n")
    assert len(lines) >= 4
    assert all(line[0].isupper() and len(line.split()) > 1 for line in lines)
    # every line left its ink: rows with contrast come in as many runs at least
    rows = np.ptp(first.image.pixels[..., 0].astype(int), axis=1) > 100
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) == len(lines)


def test_pages_are_written_with_their_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pages", str(tmp_path / "out"), "-n", "2"])
    assert pages.main() == 0
    texts = json.loads((tmp_path / "out" / "texts.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["page-000.png", "page-001.png", "texts.json"]
    assert texts == {f"page-00{i}.png": pages.page(i).text for i in range(2)}
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["pages", str(tmp_path / "file")])
    assert pages.main() == 2
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(UsageError, match="counted from 1, found 0"):
        pages.pages(0)


# --- sounds -------------------------------------------------------------------------------------------------------------------------


def test_windows_reach_the_end() -> None:
    wave = np.arange(3 * WINDOW, dtype=np.float32)
    parts = windows(wave[: 2 * WINDOW + 100])
    assert [part[0] for part in parts] == [0, WINDOW // 2, WINDOW, WINDOW + 100]
    assert all(len(part) == WINDOW for part in parts)
    (short,) = windows(wave[:10])
    assert short[:11].tolist() == [*range(10), 0]
    assert len(windows(wave[:WINDOW])) == 1


def test_sound_events_are_averaged_over_windows() -> None:
    def sign(window: np.ndarray) -> np.ndarray:
        return np.array([1 - np.abs(window).mean(), np.abs(window).mean() * 1.2])

    def sound(*levels: float) -> Audio:
        return Audio(np.repeat(np.float32(levels), WINDOW // 2)[None], 16000)

    task = SoundEventAgreement(sign)
    originals, decoded = [sound(0.9, 0.9, 0.1, 0.1), sound(0.1, 0.1)], [sound(0.9, 0.8, 0.1, 0.1), sound(0.9, 0.9)]
    assert task.per_item(originals, decoded).tolist() == [1, 0]
    assert task(originals, decoded).value == 0.5
    assert (task._heard(originals[0]), task._heard(sound(0.9, 0.9, 0.1, 0.1, 0.1))) == (1, 0)
    with pytest.raises(SignalError, match="heard in sounds, found Image"):
        task([flat(0)], [flat(0)])


def test_yamnet_knows_silence(data_folder: Path) -> None:
    if not judges.FILES["sound-events"].path.is_file():
        pytest.skip(f"needs the judge {judges.FILES['sound-events'].path}; smalti fetch-judges sound-events brings it")
    pytest.importorskip("ai_edge_litert")
    sound_events.load.cache_clear()
    scores = sound_events.load()(np.zeros(WINDOW, np.float32))
    assert scores.shape == (521,)
    assert scores.argmax() == 494  # "Silence" of yamnet_class_map.csv


def test_log_mels_do_not_hear_level_and_silence() -> None:
    rng = np.random.default_rng(0)
    word = (rng.normal(0, 0.2, 4000) * np.sin(np.linspace(0, np.pi, 4000))).astype(np.float32)
    plain = digits.log_mels(Audio(word[None], 8000))
    assert plain.shape == (digits.PLACES * digits.BANDS,)
    assert digits.FLOOR_DB <= plain.min() < plain.max() <= 0
    assert digits.log_mels(Audio(word[None] / 100, 8000)) == pytest.approx(plain, abs=0.01)
    around = np.concatenate([np.zeros(800, np.float32), word, np.zeros(1600, np.float32)])
    assert digits.log_mels(Audio(around[None], 8000)) == pytest.approx(plain, abs=3)
    assert np.abs(digits.log_mels(Audio(word[None, ::2].copy(), 8000)) - plain).mean() < np.abs(plain - plain.mean()).mean()
    assert (digits.log_mels(Audio(np.zeros((2, 900), np.float32), 8000)) <= 0).all()
    with pytest.raises(SignalError, match="heard in sounds, found Image"):
        digits.log_mels(flat(0))


def test_digits_of_other_speakers_are_understood(data_folder: Path) -> None:
    from smalti.codecs.media.audio import read_audio

    folder = data_folder / "audio" / "digits"
    files = [folder / who / f"{digit}_{take:02}.flac" for who in ("george", "jackson", "theo") for digit in (0, 1, 6) for take in range(4)]
    sounds = [read_audio(file) for file in files]
    task = resolve_task("spoken-digits", labels=[int(file.name[0]) for file in files], groups=[file.parent.name for file in files])
    assert task.ceiling(sounds).value >= 0.7  # by chance: a third


# --- classification -----------------------------------------------------------------------------------------------------------------


def test_the_first_five() -> None:
    def ranks(pixels: Any) -> Any:
        import torch

        start = torch.round(pixels.mean((1, 2, 3)) * 128 + 127)[:, None] / 10
        logits = -((torch.arange(9)[None] - start) ** 2)
        return logits, logits

    look = Classifier(ranks)
    # the likeliest class is a tenth of the grey, its neighbours follow
    originals, decoded = [flat(0), flat(40), flat(80)], [flat(40), flat(60), flat(80)]
    assert look([flat(41)]).ranked.tolist() == [[4, 5, 3, 6, 2]]
    assert ClassificationAgreement(look)(originals, decoded).value == pytest.approx(1 / 3)
    five = ClassificationAgreement(look, 5)
    assert five.name == "classification-agreement-top-5"
    assert five.per_item(originals, decoded).tolist() == [0, 1, 1]
    accuracy = ClassificationAccuracy(look, [3, 3, 3], 5)
    assert (accuracy.name, accuracy.per_item(originals, decoded).tolist()) == ("classification-accuracy-top-5", [1, 0, 0])


# --- answers ------------------------------------------------------------------------------------------------------------------------


def test_a_network_is_asked_once_of_the_same_content(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Signal] = []
    answers = Answers(lambda signal: (asked.append(signal), len(asked))[1])
    assert [answers(flat(1)), answers(flat(2)), answers(flat(1))] == [1, 2, 1]
    monkeypatch.setattr("smalti.metrics.machine.answers.KEPT", 2)
    assert answers(flat(3)) == 3
    assert [answers(flat(1)), answers(flat(2))] == [1, 4], "the one asked longest ago is forgotten"


def test_content_tells_signals_apart() -> None:
    samples = np.zeros((1, 12), np.float32)
    corners = np.zeros((3, 3))
    sounds, mesh = [Audio(samples, rate) for rate in (8000, 16000)], Shape(corners, np.zeros((1, 3), np.int64))
    different = [flat(0), flat(1), flat(0, 30, 20), *sounds, Shape(corners), mesh]
    assert len({content(signal) for signal in different}) == len(different)
    assert content(flat(7)) == content(flat(7))
