"""ONNX: another runtime decodes the same tokens to the same picture, at any size. The shipped model is tried in tests/slow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.image.export import export

GOLDEN = Path(__file__).parents[1] / "golden" / "model"


def test_the_exported_decoder_is_the_decoder(cli: Any, tmp_path: Path) -> None:
    ran = cli("export", GOLDEN, "-o", tmp_path / "golden.onnx", "--json")
    assert (ran.code, ran.err) == (0, "")
    data = (tmp_path / "golden.onnx").read_bytes()
    graph = onnx.load_from_string(data)
    onnx.checker.check_model(graph, full_check=True)
    assert str(Path.cwd()).encode() not in data, "where the tracer stood is nobody's business"
    tokenizer = zoo.load(str(GOLDEN))
    about = {item.key: item.value for item in graph.metadata_props}
    assert about == {
        "model": "model",
        "fingerprint": tokenizer.fingerprint,
        "part": "decoder",
        "stride": "16",
        "stages": '["level0", "level1"]',
        "vocab": "[32, 32]",
        "pixel_range": "[-1, 1]",
        "margin": str(tokenizer.net.decoder_margin),
    }
    assert (ran.json["bytes"], ran.json["fingerprint"], ran.json["vocab"]) == (len(data), tokenizer.fingerprint, [32, 32])
    sizes = [[size.dim_param for size in value.type.tensor_type.shape.dim] for value in graph.graph.input]
    assert sizes == [["batch", "rows", "columns"]] * 2
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (1, 7, 4), (3, 5, 8), (3, 1, 9)):
        indices = [rng.integers(0, 32, shape) for _ in range(2)]
        (pixels,) = session.run(None, {"level0": indices[0], "level1": indices[1]})
        expected = tokenizer.net.detokenize([torch.from_numpy(index) for index in indices]).clamp(-1, 1).numpy()
        assert (pixels.dtype, pixels.shape) == (np.float32, (shape[0], 3, 16 * shape[1], 16 * shape[2]))
        assert np.abs(pixels - expected).max() <= 1e-4


def test_what_cannot_be_exported(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = zoo.load(str(GOLDEN))
    with pytest.raises(UsageError, match=r"decodes the first 1, 2 of its stages, asked for 3"):
        export(tokenizer, stages=3)
    with pytest.raises(UsageError, match=r"decoder, encoder, found 'both'"):
        export(tokenizer, "both")
    (tmp_path / "there.onnx").touch()
    assert "--force" in cli("export", GOLDEN, "-o", tmp_path / "there.onnx").refusal()
    assert "--out" in cli("export", GOLDEN).refusal()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[onnx\]'"):
        export(tokenizer)
    assert "pip install 'smalti[onnx]'" in cli("export", GOLDEN, "-o", tmp_path / "new.onnx").refusal()
    assert not (tmp_path / "new.onnx").exists()


def test_other_kinds_of_model_are_refused() -> None:
    class Other:
        name = "other"

    with pytest.raises(ModelError, match="other: only image-grid models"):
        export(Other())
