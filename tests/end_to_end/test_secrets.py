"""Commands run with an unusual password; the tests search every written byte for it."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text

from incident_lib.database import Environment, engine, variable_of
from incident_lib.model.errors import Failed
from incident_lib.model.pseudonyms import PLAN_OWNER, PLAN_ROOT
from incident_lib.runs.runner import Job
from tests.support import tcp
from tests.support.examples import SOAK

# Where the names get their addresses from: some from here and some from there, and all from one in `make soak`.
SOURCES = ("mixed", *(("variable", "service") if SOAK else ()))
BY_SERVICE = {"mixed": {"dry", "midway", "denied"}, "variable": set()}  # every name, in `service`
HOW = {
    "investigate": ("investigate", "--env"),
    "plan": ("plan", "--env"),
    "check": ("env", "check"),
    "rehearse": ("rehearse", "--env"),
}
# The commands that fail for each name with which nobody can connect: `incident run` fails for all of them, too.
BAD = {
    "wrong": tuple(HOW),
    "denied": tuple(HOW) if SOAK else ("plan", "rehearse"),
    "nodb": tuple(HOW) if SOAK else ("investigate", "check"),
    "away": tuple(HOW) if SOAK else ("plan", "check"),
}
RUN = ("staging", "dry", "midway", *BAD)
FORMS = {
    "raw": tcp.PASSWORD.encode(),
    "escaped": quote(tcp.PASSWORD, safe="").encode(),
    "in any form": tcp.NEEDLE.encode(),
    "repr": b"Environment(name=",
}
FAILS_MIDWAY = """
CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no, %', inet_server_port(); END $$;
CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('DROP INDEX') EXECUTE FUNCTION public.no();
"""


@dataclass
class Everything:
    """All output and files of the commands, and the process lists during their execution."""

    folder: Path
    port: int
    codes: dict[str, int] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)
    command_lines: set[bytes] = field(default_factory=set)

    def run(self, what: str, *words: str, environ: dict[str, str]) -> None:
        """Run a command in a shell and store its output."""
        command = [sys.executable, "-m", "incident_lib", *words]
        ran = subprocess.run(command, capture_output=True, check=False, timeout=300, env=environ, cwd=self.folder)
        self.codes[what] = ran.returncode
        self.said[f"stdout of {what}"] = ran.stdout
        self.said[f"stderr of {what}"] = ran.stderr

    def files(self, *patterns: str) -> dict[str, bytes]:
        """The written files with these names."""
        found = [file for pattern in patterns for file in self.folder.rglob(pattern) if file.is_file()]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in found}


def watch(lines: set[bytes], over: threading.Event) -> None:
    """Collect the command lines of all processes, as `ps` shows them to every user.

    A process is read a hundred times in its first second, in which it may become another program, then once a second.
    """
    seen: dict[str, float] = {}  # since when
    all_at = 0.0
    while not over.wait(0.01):
        now = time.monotonic()
        seen = {name: seen.get(name, now) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - fast
        for name, since in seen.items():
            if now >= all_at or now - since < 1:
                with contextlib.suppress(OSError):
                    lines.add(Path("/proc", name, "cmdline").read_bytes())
        all_at = all_at if now < all_at else now + 1


def configured(
    served: tcp.Tcp, folder: Path, source: str, databases: dict[str, tuple[str, str, str]]
) -> dict[str, str]:
    """The variables of a shell in which each name has an address: from its variable, or from a service and .pgpass."""
    environ = {k: v for k, v in os.environ.items() if not re.fullmatch(r"INCIDENT_.*_URL", k)}
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        environ[variable] = str(folder / variable.lower())
        (folder / variable.lower()).mkdir(parents=True, exist_ok=True)
    environ["INCIDENT_RUNS"] = str(folder / "runs")
    services, lines = "", ""
    for name, (role, database, password) in databases.items():
        port = 1 if name == "away" else served.port
        if name not in BY_SERVICE.get(source, databases):
            environ[variable_of(name)] = tcp.Tcp(served.cluster, port).url(role, database, password=password)
            continue
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        services += f"[{name}]\nhost={tcp.HOST}\nport={port}\ndbname={database}\nuser={role}\n\n"
        lines += f"*:*:{database}:{role}:{escaped}\n"
    secret = folder.parent / f"secret-{source}"  # the files that provide the password are not searched
    secret.mkdir()
    (secret / "services").write_text(services, "utf-8")
    (secret / "pgpass").write_text(lines, "utf-8")
    (secret / "pgpass").chmod(0o600)
    return environ | {"PGSERVICEFILE": str(secret / "services"), "PGPASSFILE": str(secret / "pgpass")}


@pytest.fixture(scope="module", params=SOURCES)
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """All commands with that password, with runs that succeed, change nothing, and fail."""
    folder = tmp_path_factory.mktemp(request.param) / "written"
    folder.mkdir()
    with (
        tcp.serving() as served,
        served.database() as staging,
        served.database() as dry,
        served.database(more=FAILS_MIDWAY) as midway,
    ):
        wrong = f"{tcp.PASSWORD}!"
        databases = {
            "staging": ("owner", staging, tcp.PASSWORD),
            "dry": ("owner", dry, tcp.PASSWORD),
            "midway": ("owner", midway, tcp.PASSWORD),
            "wrong": ("writer", staging, wrong),  # .pgpass has one line for each role and database
            "denied": ("reader", dry, wrong),
            "nodb": ("owner", "nowhere", tcp.PASSWORD),
            "away": ("owner", "db", tcp.PASSWORD),
        }
        environ = configured(served, folder, request.param, databases)
        all_of_it = Everything(folder, served.port)
        over = threading.Event()
        watcher = threading.Thread(target=watch, args=(all_of_it.command_lines, over))
        watcher.start()
        try:
            run_all(all_of_it, environ)
        finally:
            over.set()
            watcher.join()
    return all_of_it


def run_all(all_of_it: Everything, environ: dict[str, str]) -> None:
    """Run every command, and each failure."""
    commands = {
        "env list": ("env", "list"),
        "env check": ("env", "check", "staging"),
        "env check of dry": ("env", "check", "dry"),
        "investigate": ("investigate", "--env", "staging"),
        "investigate dry": ("investigate", "--env", "dry"),
        "csv": ("investigate", "--env", "staging", "--format", "csv"),
        "json": ("investigate", "--env", "staging", "--format", "json"),
        "plan": ("plan", "--env", "staging"),
        "explain": ("explain", "--env", "staging", str(PLAN_ROOT), str(PLAN_OWNER)),
        "rehearse": ("rehearse", "--env", "staging"),
        "apply unconfirmed": ("apply", "--env", "staging"),
        "apply": ("apply", "--env", "staging", "--confirm", "staging"),
        "verify": ("verify", "--env", "staging", "--probe", "--confirm", "staging"),
        "rollback": ("rollback", "--env", "staging", "--confirm", "staging"),
        "too slow": ("investigate", "--env", "staging", "--timeout", "0.001"),
        "midway": ("apply", "--env", "midway", "--confirm", "midway"),
        **{f"{bad} {how}": (*HOW[how], bad) for bad, hows in BAD.items() for how in hows},
    }
    for what, words in commands.items():
        all_of_it.run(what, *words, environ=environ)
    names = [word for name in RUN for word in ("--env", name)]
    confirmed = ("--confirm", "staging", "--confirm", "midway")
    all_of_it.run("run", "run", *names, *confirmed, "--jobs", "2", environ=environ)
    folders = [str(folder) for name in RUN for folder in sorted((all_of_it.folder / "runs" / name).glob("*/"))]
    all_of_it.run("report", "report", *folders, environ=environ)


pytestmark = pytest.mark.slow


def test_each_command_has_the_expected_end(everything: Everything) -> None:
    """Each command and run has the expected exit code and status."""
    ends = {name: (everything.folder / "runs" / name) for name in RUN}
    statuses = {
        name: [re.search(r'"status": "([\w-]+)"', file.read_text("utf-8"))[1] for file in folder.glob("*/record.json")]
        for name, folder in ends.items()
    }
    failed = {what for what, code in everything.codes.items() if code == 3}

    assert statuses == {
        "staging": ["succeeded"],
        "dry": ["dry-run"],
        **{key: ["failed"] for key in ("midway", *BAD)},
    }
    assert failed == {
        *("too slow", "midway", "run"),
        *(f"{bad} {how}" for bad, hows in BAD.items() for how in hows),
    }
    assert {what for what, code in everything.codes.items() if code not in (0, 3)} == {"apply unconfirmed"}


@pytest.mark.parametrize("form", FORMS)
def test_no_file_holds_the_password(everything: Everything, form: str) -> None:
    """No written file has the password: run folders, notebooks, records, reports, histories, logs."""
    files = everything.files("*")

    assert {"record.json", "01_investigate.ipynb", "02_migrate.ipynb", "postmortem.html"} <= {
        name.rpartition("/")[2] for name in files
    }
    assert [name for name, content in files.items() if FORMS[form] in content] == []


@pytest.mark.parametrize("form", FORMS)
def test_no_message_holds_the_password(everything: Everything, form: str) -> None:
    """Neither standard output nor standard error of any command has the password."""
    assert [what for what, said in everything.said.items() if FORMS[form] in said] == []


def test_no_process_list_holds_the_password(everything: Everything) -> None:
    """No command line has the password, those of kernels and workers included."""
    lines = everything.command_lines

    assert [line for line in lines if b"ipykernel_launcher" in line or b"incident_lib.runs.forkserver" in line]
    assert [line for line in lines if FORMS["in any form"] in line] == []


def test_no_shared_file_holds_the_address(everything: Everything) -> None:
    """No record, notebook or report has the host or the port of a server."""
    files = everything.files("record.json", "*.ipynb", "postmortem*.html", "postmortem*.md", "*.svg")
    address = re.compile(rb"127\.0\.0\.1|\b%d\b" % everything.port)

    assert len(files) > 12
    assert [(name, address.search(content)[0]) for name, content in files.items() if address.search(content)] == []


def test_no_message_holds_the_address(everything: Everything) -> None:
    """No message of a command has the host or the port of a server."""
    address = re.compile(rb"127\.0\.0\.1|\b%d\b" % everything.port)

    assert [what for what, said in everything.said.items() if address.search(said)] == []


def test_a_job_holds_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The serialized job of a worker has neither address nor password."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", f"postgresql://me:{quote(tcp.PASSWORD, safe='')}@db.example/db")
    job = pickle.dumps(Job("staging", confirmed=True, purpose_since="", folder="x", timeout=1))

    assert tcp.NEEDLE.encode() not in job
    assert b"db.example" not in job


def test_a_traceback_holds_no_password() -> None:
    """A traceback of a failed connection, its causes included, has no password."""
    address = f"postgresql://me:{quote(tcp.PASSWORD, safe='')}@{tcp.HOST}:1/db"
    environment = Environment("staging", "INCIDENT_STAGING_URL", address)
    with pytest.raises(Failed) as error, engine(environment).connect() as connection:
        connection.execute(text("SELECT 1"))

    assert tcp.NEEDLE not in "".join(traceback.format_exception(error.value))
