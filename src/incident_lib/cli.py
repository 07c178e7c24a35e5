"""The command line: it parses, calls, prints, and returns a code."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from incident_lib.errors import IncidentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from incident_lib.model import Catalog, Check
    from incident_lib.watch import Progress

ENVIRONMENT = click.option(
    "--env", "name", required=True, metavar="NAME", help="The environment; `demo` needs nothing."
)
CONFIRM = click.option("--confirm", metavar="NAME", default="", help="The environment's name once more.")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a statement may take; 0: no limit.",
)
SINCE = click.option("--purpose-since", default="", metavar="TIME", help="When the column purpose came, ISO 8601.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="incident-lib", prog_name="incident")
def cli() -> None:
    """Which prompt families does a stale unique index block, and the safe swap of that index.

    Exit codes: 0 done; 1 the answer is no, or refused; 2 bad usage; 3 could not; 130 interrupted.
    """


@cli.command()
@click.option("--env", "names", multiple=True, metavar="NAME", help="An environment; may repeat. [default: demo]")
@click.option(
    "--confirm",
    multiple=True,
    metavar="NAME",
    help="An environment that may be changed; may repeat. Others are a dry run. [demo confirms itself]",
)
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False), help="The folder of runs. [default: data/runs]")
@SINCE
def run(names: tuple[str, ...], confirm: tuple[str, ...], out: str | None, purpose_since: str) -> int:
    """The main job: the notebooks for each environment, then the postmortem over all of them."""
    from incident_lib import demo, paths, runner

    if out:
        os.environ["INCIDENT_RUNS"] = os.path.abspath(out)  # noqa: PTH100 - the kernels read it
    was_running = demo.is_running()
    chosen = names or ("demo",)
    confirmed = tuple(dict.fromkeys((*confirm, *(("demo",) if "demo" in chosen else ()))))
    with _cells() as listener:
        ended = runner.run(chosen, confirm=confirmed, purpose_since=purpose_since, listener=listener)
    if not was_running:
        demo.stop()
    for one in ended:
        click.echo(f"{one.environment}: {one.status} in {one.seconds:.1f} s, {os.path.relpath(one.folder)}")
        if one.error:
            click.echo(_message(one.error), err=True)
    _print_verdicts()
    click.echo(f"Report: {os.path.relpath(paths.runs() / 'postmortem.html')}")
    codes = [one.error.exit_code if one.error else 0 for one in ended]
    return max(codes)


def _print_verdicts() -> None:
    from incident_lib import record, report

    for line in report.read(record.latest()).verdicts():
        click.echo(line)


@cli.command()
@ENVIRONMENT
@click.option("--format", "shape", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="How many blocked families to list; 0: all.",
)
@SINCE
@TIMEOUT
def investigate(name: str, shape: str, limit: int, purpose_since: str, timeout: float) -> int:
    """The verdict, the counts, the blocked families (with raw ids: not to be shared)."""
    from incident_lib import demo, environments, preflight, terminal, words
    from incident_lib import investigate as find
    from incident_lib.moments import parse

    since = parse(purpose_since or (demo.PURPOSE_SINCE if name == "demo" else ""))
    environment = environments.resolve(name)
    with environments.reading(environment, seconds=timeout) as connection:
        found = find.investigate(connection)
        checks = preflight.preflight(connection, environment, found)
        families = find.blocked(connection, found.catalog, purpose_since=since, limit=limit or None)
    line = words.verdict(name, found.catalog.state, found.counts, safe=checks.safe)
    if shape == "table":
        terminal.investigation(line, found, families)
        return 0
    click.echo(line, err=True)
    if shape == "csv":
        terminal.csv(families)
    else:
        terminal.json(name, found, families)
    return 0


@cli.command()
@ENVIRONMENT
@TIMEOUT
def plan(name: str, timeout: float) -> int:
    """Preflight, and every step with its SQL, its lock and why; changes nothing."""
    from incident_lib import environments, preflight, terminal
    from incident_lib import investigate as find

    environment = environments.resolve(name)
    with environments.reading(environment, seconds=timeout) as connection:
        checks = preflight.preflight(connection, environment, find.investigate(connection))
    terminal.checks(checks.checks)
    terminal.plan(checks.plan)
    click.echo(checks.sentence(name))
    return 0 if checks.safe else 1


@cli.command()
@ENVIRONMENT
@CONFIRM
@click.option("--no-wait", is_flag=True, help="Refuse where somebody is at it already, instead of waiting.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long all of it may take, waiting for others included.",
)
def apply(name: str, confirm: str, no_wait: bool, budget: float) -> int:
    """Apply the fix, step by step, with progress. Takes the environment's name as --confirm."""
    from incident_lib import environments, migrate, preflight
    from incident_lib import investigate as find

    environment = environments.resolve(name)
    migrate.require_confirm(name, confirm, "change it")
    with environments.reading(environment) as connection:
        preflight.preflight(connection, environment, find.investigate(connection)).require(name)
    with _progress() as listener:
        done = migrate.apply(environment, confirm=confirm, wait=not no_wait, budget=budget, listener=listener)
    for step in done.steps:
        click.echo(f"{step.name}: {step.outcome}, {step.seconds:.3f} s")
    if done.ended_at:
        click.echo(f"The incident ended at {done.ended_at:%Y-%m-%d %H:%M:%S} UTC.")
    return _verified(name, done.after)


