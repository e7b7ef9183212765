"""Files of version 1 decode to the tokens they were made of, and are written again byte for byte."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from smalti.codecs.bitstream import Archive, inspect, parse
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.mesh import MeshPrior
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


@pytest.mark.parametrize("name", ["solo.smt", "adaptive.smt", "masked.smt", "chunked.smt", "archive.smt", "shape.smt", "mesh.smt"])
def test_written_again_byte_for_byte(name: str) -> None:
    assert _regenerate().files()[name] == (HERE / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "stream", "kind"),
    [
        ("solo.smt", 0, "still"),
        ("adaptive.smt", 0, "still"),
        ("masked.smt", 0, "still"),
        ("chunked.smt", 0, "still"),
        ("chunked.smt", 1, "timed"),
    ],
)
def test_decodes_to_the_known_tokens(name: str, stream: int, kind: str) -> None:
    data = (HERE / name).read_bytes()
    made = _regenerate()
    layout = getattr(made, kind)().layout
    prior = {"adaptive.smt": AdaptivePrior(), "masked.smt": made.masked()}.get(name, UniformPrior())
    assert inspect(data).status == "whole"
    assert parse(data).tokens(layout, prior, stream).digest() == DIGESTS[kind]


def test_shapes_decode_to_the_known_tokens() -> None:
    made = _regenerate()
    tokens, prior = made.shape()
    assert parse((HERE / "shape.smt").read_bytes()).tokens(tokens.layout, prior).digest() == DIGESTS["shape"]
    assert parse((HERE / "mesh.smt").read_bytes()).tokens(made.mesh().layout, MeshPrior()).digest() == DIGESTS["mesh"]


def test_priors_have_their_names() -> None:
    assert _regenerate().masked().id.hex() == DIGESTS["masked prior"]
    assert _regenerate().shape()[1].id.hex() == DIGESTS["shape prior"]


def test_items_of_an_archive_decode_to_the_known_tokens() -> None:
    data = (HERE / "archive.smt").read_bytes()
    made = _regenerate()
    archive = Archive(data)
    assert inspect(data).status == "whole"
    assert [archive.key(i) for i in range(len(archive))] == ["first", "", "Zweites", "", "large"]
    small = made.still().prefix(2)
    assert [archive[i].tokens(made.still().layout, UniformPrior()) for i in (0, 1)] == [small, small.prefix(1)]
    assert [archive[i].tokens(made.timed().layout, UniformPrior()).digest() for i in (2, 3)] == 2 * [DIGESTS["timed"]]
    assert archive[4].tokens(None, UniformPrior()).digest() == DIGESTS["many"]
