"""Picture metrics against numbers worked out by hand and published ones, and judges that are missing or others."""

from __future__ import annotations

import math
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smalti.codecs.media.images import read_image
from smalti.metrics import judges, registry
from smalti.metrics.image import LPIPS, PSNR, LumaPSNR, lpips_network
from smalti.metrics.registry import resolve
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image


@pytest.fixture
def own_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as $SMALTI_JUDGES."""
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def alex(data_folder: Path) -> LPIPS:
    assert judges.JUDGES["alex"].path.is_file(), f"{data_folder} has judges"
    return LPIPS("alex")


def flat(value: int, dtype: type = np.uint8, size: tuple[int, int] = (4, 5)) -> Image:
    return Image(np.full((*size, 3), value, dtype))


# --- PSNR ---------------------------------------------------------------------------------------------------------------------------


def test_psnr_by_hand() -> None:
    score = PSNR()(flat(100), flat(110))
    assert score.value == pytest.approx(10 * math.log10(255**2 / 100))
    assert (score.unit, score.better) == ("dB", "higher")
    one_sample = flat(100).pixels.copy()
    one_sample[1, 2, 0] = 103
    assert PSNR()(flat(100), Image(one_sample)).value == pytest.approx(10 * math.log10(255**2 / (9 / 60)))
    assert PSNR()(flat(0), flat(255)).value == 0


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert PSNR()(flat(7), flat(7)).value == math.inf


def test_sixteen_bits_are_compared_at_eight() -> None:
    assert PSNR()(flat(100), flat(100 * 257, np.uint16)).value == math.inf
    assert PSNR()(flat(255), flat(65535, np.uint16)).value == math.inf
    assert PSNR()(flat(100 * 257 + 128, np.uint16), flat(100)).value == math.inf
    assert PSNR()(flat(100 * 257 + 129, np.uint16), flat(101)).value == math.inf


def test_luma_psnr_by_hand() -> None:
    assert LumaPSNR()(flat(100), flat(110)).value == pytest.approx(10 * math.log10(255**2 / 100))
    green = flat(100).pixels.copy()
    green[..., 1] += 10
    score = LumaPSNR()(flat(100), Image(green))
    assert score.value == pytest.approx(10 * math.log10(255**2 / 5.87**2))
    assert "BT.601, full range" in score.convention
    assert LumaPSNR()(flat(7), flat(7)).value == math.inf


def test_only_pictures_of_one_size_are_compared() -> None:
    with pytest.raises(SignalError, match=r"pictures differ in size: \(4, 5, 3\) and \(5, 4, 3\)"):
        PSNR()(flat(1), flat(1, size=(5, 4)))
    sound = Audio(np.zeros((1, 10), np.float32), 8000)
    with pytest.raises(SignalError, match="compare pictures, found Image and Audio"):
        PSNR()(flat(1), sound)


# --- LPIPS --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [("ex_p0", 0.72188), ("ex_p1", 0.13757)])
def test_lpips_of_the_authors_pictures(alex: LPIPS, data_folder: Path, name: str, expected: float) -> None:
    """The values that data/nets/README.md gives; published are .722 and .138."""
    reference, other = (read_image(data_folder / "nets" / "lpips_examples" / f"{file}.png") for file in ("ex_ref", name))
    score = alex(reference, other)
    assert score.value == pytest.approx(expected, abs=1e-3)
    assert score.better == "lower"
    assert "lpips-alex" in score.convention


@pytest.mark.parametrize("size", [(1, 1), (63, 200), (64, 64)])
def test_lpips_of_small_pictures(alex: LPIPS, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a, b = (Image(rng.integers(0, 256, (*size, 3), np.uint8)) for _ in range(2))
    assert alex(a, a).value == 0
    assert 0 < alex(a, b).value < 2


def test_lpips_wants_one_size(alex: LPIPS) -> None:
    with pytest.raises(SignalError, match="differ in size"):
        alex(flat(1), flat(1, size=(5, 4)))


def test_judges_do_not_learn_but_let_gradients_through(alex: LPIPS) -> None:
    assert not any(parameter.requires_grad for parameter in alex.net.parameters())
    assert not alex.net.training
    a, b = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(alex.net(a, b).sum(), b)
    assert float(gradient.abs().sum()) > 0


# --- by name ------------------------------------------------------------------------------------------------------------------------


class Elsewhere:
    """A metric of another distribution that runs on a device."""

    name = "elsewhere"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device


def test_metrics_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(resolve("psnr", "cuda"), PSNR)
    with pytest.raises(UsageError, match=r"no metric 'pnsr'; did you mean 'psnr'\?"):
        resolve("pnsr")
    with pytest.raises(UsageError, match=r"no metric 'xyzzy'; known: .*psnr, .*lpips-alex, lpips-vgg"):
        resolve("xyzzy")
    group = {"elsewhere": f"{__name__}:Elsewhere", "psnr": "other:PSNR", "broken": "smalti.none:X"}
    points = [EntryPoint(name, value, "smalti.metrics") for name, value in group.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "smalti.metrics" else [])
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or types.SimpleNamespace(Elsewhere=Elsewhere))
    assert resolve("elsewhere", "cuda").device == "cuda"  # type: ignore[attr-defined]
    assert isinstance(resolve("psnr"), PSNR), "ours stay ours"
    with pytest.raises(ModelError, match=r"metric 'broken' cannot be imported from smalti\.none:X: No module"):
        resolve("broken")


def test_lpips_runs_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(LPIPS, "__init__", lambda self, net, device="cpu": made.append(f"{net} {device}"))
    resolve("lpips-alex", "cuda")
    resolve("lpips-vgg")
    assert made == ["alex cuda", "vgg cpu"]


# --- judges -------------------------------------------------------------------------------------------------------------------------


def test_a_missing_judge_says_where_it_belongs(own_judges: Path) -> None:
    with pytest.raises(
        ModelError, match=r"alexnet_features\.safetensors: not found; .* smalti fetch-judges alex, .*SMALTI_JUDGES"
    ) as caught:
        LPIPS("alex")
    assert str(own_judges) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_weights_are_refused(own_judges: Path, data_folder: Path) -> None:
    name = judges.JUDGES["alex"].file
    tensors = load_file(data_folder / "nets" / name)
    tensors["features.0.bias"][0] += 1e-6
    save_file(tensors, own_judges / name)
    with pytest.raises(ModelError, match=r"other weights than torchvision's .*; bring them with smalti fetch-judges alex"):
        lpips_network("alex")


@pytest.mark.parametrize("data", [b"", b"not safetensors at all"])
def test_a_damaged_judge_is_refused(own_judges: Path, data: bytes) -> None:
    (own_judges / judges.JUDGES["alex"].file).write_bytes(data)
    with pytest.raises(ModelError, match="not readable as safetensors"):
        lpips_network("alex")


def test_an_unknown_net_is_refused() -> None:
    with pytest.raises(ModelError, match="'alex' and 'vgg', found 'squeeze'"):
        LPIPS("squeeze")


def test_judges_lie_in_the_cache_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMALTI_JUDGES", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    assert judges.folder() == Path("/somewhere/.cache/smalti/judges")


def test_the_digest_is_of_names_and_numbers() -> None:
    tensors = {"b": torch.ones(2), "a": torch.zeros(3)}
    expected = judges.digest(tensors)
    assert judges.digest({"a": torch.zeros(3), "b": torch.ones(2).double()}) == expected
    assert judges.digest({"a": torch.zeros(3), "c": torch.ones(2)}) != expected
    assert judges.digest({"a": torch.zeros(3), "b": torch.tensor([1.0, 2.0])}) != expected