@cli.command()
@ENVIRONMENT
def verify(name: str) -> int:
    """Is the fixed guard alone in force, by definition and flags? Exit code 0 only then."""
    from incident_lib import environments, guards

    with environments.reading(environments.resolve(name)) as connection:
        guards.rights(connection)
        catalog = guards.read(connection)
    return _verified(name, catalog)


def _verified(name: str, catalog: Catalog) -> int:
    from incident_lib import terminal
    from incident_lib.verify import is_fixed, verify

    checks: tuple[Check, ...] = verify(catalog)
    terminal.checks(checks)
    click.echo(f"{name}: the fixed guard {'alone is' if is_fixed(catalog) else 'is not alone'} in force.")
    return 0 if is_fixed(catalog) else 1


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path())
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    default="postmortem.html",
    show_default=True,
    metavar="FILE",
    help="The HTML file; Markdown and its charts go beside it.",
)
def report(runs: tuple[str, ...], out: str) -> int:
    """The postmortem from the folders of runs alone; no database needed."""
    from pathlib import Path

    from incident_lib.report import read

    for file in read([Path(folder) for folder in runs]).write(Path(out)):
        click.echo(file)
    return 0


@cli.group()
def demo() -> None:
    """The embedded database."""


@demo.command()
def reset() -> int:
    """Make the demo's database anew, as the incident left it."""
    from incident_lib import demo as server

    server.reset()
    click.echo("demo is as the incident left it.")
    return 0


@demo.command()
def url() -> int:
    """Print the address of the demo's database; its server runs until `incident demo stop`."""
    from incident_lib import demo as server

    click.echo(server.url())
    return 0


@demo.command()
def stop() -> int:
    """Stop the embedded server; its databases stay."""
    from incident_lib import demo as server

    click.echo("The embedded server has stopped." if server.stop() else "The embedded server was not running.")
    return 0


LATER = {
    "explain": "one family, thread by thread",
    "rollback": "the way back",
    "sql": "the migration as SQL files",
    "failures": "failed attempts from server logs",
    "watch": "recovery, live",
    "claims": "the fix plan's claims, tested",
    "rehearse": "a rehearsal on a copy",
    "env": "which names resolve and how",
}


def _later(name: str, what: str) -> click.Command:
    def told(words: tuple[str, ...]) -> NoReturn:  # noqa: ARG001 - any words will do
        from incident_lib.errors import UsageError

        raise UsageError(
            f"`incident {name}` does not exist yet.",
            f"It will be {what}, in a later version.",
            "See `incident --help` for what there is.",
        )

    return click.Command(
        name,
        callback=told,
        help=f"Comes later: {what}.",
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
    )


for _name, _what in LATER.items():
    cli.add_command(_later(_name, _what))


@contextmanager
def _cells() -> Iterator[Callable[[Any], None]]:
    """A bar of the cells of each notebook, on a terminal only."""
    from incident_lib.terminal import bars

    with bars() as show:
        yield lambda step: show(f"{step.environment}/{step.notebook}", step.done / step.total, "")


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar of each step of a migration, on a terminal only."""
    from incident_lib.terminal import bars

    with bars() as show:
        yield lambda p: show(p.step, p.share, " ".join((p.phase, *(f"waits for {who}" for who in p.blockers))))


def _message(error: IncidentError) -> str:
    return f"incident: {error}"


def main() -> None:
    """Run the command line; each code but 0 comes with one message on standard error."""
    try:
        code = cli.main(standalone_mode=False)
    except IncidentError as error:
        click.echo(_message(error), err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("incident: interrupted. Run the same command again: it goes on from the catalog.", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code or 0)
