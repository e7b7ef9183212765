"""Training on films: crops, pictures by turns, runs that resume and learn, and a model folder."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.recipes import prime_prior
from smalti.recipes.training import film_data
from smalti.recipes.training.config import DataConfig, FilmDataConfig, LossConfig, OptimizerConfig, TrainingConfig, load
from smalti.recipes.training.loop import Run
from smalti.recipes.training.release import release
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Video
from smalti.tokenizers.video.motion import MotionConfig
from smalti.tokenizers.video.network import VideoCausalConfig

av = pytest.importorskip("av")
SMALL = {"widths": (8, 8), "encoder_depths": (1, 1), "decoder_depths": (1, 1), "head_width": 8}
QUANTIZER = ResidualConfig(VQConfig(16, 4), levels=2)
NET = VideoCausalConfig(QUANTIZER, MotionConfig((0, 4, -4)), temporal_blocks=1, temporal_width=8, blend_width=8, **SMALL)


def write_film(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five short films of a sliding texture, and a file that is none."""
    folder = tmp_path / "films"
    folder.mkdir()
    for i in range(5):
        texture = np.random.default_rng(i).integers(0, 256, (12, 24, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        write_film(folder / f"{i}.mp4", [np.ascontiguousarray(texture[:, t : t + 64]) for t in range(12)])
    (folder / "0broken.mp4").write_bytes(b"no film")
    return folder


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    folder = tmp_path / "stills"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def tiny(films: Path, stills: Path | str = "", **changes: Any) -> TrainingConfig:
    config = TrainingConfig(
        "tiny",
        NET,
        FilmDataConfig(str(films), str(stills), stills_every=2, frames=5, crop=32, holdout=2, workers=0),
        LossConfig(lpips_alex=0.0),
        OptimizerConfig(learning_rate=3e-3, ema=0.9),
        steps=6,
        batch=2,
        evaluate_every=6,
        checkpoint_every=3,
        log_every=1,
    )
    return replace(config, **changes)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_pictures_come_by_turns(films: Path, stills: Path) -> None:
    config = tiny(films, stills)
    assert isinstance(config.data, FilmDataConfig)
    files, held = film_data.split(config.data)
    assert [path.name for path in (*files, *held)] == ["0.mp4", "0broken.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    crops = film_data.film_crops(files, config.data, config.batch, 0)
    lengths = [len(crops[sample][0]) for sample in range(8)]  # type: ignore[arg-type]
    assert lengths == [5, 5, 1, 1, 5, 5, 1, 1]
    again = film_data.film_crops(files, config.data, config.batch, 0)
    assert all(np.array_equal(crops[i][0], again[i][0]) for i in range(8))  # type: ignore[arg-type]
    films_of = film_data.to_films(np.stack([crops[0][0], crops[1][0]]))  # type: ignore[list-item]
    assert films_of.shape == (2, 3, 5, 32, 32)
    assert films_of.abs().max() <= 1


def test_short_films_end_in_their_last_frame() -> None:
    config = FilmDataConfig(frames=9, crop=16, smallest_scale=1, largest_scale=1, fastest=1)
    film = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3)
    found = film_data.cut_film(film, config, np.random.default_rng(0))
    assert found[:, 0, 0, 0].tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 2]


def test_what_is_no_film_is_named(films: Path) -> None:
    with pytest.raises(SignalError, match=r"0broken\.mp4: not readable as a film"):
        film_data.read_frames(films / "0broken.mp4")
    with pytest.raises(UsageError, match="data=DIR"):
        film_data.split(FilmDataConfig())


@pytest.mark.parametrize("frozen", [False, True])
def test_a_killed_run_resumes_to_the_same_losses(films: Path, stills: Path, tmp_path: Path, frozen: bool, monkeypatch: Any) -> None:
    config = tiny(films, stills, freeze_front=frozen)
    whole = Run(config, tmp_path / "whole", "cpu", quiet=True).train()
    step = Run._step

    def until_five(run: Run, signals: torch.Tensor) -> Any:
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, signals)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_five)
        with pytest.raises(KeyboardInterrupt):
            Run(config, tmp_path / "killed", "cpu", quiet=True).train()
    resumed = Run(config, tmp_path / "killed", "cpu", quiet=True).train()
    assert log(resumed.folder) == log(whole.folder)
    assert (whole.folder / "sheet-000006.png").exists()


def test_what_is_held_does_not_move(films: Path, tmp_path: Path) -> None:
    run = Run(tiny(films, freeze_front=True), tmp_path, "cpu", quiet=True)
    before = {key: value.clone() for key, value in run._bare().state_dict().items()}
    after = run.train().tokenizer.net.state_dict()
    moved = {key.partition(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved == {"temporal", "blend"}


def test_a_run_starts_from_an_image_model_and_becomes_one_of_films(films: Path, stills: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    zoo.save(ImageGrid.from_config(ImageGridConfig(QUANTIZER, **SMALL)), tmp_path / "image", half=False)
    config = tiny(films, init=str(tmp_path / "image"), freeze_front=True)
    run = Run(config, tmp_path / "runs", "cpu", quiet=True)
    info = release(run.train(), config, run.files, run.holdout)
    model = zoo.load(str(info.folder))
    image = zoo.load(str(tmp_path / "image"))
    film = Video([np.zeros((20, 20, 3), np.uint8)] * 6, Fraction(25))
    (tokens,) = model.encode([film])
    assert len(list(model.decode([tokens])[0].frames)) == 6
    assert torch.equal(model.net.quantizer.key.codebooks[0].table, image.net.quantizer.codebooks[0].table)
    assert "| stages | bits per pixel | psnr |" in info.card
    assert (info.folder / "prior.safetensors").exists()
    primed = tmp_path / "prior.safetensors"
    assert prime_prior.main([str(info.folder), str(films), str(stills), "-o", str(primed), "--judge", str(films)]) == 0
    bits = sum(AdaptivePrior.load(primed).price(tokens))
    assert bits < sum(AdaptivePrior().price(tokens))


def test_recipes_that_do_not_fit_are_refused(films: Path) -> None:
    good = tiny(films)
    data = good.data
    assert isinstance(data, FilmDataConfig)
    wrong: list[dict[str, Any]] = [
        {"data": DataConfig()},
        {"data": replace(data, frames=6)},
        {"data": replace(data, crop=36)},
        {"loss": LossConfig(lpips_shift=8)},
        {"loss": LossConfig(l1=0, color=0, lpips_alex=0, latent=1)},
    ]
    for changes in wrong:
        with pytest.raises(UsageError):
            replace(good, **changes)
    for changes in ({"stills_every": 0}, {"fastest": 0}, {"smallest_scale": 0}):
        with pytest.raises(UsageError):
            replace(data, **changes)


@pytest.mark.parametrize(("recipe", "stride"), [("video-causal-16", 16), ("video-causal-8", 8)])
def test_shipped_recipes_resolve(recipe: str, stride: int) -> None:
    config = load(recipe)
    assert isinstance(config.tokenizer, VideoCausalConfig)
    assert config.tokenizer.stride == stride
    assert config.data.kind == "films"
