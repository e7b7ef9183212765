"""What the loop can train: for each config its network, its tokenizer, and how a step runs it. A new kind is a line in `SUBJECTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smalti.recipes.training.config import LossConfig, SoundLossConfig, TrainingConfig
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.line import ImageLine
from smalti.tokenizers.image.line_network import ImageLineConfig, ImageLineNet, cut
from smalti.tokenizers.image.network import ImageGridConfig, ImageGridNet
from smalti.tokenizers.video.causal import VideoCausal
from smalti.tokenizers.video.network import VideoCausalConfig, VideoCausalNet

FIT_REGIONS = 8  # for each coordinate of a region's latents
FIT_SOUNDS = 256  # crops

Pass = tuple[Tensor | None, Quantized]


@dataclass(frozen=True)
class Subject:
    """network, tokenizer: classes. run: one pass over pixels (B, 3, H, W), films (B, 3, T, H, W) or waves (B, 1, T) for the losses of a
    recipe. freeze: stops what a recipe holds. fitted: parameters that start from data instead of at random. begin: fits what starts from
    data to training crops, where a run takes over no other model."""

    network: Callable[[Any], Any]
    tokenizer: Callable[..., Any]
    run: Callable[[nn.Module, Tensor, Any], Pass]
    freeze: Callable[[Any, TrainingConfig], None]
    fitted: Callable[[Any], list[nn.Parameter]]
    begin: Callable[[Any, Iterator[Tensor]], None] = lambda net, samples: None


def _run_whole(net: nn.Module, signals: Tensor, loss: LossConfig | SoundLossConfig) -> Pass:
    return net(signals)


def _run_line(net: nn.Module, pixels: Tensor, loss: LossConfig) -> Pass:
    return net(pixels, pictures=loss.pictures, compare=bool(loss.latent))


def _freeze_tokens(net: Any, config: TrainingConfig) -> None:
    if config.freeze_tokens:
        net.freeze_tokens()


def _freeze_line(net: ImageLineNet, config: TrainingConfig) -> None:
    if config.freeze_front:
        net.freeze_front()
    if config.freeze_tokens:
        net.freeze_tokens()
    if isinstance(config.loss, LossConfig) and not config.loss.pictures:
        net.decoder.requires_grad_(False)


def _freeze_film(net: VideoCausalNet, config: TrainingConfig) -> None:
    if config.freeze_tokens:
        net.freeze_tokens()
    if config.freeze_front:
        net.freeze_front()


def _fit_start(net: AudioResidualNet, samples: Iterator[Tensor]) -> None:
    found = [next(samples)]
    while sum(map(len, found)) < FIT_SOUNDS:
        found.append(next(samples))
    net.fit_start(torch.cat(found))


SUBJECTS: dict[type, Subject] = {
    ImageGridConfig: Subject(ImageGridNet, ImageGrid, _run_whole, _freeze_tokens, lambda net: []),
    ImageLineConfig: Subject(ImageLineNet, ImageLine, _run_line, _freeze_line, ImageLineNet.fitted),
    AudioSingleConfig: Subject(AudioSingleNet, AudioSingle, _run_whole, _freeze_tokens, lambda net: []),
    AudioResidualConfig: Subject(AudioResidualNet, AudioResidual, _run_whole, _freeze_tokens, lambda net: [], _fit_start),
    VideoCausalConfig: Subject(VideoCausalNet, VideoCausal, _run_whole, _freeze_film, lambda net: []),
}


def of(config: TrainingConfig) -> Subject:
    """The subject of a run."""
    return SUBJECTS[type(config.tokenizer)]


def start_from(net: nn.Module, init: str, samples: Iterator[Tensor]) -> None:
    """Take over a model's weights, tables and statistics; an image-line takes the convolutions of an image-grid too, a video-causal
    all of it.

    samples: pixels (B, 3, H, W) of training crops, to which an image-line that starts from an image-grid fits its linear code.

    Raises ModelError where the model's network is another.
    """
    fit = False
    source: nn.Module = zoo.load(init).net
    tensors: dict[str, Tensor] = source.state_dict()
    if isinstance(net, ImageLineNet) and isinstance(source, ImageGridNet):
        tensors = net.state_dict() | net.convolutions(tensors)
        fit = net.config.linear
    if isinstance(net, AudioResidualNet) and isinstance(source, AudioResidualNet):
        _check_pitch(net, source, init)
    if isinstance(net, VideoCausalNet) and isinstance(source, ImageGridNet):
        tensors = net.from_image(tensors)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        found = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"init={init}: the model has another network than the recipe's tokenizer ({found}); make their configs equal"
        ) from None
    if fit:
        _fit_linear(net, samples)


def _check_pitch(net: AudioResidualNet, source: AudioResidualNet, init: str) -> None:
    """An estimator is not taught by training: what it was taught must be what it is asked."""
    if net.config.pitch is not None and source.config.pitch is None:
        raise ModelError(
            f"init={init}: the model hears no pitch; python -m smalti.recipes.fit_pitch {init} SOUNDS -o FOLDER, and init=FOLDER"
        )
    if net.config.pitch != source.config.pitch:
        raise ModelError(f"init={init}: the model was taught {source.config.pitch}, the recipe says {net.config.pitch}; make them equal")


@torch.no_grad()
def _fit_linear(net: Any, samples: Iterator[Tensor]) -> None:
    net.eval()
    found: list[Tensor] = []
    while sum(map(len, found)) < FIT_REGIONS * net.analysis.in_features:
        found.append(cut(net.grid_latents(next(samples)), net.config.side))
    net.fit_linear(torch.cat(found))
