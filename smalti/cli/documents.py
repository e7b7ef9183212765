"""A prepared folder as the source of `smalti detokenize` and `smalti verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smalti.cli import options


def is_prepared(name: str) -> bool:
    """Whether a source is a folder of `smalti prepare`."""
    return (Path(name) / "plan.json").is_file()


def detokenize(
    folder: str, key: str | None, index: int | None, out: str | None, model: str | None, stages: int | None, device: str, frames: bool,
    force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Write one document as a file. `out`: of `detokenize`; by default the key's own name in the current folder."""
    from smalti.cli.detokenize import _check_suffix
    from smalti.cli.files import Job, check
    from smalti.cli.outputs import write_signal
    from smalti.cli.signals import ENDINGS, told
    from smalti.prepare.codes import open_codes
    from smalti.prepare.decoding import Decoder
    from smalti.prepare.run import device_of
    from smalti.tokenizers.errors import UsageError

    codes = open_codes(folder)
    if (key is None) == (index is None):
        raise UsageError(f"{folder}: a prepared folder of {len(codes)} documents; name one with --key K or --index I")
    number = codes.find(key) if key is not None else index
    assert number is not None
    document = codes.document(number)
    modality = codes.models[document.model]["modality"]
    name = Path(document.key.rpartition("/")[2]).stem or "document"
    ending = "" if frames and modality == "video" else ENDINGS[modality]
    if out is None or out.endswith(("/", "\\")) or Path(out).is_dir():
        out = str(Path(out or "") / f"{name}{ending}")
    check([Job(f"{folder}: {document.key}", out)], force, as_json)
    _check_suffix(out, modality, frames)
    decoder = Decoder(codes, device_of(device), model)
    signal = decoder.decode(document, stages)
    size = write_signal(out, signal, document.tokens, frames)
    for line in (*decoder.said, *document.notes) if not quiet else ():
        options.say(f"{folder}: {document.key}: {line}")
    held = stages or len(document.tokens.arrays)
    about = codes.models[document.model]["name"]
    if as_json:
        options.print_json(
            [{"source": folder, "item": number, "name": document.key, "target": out, **size, "stages": held, "model": about}]
        )
    elif not quiet:
        options.say_done(out, f"{told(size)} from {options.stages_of(held)} of {document.key}")
    return 0


def verdict(folder: str, deep: bool, model: str | None) -> dict[str, Any]:
    """What `smalti verify` says of a prepared folder."""
    from smalti.prepare.verifying import verify

    found = verify(folder, deep, model=model)
    problems = list(found.problems)
    checked = {"deep": deep, **found.to_json()} if deep else {"deep": deep}
    return {"file": folder, "form": "prepared", "status": "refused" if problems else "whole", "problems": problems, **checked}


def verdict_line(item: dict[str, Any]) -> str:
    """The same for people."""
    line = f"{item['file']}: {item['status']}" + "".join(f"; {problem}" for problem in item["problems"])
    if item["deep"] and item["flip_rate"] is not None:
        line += f"; {item['decoded']} documents decoded, {item['encoded']} encoded again: {item['flip_rate']:.4%} of their tokens differ"
    return line + "".join(f"; {note}" for note in item.get("notes", ()))
