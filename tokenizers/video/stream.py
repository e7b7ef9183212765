"""Films as they come: an encoder and a decoder that work group by group and give what the whole film would have given.

Memory is bounded by a group of pictures: the encoder keeps the last key, its entries and the pictures of a group that is not whole yet;
the decoder the last key as drawn and what its taps in time have seen. The delay is a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.pixels import to_eight_bits
from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.signals import Array
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.video.films import FilmSize, check_frame, size_of, to_network

if TYPE_CHECKING:
    from smalti.tokenizers.video.causal import VideoCausal

AXES = ("time", "row", "col")


class EncoderStream:
    """Pictures -> tokens. Their steps, one after the other along time, are those of the whole film."""

    def __init__(self, tokenizer: VideoCausal, rate: Fraction) -> None:
        self._tokenizer, self._rate = tokenizer, rate
        self._restart()

    def _restart(self) -> None:
        self._shape: tuple[int, ...] | None = None
        self._waiting: list[Array] = []
        self._key: Tensor | None = None  # (1, 3, h, w), the last key; None before the first picture
        self._entries: tuple[Tensor, ...] | None = None

    def push(self, frames: Sequence[Array]) -> Tokens | None:
        """Tokens of the first picture and of the groups that uint8 pictures (H, W, 3) make whole; None where they make none.

        In the tokens' signal, `frames` counts the pictures of this piece. SignalError where pictures differ in size from those before.
        """
        for frame in frames:
            check_frame(frame, self._shape, self._tokenizer.name)
            self._shape = frame.shape
        self._waiting += frames
        first, group = 0 if self._key is not None else 1, self._tokenizer.config.group
        whole = first + (len(self._waiting) - first) // group * group
        taken, self._waiting = self._waiting[:whole], self._waiting[whole:]
        return self._encoded(taken, whole) if taken else None

    def flush(self) -> Tokens | None:
        """Tokens of what is left, whose last picture is repeated to make a group whole; None where nothing is. The stream starts anew."""
        count = len(self._waiting)
        taken = self._waiting + self._waiting[-1:] * (-count % self._tokenizer.config.group)
        tokens = self._encoded(taken, count) if taken else None
        self._restart()
        return tokens

    @torch.inference_mode()
    def _encoded(self, frames: list[Array], count: int) -> Tokens:
        """Of whole groups, after the first picture where none has been; count: how many pictures are not repeated."""
        tokenizer, group = self._tokenizer, self._tokenizer.config.group
        step, found = tokenizer.pass_groups * group, []
        if self._key is None:
            found.append(self._pass(frames[:1], 1))
            frames = frames[1:]
        for start in range(0, len(frames), step):
            found.append(self._pass(frames[start : start + step], group))
        arrays = tuple(np.concatenate(stage).astype(np.int32) for stage in zip(*found, strict=True))
        assert self._shape is not None
        size = FilmSize(count, self._shape[0], self._shape[1], self._rate)
        layout = tokenizer.net.quantizer.layout(arrays[0].shape, AXES, size.signal)
        return Tokens(layout, arrays)

    def _pass(self, frames: list[Array], group: int) -> list[Array]:
        """Entries (T, rows, columns) per stage of T groups of pictures, of which the last is the key."""
        net, device = self._tokenizer.net, self._tokenizer.device
        pictures = to_network(frames, self._tokenizer.config.stride).to(device).unflatten(0, (-1, group))
        keys = pictures[:, -1]
        with full_precision(device):
            levels = net.quantizer.settle(net.encode(keys), self._entries, self._tokenizer.config.slack)
            if self._key is None:
                moved = torch.zeros_like(levels[0])
            else:
                moved = net.search(torch.cat([self._key, keys[:-1]]), pictures[:, :-1], keys)
        self._key, self._entries = keys[-1:].clone(), tuple(level[-1] for level in levels)
        return [stage.cpu().numpy() for stage in (moved, *levels)]


class DecoderStream:
    """Tokens, or their first levels, -> pictures. How many levels there are may change from call to call."""

    def __init__(self, tokenizer: VideoCausal) -> None:
        self._tokenizer, self._memory = tokenizer, Memory()
        self._key: Tensor | None = None  # (1, 3, h, w), the last key as drawn

    @torch.inference_mode()
    def push(self, tokens: Tokens) -> Array:
        """uint8 pictures (n, H, W, 3) of tokens as the encoder's `push` and `flush` give them."""
        tokenizer = self._tokenizer
        size = size_of(tokens.layout.signal, tokenizer.name)
        self._check(tokens, size)
        steps = tokens.arrays[0].shape[0]
        found = [self._pass(tokens, slice(start, start + tokenizer.pass_groups)) for start in range(0, steps, tokenizer.pass_groups)]
        return np.concatenate(found)[: size.frames, : size.height, : size.width]

    def _check(self, tokens: Tokens, size: FilmSize) -> None:
        tokenizer, stages = self._tokenizer, len(tokens.arrays)
        steps, group = tokens.arrays[0].shape[0], tokenizer.config.group
        most = steps * group - (group - 1 if self._key is None else 0)
        grid = (steps, *size.padded(tokenizer.config.stride))
        expected = tokenizer.net.quantizer.layout(grid, AXES, tokens.layout.signal)
        if stages not in expected.cuts or tokens.layout != expected.prefix(stages) or not most - group < size.frames <= most:
            raise UsageError(f"this stream takes tokens of {tokenizer.name}, as its encoder's stream gives them, found {tokens.layout}")
        if self._key is not None and self._key.shape[-2:] != tuple(side * tokenizer.config.stride for side in grid[1:]):
            raise UsageError(f"all pictures of a stream have one size, found {size.width} x {size.height} after another")
        tokens.check_unmasked(tokenizer.name)

    def _pass(self, tokens: Tokens, steps: slice) -> Array:
        """uint8 (n, h, w, 3), padded size, of some steps."""
        net, device = self._tokenizer.net, self._tokenizer.device
        moved, *levels = (torch.from_numpy(array[steps].astype(np.int64)).to(device)[None] for array in tokens.arrays)
        with full_precision(device):
            keys = net.decode_keys(net.dequantize(levels), self._memory)[0]  # (T, 3, h, w)
            first = keys[:1] if self._key is None else keys[:0]
            behind, moved = keys[len(first) :], moved[0, len(first) :]
            pictures = [first]
            if len(behind):
                before = torch.cat([first if self._key is None else self._key, behind[:-1]])
                pictures.append(torch.cat([net.draw(before, behind, moved), behind[:, None]], 1).flatten(0, 1))
        self._key = keys[-1:].clone()
        return to_eight_bits(torch.cat(pictures))
