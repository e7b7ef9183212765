"""Options that several commands share, and what they do before work begins."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_MODEL = "image-grid-16"

device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where networks run.")
threads = click.option("--threads", type=click.IntRange(1), help="CPU threads of the network; torch's own choice by default.")
batch = click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Pictures in memory at a time.")
force = click.option("--force", is_flag=True, help="Write over files that exist.")
as_json = click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no result lines; errors only.")
model = click.option("-m", "--model", metavar="MODEL", help=f"Model name, name@number or folder.  [default: {DEFAULT_MODEL}]")
stages = click.option("--stages", type=click.IntRange(1), metavar="K", help="Keep the first K stages.")
limit_bytes = click.option("--bytes", "limit_bytes", type=click.IntRange(1), metavar="N", help="Files of at most N bytes.")


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


def print_json(value: Any) -> None:
    """JSON on standard output."""
    click.echo(json.dumps(value, indent=1))


def say(message: str) -> None:
    """A line for people, on stderr: standard output may be a file."""
    click.echo(message, err=True)


def progress(length: int, label: str, quiet: bool) -> Any:
    """A progress bar on stderr with time left; silent when stderr is no terminal or there is one item."""
    hidden = quiet or length < 2 or not sys.stderr.isatty()
    return click.progressbar(length=length, label=label, file=sys.stderr, show_eta=True, show_pos=True, hidden=hidden)
