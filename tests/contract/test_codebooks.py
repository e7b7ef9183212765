"""Every registered codebook runs the conformance list: a new one needs an instance here."""

from __future__ import annotations

import pytest
import torch

from smalti.testing import check_codebook
from smalti.tokenizers import codebooks
from smalti.tokenizers.codebooks import CODEBOOKS, CodebookConfig, FSQConfig, VQConfig

INSTANCES: dict[type, list[CodebookConfig]] = {
    VQConfig: [VQConfig(2, 1), VQConfig(37, 3), VQConfig(512, 8), VQConfig(5000, 4)],
    FSQConfig: [
        FSQConfig((2,)),
        FSQConfig((8, 5, 5, 5)),
        FSQConfig((8, 5, 5, 5), bound="tanh"),
        FSQConfig((2,) * 20),
        FSQConfig((2, 3, 1000)),
        FSQConfig((2,) * 30),
    ],
}


def test_every_registered_codebook_is_tried() -> None:
    assert set(INSTANCES) == set(CODEBOOKS)


@pytest.mark.parametrize("config", [config for found in INSTANCES.values() for config in found], ids=str)
def test_conforms(config: CodebookConfig) -> None:
    torch.manual_seed(0)
    codebook = codebooks.build(config).train()
    for _ in range(3):
        z = codebook.bound(torch.randn(4 * min(codebook.size, 8000), codebook.dim))
        codebook.update(z, codebook.assign(z))
    check_codebook(codebook.eval())
