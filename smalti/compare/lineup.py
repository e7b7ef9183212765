"""Who is compared: codecs by name, at which settings.

A name is one of the registry (`jpeg`, `x264/2`), a model's (`image-line`, `image-grid-16@1`, a folder of one, `hf:FOLDER`, `file:PATH` of
public ones), `MODEL+zlib` and so on for its tokens packed by an ordinary compressor, or `package.module:factory` of a codec that nobody
registered.

Settings are the codec's own ladder, or those behind a colon (or, of a registered codec, an @): `jpeg:10,30,50`, `audio-residual-16k:2,4,8`,
`image-line:0.02bpp,0.05bpp`. A number alone is a classical codec's quality and a model's number of stages; units: `bpp`, `kbps`, `b`
(bytes), `q` before a quality, `k` before a number of stages.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import smalti
from smalti.codecs import ladders, registry
from smalti.codecs.ladders import Setting
from smalti.compare import results
from smalti.compare.items import NAMES
from smalti.compare.small import pair
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError

DEFAULTS = {
    # rivals at their best: JPEG with tables made for the picture, AVIF at a slow speed, Opus in both its modes
    "image": ("jpeg-420", "webp", "avif-420", "jxl", "hyperprior", "image-line", "image-grid-16"),
    "audio": ("opus", "opus-audio", "lyra", "audio-residual-16k", "audio-single-16k"),
    "video": ("x264", "x265", "svt-av1", "video-causal-16"),
    "shape": ("draco", "decimate-draco", "shape", "mesh"),
}
LEAST_RATES = 4  # below it a curve through the points says more than they do
_TABLES = {
    "image": registry.CODECS | registry.ZOO_CODECS,
    "audio": registry.SOUND_CODECS,
    "video": registry.VIDEO_CODECS,
    "shape": {**registry.SHAPE_CODECS, "decimate-draco": ""},
}
_SETTING = re.compile(r"([qk]?)(\d+(?:\.\d+)?|\.\d+)(bpp|kbps|b)?")


@dataclass(frozen=True)
class Contender:
    """A codec as it travels between processes. name: what reports call it; codec: what `open_codec` takes. version: with the name, all
    that its files depend on beside the setting. models: name to fingerprint."""

    name: str
    codec: str
    title: str
    kind: str
    settings: tuple[Setting, ...]
    version: str
    models: tuple[tuple[str, str], ...] = ()
    short: str = ""
    sample: str = ""


@dataclass(frozen=True)
class Lineup:
    """absent: those that were wanted and are not at hand."""

    contenders: tuple[Contender, ...]
    absent: tuple[results.Absent, ...]


def parse(names: str | Sequence[str]) -> list[tuple[str, tuple[Setting, ...]]]:
    """(codec, settings) of "A,B:1,2,C" or of a list of such; UsageError for an empty list, or one codec twice."""
    words = [word.strip() for text in ([names] if isinstance(names, str) else names) for word in text.split(",")]
    found: list[tuple[str, list[Setting]]] = []
    for word in words:
        if found and found[-1][1] and _is_setting(word) and not _is_codec(word):
            setting = _setting(word, found[-1][0])
            if setting.label in [other.label for other in found[-1][1]]:
                raise UsageError(f"setting {word!r} of {found[-1][0]} is named twice; leave it out")
            found[-1][1].append(setting)
            continue
        name, settings = _parted(word)
        if name:
            found.append((name, settings))
    if not found:
        raise UsageError("no codec named; give --codecs jpeg,webp,image-line or leave it out for the usual ones")
    twice = [name for i, (name, _) in enumerate(found) if name in [other for other, _ in found[:i]]]
    if twice:
        raise UsageError(f"codec {twice[0]!r} is named twice; give all its settings at once, as in {twice[0]}:1,2")
    return [(name, tuple(settings)) for name, settings in found]


def _parted(word: str) -> tuple[str, list[Setting]]:
    for mark in (":", "@"):
        name, found, rest = word.rpartition(mark)
        if found and _is_setting(rest) and (mark == ":" or _is_registered(name)):
            return name, [_setting(rest, name)]
    return word, []


def _is_setting(word: str) -> bool:
    return bool(_SETTING.fullmatch(word))


def _is_registered(name: str) -> bool:
    return name.partition("/")[0] in registry.known()


def _is_codec(name: str) -> bool:
    return _is_registered(name) or name in _models()


def _models() -> dict[str, Any]:
    from smalti.tokenizers import zoo

    return {info.name.partition("@")[0]: info for info in zoo.known()}


def _setting(word: str, name: str) -> Setting:
    match = _SETTING.fullmatch(word)
    assert match
    mark, number, unit = match.groups()
    if mark and unit:
        raise UsageError(f"setting {word!r} of {name}: a quality or a number of stages has no unit; leave {unit!r} out")
    value = float(number)
    if unit == "bpp":
        return Setting(f"{value:g} bpp", Target(bits_per_pixel=value))
    if unit == "kbps":
        return Setting(f"{value:g} kbps", Target(kbps=value))
    if unit == "b":
        return Setting(f"{_whole(value, word)} bytes", Target(bytes=_whole(value, word)))
    if mark == "k" or (not mark and not _is_registered(name) and not _is_of_module(name)):
        return Setting(f"{_whole(value, word)} stage{'' if value == 1 else 's'}", Target(stages=_whole(value, word)))
    return Setting(f"q{value:g}", Target(quality=value))


def _whole(value: float, word: str) -> int:
    if value != int(value):
        raise UsageError(f"setting {word!r}: expected a whole number")
    return int(value)


def of(kind: str, names: str | Sequence[str] | None, rates: int | None = None) -> Lineup:
    """The codecs of these names, or the usual ones of a kind. rates: so many settings of each ladder at most, spread evenly.

    UsageError for a name that nobody knows, or where no codec at all is at hand.
    """
    wanted = parse(names) if names else [(name, ()) for name in DEFAULTS[kind]]
    contenders, absent = [], []
    for name, settings in wanted:
        try:
            contenders.append(_contender(kind, name, settings, rates))
        except UsageError:
            raise
        except Exception as error:  # a codec of others may raise anything
            absent.append(absence(name, error))
    if not contenders:
        raise UsageError("none of these codecs is at hand: " + "; ".join(f"{item.name}: {item.reason}, {item.remedy}" for item in absent))
    called = [contender.name for contender in contenders]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise UsageError(f"two codecs are called {twice!r}; give one of them another `name`, or compare them one after the other")
    return Lineup(tuple(contenders), tuple(absent))


def absence(name: str, error: Exception) -> results.Absent:
    """What is missing, from the line of its error, which ends in the way out."""
    text = " ".join(str(error).split())
    if not isinstance(error, SmaltiError):
        return results.Absent(name, f"{type(error).__name__}: {text}", "mend it, or leave it out")
    for mark in ("; ", ": "):
        reason, found, remedy = text.rpartition(mark)
        if found:
            return results.Absent(name, reason, remedy)
    return results.Absent(name, text, "")


def open_codec(name: str) -> Codec:
    """The codec of a contender; ModelError where it is not at hand, UsageError where nobody knows it."""
    if _is_of_module(name):
        return _from_module(name)
    if _is_registered(name):
        return registry.resolve(name)
    from smalti.compare import ours

    return ours.codec(name)


def _is_of_module(name: str) -> bool:
    """package.module:factory, and no public model, whose names hold a colon too."""
    from smalti.tokenizers.peers import sources

    return ":" in name and not sources.is_source(name)


def _from_module(name: str) -> Codec:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"codec {name!r} cannot be imported ({error}); expected package.module:factory") from None


def _contender(kind: str, name: str, settings: tuple[Setting, ...], rates: int | None) -> Contender:
    if _is_of_module(name):
        return _of_module(kind, name, settings, rates)
    return _registered(kind, name, settings, rates) if _is_registered(name) else _ours(kind, name, settings, rates)


def _of_module(kind: str, name: str, settings: tuple[Setting, ...], rates: int | None) -> Contender:
    """ladder, title, version, family: what such a codec may say of itself."""
    codec: Any = open_codec(name)
    ladder = settings or _thinned(_own_ladder(codec), rates)
    if not ladder:
        raise UsageError(f"codec {name!r} has no ladder of settings of its own; name some, as in {name}:10,30,50")
    short = codec.name
    title, version = str(getattr(codec, "title", short)), ladders.version(codec) or "unknown"
    sample = _sample(kind, codec, ladder) + _source(name.partition(":")[0])
    return Contender(short, name, title, _family(codec), tuple(ladder), version, sample=sample)


def _source(module: str) -> str:
    """Of a module's text: who works on a codec edits it more often than its version."""
    path = getattr(importlib.import_module(module), "__file__", None)
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""
    except OSError:
        return ""


