"""The command line: a thin skin over the Python API, one module per command.

Nothing heavy is imported before a command runs: `smalti --help` must feel instant. Exit codes: 0 done; 1 done, but something was lost
(said on stderr); 2 refused, one clear line.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

COMMANDS = {
    "demo": "Try it: a photo to tokens to a file and back, into ./smalti-demo/.",
    "models": "List the models that can be used by name, or show one's card.",
    "tokenize": "Turn pictures, sounds, films and shapes into token files.",
    "detokenize": "Turn token files back into pictures, sounds, films and shapes.",
    "cut": "Make a token file shorter, without decoding it.",
    "transcode": "Code a token file's tokens under another prior.",
    "info": "Show what token files hold and where their bytes go.",
    "verify": "Check whether token files are whole.",
    "recipes": "List the training recipes.",
    "train": "Train, resume or fine-tune a model by its recipe.",
    "evaluate": "Measure a model on pictures, sounds, shapes: rates, metrics, tokens.",
    "compare": "Set codecs beside each other on your data, in one report.",
    "prepare": "Turn media into token shards for programs that train on tokens.",
    "fit-prior": "Fit tables of how often a model's tokens occur, from data.",
    "fetch-judges": "Bring the networks that metrics and losses need.",
    "export": "Write a model's decoder or encoder as an ONNX file.",
}


class LazyGroup(click.Group):
    """Knows every command's name and line, and imports its module when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"smalti.cli.{cmd_name.replace('-', '_')}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            raise click.UsageError(f"no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import smalti

        click.echo(f"smalti {smalti.__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version and exit.")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Pictures, sounds, films and shapes into discrete tokens, tokens into small .smt files, and back; and what was lost on the way.

    Start with `smalti demo`. `smalti COMMAND --help` explains a command.

    Exit codes: 0 done; 1 done, but something was lost or could not be read (stderr says what); 2 refused, for the reason on stderr.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the program and exit with its code; our own errors are one line on stderr and code 2."""
    from smalti.tokenizers.errors import SmaltiError

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names need not be UTF-8, and are to be named all the same
            stream.reconfigure(errors="backslashreplace")
    try:
        code = program.main(args=arguments, prog_name="smalti", standalone_mode=False)
    except SmaltiError as error:
        _fail(str(error))
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message() + where)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("smalti: interrupted", err=True)
        sys.exit(130)
    except OSError as error:  # of the surroundings, not of a file that we opened: those are ours by now; a broken pipe is click's
        _fail(str(error))
    except MemoryError:
        name = next((word for word in (sys.argv[1:] if arguments is None else arguments) if word in COMMANDS), "")
        _fail(f"not enough memory for smalti {name}".rstrip() + "; give it smaller inputs, or fewer at a time")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    click.echo(f"smalti: {' '.join(message.split())}", err=True)
    sys.exit(2)
