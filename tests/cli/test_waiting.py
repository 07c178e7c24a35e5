"""While people wait: a line after two seconds, a limit that they set, and Ctrl-C, which ends it at the server, too."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import nbformat
import psycopg
import pytest
from nbclient import NotebookClient
from psycopg import conninfo, sql

from incident_lib.database import Environment, reading
from incident_lib.model.errors import UsageError
from tests.conftest import add
from tests.support.command import INTERRUPTED, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOO_LONG = (
    "A query failed in the environment 'staging' (SQLSTATE 57014).\n"
    "  why:  PostgreSQL says: canceling statement due to statement timeout.\n"
    "  next: Try again with a longer --timeout.\n"
)
WRITING = """
import sys
from pathlib import Path
from incident_lib.analysis import write_blocked
from incident_lib.database import read_catalog, reading, resolve_environment
with reading(resolve_environment("staging")) as connection:
    write_blocked(connection, read_catalog(connection), Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """People are told for what they wait."""
    monkeypatch.delenv("INCIDENT_PROGRESS", raising=False)


@contextmanager
def slow(environment: Environment, seconds: float) -> Iterator[dict[str, str]]:
    """Variables under which `staging` is a role to which each thread of a table of one takes so many seconds."""
    role = sql.Identifier(f"slow_{uuid4().hex[:8]}")
    policy = "CREATE POLICY slow ON public.q_threads USING (pg_sleep({}) IS NOT NULL)"
    with psycopg.connect(environment.address, autocommit=True) as connection:
        add(connection, uuid4(), uuid4())
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON public.q_threads TO {}").format(role))
        connection.execute(sql.SQL(policy).format(sql.Literal(seconds)))
        address = conninfo.make_conninfo(environment.address, user=role.as_string().strip('"'))
        yield {**os.environ, "INCIDENT_STAGING_URL": address}
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def seen(environment: Environment, wanted: list[str], patience: float) -> bool:
    """Whether the sessions of investigations in this database come to wait for these within so many seconds."""
    query = (
        "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'incident_lib investigate' AND backend_type = 'client backend'"
    )
    until = time.monotonic() + patience
    with psycopg.connect(environment.address, autocommit=True) as connection:
        while (found := [event for (event,) in connection.execute(query)]) != wanted and time.monotonic() < until:
            time.sleep(0.02)
    return found == wanted


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [["-m", "incident_lib", "investigate"], ["-m", "incident_lib", "plan"]])
def test_an_interrupt_ends_the_statement_at_the_server(environment: Environment, words: list[str], how: int) -> None:
    """Ctrl-C or SIGTERM amid a statement of a minute: one message, code 130, and the server is at it no longer."""
    command = [sys.executable, *words, "--env", "staging", "--timeout", "0"]
    with (
        slow(environment, 60) as variables,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=unmeasured(variables)
        ) as process,
    ):
        assert seen(environment, ["PgSleep"], patience=30)
        process.send_signal(how)
        stdout, stderr = process.communicate(timeout=20)
        gone = seen(environment, [], patience=5)

    assert (process.returncode, stdout, stderr.strip(), gone) == (130, "", INTERRUPTED, True)


def test_an_interrupt_ends_a_copy_at_the_server(environment: Environment, tmp_path: Path) -> None:
    """Ctrl-C amid the list of all families: the server is at it no longer, and no part of the file is left."""
    command = [sys.executable, "-c", WRITING, str(tmp_path / "blocked.csv")]
    with (
        slow(environment, 50) as variables,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=unmeasured(variables)) as process,
    ):
        assert seen(environment, ["PgSleep"], patience=30)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        gone = seen(environment, [], patience=5)

    assert (said.splitlines()[-1], gone, list(tmp_path.iterdir())) == ("KeyboardInterrupt", True, [])


