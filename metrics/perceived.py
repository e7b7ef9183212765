"""What listeners hear, as published models of them say: PESQ, STOI, Zimtohrli and ViSQOL, by the packages that carry them.

- PESQ (ITU-T P.862): P.862.2, wide band, at 16 kHz, identical sounds 4.644; P.862.1, narrow band, at 8 kHz, identical 4.549. It evens out
  gain and delay, so it says nothing about those. The package `pesq` takes these two rates alone.
- STOI (Taal et al., IEEE TASLP 2011) at 10 kHz, in [-1, 1]: correlations of envelopes in fifteen third-octaves up to 4.3 kHz. Not the
  extended one. Delays are not evened out: 50 ms cost nearly everything.
- Zimtohrli (google/zimtohrli) at 48 kHz, as a mean opinion score of 1 to 5.
- ViSQOL v3 (Chinen et al., QoMEX 2020), as a mean opinion score of 1 to 5: for any sound at 48 kHz (support vectors, identical sounds
  4.73), or for speech at 16 kHz (a polynomial, identical sounds 5). It evens out delays. The package `visqol-python` ports Google's
  program; its lattice for speech needs one package more, so scores would depend on what is installed: it is not used.

Sounds are resampled to those rates first. What these models cannot score (silence, less than .3 to .4 s of speech) raises SignalError:
whoever averages has to say how many were left out.
"""

from __future__ import annotations

import importlib
from typing import Any

from smalti.metrics.sounds import BelowFourKilohertz, at_rate, both, mean_of_channels
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Array, Signal

STOI_RATE, ZIMTOHRLI_RATE = 10000, 48000
VISQOL_RATES = {"audio": 48000, "speech": 16000}
PESQ_RATES = {"wb": 16000, "nb": 8000}


class PESQ:
    """Perceptual evaluation of speech quality, about 1 to 4.6. band: "wb", P.862.2, or "nb", P.862.1."""

    def __init__(self, band: str) -> None:
        self.band = band
        self.name = f"pesq-{band}"
        self.pesq = _package("pesq")

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels; SignalError where no speech is found."""
        a, b = both(reference, decoded)
        rate = PESQ_RATES[self.band]
        value = mean_of_channels(at_rate(a, rate), at_rate(b, rate), self._of_channel)
        return Score(value, "MOS-LQO", "higher", f"{'P.862.2' if self.band == 'wb' else 'P.862.1'}, {rate} Hz, sounds at {a.rate} Hz")

    def _of_channel(self, reference: Array, decoded: Array) -> float:
        try:
            return self.pesq.pesq(PESQ_RATES[self.band], reference, decoded, self.band)
        except (self.pesq.PesqError, ValueError, RuntimeWarning) as error:
            raise SignalError(f"PESQ cannot score this sound ({_line(error)}); take a longer one with speech") from None


class STOI:
    """Short-time objective intelligibility, 1 for equal sounds."""

    name = "stoi"

    def __init__(self) -> None:
        self.stoi = _package("pystoi")

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels; SignalError where there is too little speech."""
        a, b = both(reference, decoded)
        value = mean_of_channels(at_rate(a, STOI_RATE), at_rate(b, STOI_RATE), lambda x, y: self.stoi.stoi(x, y, STOI_RATE))
        return Score(value, "", "higher", f"not extended, {STOI_RATE} Hz, sounds at {a.rate} Hz")


class Zimtohrli:
    """Mean opinion score that Zimtohrli predicts, 5 for equal sounds."""

    name = "zimtohrli"

    def __init__(self) -> None:
        self.zimtohrli = _package("zimtohrli")

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels."""
        a, b = both(reference, decoded)
        value = mean_of_channels(at_rate(a, ZIMTOHRLI_RATE), at_rate(b, ZIMTOHRLI_RATE), self.zimtohrli.mos_from_signals)
        return Score(value, "MOS", "higher", f"{ZIMTOHRLI_RATE} Hz, sounds at {a.rate} Hz")


class ViSQOL:
    """Mean opinion score that ViSQOL predicts. mode: "audio", any sound at 48 kHz, or "speech", at 16 kHz."""

    def __init__(self, mode: str = "audio") -> None:
        self.mode = mode
        self.name = "visqol" if mode == "audio" else f"visqol-{mode}"
        self.visqol = _package("visqol", "visqol-python").VisqolApi()
        try:
            self.visqol.create(mode=mode, use_lattice_model=False)
        except ImportError as error:  # its support vectors are another package's
            raise ModelError(f"{self.name} cannot start ({error}); pip install 'smalti[audio-metrics]'") from None

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels; SignalError where one is silent or too short."""
        a, b = both(reference, decoded)
        rate = VISQOL_RATES[self.mode]
        value = mean_of_channels(at_rate(a, rate), at_rate(b, rate), self._of_channel)
        return Score(value, "MOS-LQO", "higher", f"ViSQOL v3, {self.mode}, {rate} Hz, sounds at {a.rate} Hz")

    def _of_channel(self, reference: Array, decoded: Array) -> float:
        if not (reference.any() and decoded.any()):
            raise SignalError("ViSQOL cannot score silence; take another sound")
        try:
            found = self.visqol.measure_from_arrays(reference.astype(float), decoded.astype(float), VISQOL_RATES[self.mode])
        except (ValueError, IndexError, RuntimeError, RuntimeWarning) as error:
            raise SignalError(f"ViSQOL cannot score this sound ({_line(error)}); take a longer one") from None
        return float(found.moslqo)


def _package(name: str, distribution: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ModelError(f"this metric needs the package {distribution or name}: pip install 'smalti[audio-metrics]'") from None


def _line(error: Exception) -> str:
    """Some of the package's errors carry bytes."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split()) or type(error).__name__


def pesq_wb() -> PESQ:
    """Wide band."""
    return PESQ("wb")


def pesq_nb() -> PESQ:
    """Narrow band: what P.862 itself has for sounds below 4 kHz."""
    return PESQ("nb")


def stoi_4k() -> BelowFourKilohertz:
    """STOI below 4 kHz; its bands end hardly above that in any case."""
    return BelowFourKilohertz(STOI())


def zimtohrli_4k() -> BelowFourKilohertz:
    """Zimtohrli below 4 kHz."""
    return BelowFourKilohertz(Zimtohrli())


def visqol_speech() -> ViSQOL:
    """ViSQOL for speech."""
    return ViSQOL("speech")


def visqol_4k() -> BelowFourKilohertz:
    """ViSQOL below 4 kHz."""
    return BelowFourKilohertz(ViSQOL())


def visqol_speech_4k() -> BelowFourKilohertz:
    """ViSQOL for speech below 4 kHz."""
    return BelowFourKilohertz(visqol_speech())
