"""Teach a model of `audio-residual` to hear pitch, and prepare its decoder for it: what a recipe with `tokenizer.pitch` starts from.

    python -m smalti.recipes.fit_pitch MODEL SOUNDS -o FOLDER [--labels FOLDER] [--steps 3000] [--seed 0] [--workers 2] [--json]

The pitches that Harvest (Morise, 2017) finds in whole sounds of speech are what the estimator learns to hear in a few frames. It hears them
slowed down and hurried too, louder and quieter, and with noise. Levels of tokens stay what they were; the decoder takes over what fits and
has still to be trained (`smalti train audio-residual-16k-pitch init=FOLDER data=DIR`). --labels: where pitches are kept, so that what was
interrupted goes on, and what is asked for again is there. Needs pyworld: pip install 'smalti[voices]'.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.recipes.prime_prior import Progress
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig, PitchEstimator
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualNet
from smalti.tokenizers.audio.sounds import to_network
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Array

LABEL_SECONDS = 0.005
BATCH, FRAMES = 16, 64
FASTEST = 0.45  # octaves that a sound is hurried or slowed down by at most
QUIETEST_DB = -30.0
NOISY, NOISE_DB = 0.3, (5.0, 30.0)
RATE_OF_LEARNING, WARMUP, DECAY, CLIP = 2e-3, 50, 0.01, 1.0


@dataclass(frozen=True)
class Voice:
    """wave: float32 (T,). hertz: float32, every 5 ms from its first sample on, 0 where there is no pitch."""

    wave: Array
    hertz: Array


def voices(files: Sequence[Path], rate: int, config: PitchConfig, kept: Path | None, workers: int) -> list[Voice]:
    """Sounds with their pitches, those that can be read; UsageError where none can, or pyworld is missing."""
    if not files:
        raise UsageError("the folder holds no sound files")
    world()
    found = []
    progress = Progress("pitches", len(files))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for number, voice in enumerate(pool.imap(partial(labelled, rate=rate, config=config, kept=kept), files), 1):
            if isinstance(voice, str):
                print(f"left out: {voice}", file=sys.stderr)
            else:
                found.append(voice)
            progress(number)
    if not found:
        raise UsageError("none of the sounds can be read")
    return found


def labelled(path: Path, rate: int, config: PitchConfig, kept: Path | None) -> Voice | str:
    """A sound with its pitches, or why it has none; what `kept` holds of it is not looked for again."""
    try:
        wave = to_network(read_audio(path), rate, 1)[0]
    except SignalError as error:
        return str(error)
    digest = hashlib.sha256(wave.tobytes() + repr((rate, config.lowest, config.highest)).encode()).hexdigest()[:24]
    place = None if kept is None else kept / f"{digest}.npy"
    if place is not None and place.exists():
        with contextlib.suppress(ValueError, EOFError, OSError):  # damaged: found again
            return Voice(wave, np.load(place, allow_pickle=False))
    hertz = harvested(wave, rate, config)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(f".{os.getpid()}.part.npy")
        np.save(part, hertz, allow_pickle=False)
        part.replace(place)
    return Voice(wave, hertz)


def harvested(wave: Array, rate: int, config: PitchConfig) -> Array:
    """Harvest's pitches, refined by StoneMask: float32, every 5 ms."""
    samples = wave.astype(np.float64)
    hertz, times = world().harvest(samples, rate, config.lowest, config.highest, 1000 * LABEL_SECONDS)
    return world().stonemask(samples, hertz, times, rate).astype(np.float32)


def world() -> Any:
    """pyworld; UsageError where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it asks setuptools for
            import pyworld
    except ImportError as error:
        raise UsageError(f"fitting pitch needs pyworld ({error}); pip install 'smalti[voices]'") from None
    return pyworld


def fit(net: PitchEstimator, sounds: Sequence[Voice], steps: int, seed: int) -> float:
    """Teach the estimator; the mean of its last hundred cross entropies, in nats."""
    rng, lengths = np.random.default_rng(seed), np.array([len(voice.wave) for voice in sounds], float)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE_OF_LEARNING, weight_decay=DECAY)
    progress, losses = Progress("steps", steps), []
    net.train().requires_grad_(True)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE_OF_LEARNING * min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        chosen = rng.choice(len(sounds), BATCH, p=lengths / lengths.sum())
        waves, hertz = (torch.from_numpy(np.stack(part)) for part in zip(*(crop(sounds[i], net, rng) for i in chosen), strict=True))
        loss = -(likely(net, hertz) * net(waves[:, None]).log_softmax(1).transpose(1, 2)).sum(2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress(step + 1)
    net.eval().requires_grad_(False)
    return float(np.mean(losses[-100:]))


def crop(voice: Voice, net: PitchEstimator, rng: np.random.Generator) -> tuple[Array, Array]:
    """A stretch of FRAMES frames at a random place, speed and loudness, some in noise: float32 samples and each frame's pitch."""
    count, speed = FRAMES * net.hop + net.ahead, 2 ** rng.uniform(-FASTEST, FASTEST)
    needed = math.ceil(count * speed) + 2
    start = int(rng.integers(max(1, len(voice.wave) - needed + 1)))
    part = np.zeros(needed, np.float32)
    held = voice.wave[start : start + needed]
    part[: len(held)] = held
    wave = np.interp(np.arange(count) * speed, np.arange(needed), part) * 10 ** (rng.uniform(QUIETEST_DB, 0) / 20)
    if rng.random() < NOISY:
        wave += rng.standard_normal(count) * np.sqrt(np.square(wave).mean() + 1e-9) * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    moments = start + (np.arange(1, FRAMES + 1) * net.hop + net.lead) * speed
    places = np.round(moments / (LABEL_SECONDS * net.rate)).astype(int)
    hertz = np.where(places < len(voice.hertz), voice.hertz[places.clip(0, len(voice.hertz) - 1)], 0)  # none in what silence follows
    return wave.astype(np.float32), (hertz * speed).astype(np.float32)


