"""The networks of `image-grid` as ONNX graphs, for programs without torch.

The decoder's graph goes from int64 indices (batch, rows, columns), one input per stage, to float32 pixels (batch, 3, height, width) in
[-1, 1]; uint8 is round((pixels + 1) * 127.5). A prefix of the stages has a graph of its own. The encoder's goes from pixels of the same
kind, both sides padded to multiples of the stride, to one output per stage; an index may differ from ours where two entries are nearly
equally near. Batch and sides are free. A graph computes all of its input at once: memory grows with the picture (about 140 bytes per
pixel in the shipped widths), and a large one is the caller's to cut into tiles, with `margin` tokens of overlap to each side.

Traced by `torch.onnx.export(dynamo=True)`. The TorchScript exporter is faster (1 s against 9), but deprecated, and writes a transposition
that no runtime loads.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import HAAR_LEVELS, ImageGridNet
from smalti.tokenizers.nets.haar import haar
from smalti.tokenizers.nets.whitening import whitening_matrix

if TYPE_CHECKING:
    import onnx

PARTS = ("decoder", "encoder")
SIZES = ("batch", "rows", "columns")  # of indices
TRACED_TOKENS = (2, 3, 4)  # those of the example: no 1 among them, which the tracer would take for a constant


class DecoderGraph(nn.Module):
    """Indices of the first stages -> pixels, clamped to [-1, 1]."""

    def __init__(self, net: ImageGridNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, *indices: Tensor) -> Tensor:
        return self.net.detokenize(indices).clamp(-1, 1)


class EncoderGraph(nn.Module):
    """Pixels -> indices of the first `stages` stages."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, net: ImageGridNet, stages: int) -> None:
        super().__init__()
        self.encoder = net.encoder
        self.quantizer = net.quantizer
        self.stages = stages
        self.register_buffer("mean", net.norm.mean)
        self.register_buffer("whitening", whitening_matrix(net.norm.covariance))  # ONNX has no Cholesky decomposition

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        rows = self.encoder(haar(pixels, HAAR_LEVELS)).movedim(1, -1)
        return self.quantizer(((rows - self.mean) @ self.whitening.t()).movedim(-1, 1)).indices[: self.stages]


def export(tokenizer: Any, part: str = "decoder", stages: int | None = None) -> onnx.ModelProto:
    """The graph of one part, "decoder" or "encoder", for all stages or the first `stages`.

    Inputs and outputs are named `pixels` and as the stages are. The file's metadata (strings) are model, fingerprint, part, and as JSON:
    stride, stages, vocab (entries per stage), pixel_range, margin. Raises UsageError for what cannot be asked for, ModelError for
    other kinds of model and where the packages are missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ModelError("export needs the packages onnx and onnxscript: pip install 'smalti[onnx]'") from None
    if part not in PARTS:
        raise UsageError(f"a part is one of {', '.join(PARTS)}, found {part!r}")
    if not isinstance(tokenizer, ImageGrid):
        raise ModelError(f"{tokenizer.name}: only image-grid models can be exported, found {type(tokenizer).__name__}")
    layout = tokenizer.layout((("height", 1), ("width", 1)))
    stages = len(layout.stages) if stages is None else stages
    if stages not in layout.cuts:
        raise UsageError(f"{tokenizer.name} decodes the first {', '.join(map(str, layout.cuts))} of its stages, asked for {stages}")
    names = [stage.name for stage in layout.stages[:stages]]
    graph = _decoder(tokenizer, names) if part == "decoder" else _encoder(tokenizer, names)
    net, stride = tokenizer.net, tokenizer.config.stride
    about = {"stride": stride, "stages": names, "vocab": [stage.vocab for stage in layout.stages[:stages]], "pixel_range": [-1, 1]}
    about["margin"] = net.decoder_margin if part == "decoder" else net.encoder_margin
    metadata = {"model": tokenizer.name, "fingerprint": tokenizer.fingerprint, "part": part}
    for key, value in (metadata | {key: json.dumps(value) for key, value in about.items()}).items():
        graph.metadata_props.add(key=key, value=value)
    return graph


def _decoder(tokenizer: ImageGrid, names: list[str]) -> onnx.ModelProto:
    example = tuple(torch.zeros(TRACED_TOKENS, dtype=torch.int64) for _ in names)
    sizes = dict(enumerate(SIZES))
    same = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)  # as the first stage's, whose names they get below
    graph = _trace(DecoderGraph(tokenizer.net), example, ((sizes, *[same] * (len(names) - 1)),), names, ["pixels"])
    _name_sizes(graph.graph.input)
    return graph


def _encoder(tokenizer: ImageGrid, names: list[str]) -> onnx.ModelProto:
    stride = tokenizer.config.stride
    batch, rows, columns = TRACED_TOKENS
    Dim = torch.export.Dim
    sizes = {0: Dim("batch"), 2: stride * Dim("rows"), 3: stride * Dim("columns")}
    example = torch.zeros(batch, 3, rows * stride, columns * stride)
    graph = _trace(EncoderGraph(tokenizer.net, len(names)), (example,), (sizes,), ["pixels"], names)
    _name_sizes(graph.graph.output)
    return graph


def _trace(module: nn.Module, example: tuple[Tensor, ...], sizes: Any, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    with warnings.catch_warnings(), torch.no_grad():
        # torch 2.11 calls its own tree functions by a name that it deprecates
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        program = torch.onnx.export(
            module.eval(), example, dynamo=True, dynamic_shapes=sizes, input_names=inputs, output_names=outputs, verbose=False
        )
    assert program is not None
    graph = program.model_proto
    del graph.graph.value_info[:]
    for node in graph.graph.node:
        del node.metadata_props[:]  # where each came from, with paths of this machine
    return graph


def _name_sizes(indices: Iterable[onnx.ValueInfoProto]) -> None:
    """The tracer names sizes that are derived or alike by numbers of its own."""
    for value in indices:
        for dimension, name in zip(value.type.tensor_type.shape.dim, SIZES, strict=True):
            dimension.dim_param = name
