"""Pictures that a language model drew, above real ones, decoded by the model that made the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.images import write_image
from smalti.prepare.packs.pack import PackedModel
from smalti.prepare.places import Places, read_json
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

GAP = 4  # pixels between pictures


def maker(model: PackedModel, pack: Path) -> Any:
    """The tokenizer that made a pack's tokens, from where the plan of its folder has it, or by name. ModelError where it is not there, or
    is another by now."""
    plan = Places(pack.parent.parent).plan
    planned = read_json(plan)["models"] if plan.is_file() else []
    references = [item["reference"] for item in planned if item["fingerprint"] == model.fingerprint]
    info = zoo.find(references[0] if references else model.name)
    if zoo.fingerprint_of(info) != model.fingerprint:
        raise ModelError(
            f"{info.name}: is {zoo.fingerprint_of(info)[:12]}, the tokens were made by {model.fingerprint[:12]}; bring that one"
        )
    return zoo.load_model(info)


def draw(model: PackedModel, pack: Path, made: Sequence[Tokens], real: Sequence[Tokens], path: Path) -> str | None:
    """Write the sheet, a row of what was made and one of real documents; None where these are no pictures. ModelError where the model that
    made the tokens is not there, or is another by now."""
    if model.modality != "image":
        return None
    tokenizer = maker(model, pack)
    rows = [[item for item in tokenizer.decode(list(tokens)) if isinstance(item, Image)] for tokens in (made, real) if tokens]
    write_image(Image(sheet([[picture.eight_bits for picture in row] for row in rows])), path)
    return str(path)


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """uint8 pictures of one size as rows of one, on white."""
    height, width = rows[0][0].shape[:2]
    most = max(map(len, rows))
    out = np.full((len(rows) * (height + GAP) + GAP, most * (width + GAP) + GAP, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = GAP + r * (height + GAP), GAP + c * (width + GAP)
            out[top : top + height, left : left + width] = picture
    return out
