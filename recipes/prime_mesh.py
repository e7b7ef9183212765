"""Make the model `mesh`: its prior primed on training meshes, in a model folder.

    python -m smalti.recipes.prime_mesh ZIP -o FOLDER [--passes 2] [--judge ZIP]

ZIP: training meshes. Each is learnt in every pass with another number of bits, 7 to 10, in an order drawn from seed 0. FOLDER: what
`-m` takes; a card.md that lies there stays. With --judge: bits a face of these meshes, unprimed and primed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smalti.codecs.priors.mesh import MeshPrior
from smalti.recipes.meshes import Named, meshes_of
from smalti.tokenizers import zoo
from smalti.tokenizers.shape.mesh import FEWEST_BITS, MOST_BITS, Mesh, MeshConfig
from smalti.tokenizers.tokens import Tokens

ABOUT = {
    "summary": "triangle meshes kept face by face, coordinates of 7 to 10 bits",
    "licence": "CC-BY-3.0 and CC0 training meshes; see card.md and zoo/LICENSE",
}


def lessons(meshes: Sequence[Named], passes: int, seed: int = 0) -> list[Tokens]:
    """Tokens in the order in which they are learnt."""
    by_bits = {bits: Mesh(MeshConfig(bits)) for bits in range(FEWEST_BITS, MOST_BITS + 1)}
    order = np.random.default_rng(seed).permutation(len(meshes))
    out = []
    for turn in range(passes):
        for place, item in enumerate(order):
            bits = MOST_BITS - (place + turn) % len(by_bits)
            out += by_bits[bits].encode([meshes[item].shape])
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, save, and judge if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--judge", type=Path)
    options = parser.parse_args(arguments)
    tokens = lessons(list(meshes_of(options.meshes)), options.passes)
    prior = MeshPrior.prime(tokens, progress=lambda done: print(f"{done} of {len(tokens)}", file=sys.stderr) if done % 500 == 0 else None)
    card = options.out / "card.md"
    info = zoo.save(Mesh(), options.out, prior, card=card.read_text(encoding="utf-8") if card.is_file() else "", about=ABOUT)
    print(f"{info.folder}: prior {info.prior}, {info.bytes} bytes")
    if options.judge is not None:
        judge(list(meshes_of(options.judge)), prior)


def judge(meshes: Sequence[Named], primed: MeshPrior) -> None:
    """Print bits a face, pooled."""
    faces = sum(len(item.shape.faces) for item in meshes if item.shape.faces is not None)
    for bits in range(FEWEST_BITS, MOST_BITS + 1):
        tokens = Mesh(MeshConfig(bits)).encode([item.shape for item in meshes])
        for name, prior in (("unprimed", MeshPrior()), ("primed", primed)):
            links, spots = np.sum([prior.price(item) for item in tokens], axis=0) / faces
            print(f"{bits} bits, {name}: {links:.2f} faces + {spots:.2f} vertices = {links + spots:.2f} bits a face")


if __name__ == "__main__":
    main()