def likely(net: PitchEstimator, hertz: Tensor) -> Tensor:
    """(B, T) -> odds (B, T, vocab) that sum to 1: a bell one step of the grid wide around each pitch; none where there is none, or where it
    lies beyond the grid."""
    config = net.config
    step = math.log(config.highest / config.lowest) / (config.steps - 1)
    places = torch.log(hertz.clamp(min=1) / config.lowest) / step
    there = (hertz > 0) & (places > -1) & (places < config.steps)
    bell = torch.exp(-(torch.arange(config.steps) - places[..., None].clamp(0, config.steps - 1)).square() / 2)
    bell = bell / bell.sum(-1, keepdim=True) * there[..., None]
    return torch.cat([(~there).float()[..., None], bell], -1)


def with_pitch(source: AudioResidualNet, pitch: PitchConfig) -> AudioResidualNet:
    """The same network with a pitch stage, untrained, and a decoder that is told of it: what fits is taken over, what is told counts 0."""
    net = AudioResidualNet(replace(source.config, pitch=pitch))
    tensors, own = source.state_dict(), net.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("decoder.") and name.endswith((".draw.weight", ".draw.bias")) and source.pitch is None:
            continue  # of what has blurred harmonics: pulses are to take their place
        if name in own and own[name].shape == tensor.shape:
            own[name] = tensor
        elif name == "decoder.0.conv.weight":
            own[name] = torch.zeros_like(own[name])
            own[name][:, : tensor.shape[1]] = tensor
    net.load_state_dict(own)
    return net


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.fit_pitch", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="an audio-residual model, with a pitch stage or without")
    parser.add_argument("sounds", type=Path, help="a folder of speech")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--labels", type=Path, help="a folder where pitches are kept")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that look for pitches")
    parser.add_argument("--force", action="store_true", help="write over a model that lies in the folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        if given.steps < 1 or given.workers < 1:
            raise UsageError("--steps and --workers are 1 and more")
        if (given.out / "config.json").exists() and not given.force:
            raise UsageError(f"{given.out}: a model lies there; choose another folder, or give --force")
        told = run(given.model, given.sounds, given.out, given.labels, given.steps, given.seed, given.workers)
    except SmaltiError as error:
        print(f"fit_pitch: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(told))
    else:
        nats = f"{told['nats']:.3f} nats a frame (a guess costs {told['guess']:.3f})"
        print(f"{told['folder']}: pitches of {told['sounds']} sounds, {nats}; its decoder is untrained:")
        print(f"smalti train audio-residual-16k-pitch init={told['folder']} data=DIR")
    return 0


def run(model: str, sounds: Path, out: Path, kept: Path | None, steps: int, seed: int, workers: int) -> dict[str, Any]:
    """Write the model folder; what to say of it."""
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(f"{out}: cannot be written; choose another place or make this one writable")
    source: Any = zoo.load(model)
    if not isinstance(source, AudioResidual):
        raise UsageError(f"{model} is {source.config.kind}, expected audio-residual")
    torch.manual_seed(seed)
    net = with_pitch(source.net, source.config.pitch or PitchConfig())
    assert net.pitch is not None
    found = voices(list_sounds(sounds), source.config.rate, net.pitch.config, kept, workers)
    nats = fit(net.pitch, found, steps, seed)
    of = zoo.find(model)
    said = f"{of.name}, taught the pitches of {len(found)} sounds by recipes.fit_pitch: {nats:.3f} nats a frame"
    card = f"# {out.name}\n\n{said}. The decoder is untrained beside them: `smalti train audio-residual-16k-pitch init=FOLDER data=DIR`."
    about = {"summary": f"{said}; its decoder is untrained", "licence": of.licence}
    info = zoo.save(AudioResidual(net), out, card=f"{card}\n\nWhat it was before:\n\n{of.card}\n", about=about)
    return {"folder": str(info.folder), "sounds": len(found), "nats": nats, "guess": math.log(net.pitch.config.vocab)}


if __name__ == "__main__":
    sys.exit(main())
