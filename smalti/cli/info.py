"""`smalti info`: what a file says of itself, without torch and without decoding a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.codecs.bitstream import Archive, Report

SHOWN = 20  # items of an archive; many have thousands


@click.command("info")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.together(
    click.option("--entropy", is_flag=True, help="Decode the tokens, and set the bits of each stage beside their order-0 entropy."),
    options.file_model,
    options.file_prior,
    options.as_json,
)
def command(files: tuple[str, ...], entropy: bool, model: str | None, prior: str, as_json: bool) -> int:
    """Show what FILEs (.smt, or - for standard input) hold: size of the picture, sound or film, size and place of the shape, model,
    stages, what the source lost, where the bytes go.

    Of an archive the number, name and size of its first items too; --json has all of them.

    The tokenizer's network does not run; a model is needed for --entropy alone, as are --model and --prior. Exit code 1: a file is damaged
    in part, or one of several could not be read.
    """
    if (model or prior) and not entropy:
        raise click.UsageError("--model and --prior are for --entropy, which decodes tokens", click.get_current_context())
    found = [options.attempt(len(files) == 1, _about, name, entropy, model, prior) for name in files]
    results = [item for item in found if item is not None]
    if as_json:
        options.print_json(results)
    else:
        for item in results:
            _show(item)
    return options.exit_code(len(results), len(files) - len(results), any(item["status"] != "whole" for item in results))


def _about(name: str, entropy: bool, model: str | None, prior: str) -> dict[str, Any]:
    from smalti.cli.files import name_of, read
    from smalti.codecs.bitstream import inspect
    from smalti.tokenizers.errors import BitstreamError

    report = inspect(read(name))
    if report.status == "refused":
        raise BitstreamError(f"{name_of(name)}: {report.problems[0]}")
    about = describe(name_of(name), report)
    if entropy:
        from smalti import api

        about["streams"][0]["entropy"] = api.with_name(name_of(name), lambda: _entropy(report, model, prior))
    return about


def _entropy(report: Report, model: str | None, prior: str) -> list[dict[str, Any]]:
    """Per stage: tokens, payload bits, and bits at the order-0 entropy of those very tokens, which no table for all files reaches.

    In solo form the stages share one stream, so that their parts of it are what the prior prices them at.
    """
    import numpy as np

    from smalti import api
    from smalti.metrics.tokens import entropy_bits
    from smalti.tokenizers.errors import UsageError

    if report.file is None:
        raise UsageError("--entropy is for files of one signal; this is an archive")
    found = api.opened(report.file, model, prior=prior)
    tokens = found.tokens()
    priced = found.prior.price(tokens) if report.form == "solo" else [8.0 * count for count in report.streams[0].stage_bytes]
    rows = []
    for k, (array, mask) in enumerate(zip(tokens.arrays, tokens.present, strict=True)):
        values = array[..., mask].ravel() if mask is not None else array.ravel()
        ideal = len(values) * entropy_bits(np.unique(values, return_counts=True)[1]) if len(values) else 0.0
        gap = priced[k] / ideal - 1 if ideal else None
        rows.append({"stage": k + 1, "tokens": len(values), "payload_bits": priced[k], "order0_bits": ideal, "gap": gap})
    return rows


def describe(name: str, report: Report) -> dict[str, Any]:
    """The report as a plain dictionary."""
    size = report.size
    entries = {"entries": _entries(report.archive)} if report.archive is not None else {}
    return {
        "file": name,
        "status": report.status,
        "problems": list(report.problems),
        "form": report.form,
        "version": ".".join(map(str, report.version)),
        "bytes": size,
        "items": report.items,
        **entries,
        "overhead_bytes": report.overhead,
        "parts": dict(report.bytes),
        "streams": [_stream(stream, _share(stream, report), report.archive is None) for stream in report.streams],
    }


def _share(stream: Any, report: Report) -> int:
    """Bytes that a stream's rate counts: those of the whole file where it is alone, else those of its tokens."""
    return report.size if len(report.streams) == 1 else sum(stream.stage_bytes)


