"""The command line: commands that parse, call, print and return a code; and what a terminal shows."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from contextlib import suppress

import click

from incident_lib.cli.answer import json_is_asked_for, print_error
from incident_lib.cli.apply import apply, rollback
from incident_lib.cli.claims import claims
from incident_lib.cli.demo import demo
from incident_lib.cli.env import env
from incident_lib.cli.failures import failures
from incident_lib.cli.investigate import explain, investigate
from incident_lib.cli.plan import plan, sql
from incident_lib.cli.programs import lab, open_, psql
from incident_lib.cli.rehearse import rehearse
from incident_lib.cli.report import report
from incident_lib.cli.run import run
from incident_lib.cli.runs import runs
from incident_lib.cli.scan import scan
from incident_lib.cli.streams import discard_output, prepare
from incident_lib.cli.verify import verify
from incident_lib.cli.watch import watch


class Sections(click.Group):
    """The commands of the program, listed by what they are for."""

    def invoke(self, ctx: click.Context) -> int:
        """Run one of them; output that is not read is no error."""
        import logging

        logging.getLogger("psycopg").setLevel(logging.ERROR)  # its warnings name role and database
        try:
            return int(super().invoke(ctx) or 0)
        except BrokenPipeError:
            discard_output()
            return 0

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the commands under the titles of their sections."""
        width = max(len(name) for name in self.commands)
        limit = formatter.width - width - 6
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name).ljust(width), each.get_short_help_str(limit)) for each in commands])


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="incident-lib", prog_name="incident")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="Read variables from a .env file, beside those that are set. None is read unless named.",
)
def cli(env_file: str | None) -> None:
    """Find the prompt families that a unique index blocks, and replace that index safely.

    Exit codes: 0 done; 1 the answer is no, not known or not found, or refused; 2 bad usage; 3 could not be done, or a
    log was not read; 130 interrupted.
    """
    if env_file:
        from dotenv import load_dotenv

        load_dotenv(env_file, override=False)


INTERRUPTED = 130  # the exit code after Ctrl-C
COLLECT_AFTER = 100_000  # new objects: the imports of a command make fewer, and leave no garbage

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Look": (investigate, explain, failures, scan, watch),
    "Change": (plan, rehearse, apply, verify, rollback, sql),
    "Report": (run, report, runs, claims),
    "Environments": (env, demo),
    "Other programs": (open_, lab, psql),
}
for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Run the command line; each code but 0 comes with one message on standard error."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # no collection at the end: it takes longer than the imports of a room
    prepare()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # the same end as Ctrl-C; nohup ignores SIGHUP
        if signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, signal.default_int_handler)
    try:
        code = int(cli.main(prog_name="incident", standalone_mode=False) or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what has no message is raised again
        code = _report(error)
    sys.exit(code)


def _reason(error: OSError) -> str:
    """What the system says; without a file's name it was a stream, most often standard output."""
    return f"{error.filename or 'Reading or writing'}: {error.strerror or error}."


def _report(error: BaseException) -> int:
    """Print why a command ended, where standard error can be written; its exit code."""
    from incident_lib.model import Failed, IncidentError, UsageError  # not where no command ran: `incident --help`

    if isinstance(error, OSError):
        error = Failed("The command has ended early.", _reason(error), "Make room or access there; then again.")
    if not isinstance(error, IncidentError | click.ClickException | KeyboardInterrupt | click.Abort):
        raise error
    with suppress(OSError):
        if isinstance(error, IncidentError):
            print_error(error)
        elif isinstance(error, click.ClickException) and json_is_asked_for(sys.argv):
            print_error(UsageError("The command line is not right.", error.format_message(), _help(error)))
        elif isinstance(error, click.ClickException):
            error.show()
        else:
            again = "a migration continues from the catalog, every other command starts again"
            click.echo(f"incident: interrupted. Run the same command again: {again}.", err=True)
    return int(getattr(error, "exit_code", INTERRUPTED))


def _help(error: click.ClickException) -> str:
    """Which help says how the command line would be right."""
    context = getattr(error, "ctx", None)
    return f"See {context.command_path if context else 'incident'} --help."
