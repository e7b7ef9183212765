"""Recipes: parents, changes on the command line, and errors that name what was meant."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from smalti.recipes.training import config as recipe
from smalti.recipes.training.config import TrainingConfig
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


BASE = """
steps = 50
[tokenizer]
widths = [8, 8, 8]
[tokenizer.quantizer]
kind = "residual"
levels = 3
[tokenizer.quantizer.codebook]
kind = "vq"
codebook_size = 16
dim = 4
"""
FACTOR = '{kind="vq", codebook_size=8, dim=4}'
PREDICTS = f'tokenizer.quantizer={{kind="factorized", factors=[{FACTOR}, {FACTOR}], feature_dims=[0, 5]}}'


def test_every_shipped_recipe_loads() -> None:
    assert "image-grid-16" in recipe.recipes()
    for name in recipe.recipes():
        config = recipe.load(name, ["data=somewhere"])
        assert config.name == name
        assert config.data.folder == "somewhere"
        assert config.run_name.startswith(f"{name}-")


def test_a_recipe_changes_its_parent(write: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("base.toml", BASE)
    write("middle.toml", 'parent = "base.toml"\nbatch = 3\n[tokenizer.quantizer]\nlevels = 4\n')
    child = write("child.toml", 'parent = "middle.toml"\nsteps = 7\n')
    monkeypatch.chdir("/")  # parents stand beside their children, wherever one is
    config = recipe.load(child)
    assert (config.name, config.steps, config.batch) == ("child", 7, 3)
    assert config.tokenizer.quantizer == ResidualConfig(VQConfig(16, 4), levels=4)


def test_a_recipe_may_be_the_child_of_a_shipped_one(write: Callable[[str, str], str]) -> None:
    config = recipe.load(write("child.toml", 'parent = "image-grid-16"\nsteps = 7\n'))
    assert config == dataclasses.replace(recipe.load("image-grid-16"), name="child", steps=7)


def test_another_kind_replaces_the_parents_table(write: Callable[[str, str], str]) -> None:
    write("base.toml", BASE)
    child = write("child.toml", 'parent = "base.toml"\n[tokenizer.quantizer.codebook]\nkind = "fsq"\nlevels = [8, 5]\n')
    assert recipe.load(child).tokenizer.quantizer == ResidualConfig(FSQConfig((8, 5)), levels=3)
    child = write(
        "child.toml", 'parent = "base.toml"\n[tokenizer.quantizer]\nkind = "single"\ncodebook = {kind = "fsq", levels = [8, 5]}\n'
    )
    assert recipe.load(child).tokenizer.quantizer == SingleConfig(FSQConfig((8, 5)))


def test_parents_in_a_circle_are_refused(write: Callable[[str, str], str]) -> None:
    write("a.toml", 'parent = "b.toml"\n')
    with pytest.raises(UsageError, match=r"names itself as a parent: .*a.toml -> .*b.toml"):
        recipe.load(write("b.toml", 'parent = "a.toml"\n'))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("data=some dir/x", lambda c: c.data.folder == "some dir/x"),
        ("init=2024-01-01", lambda c: c.init == "2024-01-01"),
        ("steps=7", lambda c: c.steps == 7),
        ("optimizer.learning_rate=1e-3", lambda c: c.optimizer.learning_rate == 1e-3),
        ("optimizer.betas=[0.5, 0.6]", lambda c: c.optimizer.betas == (0.5, 0.6)),
        ("freeze_tokens=true", lambda c: c.freeze_tokens is True),
        ("name=mine", lambda c: c.name == "mine" and c.run_name.startswith("mine-")),
        ("tokenizer.quantizer.levels=5", lambda c: c.tokenizer.quantizer.levels == 5),
        ('tokenizer.quantizer.codebook={kind="fsq", levels=[8, 5]}', lambda c: c.tokenizer.quantizer.codebook == FSQConfig((8, 5))),
    ],
)
def test_changes_on_the_command_line(write: Callable[[str, str], str], change: str, expected: Callable[[TrainingConfig], bool]) -> None:
    assert expected(recipe.load(write("base.toml", BASE), [change]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stpes=7"], r"recipe has no key 'stpes'; did you mean 'steps'\?"),
        (["optimizer.learningrate=1"], r"recipe.optimizer has no key 'learningrate'; did you mean 'learning_rate'\?"),
        (["tokenizer.quantizer.kind=residuel"], r"recipe.tokenizer.quantizer.kind is 'residuel'; did you mean 'residual'\?"),
        (["steps=many"], "recipe.steps must be int, found 'many'"),
        (["steps"], "changes to a recipe are key=value, found 'steps'"),
        (["steps.x=1"], "'steps.x=1': 'steps' is a value, not a table of keys"),
        (["steps=0"], "steps >= 1 is needed, found 0"),
        (["log_every=0"], "log_every >= 1 is needed, found 0"),
        (["data.crop=8"], "data.crop >= 16 is needed, found 8"),
        (["data.crop=100"], r"data.crop in multiples of 16, the tokenizer's stride, is needed, found 100"),
        (["data.crop=16"], "data.crop - loss.lpips_shift >= 32 with an LPIPS loss is needed, found 16"),
        (["data.crop=32", "loss.lpips_shift=1"], "data.crop - loss.lpips_shift >= 32"),
        (["data.holdout=0"], "data.holdout >= 1"),
        (["data.workers=-1"], "data.workers >= 0"),
        (["data.smallest_scale=0"], "0 < data.smallest_scale <= data.largest_scale"),
        (["data.largest_scale=inf"], "0 < data.smallest_scale <= data.largest_scale"),
        (["optimizer.betas=[0.9, 1.0]"], r"0 <= optimizer.betas < 1 is needed, found \(0.9, 1.0\)"),
        (["optimizer.betas=[-0.1, 0.9]"], "optimizer.betas"),
        (["optimizer.learning_rate=-1e-3"], "optimizer.learning_rate >= 0 is needed, found -0.001"),
        (["optimizer.learning_rate=nan"], "optimizer.learning_rate >= 0 is needed, found nan"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay >= 0"),
        (["optimizer.ema=1"], "0 <= optimizer.ema < 1 is needed, found 1.0"),
        (["optimizer.clip=0"], "optimizer.clip > 0 is needed, found 0.0"),
        (["optimizer.warmup_steps=-1"], "optimizer.warmup_steps >= 0"),
        (["seed=-1"], "0 <= seed < 2.32 is needed, found -1"),
        (["seed=4294967296"], "0 <= seed"),
        (["loss.l1=-1"], "loss.l1 >= 0 is needed, found -1.0"),
        (["loss.lpips_shift=-1"], "loss.lpips_shift >= 0"),
        ([PREDICTS], r"training has no features .* found tokenizer.quantizer.feature_dims \[0, 5\]; leave that key out"),
        (
            ["tokenizer.quantizer.codebook=[{kind='lfq', bits=3}, {kind='vq', codebook_size=8, dim=4}]", "tokenizer.quantizer.levels=2"],
            r"all levels of a residual quantizer have one dimension, found \[3, 4\]",
        ),
        (["loss.l1=0", "loss.color=0", "loss.lpips_alex=0"], "a weight above 0 among loss.l1, l2, color, lpips_alex, lpips_vgg"),
    ],
)
def test_wrong_changes_are_named(write: Callable[[str, str], str], changes: Sequence[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        recipe.load(write("base.toml", BASE), changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["steps=7", "seed=3", "optimizer.learning_rate=1e-05", "optimizer.betas=[0.5, 0.6]", "freeze_tokens=true", "init=2024-01-01"],
        ['name="1"', "loss.lpips_alex=0", "data.crop=16", 'init="true"'],
        ['tokenizer.quantizer.codebook={kind="fsq", levels=[8, 5]}', "tokenizer.quantizer.levels=5"],
        ['tokenizer.quantizer={kind="single", codebook={kind="fsq", levels=[8, 5]}}'],
    ],
)
def test_a_run_can_be_made_again_from_its_differences(write: Callable[[str, str], str], changes: list[str]) -> None:
    file = write("my base.toml", BASE)
    config = recipe.load(file, ["data=some where", *changes])
    found = recipe.changes_between(recipe.load(file), config)
    assert recipe.load(file, found) == config
    assert len(found) == 1 + len(changes)
    command = shlex.split(recipe.command(file, config))
    assert command[:4] == ["smalti", "train", "my base.toml", "data=DIR"]
    assert recipe.load(file, ["data=some where", *command[4:]]) == config
    assert recipe.command("image-grid-16", recipe.load("image-grid-16", ["data=x"])) == "smalti train image-grid-16 data=DIR"


def test_unknown_recipes_are_named(write: Callable[[str, str], str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe 'image-gird-16'; did you mean 'image-grid-16'\?"):
        recipe.load("image-gird-16")
    with pytest.raises(UsageError, match=r"no recipe 'xyzzy'; known: .*, or a \.toml file"):
        recipe.load("xyzzy")
    with pytest.raises(UsageError, match="not a TOML recipe"):
        recipe.load(write("bad.toml", "steps = = 1"))
    with pytest.raises(UsageError, match=r"no recipe .*none\.toml"):
        recipe.load(write("child.toml", 'parent = "none.toml"\n'))
