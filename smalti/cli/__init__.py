"""The command line: a thin skin over the Python API, one module per command.

Nothing heavy is imported before a command runs: `smalti --help` must feel instant. Exit codes: 0 done; 1 done, but something was lost
(said on stderr); 2 refused, one clear line.
"""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS = {
    "demo": "The whole path on a real photo, into the current folder.",
    "models": "Shipped and installed models: sizes, rates, licences, cards.",
    "tokenize": "Pictures to token files.",
    "detokenize": "Token files to pictures.",
    "cut": "A shorter file, without running a network.",
    "info": "What a file holds and where its bits go.",
    "verify": "Is a file whole?",
    "recipes": "List the training recipes.",
    "train": "Train, resume or fine-tune a model by its recipe.",
    "evaluate": "Rates, metrics and codebook use of a model on a folder.",
}


class LazyGroup(click.Group):
    """Knows every command's name and line, and imports its module when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"smalti.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            raise click.UsageError(f"no command {args[0]!r}; " + (f"did you mean {near[0]!r}?" if near else "see smalti --help"), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="smalti", message="%(package)s %(version)s")
def program() -> None:
    """Signals into tokens, tokens into bytes, and the truth about both.

    Start with: smalti demo
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code; our own errors are one line on stderr and code 2."""
    from smalti.tokenizers.errors import SmaltiError

    try:
        code = program.main(args=arguments, standalone_mode=False)
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
    except BrokenPipeError:
        sys.stderr.close()  # nobody listens any more; leave without a second complaint at shutdown
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    click.echo(f"smalti: {' '.join(message.split())}", err=True)
    sys.exit(2)
