"""The command `run`: the notebooks for each environment, then the postmortem."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import click

from incident_lib.cli.answer import Answer, print_error
from incident_lib.cli.claims import summarize, test_claims
from incident_lib.cli.command import AnsweringCommand
from incident_lib.cli.options import NAME, SINCE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from incident_lib.model import IncidentError
    from incident_lib.runs import RunResult


@click.command(cls=AnsweringCommand)
@click.option(
    "-e",
    "--env",
    "names",
    multiple=True,
    type=NAME,
    envvar="INCIDENT_ENV",
    metavar="NAME",
    help="An environment; may repeat. [default: INCIDENT_ENV, else demo]",
)
@click.option(
    "--confirm",
    multiple=True,
    type=NAME,
    metavar="NAME",
    help="An environment that may be changed; may repeat. Others are a dry run. [demo confirms itself]",
)
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False), help="The folder of runs. [default: data/runs]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many at a time.")
@click.option("--resume", is_flag=True, help="Skip the environments whose latest run succeeded.")
@click.option(
    "--env-timeout",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the run of one environment may take.",
)
@click.option("--dask", metavar="ADDRESS", help="Run on a distributed cluster instead (the extra `fleet`).")
@click.option(
    "--log",
    default="",
    metavar="FILE",
    help="Server logs of the one environment, separated by spaces: for the rejected inserts.",
)
@click.option(
    "--change",
    type=click.Choice(("purpose", "provider")),
    default="purpose",
    show_default=True,
    help="Which change of the index: the fix, or the one after it.",
)
@click.option("--claims", "with_claims", is_flag=True, help="Test the fix plan's claims meanwhile: incident claims.")
@SINCE
@TIMEOUT
def run(
    *,
    names: tuple[str, ...],
    confirm: tuple[str, ...],
    out: str | None,
    jobs: int,
    resume: bool,
    env_timeout: float,
    dask: str | None,
    log: str,
    change: str,
    with_claims: bool,
    purpose_since: str,
    timeout: float,
) -> Answer:
    """Run the notebooks, then write the postmortem. Once for each environment."""
    if out:
        os.environ["INCIDENT_RUNS"] = os.path.abspath(out)  # noqa: PTH100 - the kernels read it
    os.environ["INCIDENT_TIMEOUT"] = f"{timeout:f}"  # and this
    chosen = names or ("demo",)
    confirmed = tuple(dict.fromkeys((*confirm, *(("demo",) if "demo" in chosen else ()))))
    with _cluster(dask) if dask else _workers(jobs, len(chosen)) as executor:
        from incident_lib.database import demo
        from incident_lib.progress import bars
        from incident_lib.runs import run_fleet

        was_running, tested = demo.is_running(), _Claims()
        with bars() as show:
            results = run_fleet(
                chosen,
                confirm=confirmed,
                purpose_since=purpose_since,
                log=log,
                change=change,
                resume=resume,
                timeout=env_timeout,
                executor=executor,
                listener=lambda progress: show(progress.environment, progress.share, progress.notebook),
                meanwhile=(lambda: tested.test(show)) if with_claims else None,
            )
    if not was_running:
        demo.stop()
    errors = [error for error in (*(result.error for result in results), tested.error) if error]
    for error in errors:
        print_error(error)
    return _answer(results, change, tested)


class _Claims:
    """The fix plan's claims, tested while the notebooks run: the verdicts in a sentence, or the error."""

    def __init__(self) -> None:
        self.sentence = ""
        self.error: IncidentError | None = None

    def test(self, show: Callable[[str, float | None, str], None]) -> None:
        from incident_lib.model import IncidentError
        from incident_lib.records import claims_file

        try:
            self.sentence = summarize(test_claims(claims_file(), show))
        except IncidentError as error:
            self.error = error


def _workers(jobs: int, environments: int) -> Executor:
    """Processes of this machine: they import while this one does."""
    from incident_lib.runs import LocalProcesses, prepare_worker

    workers = LocalProcesses(jobs)
    workers.begin(environments, prepare_worker)
    return workers


def _cluster(address: str) -> Executor:
    """The executor of a distributed cluster."""
    from incident_lib.model import Failed, UsageError

    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "--dask needs the extra `fleet`.", "The package distributed is not installed.", "pip install -e '.[fleet]'"
        ) from None
    try:
        return cast("Executor", Client(address, timeout=10).get_executor(pure=False))
    except (OSError, TimeoutError, ValueError):
        raise Failed("The cluster cannot be reached.", f"No scheduler answers at {address}.", "Is it up?") from None


def _answer(results: list[RunResult], change: str, tested: _Claims) -> Answer:
    """How the run of each environment ended, its verdict, and the report over all of them."""
    from incident_lib import paths
    from incident_lib.model import Column, EndedRun, ErrorMessage, RunResults, make_table
    from incident_lib.report import read_runs

    post = read_runs([result.folder for result in results])
    report = os.path.relpath(paths.runs() / "postmortem.html")
    blocked = [tuple(chapter.number(moment, "chat") for moment in ("before", "after")) for chapter in post.chapters]
    conflicts = [chapter.conflicts for chapter in post.chapters]
    of_purpose = change == "purpose"
    counted, missing = ("blocked for chat", "unknown") if of_purpose else ("provider conflicts", "–")
    columns = (
        Column("environment"),
        Column("before", f"{counted} before", "Int64", missing=missing),
        Column("after", dtype="Int64", missing=missing),
        Column("outcome"),
        Column("seconds", dtype="Float64", decimals=1),
    )
    rows = [
        (result.environment, *numbers, result.status, result.seconds)
        for numbers, result in zip(blocked if of_purpose else conflicts, results, strict=True)
    ]
    return Answer(
        "\n".join(post.verdicts),
        RunResults(
            runs=[
                EndedRun(
                    environment=result.environment,
                    folder=str(result.folder),
                    status=result.status,
                    seconds=round(result.seconds, 3),
                    change=change,
                    blocked_before=before if isinstance(before, int) else None,
                    blocked_after=after if isinstance(after, int) else None,
                    conflicts_before=conflicting[0],
                    conflicts_after=conflicting[1],
                    error=ErrorMessage.of(result.error) if result.error else None,
                )
                for (before, after), conflicting, result in zip(blocked, conflicts, results, strict=True)
            ],
            report=report,
        ),
        next="incident open",
        body=(make_table(columns, rows), *([tested.sentence] if tested.sentence else []), f"Report: {report}"),
        exit_code=max(
            *(_CODES.get(result.status, 0) for result in results), tested.error.exit_code if tested.error else 0
        ),
    )


_CODES = {"failed": 3, "refused": 1}  # by model.RunStatus