def _entries(archive: Archive) -> list[dict[str, Any]]:
    """Of each item that is whole: its number, name, kind, size, stages and bytes."""
    from smalti.tokenizers.errors import BitstreamError

    found = []
    for number in archive.numbers:
        try:
            name, file = archive.item(number)
        except BitstreamError:
            continue
        info = file.streams[0]
        entry = {"item": number, "name": name, "modality": info.modality, "size": dict(info.signal)}
        found.append({**entry, **_pose(info), "stages": info.stages, "bytes": file.size})
    return found


def _pose(info: Any) -> dict[str, Any]:
    """Side and centre of a shape's cube, in its own units; nothing of other signals, and of archives whose shapes differ in it."""
    from smalti.tokenizers.errors import UsageError
    from smalti.tokenizers.shape.pose import pose_from

    if info.modality != "shape" or not info.signal:
        return {}
    try:
        pose = pose_from(info.signal)
    except UsageError:  # a file may say what no shape has
        return {}
    return {"side": 2 * pose.radius, "centre": pose.centre.tolist()}


def _stream(stream: Any, size: int, alone: bool) -> dict[str, Any]:
    from smalti.codecs import notes
    from smalti.tokenizers import zoo
    from smalti.tokenizers.audio.delay import delay_of

    info = stream.info
    model = zoo.by_fingerprint(info.fingerprint)
    about: dict[str, Any] = {
        "modality": info.modality,
        "size": dict(info.signal),
        "model": model.name if model else None,
        "fingerprint": info.fingerprint.hex(),
        "prior": _prior(info.prior_id, model),
        "stages": info.stages,
        "whole_stages": stream.stages,
        "stage_bytes": list(stream.stage_bytes),
        "notes": list(notes.from_bits(info.notes)),
        "fields": [{"name": field.name, "bytes": len(field.data), "critical": field.critical} for field in info.fields],
    }
    if info.modality == "image" and alone:  # the names and values of raw tokens are whatever their file says
        about["bits_per_pixel"] = 8 * size / (about["size"]["height"] * about["size"]["width"])
    about |= _pose(info)
    if info.modality == "video" and alone and about["size"]["frames"]:
        about |= _of_film(info, size)
    if info.modality == "audio" and about["size"]["samples"]:
        delay = delay_of(model.kind, model.config) if model else None
        about["delay_seconds"] = delay.seconds if delay else None
        about["streams"] = delay.streams if delay else None
        about["delay"] = delay.text if delay else None
        about["kbps"] = 8 * size * about["size"]["rate"] / about["size"]["samples"] / 1000
    return about


def _of_film(info: Any, size: int) -> dict[str, Any]:
    from smalti.codecs import films
    from smalti.codecs.media.video_files.timing import seconds
    from smalti.tokenizers.errors import BitstreamError

    frames, height, width = (dict(info.signal)[name] for name in ("frames", "height", "width"))
    try:
        timing, aspect = films.timing_of(info), films.aspect_of(info)
    except BitstreamError as error:
        return {"problem": str(error)}
    length = seconds(timing, frames)
    return {
        "frames_per_second": float(timing) if not isinstance(timing, tuple) else None,
        "aspect": str(aspect),
        "seconds": length,
        "bits_per_pixel": 8 * size / (frames * height * width),
        "kbps": 8 * size / length / 1000,
    }


def _film(stream: dict[str, Any]) -> str:
    """A film's size in words."""
    size = stream["size"]
    rate = f" at {stream['frames_per_second']:.6g} a second" if stream.get("frames_per_second") else " at times of their own"
    told = f"{size['frames']} frames of {size['width']} x {size['height']}{rate if 'seconds' in stream else ''}"
    return told + (f", samples {stream['aspect']} as wide as high" if stream.get("aspect", "1") != "1" else "")


def _place(stream: dict[str, Any]) -> str:
    """Of a shape, in its own units."""
    counts = "".join(f", {stream['size'][name]} {name}" for name in ("vertices", "faces") if name in stream["size"])
    x, y, z = stream["centre"]
    return f"{stream['side']:.6g} across, around ({x:.6g}, {y:.6g}, {z:.6g}){counts}"


