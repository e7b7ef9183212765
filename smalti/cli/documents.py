"""A prepared folder as the source of `smalti detokenize` and `smalti verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.prepare.codes import Codes, Document


def is_prepared(name: str) -> bool:
    """Whether a source is a folder of `smalti prepare`."""
    return (Path(name) / "plan.json").is_file()


def is_pack(name: str) -> bool:
    """Whether a source is a pack, OUT/packs/NAME."""
    return (Path(name) / "pack.json").is_file()


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

    codes = open_codes(Path(folder).absolute().parents[1] if is_pack(folder) else folder)
    document = packed(folder, codes, key, index) if is_pack(folder) else prepared(folder, codes, key, index)
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
            [{"source": folder, "item": document.number, "name": document.key, "target": out, **size, "stages": held, "model": about}]
        )
    elif not quiet:
        options.say_done(out, f"{told(size)} from {options.stages_of(held)} of {document.key}")
    return 0


def prepared(folder: str, codes: Codes, key: str | None, index: int | None) -> Document:
    """The document of a prepared folder, by key or by number."""
    from smalti.tokenizers.errors import UsageError

    if (key is None) == (index is None):
        raise UsageError(f"{folder}: a prepared folder of {len(codes)} documents; name one with --key K or --index I")
    number = codes.find(key) if key is not None else index
    assert number is not None
    return codes.document(number)


def packed(folder: str, codes: Codes, key: str | None, index: int | None) -> Document:
    """The same of a pack, made of its ids alone; numbers are those of the stream. codes: of its folder, which knows keys and models."""
    from smalti.prepare.codes import Document
    from smalti.prepare.reader import open_pack
    from smalti.tokenizers.errors import BitstreamError, UsageError

    reader = open_pack(folder)
    if (key is None) == (index is None):
        raise UsageError(f"{folder}: a pack of {len(reader)} documents; name one with --key K or --index I")
    if reader.pack.dataset != codes.digest:
        raise BitstreamError(f"{folder}: made of other codes than {codes.places.folder} holds; smalti prepare --repack")
    number = reader.of_item(codes.document(codes.find(key)).item) if key is not None else index
    if number is None:
        raise UsageError(f"{folder}: has no document {key!r}, which is of another subset than {reader.pack.subset}")
    layout, item = reader.layout(number), int(reader.records["item"][number])
    if not 0 <= item < codes.items:
        raise BitstreamError(f"{folder}: document {number} names item {item}; write the pack again")
    return Document(number, item, codes.inputs[item].key, layout.model, reader.tokens(number))


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
