"""The command line: each command reads its arguments, calls one function, and prints the result.

Commands are plain functions in the files beside this one, added here in the order of the help;
`options.py` holds what several of them take. What can be refused before work begins (numbers out of range,
a device that is not there, a file where a folder is meant) is refused there. What a command needs for its
work it imports when it runs, so that help is quick. `main` turns every error into one line and an exit code.
"""

import os
import sys
import warnings
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

import chartscan
from chartscan.cli.data import ingest, label, simulate
from chartscan.cli.models import forecast, forecast_report, predict, recipes, train, zero_shot
from chartscan.cli.options import Command, Group, WithRecipes, WithTasks
from chartscan.cli.output import keep_content_out_of_hooks, steady, traceback_without_content, unexpected
from chartscan.cli.reports import demo, evaluate, explain
from chartscan.console import shown, shown_lines
from chartscan.errors import ChartscanError, ConfigError
from chartscan.find import outside_line
from chartscan.settings import UnknownSetting

HELP = """From a hospital's FHIR export to a sequence model it can run itself, and a report it can believe.

Try it:

  chartscan demo OUT

Your own data, in this order:

  chartscan ingest fhir EXPORT DATASET
  chartscan label all DATASET LABELS
  chartscan train ehrmamba-small --data DATASET --labels LABELS --out RUN
  chartscan predict RUN DATASET LABELS P
  chartscan evaluate P --data DATASET --model RUN --out REPORT

A baseline beside it: train xgboost, predict with that, evaluate --against.
Other models and their settings: chartscan recipes.

Exit codes:
    0  done
    1  unexpected error, or a file that cannot be read or written
    2  wrong usage or setting, or an optional package is missing
    3  done, but some input lines are in quarantine (ingest) or some tasks were refused (label)
    4  too many lines for quarantine; nothing was published (ingest)
    5  the data cannot be used; nothing was published
  130  interrupted with Ctrl-C
  143  training was interrupted and saved; go on with --resume

CHARTSCAN_DEBUG=1 in the environment shows where an unexpected error came from, without content of records.
"""
DEBUG = "CHARTSCAN_DEBUG"
LAB = ("bench", "study")  # commands of another package
USAGE_ERROR: Any = typer.BadParameter.__base__  # typer brings a click of its own


class Commands(Group):
    """All commands. Errors show arguments as text that cannot steer the terminal."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        """As click does."""
        try:
            return super().make_context(*given, **named)
        except USAGE_ERROR as err:
            err.message = shown(err.message)
            raise

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """As click does; ConfigError with how to get a command that another package brings."""
        if args and args[0] in LAB and args[0] not in self.commands and not ctx.resilient_parsing:
            raise ConfigError(
                f"chartscan {args[0]} comes with the package chartscan-lab, which is not installed. Install "
                "it with: pip install chartscan-lab (in a clone: pip install ./lab)"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As click does."""
        try:
            return super().invoke(ctx)
        except USAGE_ERROR as err:
            err.message = shown(err.message)
            raise


app = typer.Typer(
    cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help=HELP
)

app.command(cls=Command)(demo)
app.command(cls=Command)(simulate)
app.command(cls=Command)(ingest)
app.command(cls=WithTasks)(label)
app.command(cls=WithRecipes)(train)
app.command(cls=Command)(recipes)
app.command(cls=Command)(predict)
app.command(cls=Command)(forecast)
app.command("forecast-report", cls=Command)(forecast_report)
app.command("zero-shot", cls=Command)(zero_shot)
app.command(cls=Command)(evaluate)
app.command(cls=Command)(explain)
for _point in entry_points(group="chartscan.commands"):  # of other packages, such as chartscan-lab
    _point.load()(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"chartscan {chartscan.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of chartscan itself."""


def main() -> None:
    """Run the command line; an error becomes one line and an exit code."""
    # Threads that wait without spinning: on a busy machine two spinning ones were thrice as slow as one.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.stdout, sys.stderr = steady(sys.stdout), steady(sys.stderr)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {shown_lines(message)}\n"
    keep_content_out_of_hooks()
    try:
        app(prog_name="chartscan")
    except UnknownSetting as err:
        _end(f"{err}{_option_for(err.name)}", err.exit_code)
    except ChartscanError as err:
        _end(str(err), err.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except SystemExit as err:
        if err.code == 130:  # how typer passes on Ctrl-C
            print("error: interrupted", file=sys.stderr)
        raise
    except OSError as err:
        if os.environ.get(DEBUG):
            _say(traceback_without_content(err))
        place = err.filename or f"a file or device used by {_command()}"
        _end(f"{place}: {err.strerror or unexpected(err)}", 1)
    except Exception as err:
        if os.environ.get(DEBUG):
            _say(traceback_without_content(err))
        if place := outside_line(err):
            _end(f"{place}: {unexpected(err)} Mend the file. {DEBUG}=1 shows how it was reached.", 1)
        _end(f"{unexpected(err, sys.argv[1:])} {DEBUG}=1 shows where it came from.", 1)


def _say(text: str) -> None:
    print("\n".join(map(shown, text.split("\n"))), file=sys.stderr)


def _option_for(setting: str) -> str:
    """A sentence where the command that runs has an option of the setting's name."""
    commands: Any = typer.main.get_command(app)
    command, option = commands.commands.get(sys.argv[1]), f"--{setting.replace('_', '-')}"
    known = [one for parameter in (command.params if command else []) for one in parameter.opts]
    return f" There is an option for it: {option}" if option in known else ""


def _end(message: str, code: int) -> None:
    print(f"error: {shown_lines(message)}", file=sys.stderr)
    sys.exit(code)


def _command() -> str:
    """The command that runs, as far as the arguments tell."""
    return (
        f"chartscan {sys.argv[1]}" if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "chartscan"
    )
