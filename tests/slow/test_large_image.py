"""Large pictures: memory is bounded by tiles and not by the picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig

# MiB above what the picture, torch and the model take: the decoded picture's 120 and a batch of tiles; 690 were measured, and 2310 with
# one tile as large as the picture
BOUND = 1000


@pytest.mark.slow
def test_forty_megapixels_within_bounds(tmp_path: Path) -> None:
    """In a process of its own, whose peak is this one picture's."""
    torch.manual_seed(0)
    config = ImageGridConfig(ResidualConfig(VQConfig(16, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)
    zoo.save(ImageGrid.from_config(config), tmp_path / "tiny")
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (427, 640, 3), np.uint8)).save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "smalti.recipes.bench.large_image", "--json", "--megapixels", "40"]
    ran = subprocess.run(
        [*command, "--model", str(tmp_path / "tiny"), "--photo", str(tmp_path / "photo.png")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["megapixels"] == pytest.approx(40, rel=0.01)
    assert found["peak_mebibytes"] - found["peak_before_mebibytes"] < BOUND
