"""Packs are written byte for byte as they were, in formats that other programs read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KNOWN = json.loads((HERE / "packs.json").read_text())


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, str]]:
    spec = importlib.util.spec_from_file_location("golden_regenerate_packs", HERE / "regenerate_packs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.files()


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_written_again_byte_for_byte(made: dict[str, dict[str, str]], name: str) -> None:
    assert made[name] == KNOWN[name]


def test_megatron_by_hand() -> None:
    """The index of three documents of 9, 14 and 10 ids, as the format's description has it."""
    (index,) = (bytes.fromhex(data) for name, data in KNOWN["megatron-documents"].items() if name.endswith(".idx") and "shard" in name)
    assert index[:9] == b"MMIDIDX\0\0"
    assert index[9:34] == bytes([1, *[0] * 7, 8, 3, *[0] * 7, 4, *[0] * 7])  # version, uint16, sequences, documents and the end
    assert index[34:46] == bytes([9, 0, 0, 0, 14, 0, 0, 0, 10, 0, 0, 0])
    assert index[46:70] == bytes([0, *[0] * 7, 18, *[0] * 7, 46, *[0] * 7])  # in bytes
    assert index[70:] == bytes([0, *[0] * 7, 1, *[0] * 7, 2, *[0] * 7, 3, *[0] * 7])


def test_datatrove_by_hand() -> None:
    ends = bytes.fromhex(KNOWN["datatrove-documents"]["00000.ds.index"])
    assert ends == bytes([9, *[0] * 7, 23, *[0] * 7, 33, *[0] * 7])
    assert bytes.fromhex(KNOWN["datatrove-documents"]["00000.ds.metadata"]) == b"tiny-image@1+tiny-audio@1|2\n33\n33.0 T"
