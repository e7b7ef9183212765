"""Options that several commands share, and what they do before work begins and after it is done."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
DEFAULT_MODEL = "image-grid-16"


class Whole(click.IntRange):
    """A whole number from `min` on, called so where a word stands in its place."""

    name = "whole number"


class Rate(click.FloatRange):
    """A number above 0."""

    name = "number"


device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where networks run.")
threads = click.option("--threads", type=Whole(1), metavar="N", help="CPU threads of the network.  [default: torch's own choice]")
batch = click.option(
    "--batch", type=Whole(1), metavar="N", default=16, show_default=True, help="Pictures, sounds or shapes in memory at a time."
)
force = click.option("--force", is_flag=True, help="Write over files that exist.")
as_json = click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no result lines; only errors and visible losses.")
model = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model name, name@number, folder, or a public one: hf:FOLDER_OR_NAME, hub:NAME, file:PATH.  [default: image-grid-16; of films "
    "video-causal-16, of shapes shape]",
)
file_model = click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model name, folder, or a public one (hf:..., hub:..., file:...).  [default: found by what the file says]",
)
prior = click.option(
    "--prior",
    default="",
    metavar="PRIOR",
    help="Probabilities to code with: 'uniform', 'adaptive', 'static' (tables of smalti fit-prior), 'masked' (smallest; some models; "
    "seconds a picture) or a prior's file.  [default: the model's own]",
)
file_prior = click.option(
    "--prior", default="", metavar="PRIOR",
    help="What the file was coded with, as given to tokenize; for a file of a prior of one's own.  [default: as the file says]",
)  # fmt: skip


def _trust(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from smalti.tokenizers.peers.trust import trusted

        ctx.with_resource(trusted())


trust_code = click.option(
    "--trust-code", is_flag=True, expose_value=False, is_eager=True, callback=_trust,
    help="Let a public model that is a program (Cosmos' .jit files) run; it runs with your rights.",
)  # fmt: skip
stages = click.option("--stages", type=Whole(1), metavar="K", help="Keep the first K stages.")
tone_passes = click.option(
    "--tone-passes", type=Whole(0, 16), metavar="N", show_default="2; of public models 0",
    help="Encode again N times so that brightness and hues come back; each takes as long as encoding and decoding.",
)  # fmt: skip
allocate = click.option(
    "--allocate/--no-allocate", default=True, show_default=True,
    help="With --bytes or --bpp and a model of regions: spend where it lowers distortion most; decodes a few times.",
)  # fmt: skip
limit_bytes = click.option("--bytes", "limit_bytes", type=Whole(1), metavar="N", help="Files of at most N bytes.")


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def set_threads(count: int | None) -> None:
    """Limit torch's threads, before it starts any."""
    if count is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)
        import torch

        torch.set_num_threads(count)


def attempt(alone: bool, function: Callable[..., T], *arguments: Any) -> T | None:
    """What the function returns; of several items one that fails is named on stderr, gives None, and the rest go on."""
    from smalti.tokenizers.errors import SmaltiError

    try:
        return function(*arguments)
    except SmaltiError as error:
        if alone:
            raise
        complain(str(error))
        return None


def exit_code(done: int, failed: int, lost: bool = False) -> int:
    """0 all done, 1 some failed or something was lost, 2 nothing was done."""
    return 2 if failed and not done else int(bool(failed) or lost)


def print_json(value: Any) -> None:
    """JSON on standard output; what is infinite (PSNR of equal pictures) or no number becomes null, which every reader takes."""
    click.echo(json.dumps(_finite(value), indent=1, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(message: str) -> None:
    """A line for people, on stderr: standard output may be a file."""
    click.echo(message, err=True)


def say_done(target: str, what: str) -> None:
    """The line on a result, beside it: on stderr where the result itself went to standard output."""
    click.echo(f"{'standard output' if target == '-' else target}: {what}", err=target == "-")


def stages_of(count: int) -> str:
    """ "1 stage", "2 stages"."""
    return f"{count} stage{'' if count == 1 else 's'}"


def complain(message: str) -> None:
    """What went wrong with one of several items, as one line on stderr."""
    say(f"smalti: {' '.join(message.split())}")


def progress(length: int, label: str, quiet: bool) -> Any:
    """A progress bar on stderr with time left; silent when stderr is no terminal or there is one item."""
    hidden = quiet or length < 2 or not sys.stderr.isatty()
    return click.progressbar(length=length, label=label, file=sys.stderr, show_eta=True, show_pos=True, hidden=hidden)
