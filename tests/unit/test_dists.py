"""DISTS on networks small enough to follow, and by its own weights where they are at hand."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import torch

from smalti.metrics import dists, judges
from smalti.metrics.dists import DISTS, pooled, similarities
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Two stages of one convolution each; the picture alone has weight unless a test changes that."""
    random = torch.Generator().manual_seed(0)
    layers = {
        "features.0.weight": torch.randn(4, 3, 3, 3, generator=random),
        "features.0.bias": torch.randn(4, generator=random),
        "features.2.weight": torch.randn(5, 4, 3, 3, generator=random),
        "features.2.bias": torch.randn(5, generator=random),
    }
    weights = {"alpha": torch.zeros(1, 12, 1, 1), "beta": torch.zeros(1, 12, 1, 1)}
    monkeypatch.setattr(dists, "STAGES", ((0,), (2,)))
    monkeypatch.setattr(dists, "CHANNELS", (3, 4, 5))
    monkeypatch.setattr(judges, "load", lambda name: weights if name == "dists" else layers)
    return weights


def pictures() -> tuple[Image, Image]:
    rng = np.random.default_rng(0)
    return Image(rng.integers(0, 256, (32, 37, 3), np.uint8)), Image(rng.integers(0, 256, (32, 37, 3), np.uint8))


def test_texture_and_structure_by_hand() -> None:
    a = torch.tensor([[[1.0, 3.0]], [[0.0, 2.0]]])
    b = torch.tensor([[[1.0, 5.0]], [[2.0, 0.0]]])
    texture, structure = similarities(a, b)
    # means 2 and 3, 1 and 1; variances 1 and 4, 1 and 1; covariances 2 and -1
    assert texture.tolist() == pytest.approx([12 / 13, 1], abs=1e-6)
    assert structure.tolist() == pytest.approx([4 / 5, -1], abs=1e-5)
    assert [side.tolist() for side in similarities(a * 0, b * 0)] == [[1, 1], [1, 1]]


def test_pooling_is_the_root_of_a_windowed_mean_of_squares() -> None:
    assert pooled(torch.full((1, 2, 6, 7), 3.0)).shape == (1, 2, 3, 4)
    assert pooled(torch.full((1, 2, 6, 7), 3.0))[0, 0, 1, 1].item() == pytest.approx(3)
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2], x[0, 0, 2, 3] = 4, -8
    # 16 weighs a quarter, 64 an eighth
    assert pooled(x)[0, 0, 1, 1].item() == pytest.approx(np.sqrt(16 / 4 + 64 / 8))


def test_the_picture_itself_is_the_first_layer(small: dict[str, torch.Tensor]) -> None:
    small["alpha"][0, :3], small["beta"][0, 1] = 1, 3
    a, b = pictures()
    x, y = (picture.pixels.reshape(-1, 3).astype(np.float64) / 255 for picture in (a, b))
    means = 2 * x.mean(0) * y.mean(0) / (x.mean(0) ** 2 + y.mean(0) ** 2)
    structure = 2 * np.cov(x[:, 1], y[:, 1], ddof=0)[0, 1] / (x[:, 1].var() + y[:, 1].var())
    assert DISTS()(a, b).value == pytest.approx(1 - (means.sum() + 3 * structure) / 6, abs=1e-5)


def test_each_layer_counts(small: dict[str, torch.Tensor]) -> None:
    a, b = pictures()
    found = []
    for channels in (slice(0, 3), slice(3, 7), slice(7, 12)):
        small["alpha"].zero_()
        small["beta"].zero_()
        small["beta"][0, channels] = 1
        judge = DISTS()
        assert judge(a, a).value == pytest.approx(0, abs=1e-6)
        found.append(judge(a, b).value)
    assert min(found) > 0.05
    assert len({round(value, 4) for value in found}) == 3


def test_pictures_without_room_for_texture_are_refused(small: dict[str, torch.Tensor]) -> None:
    tiny = Image(np.zeros((40, 31, 3), np.uint8))
    with pytest.raises(SignalError, match="from 32 pixels a side on, found 31"):
        DISTS()(tiny, tiny)


def test_what_it_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    with pytest.raises(ModelError, match="smalti fetch-judges vgg"):
        DISTS()


@pytest.mark.parametrize(("quality", "published"), [(10, 0.20543), (90, 0.03171)])
def test_the_authors_package_agrees(quality: int, published: float) -> None:
    """What DISTS-pytorch 0.1 says of a photo of scikit-learn's, 256 x 384 pixels, as JPEG; files differ a little between Pillows."""
    for name in ("vgg", "dists"):
        if not judges.JUDGES[name].path.is_file():
            pytest.skip(f"needs the judge {judges.JUDGES[name].path}; smalti fetch-judges {name} brings it")
    from sklearn.datasets import load_sample_image

    pixels = np.ascontiguousarray(load_sample_image("china.jpg")[:256, :384])
    held = io.BytesIO()
    PIL.Image.fromarray(pixels).save(held, "JPEG", quality=quality)
    assert DISTS()(Image(pixels), Image(np.asarray(PIL.Image.open(held)))).value == pytest.approx(published, abs=1e-3)
