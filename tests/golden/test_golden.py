"""Files of version 1 decode to the tokens they were made of, and are written again byte for byte."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from smalti.codecs.bitstream import inspect, parse
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.uniform import UniformPrior

HERE = Path(__file__).parent
DIGESTS = json.loads((HERE / "digests.json").read_text())


def _regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_regenerate", HERE / "regenerate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["solo.smt", "adaptive.smt", "chunked.smt"])
def test_written_again_byte_for_byte(name: str) -> None:
    assert _regenerate().files()[name] == (HERE / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "stream", "kind"),
    [("solo.smt", 0, "still"), ("adaptive.smt", 0, "still"), ("chunked.smt", 0, "still"), ("chunked.smt", 1, "timed")],
)
def test_decodes_to_the_known_tokens(name: str, stream: int, kind: str) -> None:
    data = (HERE / name).read_bytes()
    layout = getattr(_regenerate(), kind)().layout
    assert inspect(data).status == "whole"
    assert parse(data).tokens(layout, AdaptivePrior() if name == "adaptive.smt" else UniformPrior(), stream).digest() == DIGESTS[kind]
