"""Whisper and the voice encoder on real speech, where they are at hand: published sizes of errors, and voices told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.media.audio import read_audio
from smalti.metrics import judges, speaker
from smalti.metrics.machine.recognition import word_error_rate
from smalti.tokenizers.errors import ModelError

pytestmark = pytest.mark.slow


def test_whisper_understands_clear_speech(data_folder: Path) -> None:
    folder = data_folder / "audio" / "eval"
    texts = json.loads((folder / "transcripts.json").read_text(encoding="utf-8"))
    names = [f"speech/ls_1688-142285-000{i}.flac" for i in (3, 4)]
    sounds = [read_audio(folder / name) for name in names]
    try:
        rate = word_error_rate([texts[name] for name in names])
    except ModelError as error:
        pytest.skip(str(error))
    assert rate.ceiling(sounds).value < 0.2
    assert rate(sounds, sounds[::-1]).value > 0.7


def test_voices_are_told_apart(data_folder: Path) -> None:
    if not judges.JUDGES["speaker"].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES['speaker'].path}; smalti fetch-judges speaker brings it")
    folder = data_folder / "audio" / "eval" / "speech"
    encoder = speaker.load().encoder
    names = ("ls_1688-142285-0003", "ls_1688-142285-0004", "ls_1998-15444-0001", "ls_2414-128291-0006")
    one, again, *others = (encoder.embed(read_audio(folder / f"{name}.flac").samples[0]) for name in names)
    assert one @ again > 0.8
    assert all(np.dot(one, other) < 0.75 for other in others)
