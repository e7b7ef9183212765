"""`smalti export`: a model's network as a file that other runtimes run."""

from __future__ import annotations

import json

import click

from smalti.cli import options


@click.command("export")
@click.argument("model")
@options.together(
    click.option("-o", "--out", required=True, metavar="FILE.onnx", help="Result file, or -."),
    click.option("--part", type=click.Choice(["decoder", "encoder"]), default="decoder", show_default=True, help="Which network."),
    click.option("--stages", type=click.IntRange(1), metavar="K", help="Only the first K stages.  [default: all]"),
    options.force,
    options.as_json,
    options.quiet,
)
def command(model: str, out: str, part: str, stages: int | None, force: bool, as_json: bool, quiet: bool) -> int:
    """Write MODEL's decoder or encoder as an ONNX file, to be run without torch.

    The decoder takes int64 indices (batch, rows, columns), one input per stage, and gives float32 pixels (batch, 3, height, width) in
    [-1, 1]; the encoder goes back, from sides that are multiples of the stride. Batch and sides are free. A graph computes its whole
    input at once, so memory grows with the picture: cut large ones into tiles, overlapping by the margin that the file's metadata name.
    """
    from smalti.cli.files import Job, check, write
    from smalti.tokenizers import zoo
    from smalti.tokenizers.image.export import export

    check([Job(model, out)], force, as_json)
    graph = export(zoo.load(model), part, stages)
    data = graph.SerializeToString()
    write(out, data)
    about = {item.key: item.value for item in graph.metadata_props}
    if as_json:
        plain = {key: about[key] for key in ("model", "fingerprint", "part")}
        options.print_json({"target": out, "bytes": len(data), **plain, **{k: json.loads(v) for k, v in about.items() if k not in plain}})
    elif not quiet:
        inputs, outputs = (", ".join(value.name for value in values) for values in (graph.graph.input, graph.graph.output))
        options.say_done(out, f"{about['part']} of {about['model']}, {len(data) / 1e6:.1f} MB: {inputs} -> {outputs}")
    return 0
