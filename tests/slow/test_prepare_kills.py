"""A run that is killed at any moment, again and again, ends with the bytes of one that was not.

Each round starts the command, kills a process of it (a worker, the driver, or with Ray an actor) at a random moment, and starts it again
until it ends by itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from smalti.prepare import open_codes
from smalti.prepare.verifying import verify

POINTS = 20
PICTURES = 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        small = rng.integers(0, 256, (6, 6, 3), np.uint8)
        size = (96, 96) if i % 5 else (64, 128)
        PIL.Image.fromarray(small).resize(size, PIL.Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    return folder


def command(photos: Path, out: Path, *more: object) -> list[str]:
    fixed = ["-m", "image-grid-16", "--unit", "8", "--device", "cpu", "-q"]
    return [sys.executable, "-m", "smalti", "prepare", str(photos), str(out), *fixed, *map(str, more)]


@pytest.fixture(scope="module")
def clean(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The digest of an undisturbed run, and how long it takes."""
    out, began = tmp_path_factory.mktemp("clean") / "out", time.monotonic()
    subprocess.run(command(photos, out, "-j", 2), stderr=subprocess.DEVNULL)
    return open_codes(out).digest, time.monotonic() - began


def children(pid: int) -> list[int]:
    """Of a process, and theirs."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*found, *(child for one in found for child in children(one))]


def victim(driver: int, kind: str) -> int | None:
    """A process to kill, None where there is none yet."""
    if kind == "driver":
        return driver
    names = {}
    for child in children(driver):
        try:
            names[child] = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
    found = sorted(child for child, name in names.items() if b"smalti.prepare.worker" in name)
    return random.choice(found) if found else None


def disturb(arguments: list[str], out: Path, kind: str, rng: random.Random, seconds: float, most: int) -> int:
    """Run the command and kill processes of it at random moments of its start and its work; how many it lost. A driver dies once."""
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    kills = 0
    while kills < most and process.poll() is None:
        there = len(list(out.glob("codes/unit-*.json")))
        wanted = min(there + rng.choice((0, 0, 1, 2, 5)), PICTURES // 8 - 1)
        while len(list(out.glob("codes/unit-*.json"))) < wanted and process.poll() is None:
            time.sleep(0.01)
        end = time.monotonic() + rng.uniform(0, 0.1 * seconds if wanted else seconds)
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        chosen = victim(process.pid, kind) if process.poll() is None else None
        with contextlib.suppress(OSError):
            if chosen is not None:
                os.kill(chosen, signal.SIGKILL)
                kills += 1
        if kind == "driver" and kills:
            break
    process.wait()
    return kills


def check(out: Path) -> None:
    codes = open_codes(out)
    keys = [document.key for document in codes]
    assert sorted(keys) == [f"{i:03d}.png" for i in range(PICTURES)]
    assert verify(out, deep=True).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["worker", "driver"])
def test_killed_at_twenty_points(photos: Path, clean: tuple[str, float], tmp_path: Path, kind: str) -> None:
    digest, seconds = clean
    rng, kills, rounds = random.Random(kind), 0, 0
    while kills < POINTS:
        out, rounds, lost = tmp_path / f"out{rounds}", rounds + 1, 1
        while lost and kills < POINTS:
            lost = disturb(command(photos, out, "-j", rng.choice((1, 2))), out, kind, rng, seconds, min(5, POINTS - kills))
            kills += lost
        subprocess.run(command(photos, out, "-j", 2), stderr=subprocess.DEVNULL)
        check(out)
        assert open_codes(out).digest == digest
        print(f"{kind}: {kills} kills so far", flush=True)
    assert kills >= POINTS
    print(f"\n{kind}: {kills} kills in {rounds} folders, digest {digest[:16]} each time")


@pytest.mark.slow
def test_killed_ray_actors(photos: Path, clean: tuple[str, float], tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    digest, seconds = clean
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < POINTS:
        out, rounds, lives = tmp_path / f"out{rounds}", rounds + 1, rng.randint(4, 7)
        process = subprocess.Popen(command(photos, out, "--engine", "ray"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            actor = actor_of_units() if lives and kills < POINTS else None
            with contextlib.suppress(OSError):
                if actor is not None:
                    time.sleep(rng.uniform(0, seconds / 4))
                    os.kill(actor, signal.SIGKILL)
                    kills, lives = kills + 1, lives - 1
            time.sleep(0.05)
        process.wait()
        subprocess.run(command(photos, out), stderr=subprocess.DEVNULL)  # by the other engine, where Ray gave up
        check(out)
        assert open_codes(out).digest == digest
        print(f"ray: {kills} kills so far", flush=True)
    assert kills >= POINTS
    print(f"\nray: {kills} kills in {rounds} folders, digest {digest[:16]} each time")


def actor_of_units() -> int | None:
    """A process that Ray shows as an actor that does units."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                if b"MapWorker(MapBatches(UnitActor" in (place / "cmdline").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
    return random.choice(found) if found else None
