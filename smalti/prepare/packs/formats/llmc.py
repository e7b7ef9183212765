"""Bare files of ids: nanoGPT's (no head, uint16) and llm.c's (1,024 bytes of head; fewer than 2^31 ids each).

nanoGPT and modded-nanogpt know uint16 alone; llm.c reads version 1 (uint16) of magic 20240520, and its Python writers call uint32 version 7
of magic 20240801.
"""

from __future__ import annotations

import json
import struct

import numpy as np

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Given, Piece
from smalti.prepare.packs.formats.runs import Runs
from smalti.tokenizers.errors import UsageError

HEAD_BYTES = 1024
VERSIONS = {2: (20240520, 1), 4: (20240801, 7)}  # by bytes of an id
MOST = 2**31 - 1


class LlmC:
    """The sink: tokens_000000.bin, tokens_000001.bin, ..."""

    def __init__(self, folder: Folder, given: Given) -> None:
        magic, version = VERSIONS[given.dtype.itemsize]
        self._runs = Runs(folder, given, lambda number, sha: f"tokens_{number:06d}.bin", lambda ids: head(magic, version, ids))

    def put(self, piece: Piece) -> None:
        self._runs.put(piece)

    def end_shard(self) -> None:
        self._runs.end()

    def finish(self) -> None:
        self._runs.end()


class NanoGpt:
    """The sink: tokens.bin, all ids as uint16, and meta.json. UsageError for larger ids, which would wrap without a word."""

    def __init__(self, folder: Folder, given: Given) -> None:
        if given.dtype != np.dtype("<u2"):
            raise UsageError("nanoGPT's files hold ids below 65,536, and this vocabulary needs more; use the format megatron")
        self._folder = folder
        self._runs = Runs(folder, given, lambda number, sha: "tokens.bin")

    def put(self, piece: Piece) -> None:
        self._runs.put(piece)

    def end_shard(self) -> None:
        pass  # it has only one

    def finish(self) -> None:
        shard = self._runs.end()
        if shard is not None:
            self._folder.write("meta.json", json.dumps({"tokens": shard.ids, "dtype": "uint16"}).encode())


def head(magic: int, version: int, ids: int) -> bytes:
    """llm.c's 256 int32."""
    if ids > MOST:
        raise UsageError(f"{ids} ids in one file of llm.c, expected {MOST} at most; the longest document is too long for it")
    return struct.pack("<iii", magic, version, ids).ljust(HEAD_BYTES, b"\x00")
