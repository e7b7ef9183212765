"""`smalti demo`: the whole path on a real photo, and what it cost."""

from __future__ import annotations

import time
from pathlib import Path

import click

from smalti.cli import options

FOLDER = "smalti-demo"


@click.command("demo")
@options.together(options.model, options.device, options.threads, options.as_json)
def command(model: str | None, device: str, threads: int | None, as_json: bool) -> int:
    """Take a photo to tokens, to a file and back to a picture, at each of the model's rates, into ./smalti-demo/; say what it cost.

    The photo is one of scikit-learn's. Earlier results of the demo are written over.
    """
    from smalti import api
    from smalti.cli.files import write
    from smalti.codecs.media.images import encode_image
    from smalti.metrics.image import PSNR
    from smalti.recipes.bench.photo import PHOTO, sample_photo
    from smalti.recipes.training.sheet import side_by_side
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.signals import Image

    options.set_threads(threads)
    started = time.perf_counter()
    source = sample_photo()
    picture = api.read(source)
    assert isinstance(picture, Image)
    codec = api.codec(model or api.DEFAULT_MODEL, device)
    loaded = time.perf_counter()
    rates = []
    pictures = [picture]
    layout = codec.tokenizer.layout((("height", picture.height), ("width", picture.width)))
    for cut in layout.cuts:
        data = codec.compress(picture, Target(stages=cut))
        file = f"{FOLDER}/china-{cut}.smt" if cut < layout.cuts[-1] else f"{FOLDER}/china.smt"
        write(file, data)
        decoded = api.decompress(file, model if model and Path(model).is_dir() else None, device=device)
        assert isinstance(decoded, Image)
        pictures.append(decoded)
        bits_per_pixel = 8 * len(data) / (picture.height * picture.width)
        psnr = PSNR()(picture, decoded).value
        rates.append({"file": file, "bytes": len(data), "bits_per_pixel": bits_per_pixel, "tokens": layout.prefix(cut).count, "psnr": psnr})
    write(f"{FOLDER}/photo.jpg", source.read_bytes())
    write(f"{FOLDER}/china.png", encode_image(pictures[-1], ".png"))
    side = f"{FOLDER}/side-by-side.png"
    write(side, encode_image(side_by_side([pictures]), ".png"))
    seconds, coded = time.perf_counter() - started, time.perf_counter() - loaded
    if as_json:
        about = {
            "source": str(source),
            "model": codec.name,
            "rates": rates,
            "side_by_side": side,
            "picture": f"{FOLDER}/china.png",
            "seconds": seconds,
        }
        options.print_json(about)
        return 0
    click.echo(f"{PHOTO}, {picture.width} x {picture.height}, {source.stat().st_size} bytes as JPEG, by {codec.name}")
    for rate in rates:
        cost = f"{rate['bytes']:>6} bytes  {rate['bits_per_pixel']:.4f} bits per pixel  {rate['tokens']:>5} tokens"
        click.echo(f"  {rate['file']:<26} {cost}  PSNR {rate['psnr']:.2f} dB")
    click.echo(f"  {seconds:.1f} s in all, of which {coded:.1f} s encoding, writing, reading and decoding")
    click.echo(f"  original and reconstructions side by side: {side}")
    return 0