def _prior(id: bytes, model: Any) -> str:
    from smalti.codecs.bitstream import OWN_PRIOR
    from smalti.priors import brings_masked, prior_named
    from smalti.tokenizers.errors import SmaltiError

    known = {OWN_PRIOR: "the model's own", b"UNIF": "uniform", b"ADAP": "adaptive"}
    try:
        masked = id not in known and model is not None and brings_masked(model) and prior_named("masked", model).id == id
    except SmaltiError:  # said by who decodes
        masked = False
    return f"masked ({id.hex()})" if masked else known.get(id, id.hex())


def _show(item: dict[str, Any]) -> None:
    click.echo(f"{item['file']}: .smt version {item['version']}, {item['form']}, {item['bytes']} bytes, {item['status']}")
    if item["form"] == "archive":
        sets = len(item["streams"])
        click.echo(f"  items        {item['items']}, with {sets} set{'' if sets == 1 else 's'} of parameters")
    for problem in item["problems"]:
        click.echo(f"  problem      {problem}")
    for stream in item["streams"]:
        size = stream["size"]
        rate = f", {stream['bits_per_pixel']:.4f} bits per pixel" if "bits_per_pixel" in stream else ""
        rate += f", {stream['kbps']:.3f} kbps" if "kbps" in stream else ""
        rate += " (of its tokens alone)" if rate and len(item["streams"]) > 1 else ""
        named = ", ".join(f"{name} {value}" for name, value in size.items())
        dimensions = f"{size['width']} x {size['height']}" if stream["modality"] == "image" and size else named or "sizes differ"
        if "side" in stream:
            dimensions = _place(stream)
        if stream["modality"] == "video" and size:
            dimensions = _film(stream)
        if "problem" in stream:
            click.echo(f"  problem      {stream['problem']}")
        click.echo(f"  {stream['modality']:<12} {dimensions}{rate}")
        click.echo(f"  model        {stream['model'] or 'not installed'} ({stream['fingerprint']})")
        if stream.get("delay"):
            click.echo(f"  delay        {stream['delay']}")
        click.echo(f"  prior        {stream['prior']}")
        click.echo(
            f"  stages       {stream['stages']}"
            + ("" if stream["whole_stages"] == stream["stages"] else f", {stream['whole_stages']} whole")
        )
        if len(stream["stage_bytes"]) > 1:
            click.echo(f"  by stage     {', '.join(map(str, stream['stage_bytes']))} bytes")
        for row in stream.get("entropy", ()):
            gap = f": {abs(100 * row['gap']):.1f} % {'above' if row['gap'] > 0 else 'below'}" if row["gap"] is not None else ""
            bits = f"{row['payload_bits']:.0f} bits of payload, {row['order0_bits']:.0f} at order-0 entropy{gap}"
            click.echo(f"  stage {row['stage']:<6} {row['tokens']} tokens, {bits}")
        if stream["notes"]:
            click.echo(f"  source       {'; '.join(stream['notes'])}")
        for field in stream["fields"]:
            click.echo(f"  side field   {field['name']}, {field['bytes']} bytes{', critical' if field['critical'] else ''}")
    for entry in item.get("entries", ())[:SHOWN]:
        named = ", ".join(f"{name} {value}" for name, value in entry["size"].items())
        size = f"{entry['size']['width']} x {entry['size']['height']}" if entry["modality"] == "image" else named
        size = f"{entry['side']:.6g} across" if "side" in entry else size
        told = ", ".join(filter(None, (entry["name"], entry["modality"], size)))
        click.echo(f"  item {entry['item']:<7} {told}, {options.stages_of(entry['stages'])}, {entry['bytes']} bytes")
    if (more := len(item.get("entries", ())) - SHOWN) > 0:
        click.echo(f"  and {more} more items; --json lists all")
    for part, count in item["parts"].items():
        click.echo(f"  {count:>8} bytes  {part}")
