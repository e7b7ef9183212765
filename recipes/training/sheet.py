"""Reconstruction sheets: a row per picture, the original first, then every rate from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.signals import Image

GAP = 4
MOST_SHOWN = 8


def sheet(tokenizer: Tokenizer, images: Sequence[Image]) -> Image:
    """One picture of originals and reconstructions at every decodable prefix; the pictures may differ in size."""
    tokens = tokenizer.encode(images)
    columns: list[list[Image]] = [list(images)]
    for cut in shown_cuts(tokens[0].layout.cuts):
        columns.append([image for image in tokenizer.decode([item.prefix(cut) for item in tokens]) if isinstance(image, Image)])
    return side_by_side(list(zip(*columns, strict=True)))


def shown_cuts(cuts: Sequence[int]) -> list[int]:
    """All of a few decodable prefixes; of many, the first, those twice, four times, ... as far along, and the last."""
    if len(cuts) <= MOST_SHOWN:
        return list(cuts)
    places = [2**i - 1 for i in range(len(cuts).bit_length()) if 2**i <= len(cuts)]
    return [cuts[place] for place in places] + [cuts[-1]] * (places[-1] != len(cuts) - 1)


def side_by_side(rows: Sequence[Sequence[Image]]) -> Image:
    """Pictures in rows on white, each cell as large as the largest picture."""
    height = max(image.height for row in rows for image in row)
    width = max(image.width for row in rows for image in row)
    columns = max(len(row) for row in rows)
    page = np.full(((height + GAP) * len(rows) - GAP, (width + GAP) * columns - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            page[top : top + image.height, left : left + image.width] = image.eight_bits
    return Image(page)
