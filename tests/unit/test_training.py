"""Training runs of a few steps on tiny pictures: recipes, resuming, bad files, frozen tokens, release."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from smalti.codecs.media.images import read_image
from smalti.recipes.training import config as recipe
from smalti.recipes.training import data
from smalti.recipes.training.config import AdversaryConfig, DataConfig, LossConfig, OptimizerConfig, TrainingConfig
from smalti.recipes.training.loop import Run
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig

TINY = ImageGridConfig(ResidualConfig(VQConfig(16, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)
LOSS = LossConfig(lpips_alex=0.0)


def tiny(folder: Path, **changes: Any) -> TrainingConfig:
    base = TrainingConfig(
        "tiny",
        TINY,
        data=DataConfig(str(folder), crop=32, holdout=2, workers=0),
        loss=LOSS,
        optimizer=OptimizerConfig(warmup_steps=2),
        steps=6,
        batch=3,
        evaluate_every=3,
        checkpoint_every=3,
        log_every=1,
    )
    return dataclasses.replace(base, **changes)


def train(config: TrainingConfig, runs: Path) -> Any:
    return Run(config, runs, device="cpu", quiet=True).train()


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log without its clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state(tokenizer: ImageGrid, *parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in tokenizer.net.state_dict().items() if key.startswith(parts)}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


# --- the loop -----------------------------------------------------------------------------------------------------------------------


ADVERSARY = AdversaryConfig(weight=0.5, counts_from=0.3, width=4, layers=2)


@pytest.mark.parametrize("adversary", [AdversaryConfig(), ADVERSARY], ids=["alone", "adversary"])
def test_a_killed_run_resumes_to_the_same_losses(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adversary: AdversaryConfig
) -> None:
    config = tiny(pictures, steps=7, adversary=adversary)
    whole = train(config, tmp_path / "whole")

    killed, step = Run(config, tmp_path / "killed", device="cpu", quiet=True), Run._step

    def until_five(run: Run, pixels: torch.Tensor) -> Any:
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_five)
        with pytest.raises(KeyboardInterrupt):
            killed.train()
    assert [line["step"] for line in log(killed.folder) if "total" in line] == [1, 2, 3, 4, 5]
    with (killed.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "l1": 0.')  # killed while it wrote

    torch.rand(100)  # what another process has drawn does not matter
    resumed = train(config, tmp_path / "killed")
    assert log(resumed.folder) == log(whole.folder)
    assert equal(resumed.tokenizer.net.state_dict(), whole.tokenizer.net.state_dict())


def test_the_discriminator_learns_before_it_counts(pictures: Path, tmp_path: Path) -> None:
    plain, judged = (train(tiny(pictures, adversary=a), tmp_path) for a in (AdversaryConfig(), ADVERSARY))
    lines = [line for line in log(judged.folder) if "total" in line]
    assert all("discriminator" in line for line in lines)
    assert ["adversarial" in line for line in lines] == [False, False, True, True, True, True]  # 2 of 6 steps are more than 0.3 of them
    before, after = ([line["l1"] for line in log(run.folder) if "total" in line] for run in (plain, judged))
    assert before[:3] == after[:3]
    assert before[4:] != after[4:]


def test_a_finished_run_is_not_run_again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(pictures, steps=2)
    first = train(config, tmp_path / "runs")
    monkeypatch.setattr(Run, "_step", None)
    again = train(config, tmp_path / "runs")
    assert log(again.folder) == log(first.folder)
    assert equal(again.tokenizer.net.state_dict(), first.tokenizer.net.state_dict())


def test_what_a_run_leaves(pictures: Path, tmp_path: Path) -> None:
    config = tiny(pictures)
    result = train(config, tmp_path / "runs")
    assert result.folder == tmp_path / "runs" / config.run_name
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"config.json", "log.jsonl", "checkpoint.safetensors", "sheet-000003.png", "sheet-000006.png"}
    stored = json.loads((result.folder / "config.json").read_text())
    assert recipe.from_dict(TrainingConfig, stored) == config
    losses = [line for line in log(result.folder) if "total" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(line["total"]) for line in losses)
    assert {"l1", "color", "commitment", "perplexity0", "usage1"} <= losses[0].keys()
    scores = [line for line in log(result.folder) if "total" not in line]
    assert [set(line) for line in scores] == [{"step", "holdout_psnr_1", "holdout_psnr_2", "holdout_largest_side"}] * 2
    assert result.seconds > 0
    assert result.skipped == ()


def test_training_brings_the_loss_down(tmp_path: Path) -> None:
    """Flat pictures, which the decoder's bias alone can learn."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(3):
        PIL.Image.new("RGB", (32, 32), (200, 60, 20)).save(folder / f"{i}.png")
    optimizer = OptimizerConfig(learning_rate=2e-2, warmup_steps=2)
    config = tiny(folder, steps=30, evaluate_every=30, checkpoint_every=30, optimizer=optimizer)
    losses = [line["l1"] for line in log(train(config, tmp_path / "runs").folder) if "total" in line]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_files_that_cannot_be_read_are_named_and_skipped(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "5.png").write_bytes(b"")  # held out
    result = train(tiny(pictures), tmp_path / "runs")
    assert sorted(line.split(":")[0] for line in result.skipped) == [str(pictures / "1.png"), str(pictures / "5.png")]
    assert [line["step"] for line in log(result.folder) if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert sum("skipped" in line for line in log(result.folder)) == 2
    assert "skipped (2):" in capsys.readouterr().err


def test_a_folder_of_nothing_readable_ends_the_run(pictures: Path, tmp_path: Path) -> None:
    for path in pictures.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(SignalError, match=r"4 files in a row cannot be used, the last: .*\.png"):
        train(tiny(pictures), tmp_path / "runs")


def test_a_failure_in_a_worker_process_is_one_line(pictures: Path, tmp_path: Path) -> None:
    for path in pictures.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(SignalError, match=r"^4 files in a row cannot be used, the last: .*\.png") as caught:
        train(tiny(pictures, data=DataConfig(str(pictures), crop=32, holdout=2, workers=1)), tmp_path / "runs")
    assert "\n" not in str(caught.value)


def test_cuda_is_not_asked_for_in_vain(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device is available; use --device cpu"):
        Run(tiny(pictures), tmp_path / "runs", device="cuda")


def test_checkpoints_with_one_random_state_are_readable(pictures: Path, tmp_path: Path) -> None:
    """Those of before: `random/cpu`, without a number."""
    config = tiny(pictures, steps=3)
    whole = train(config, tmp_path / "runs")
    path = whole.folder / "checkpoint.safetensors"
    tensors = load_file(path)
    assert {key for key in tensors if key.startswith("random/cpu")} == {"random/cpu/0"}
    tensors["random/cpu"] = tensors.pop("random/cpu/0")
    save_file(tensors, path, metadata={"step": "3"})
    run = Run(config, tmp_path / "runs", device="cpu", quiet=True)
    torch.rand(100)
    run._resume()
    assert run.step == 3
    assert torch.equal(torch.get_rng_state(), tensors["random/cpu"])


SEVERAL = """
import sys
from pathlib import Path
from smalti.recipes.training import config as recipe
from smalti.recipes.training.loop import Run

config, runs = recipe.load(sys.argv[1], [f"data={sys.argv[2]}"]), Path(sys.argv[3])
whole = Run(config, runs / "whole", "cpu", quiet=True)
assert whole.accelerator.num_processes == 2
whole.train()
killed, step = Run(config, runs / "killed", "cpu", quiet=True), Run._step
def until_three(run, pixels):
    if run.step == 3:
        raise KeyboardInterrupt
    return step(run, pixels)
Run._step = until_three
try:
    killed.train()
except KeyboardInterrupt:
    Run._step = step
result = Run(config, runs / "killed", "cpu", quiet=True).train()
print(*result.skipped)
whole.close()
"""


def test_two_processes_make_one_run_that_resumes(pictures: Path, tmp_path: Path) -> None:
    """Over gloo, the tokens frozen: the first process writes, each has its own random state, and frozen parts are not waited for."""
    (pictures / "2.png").write_bytes(b"no picture")
    shown = {
        key: value
        for key, value in to_dict(tiny(pictures, steps=5, batch=1, freeze_tokens=True, adversary=ADVERSARY)).items()
        if key != "name"
    }
    recipe_file = tmp_path / "several.toml"
    recipe_file.write_text("".join(f"{key} = {recipe._toml(value)}\n" for key, value in shown.items()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SEVERAL, str(recipe_file), str(pictures), str(tmp_path)]
    processes = [
        subprocess.Popen(
            command, env=os.environ | group | {"RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in processes]
    assert [code for _, _, code in ended] == [0, 0], ended
    (whole,), (killed,) = (list((tmp_path / name).iterdir()) for name in ("whole", "killed"))
    assert [line["step"] for line in log(whole) if "total" in line] == [1, 2, 3, 4, 5]
    assert [line for line in log(whole) if "total" in line] == [line for line in log(killed) if "total" in line]
    assert sum("skipped" in line for line in log(whole)) == 1
    assert str(pictures / "2.png") in ended[0][0]
    a, b = (load_file(folder / "checkpoint.safetensors") for folder in (whole, killed))
    assert equal(a, b)
    assert {key for key in a if key.startswith("random/cpu")} == {"random/cpu/0", "random/cpu/1"}
    assert not torch.equal(a["random/cpu/0"], a["random/cpu/1"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_pictures_are_refused(pictures: Path, tmp_path: Path, count: int) -> None:
    for path in sorted(pictures.iterdir())[count:]:
        path.unlink()
    with pytest.raises(UsageError, match=rf"pictures: {count} pictures, at least 3 are needed: 2 are kept for evaluation"):
        Run(tiny(pictures), tmp_path / "runs", device="cpu")


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data=DIR"):
        data.split(DataConfig())
    with pytest.raises(SignalError, match="no such folder"):
        data.split(DataConfig(str(tmp_path / "none")))


def test_a_run_can_start_from_a_model(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    zoo.save(ImageGrid.from_config(TINY), tmp_path / "model", half=False)
    run = Run(tiny(pictures, init=str(tmp_path / "model")), tmp_path / "runs", device="cpu", quiet=True)
    assert equal(run.net.state_dict(), zoo.load(str(tmp_path / "model")).net.state_dict())
    assert all(parameter.requires_grad for parameter in run.net.parameters())
    assert run.train().folder.is_dir()


def test_a_model_of_another_network_is_refused(pictures: Path, tmp_path: Path) -> None:
    zoo.save(ImageGrid.from_config(dataclasses.replace(TINY, head_width=9)), tmp_path / "model")
    with pytest.raises(ModelError, match="model") as caught:
        Run(tiny(pictures, init=str(tmp_path / "model")), tmp_path / "runs", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_network_is_refused(pictures: Path, tmp_path: Path) -> None:
    result = train(tiny(pictures, steps=1), tmp_path / "runs")
    other = Run(tiny(pictures, tokenizer=dataclasses.replace(TINY, head_width=9)), tmp_path / "runs", device="cpu", quiet=True)
    other.folder = result.folder
    with pytest.raises(ModelError, match=r"made by another network .* remove the run folder") as caught:
        other.train()
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_refused(pictures: Path, tmp_path: Path) -> None:
    result = train(tiny(pictures, steps=1), tmp_path / "runs")
    (result.folder / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors: not readable"):
        train(tiny(pictures, steps=1), tmp_path / "runs")


def test_frozen_tokens_train_the_decoder_alone(pictures: Path, tmp_path: Path) -> None:
    start = train(tiny(pictures), tmp_path / "runs").tokenizer
    zoo.save(start, tmp_path / "model", half=False)
    result = train(tiny(pictures, init=str(tmp_path / "model"), freeze_tokens=True), tmp_path / "runs")
    tokens_by = ("encoder.", "norm.", "quantizer.")
    assert equal(state(result.tokenizer, *tokens_by), state(start, *tokens_by))
    trained = load_file(result.folder / "checkpoint.safetensors")
    assert all(torch.equal(trained[f"net/{key}"], value) for key, value in state(start, *tokens_by).items())
    changed = [key for key, value in state(start, "decoder.").items() if not torch.equal(result.tokenizer.net.state_dict()[key], value)]
    assert len(changed) == len(state(start, "decoder."))
    images = [read_image(path) for path in sorted(pictures.iterdir())]
    assert result.tokenizer.encode(images) == start.encode(images)


def test_the_random_state_before_a_run_does_not_matter(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = train(tiny(pictures, steps=2), tmp_path / "a")
    torch.manual_seed(2)
    second = train(tiny(pictures, steps=2), tmp_path / "b")
    assert log(first.folder) == log(second.folder)
    other = train(tiny(pictures, steps=2, seed=1), tmp_path / "a")
    assert log(first.folder) != log(other.folder)


def test_a_run_is_named_by_all_of_its_config(pictures: Path) -> None:
    configs = [
        tiny(pictures),
        tiny(pictures, steps=7),
        tiny(pictures, seed=1),
        tiny(pictures, name="other"),
        tiny(pictures, loss=LossConfig(l2=1.0)),
        tiny(pictures, tokenizer=dataclasses.replace(TINY, head_width=9)),
        tiny(pictures, data=DataConfig(str(pictures), crop=16)),
    ]
    assert len({config.run_name for config in configs}) == len(configs)
    assert tiny(pictures).run_name == configs[0].run_name