def _registered(kind: str, name: str, settings: tuple[Setting, ...], rates: int | None) -> Contender:
    base = name.partition("/")[0]
    takes = next((taken for taken, table in _TABLES.items() if base in table), kind)
    if takes != kind:
        raise UsageError(f"codec {name} is for {NAMES[takes]}, and the data are {NAMES[kind]}; name one that takes them")
    codec = open_codec(name)
    ladder = settings or _thinned(_own_ladder(codec) or ladders.ladder(name), rates)
    family = "lossless" if base in ladders.LOSSLESS else _family(codec)
    version = ladders.version(codec) or f"smalti {smalti.__version__}"
    title, short = str(getattr(codec, "title", name)), ladders.short(name) or ""
    return Contender(name, name, title, family, tuple(ladder), version, (), short, _sample(kind, codec, ladder))


def _sample(kind: str, codec: Codec, ladder: Sequence[Setting]) -> str:
    """None of films: small frames of x264 and x265 do not repeat to the byte."""
    if kind == "video":
        return ""
    try:
        return hashlib.sha256(codec.compress(pair(kind)[0], ladder[len(ladder) // 2].target)).hexdigest()[:16]
    except Exception:  # said where it counts
        return ""


def _own_ladder(codec: Any) -> list[Setting]:
    """Of a codec that brings one, of settings or of (label, target)."""
    return [entry if isinstance(entry, Setting) else Setting(*entry) for entry in getattr(codec, "ladder", ())]


def _family(codec: Any) -> str:
    return str(getattr(codec, "family", "classical"))


def _ours(kind: str, name: str, settings: tuple[Setting, ...], rates: int | None) -> Contender:
    from smalti.compare import ours, packed
    from smalti.media import modality_of_kind
    from smalti.tokenizers import zoo

    model, plus, method = name.partition("+")
    try:
        info = zoo.find(model)
    except ModelError as error:
        raise _unknown(kind, name, error) from None
    modality = modality_of_kind(info.kind)
    if modality != kind:
        raise UsageError(f"{model} is a model of {NAMES[modality]}, and the data are {NAMES[kind]}; name one of `smalti models` that fits")
    fingerprint = zoo.fingerprint_of(info)
    ladder = settings or _thinned(ours.ladder(name), rates)
    # what files of a model depend on beside it: tone passes, allocation, clustering
    version = f"{info.name} {fingerprint[:12]}, smalti {smalti.__version__}"
    if plus:
        version += f", {packed.version(method)}"
    family = "lossless" if plus else "ours"
    return Contender(name, name, name, family, tuple(ladder), version, ((info.name, fingerprint),), ours.short(name) or "")


def _unknown(kind: str, name: str, error: SmaltiError) -> SmaltiError:
    from smalti.media import modality_of_kind

    if "/" in name or "\\" in name:
        return UsageError(str(error))
    others = {base for taken, table in _TABLES.items() if taken != kind for base in table}
    names = [base for base in registry.known() if base not in others]
    names += [base for base, info in _models().items() if modality_of_kind(info.kind) == kind]
    near = difflib.get_close_matches(name, names, 1)
    return UsageError(f"no codec {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"of {NAMES[kind]} known: {', '.join(names)}"))


def _thinned(ladder: Sequence[Setting], rates: int | None) -> tuple[Setting, ...]:
    """So many of a ladder, its ends among them."""
    if rates is None or rates >= len(ladder):
        return tuple(ladder)
    if rates == 1:
        return (ladder[len(ladder) // 2],)
    places = [round(i * (len(ladder) - 1) / (rates - 1)) for i in range(rates)]
    return tuple(ladder[place] for place in places)


def info_of(contender: Contender) -> results.CodecInfo:
    """The codec as reports list it; its settings are put into order of rate once that is known."""
    count = len(contender.settings)
    reason = ""
    if count < LEAST_RATES:
        reason = contender.short or f"{count} rate{'' if count == 1 else 's'} measured"
        reason = f"{reason}; a BD rate needs {LEAST_RATES}"
    labels = tuple(setting.label for setting in contender.settings)
    return results.CodecInfo(
        contender.name, contender.title, contender.kind, labels, count < LEAST_RATES, contender.version, not reason, reason
    )
