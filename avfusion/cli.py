"""The command `avfusion`: the commands of avfusion/commands in the order of its help, and the handling of errors."""

import signal
from contextlib import suppress
from typing import Annotated

import typer

from avfusion.commands.champion import champion
from avfusion.commands.check_model import check_model
from avfusion.commands.compare import compare
from avfusion.commands.crossval import crossval
from avfusion.commands.doctor import doctor
from avfusion.commands.export import export
from avfusion.commands.help_pages import Command, CommandGroup
from avfusion.commands.import_weights import import_weights
from avfusion.commands.live import live
from avfusion.commands.predict import predict
from avfusion.commands.preset import preset
from avfusion.commands.register import register
from avfusion.commands.scan import scan
from avfusion.commands.serve import serve
from avfusion.commands.submit import submit
from avfusion.commands.summary import summary
from avfusion.commands.sweep import sweep
from avfusion.commands.version import print_versions
from avfusion.commands.vouch import vouch
from avfusion.runtime.errors import AVFusionError, BadInputError, describe_os_error
from avfusion.runtime.printable import escape_unprintable, flush_output, say
from avfusion.runtime.project import use_modules_of, workspace_root

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(predict, live, serve, export, submit, doctor, import_weights, scan, preset),
    *(register, champion, check_model, compare, crossval, sweep, summary, vouch),
):
    app.command(command.__name__.replace("_", "-"), cls=Command)(command)


@app.callback()
def avfusion(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=print_versions,
            is_eager=True,
            help="Print the versions of avfusion, Python and torch, and exit.",
        ),
    ] = False,
) -> None:
    """Valence and arousal for every frame of a video, by joint cross-attention of face and voice."""


def main() -> None:
    """Run the command; print errors that a user can act on in one line, without a traceback."""
    escape_unprintable()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not below nohup
            signal.signal(number, _end)  # temporary files are removed on the way out
    try:
        with suppress(BadInputError):  # outside a project only what is installed can be named
            use_modules_of(workspace_root())
        try:
            app()
        except SystemExit:
            flush_output()
            raise
    except AVFusionError as error:
        _say_error(str(error))
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # disk full, no permission
        _say_error(describe_os_error(error))
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        from avfusion.runtime.extras import missing_extra

        missing = missing_extra(error)
        if missing is None:
            raise
        _say_error(str(missing))
        raise SystemExit(missing.exit_code) from None


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _say_error(text: str) -> None:
    for line in f"error: {text}".split("\n"):
        say(line)


if __name__ == "__main__":
    main()
