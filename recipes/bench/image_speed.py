"""What makes pictures faster or slower: variants of one model, paired in one run.

    python -m smalti.recipes.bench.image_speed [--model NAME] [--sizes 768x512 2048x2048] [--rounds 5] [--threads 1] [--compile] [--json]

Every round runs all variants in turn; the table has medians of processor seconds (other programs on the machine count little), the median
of each round's own ratio to the first variant (above 1: faster), how many tokens differ, and by how many steps of 8 bits at most
the decoded pictures do.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.codecs.media.images import read_image
from smalti.recipes.bench.large_image import enlarged
from smalti.recipes.bench.photo import sample_photo
from smalti.tokenizers import zoo
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridNet
from smalti.tokenizers.image.trim import Margins
from smalti.tokenizers.nets.convolution import WideBlock
from smalti.tokenizers.signals import Image


@dataclass(frozen=True)
class Result:
    """One variant on one picture; speedups are against the first variant."""

    size: str
    variant: str
    encode_seconds: float
    decode_seconds: float
    encode_speedup: float
    decode_speedup: float
    tokens_that_differ: int
    largest_step: int


class CutAtTheEnd(ImageGridNet):
    """Tiles keep their margins through all layers."""

    def decode(self, z_q: Tensor, margins: Margins | None = None) -> Tensor:
        pixels = super().decode(z_q)
        if margins is None:
            return pixels
        height, width = pixels.shape[-2:]
        return pixels[..., margins.top : height - margins.bottom, margins.left : width - margins.right]


class Compiled(ImageGridNet):
    """Both networks through torch.compile; each shape of tile is compiled by itself, which takes minutes."""

    def __init__(self, net: ImageGridNet) -> None:
        super().__init__(net.config)
        self._encode, self._decode = torch.compile(net.encode, dynamic=False), torch.compile(net.decode, dynamic=False)

    def encode(self, pixels: Tensor) -> Tensor:
        return self._encode(pixels)

    def decode(self, z_q: Tensor, margins: Margins | None = None) -> Tensor:
        return self._decode(z_q, margins)


class LinearBlock(WideBlock):
    """A wide block whose channels lie side by side in memory, and whose 1x1 convolutions are matrix products."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.spatial(x).permute(0, 2, 3, 1).contiguous()
        rows = rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + 1e-6) * self.norm.weight.flatten()
        wide = F.silu(F.linear(rows, self.widen.weight.flatten(1), self.widen.bias), inplace=True)
        return x + F.linear(wide, self.narrow.weight.flatten(1), self.narrow.bias).permute(0, 3, 1, 2)


def variants(tokenizer: ImageGrid, compiled: bool) -> dict[str, ImageGrid]:
    """The tokenizer itself first, then the same weights in other ways."""

    def tiles_of(pixels: int, batch_pixels: int) -> ImageGrid:
        other = ImageGrid(tokenizer.net)
        other.tile_pixels, other.batch_pixels = pixels, batch_pixels
        return other

    cut_at_the_end = CutAtTheEnd(tokenizer.config)
    cut_at_the_end.load_state_dict(tokenizer.net.state_dict())
    found = {
        "as it is": tokenizer,
        "margins cut at the end": ImageGrid(cut_at_the_end),
        "tiles of 512": tiles_of(512, tokenizer.batch_pixels),
        "tiles of 1536, twice the memory": tiles_of(1536, 2 * tokenizer.batch_pixels),
        "channels last": ImageGrid(_channels_last(tokenizer.net)),
        "wide blocks as matrix products": ImageGrid(_with_linear_blocks(tokenizer.net)),
    }
    return found | ({"torch.compile": ImageGrid(Compiled(tokenizer.net))} if compiled else {})


def _channels_last(net: ImageGridNet) -> ImageGridNet:
    changed = copy.deepcopy(net)
    for parameter in changed.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return changed


def _with_linear_blocks(net: ImageGridNet) -> ImageGridNet:
    changed = copy.deepcopy(net)
    for layers in (changed.encoder, changed.decoder):
        for i, layer in enumerate(layers):
            if isinstance(layer, WideBlock):
                layers[i] = LinearBlock(layer.spatial.in_channels)
                layers[i].load_state_dict(layer.state_dict())
    return changed


def measure(tokenizers: dict[str, ImageGrid], picture: Image, rounds: int) -> list[Result]:
    """Medians over the rounds, after one that warms up and compares."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tokenizers}
    arrays, pixels = {}, {}
    for turn in range(rounds + 1):
        for name, tokenizer in tokenizers.items():
            started = time.process_time()
            tokens = tokenizer.encode([picture])
            encoded = time.process_time()
            (decoded,) = tokenizer.decode(tokens)
            if turn:
                times[name].append((encoded - started, time.process_time() - encoded))
            else:
                assert isinstance(decoded, Image)
                arrays[name], pixels[name] = tokens[0].arrays, decoded.pixels.astype(int)
    base = next(iter(tokenizers))
    return [
        Result(
            size=f"{picture.width}x{picture.height}",
            variant=name,
            encode_seconds=statistics.median(encode for encode, _ in times[name]),
            decode_seconds=statistics.median(decode for _, decode in times[name]),
            encode_speedup=statistics.median(a / b for (a, _), (b, _) in zip(times[base], times[name], strict=True)),
            decode_speedup=statistics.median(a / b for (_, a), (_, b) in zip(times[base], times[name], strict=True)),
            tokens_that_differ=sum(int((a != b).sum()) for a, b in zip(arrays[base], arrays[name], strict=True)),
            largest_step=int(np.abs(pixels[base] - pixels[name]).max()),
        )
        for name in tokenizers
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="image-grid-16")
    parser.add_argument("--sizes", nargs="+", default=["768x512", "2048x2048"], metavar="WxH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizers = variants(zoo.load(arguments.model), arguments.compile)
    results = []
    for size in arguments.sizes:
        width, height = map(int, size.split("x"))
        photo = enlarged(read_image(sample_photo()), 1.5 * max(width, height) ** 2 / 1e6)
        results += measure(tokenizers, Image(np.ascontiguousarray(photo.pixels[:height, :width])), arguments.rounds)
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    print(f"{'size':<10} {'variant':<32} {'encode':>8} {'faster':>6} {'decode':>8} {'faster':>6} {'tokens':>6} {'step':>4}")
    for r in results:
        times = f"{r.encode_seconds:>6.2f} s {r.encode_speedup:>6.2f} {r.decode_seconds:>6.2f} s {r.decode_speedup:>6.2f}"
        print(f"{r.size:<10} {r.variant:<32} {times} {r.tokens_that_differ:>6} {r.largest_step:>4}")


if __name__ == "__main__":
    main()
