"""Write a model folder again: parts of its weights in eight bits, another prior beside it.

    python -m smalti.recipes.repack MODEL -o FOLDER [--narrow decoder --narrow head] [--prior FILE] [--json]

Encoders are best left as they are, so that tokens stay what they were; a decoder that is named draws nearly the same. Without --prior the
model keeps its own. The fingerprint is another: files that MODEL wrote are for MODEL.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from smalti.codecs.priors import stored
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.zoo import ModelInfo


def repack(info: ModelInfo, folder: Path, narrow: Sequence[str] = (), prior: Path | None = None) -> ModelInfo:
    """Write the folder and return what it says of itself; UsageError, ModelError."""
    if folder.resolve() == info.folder.resolve():
        raise UsageError(f"{folder}: the model itself, expected another folder")
    tokenizer = zoo.load_model(info)
    parts = sorted({name.partition(".")[0] for name in tokenizer.parameter_names()})
    if wrong := [part for part in narrow if part not in parts]:
        raise UsageError(f"{info.name} has no part {wrong[0]!r}; its parts are {', '.join(parts)}")
    own = info.folder / stored.DEFAULT if info.prior else None
    beside = stored.load(prior) if prior is not None else stored.load_default(own, info.prior) if own is not None else ""
    about = {"summary": info.summary, "licence": info.licence}
    return zoo.save(tokenizer, folder, beside, card=info.card, about=about, narrow=narrow)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.repack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--narrow", action="append", default=[], help="a part whose matrices are kept in eight bits; may be given again")
    parser.add_argument("--prior", type=Path, help="the prior to lie beside it, in place of the model's own")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    given = parser.parse_args(arguments)
    try:
        info = repack(zoo.find(given.model), given.out, given.narrow, given.prior)
    except SmaltiError as error:
        print(f"repack: {error}", file=sys.stderr)
        return 2
    if given.json:
        told = {"folder": str(info.folder), "bytes": info.bytes, "prior": info.prior, "fingerprint": zoo.fingerprint_of(info)}
        print(json.dumps(told))
    elif not given.quiet:
        print(f"{info.folder}: {info.bytes} bytes, prior {info.prior or 'none'}, fingerprint {zoo.fingerprint_of(info)[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
