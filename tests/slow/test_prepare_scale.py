"""Memory does not grow with the number of items: a hundred thousand pictures prepared, an index of ten million."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from smalti.prepare import open_codes
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import FSQConfig
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig

MANY = 100_000
INDEX = """
import sys, time
from pathlib import Path
from smalti.prepare.inputs import Input, Inputs, freeze
from smalti.prepare.places import Places

def peak():  # not ru_maxrss, which a process inherits from whoever started it
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:"))

count, began, before = int(sys.argv[2]), time.monotonic(), peak()
names = (f"folder-{i % 1000:04d}/{i:09d}.jpg" for i in range(count))
frozen = freeze(Places(Path(sys.argv[1])), (Input(name, 0, name, 100000) for name in names), 1)
made = peak()
inputs = Inputs(Places(Path(sys.argv[1])), frozen.count)
for i in range(0, count, max(1, count // 1000)):
    assert inputs.find(inputs[i].key) == i
assert inputs.find("no such key") is None
print(frozen.count, before, made, time.monotonic() - began)
"""


def resident(pid: int, name: str = "VmHWM") -> int:
    """Kilobytes of a process; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


@pytest.mark.slow
def test_an_index_of_ten_million(tmp_path: Path) -> None:
    """The index is written and searched in a process of its own, whose largest resident set is read."""
    found = subprocess.run([sys.executable, "-c", INDEX, str(tmp_path), "10000000"], capture_output=True, text=True, check=True)
    count, before, made, seconds = found.stdout.split()
    size = sum(path.stat().st_size for path in tmp_path.iterdir()) / 1e9
    print(f"\nindex of {count} items: {size:.2f} GB on the disk in {float(seconds):.0f} s, {made} MB at most, {before} MB of them Python's")
    assert int(made) < 500  # pages of the mapped files among them, which the kernel may take back


def picture_tar(path: Path, first: int, count: int) -> None:
    """Pictures of 16 x 16 pixels, all different."""
    pixels = np.random.default_rng(first).integers(0, 256, (count, 16 * 16 * 3), np.uint8)
    with tarfile.open(path, "w") as archive:
        for i in range(count):
            data = b"P6 16 16 255\n" + pixels[i].tobytes()
            member = tarfile.TarInfo(f"{first + i:06d}.ppm")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.slow
def test_a_hundred_thousand_pictures(tmp_path: Path) -> None:
    """Prepared by the command with two workers; memory of all processes is read a few times on the way."""
    config = ImageGridConfig(
        ResidualConfig(FSQConfig((5, 5, 5)), levels=2), widths=(8, 8), encoder_depths=(0, 0), decoder_depths=(0, 0), head_width=4
    )
    zoo.save(ImageGrid.from_config(config), tmp_path / "model")
    for shard in range(10):
        picture_tar(tmp_path / f"s-{shard:03d}.tar", shard * MANY // 10, MANY // 10)
    arguments = ["prepare", str(tmp_path / "s-{000..009}.tar"), str(tmp_path / "out"), "-m", str(tmp_path / "model"), "-j", "2", "-q"]
    process = subprocess.Popen([sys.executable, "-m", "smalti", *arguments, "--device", "cpu", "--batch", "64"])
    samples: dict[int, list[int]] = {}
    ended = threading.Event()
    while process.poll() is None:
        ended.wait(0.5)
        units = len(list((tmp_path / "out" / "codes").glob("unit-*.json")))
        found = [resident(process.pid), *(resident(child) for child in children(process.pid))]
        if min(found) > 0 and len(found) == 3:  # the driver and both workers
            samples[units] = found
    assert process.returncode == 0
    codes = open_codes(tmp_path / "out")
    assert len(codes) == MANY
    assert {codes.document(i).key for i in (0, MANY - 1)} == {"s-000.tar/000000.ppm", f"s-009.tar/{MANY - 1:06d}.ppm"}
    early, late = (samples[min(key for key in samples if key >= wanted)] for wanted in (10, max(samples)))
    megabytes = [[kb // 1024 for kb in found] for found in (early, late)]
    print(f"\n{MANY} pictures: peak MB of driver and workers {megabytes[0]} after 10 units, {megabytes[1]} at the end")
    assert max(late) < 1.15 * max(early)
    assert late[0] < 200 * 1024