def on_a_terminal(variables: dict[str, str]) -> str:
    """What `incident investigate` says on standard error, where that is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "incident_lib", "investigate", "--env", "staging"]
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=False, timeout=60, env=variables)
        os.close(theirs)
        said = b""
        try:
            while read := terminal.read(4096):
                said += read
        except OSError:  # the other end is closed: that was all
            pass
    return said.decode()


@pytest.mark.slow
def test_a_progress_line_after_two_seconds(environment: Environment) -> None:
    """What takes longer than two seconds has a line that says what one waits for, and for how long already."""
    with slow(environment, 1.3) as variables:
        said = on_a_terminal(variables)

    assert re.search(r"reading staging … [2-9] s", said)


@pytest.mark.slow
def test_no_progress_line_where_it_is_turned_off(environment: Environment) -> None:
    """INCIDENT_PROGRESS=off: nothing is said but the message of hidden rows, since a policy is what makes it slow."""
    with slow(environment, 1.3) as variables:
        assert on_a_terminal(variables | {"INCIDENT_PROGRESS": "off"}).startswith("incident: What is blocked in")


def test_no_progress_line_for_what_is_quick(staging: Environment) -> None:
    """What is quick says nothing on standard error."""
    assert on_a_terminal(dict(os.environ)) == ""


def under_a_cell(source: str) -> list[str]:
    """What stands under a notebook's cell, as HTML, once it has run."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    (cell,) = NotebookClient(book, kernel_name="python3").execute().cells
    return [output["data"]["text/html"] for output in cell.outputs]


@pytest.mark.slow
def test_a_progress_line_under_a_cell() -> None:
    """In a notebook the line stands under the cell, and stays there; what is quick has none."""
    shown = under_a_cell(
        "import time\n"
        "from incident_lib.progress import waiting\n"
        "with waiting('looking at <staging> …'): time.sleep(3.3)\n"
        "with waiting('looking at <staging> …'): time.sleep(0.1)\n"
    )

    assert shown == ["looking at &lt;staging&gt; … 3 s"]


@pytest.mark.slow
def test_a_bar_under_a_cell() -> None:
    """In a notebook a step that takes a while has a bar with its share and its note; what is quick has none."""
    shown = under_a_cell(
        "import time\n"
        "from incident_lib.progress import cell_bars\n"
        "show = cell_bars()\n"
        "show('build', None, 'begins'), show('swap', None, 'begins')\n"
        "time.sleep(2.1)\n"
        "show('build', None, 'waits for <a dump>')\n"
        "show('build', 0.25, 'scanning')"
    )

    assert shown == ['<progress value="0.250"></progress> build: scanning']


@pytest.mark.parametrize(
    "words",
    [["investigate"], ["plan"], ["apply", "--confirm", "staging"], ["rollback", "--confirm", "staging"]],
    ids=lambda words: words[0],
)
def test_a_limit_of_ones_own(environment: Environment, words: list[str]) -> None:
    """Every command that counts takes the time that a statement may take."""
    with slow(environment, 30) as variables:
        command = [sys.executable, "-m", "incident_lib", *words, "--env", "staging", "--timeout", "0.2"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=variables)

    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "", f"incident: {TOO_LONG}")


def test_a_limit_for_all_that_looks(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """INCIDENT_TIMEOUT is the limit of what was given none, notebooks included."""
    monkeypatch.setenv("INCIDENT_TIMEOUT", "2.5")
    with reading(environment) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("2500ms",)


@pytest.mark.parametrize("told", ["soon", "-1", "1e3"])
def test_a_limit_that_is_no_number(environment: Environment, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """A limit that is no number of seconds is bad usage."""
    monkeypatch.setenv("INCIDENT_TIMEOUT", told)
    with pytest.raises(UsageError) as error, reading(environment):
        pass

    assert str(error.value) == (
        f"INCIDENT_TIMEOUT is not a number of seconds.\n  why:  It is {told!r}.\n"
        "  next: Set it like 300; 0 is no limit."
    )


@pytest.mark.slow
def test_the_limit_of_a_run_reaches_its_notebooks(environment: Environment, tmp_path: Path) -> None:
    """`incident run --timeout` is the limit of each statement that its notebooks send."""
    with slow(environment, 30) as variables:
        words = ["run", "--env", "staging", "--timeout", "0.2", "--out", str(tmp_path)]
        command = [sys.executable, "-m", "incident_lib", *words]
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=variables | {"INCIDENT_PROGRESS": "off"},
        )

    assert (ran.returncode, ran.stderr) == (3, f"incident: {TOO_LONG}")
