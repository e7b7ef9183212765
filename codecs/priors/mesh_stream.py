"""Tokens in and out of one stream of the mesh prior, and which tokens are a mesh to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.codecs.coders.range_coder import check_end, decode_bit, decoder_state, encode_bit, encoder_state, finish
from smalti.codecs.priors import coding
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.adaptive_tables import LEAST_BITS
from smalti.codecs.priors.mesh_tables import MAX_BITS, Array, Live, Stored, live
from smalti.tokenizers.errors import BitstreamError, ModelError
from smalti.tokenizers.tokens import Layout, Tokens

MAX_FACES = 1 << 22
_PRICE, _ENCODE, _DECODE, _SKIP = range(4)  # as in mesh_mixing
_ESCAPE = b"\xff"
_WALK = 65280  # of 65536, that a stream is a walk's: its first byte is then never _ESCAPE


@dataclass(frozen=True)
class _Size:
    vertices: int
    faces: int
    bits: int


def _size(layout: Layout) -> _Size | None:
    """That of a mesh whose faces, or faces and vertices, a walk can code; None for other layouts."""
    stages = layout.stages
    if len(stages) not in (1, 2) or [len(stage.shape) for stage in stages] != [3] * len(stages):
        return None
    faces, vertices = stages[0].shape[1], stages[0].vocab
    if any(stage.shape[0] != 1 or stage.shape[2] != 3 for stage in stages) or not 1 <= faces <= MAX_FACES or vertices > 3 * faces:
        return None
    if len(stages) == 1:
        return _Size(vertices, faces, 1)
    bits = stages[1].vocab.bit_length() - 1
    if stages[1].shape[1] != vertices or stages[1].vocab != 1 << bits or not 1 <= bits <= MAX_BITS:
        return None
    return _Size(vertices, faces, bits)


def _walkable(faces: Array, vertices: int) -> bool:
    """Whether all vertices are numbered by first use."""
    flat = faces.ravel()
    before = np.maximum.accumulate(np.concatenate([[-1], flat[:-1]]))
    return bool((flat <= before + 1).all()) and int(flat.max()) == vertices - 1


def _mesh_of(tokens: Tokens) -> _Size | None:
    size = _size(tokens.layout)
    if size is None or any(mask is not None for mask in tokens.present) or not _walkable(tokens.arrays[0], size.vertices):
        return None
    return size


def _run(links: int, spots: int, state: Array, data: Array, size: _Size, pos: Array, faces: Array, known: Live) -> tuple[int, Array]:
    from smalti.codecs.priors import mesh_gates, mesh_kernel, mesh_memory, mesh_spots

    cost = np.zeros(2)
    found = mesh_kernel.run(
        links, spots, state, data, size.bits, pos, faces, known, mesh_gates.gates(size.vertices, size.faces),
        mesh_memory.memory(size.vertices, size.faces, size.bits), mesh_spots.around(), np.zeros(size.vertices, np.int32), cost,
    )  # fmt: skip
    return int(found), cost


def _arrays(tokens: Tokens, size: _Size) -> tuple[Array, Array]:
    """Places and faces, as the kernel wants them."""
    pos = tokens.arrays[1][0].copy() if len(tokens.arrays) > 1 else np.zeros((size.vertices, 3), np.int32)
    return pos, tokens.arrays[0][0].copy()


def learn(tokens: Tokens, known: Live) -> list[float]:
    """Bits per stage; `known` has learnt the mesh afterwards. Tokens that are no mesh cost what `price` says and teach nothing."""
    size = _mesh_of(tokens)
    if size is None:
        bits = AdaptivePrior().price(tokens)
        return [bits[0] + 8, *bits[1:]]
    pos, faces = _arrays(tokens, size)
    _, cost = _run(
        _PRICE, _PRICE if len(tokens.arrays) > 1 else _SKIP, np.zeros(4, np.int64), np.zeros(0, np.uint8), size, pos, faces, known
    )
    return [float(cost[0]) + 16 - float(np.log2(_WALK)), float(cost[1])][: len(tokens.arrays)]


def price(tokens: Tokens, known: Stored) -> list[float]:
    """Bits per stage."""
    return learn(tokens, live(known))


def encode(tokens: Tokens, known: int, knowledge: Stored) -> bytes:
    """One stream with the stages from `known` on. Raises UsageError."""
    coding.check_known(tokens.layout, known)
    if known == len(tokens.arrays):
        return b""
    size = _mesh_of(tokens)
    if size is None:
        return _ESCAPE + AdaptivePrior().encode(tokens, known)
    room = 64 + 8 * size.faces + size.vertices * size.bits // 2
    while True:
        state, data = np.array(encoder_state(), np.int64), np.zeros(room, np.uint8)
        encode_bit(state, data, 1, _WALK)
        pos, faces = _arrays(tokens, size)
        links, spots = _SKIP if known else _ENCODE, _ENCODE if len(tokens.arrays) > 1 else _SKIP
        _run(links, spots, state, data, size, pos, faces, live(knowledge))
        if state[2] <= room:
            return finish(state, data)
        room = int(state[2])


def decode(data: bytes, layout: Layout, known: Tokens | None, knowledge: Stored) -> Tokens:
    """The tokens that `encode` coded; `known` are the stages before. Raises BitstreamError for anything else."""
    first = len(known.arrays) if known is not None else 0
    if known is not None and known.layout.stages != layout.stages[:first]:
        raise ModelError("the known tokens have other stages than the layout that is decoded")
    if first == len(layout.stages) or data[:1] == _ESCAPE:
        rest = data[1:] if first < len(layout.stages) else data
        tokens = AdaptivePrior().decode(rest, layout, known)
        if first < len(layout.stages) and _mesh_of(tokens) is not None:
            raise BitstreamError("a mesh that a walk codes is coded otherwise: this is no file of ours")
        return tokens
    size = _size(layout)
    if size is None or (known is not None and _mesh_of(known) is None):
        raise BitstreamError("a walk over a mesh is announced, and these tokens are none")
    decisions = (0 if first else size.faces) + (3 * size.vertices * size.bits if len(layout.stages) > 1 else 0)
    if decisions * LEAST_BITS > 8 * len(data) + 64:
        raise BitstreamError(f"{size.faces} faces and {size.vertices} vertices can't come from {len(data)} bytes")
    state, buffer = np.array(decoder_state(data), np.int64), np.frombuffer(data, np.uint8).copy()
    if not decode_bit(state, data, _WALK):
        raise BitstreamError("a walk over a mesh does not begin as one")
    pos = np.zeros((size.vertices, 3), np.int32)
    faces = known.arrays[0][0].copy() if known is not None else np.zeros((size.faces, 3), np.int32)
    links, spots = _SKIP if first else _DECODE, _DECODE if len(layout.stages) > 1 else _SKIP
    found, _ = _run(links, spots, state, buffer, size, pos, faces, live(knowledge))
    if found < 0:
        raise BitstreamError("a walk over a mesh names a vertex that is not there, or its stream ends too soon: damage")
    check_end(state, data)
    return Tokens(layout, (faces[None], pos[None])[: len(layout.stages)])
