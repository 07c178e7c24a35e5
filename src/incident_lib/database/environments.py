"""Named databases: how a name resolves to an address."""

from __future__ import annotations

import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo

from incident_lib import paths
from incident_lib.database import demo
from incident_lib.model import Failed, UsageError, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DEMO = "demo"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"


@dataclass(frozen=True)
class Environment:
    """A database by its name. Its address is a secret: no repr, message or record holds it."""

    name: str
    source: str  # how the name resolved, e.g. "INCIDENT_STAGING_URL"
    address: str = field(repr=False)


def resolve_environment(name: str, *, database: str = DEMO) -> Environment:
    """Find the environment of a name: demo, the variable INCIDENT_<NAME>_URL, or the libpq service.

    Args:
        name: letters, digits, `_` and `-`.
        database: on `demo` only, the database of the embedded server.

    Raises:
        UsageError: the name is malformed, resolves to nothing, or to something that is not a connection string.
    """
    check_name(name)
    if name == DEMO:
        return Environment(name, "the embedded server", demo.url(database))
    variable = variable_of(name)
    if variable in os.environ:
        return Environment(name, variable, _checked(os.environ[variable], variable))
    if name in services():
        return Environment(name, f"libpq service {name}", conninfo.make_conninfo(service=name))
    close = get_close_matches(name, [known for known, _ in known_environments()], 1)
    raise UsageError(
        f"The environment {name!r} is not known.{f' Did you mean {close[0]!r}?' if close else ''}",
        f"The variable {variable} is not set, and no pg_service.conf has a service [{name}].",
        f"Set {variable}=postgresql://… , or add [{name}] to ~/.pg_service.conf, or use `demo`.",
    )


def check_name(name: str) -> str:
    """The name, if it can be one of an environment.

    Raises:
        UsageError: it cannot: a name is part of a variable's name and of a folder's.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} cannot be the name of an environment.",
            "A name has letters, digits, `_` and `-` only, since it is part of a variable's name and of a folder's.",
            "Use a name like `staging`; put the address in INCIDENT_STAGING_URL.",
        )
    return name


def variable_of(name: str) -> str:
    """The variable that holds an environment's URL."""
    return f"INCIDENT_{name.upper().replace('-', '_')}_URL"


def known_environments() -> list[tuple[str, str]]:
    """The names that resolve here, and how: demo, the variables INCIDENT_<NAME>_URL, the libpq services."""
    found = {name: f"libpq service {name}" for name in services() if re.fullmatch(_NAME, name)}
    for variable, address in os.environ.items():
        match = re.fullmatch(r"INCIDENT_([A-Z0-9][A-Z0-9_]*)_URL", variable)
        if match and is_address(address):
            found[match[1].lower()] = variable
    return [(DEMO, "the embedded server"), *sorted((name, how) for name, how in found.items() if name != DEMO)]


def services() -> set[str]:
    """The names of all libpq services of this user and system (PGSERVICEFILE, PGSYSCONFDIR)."""
    return set(_service_files().sections())


def service_options(name: str) -> dict[str, Any]:
    """What a libpq service sets; nothing where there is none of that name."""
    files = _service_files()
    return dict(files[name]) if name in files else {}


def _service_files() -> ConfigParser:
    files = [_user_services()]
    if "PGSYSCONFDIR" in os.environ:
        files.append(Path(os.environ["PGSYSCONFDIR"]) / "pg_service.conf")
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    for file in files:
        try:
            parser.read(file)
        except (ConfigError, OSError, UnicodeDecodeError):
            continue
    return parser


def add_service(name: str, options: Mapping[str, str]) -> Path:
    """Add an environment to the user's libpq services; what the file holds stays as it is.

    Args:
        name: of the environment and of the service.
        options: what libpq needs to connect; never a password.

    Returns:
        The file: PGSERVICEFILE, else `~/.pg_service.conf`.

    Raises:
        UsageError: the name is malformed, or resolves already; a value has a line break, or the host is an address.
        Failed: the file cannot be read or written.
    """
    check_name(name)
    if how := dict(known_environments()).get(name):
        raise UsageError(
            f"The environment {name!r} is there already.",
            f"It resolves by: {how}.",
            "Choose another name, or change it there.",
        )
    if any(not value.isprintable() for value in options.values()):
        raise UsageError("The environment was not added.", "A value has a line break in it.", "Give plain values.")
    if "://" in options.get("host", ""):
        raise UsageError(
            "The environment was not added.",
            "The host is an address, which may hold a password; it is not repeated here.",
            "Give --host, --port, --dbname and --user each on its own.",
        )
    file = _user_services()
    held = _held_services(file)
    gap = "" if not held else "\n" if held.endswith("\n") else "\n\n"
    lines = [f"[{name}]", *(f"{key}={value}" for key, value in options.items())]
    real = file.resolve()  # a link stays one
    with paths.replacing(real, private=True, hint="Make it writable, or name another file as PGSERVICEFILE.") as out:
        if real.exists():
            os.fchmod(out.fileno(), real.stat().st_mode)
        out.write((held + gap + "\n".join(lines) + "\n").encode())
    return file


def _held_services(file: Path) -> str:
    """What a service file holds; nothing where there is none.

    Raises:
        Failed: it cannot be read, or is no service file.
    """
    try:
        held = file.read_text("utf-8")
        ConfigParser(interpolation=None, strict=False, delimiters=("=",)).read_string(held)
    except FileNotFoundError:
        return ""
    except (ConfigError, OSError, UnicodeDecodeError):
        raise Failed(
            "The environment was not added.",
            f"{file} cannot be read as a libpq service file.",
            "Correct that file, or name another one as PGSERVICEFILE.",
        ) from None
    return held


def password_line(options: Mapping[str, str]) -> str:
    """The shell command that stores a password for libpq, with a placeholder for it."""
    parts = (options[key].replace("\\", "\\\\").replace(":", "\\:") for key in ("host", "port", "dbname", "user"))
    fields = ":".join(parts)
    return f"touch ~/.pgpass && chmod 600 ~/.pgpass && echo {quote(f'{fields}:PASSWORD')} >> ~/.pgpass"


def _user_services() -> Path:
    return Path(os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")


def is_address(text: str) -> bool:
    """Whether libpq can read a text as a connection string that is not empty."""
    try:
        return bool(conninfo.conninfo_to_dict(text))
    except psycopg.ProgrammingError:
        return False


def _checked(address: str, variable: str) -> str:
    if not is_address(address):
        raise UsageError(
            f"{variable} is set, but libpq cannot read it.",
            "It is not a connection string; its text is not repeated here, since it may hold a password.",
            f"Set {variable}=postgresql://role@host:5432/database ; escape special characters as %XX.",
        )
    return address


def purpose_since(environment: Environment, given: str) -> datetime | None:
    """When the column purpose came to an environment: as given, in ISO 8601; the demo's database knows it; else None.

    Raises:
        UsageError: it is not ISO 8601.
    """
    if not given and environment.name == DEMO:
        return demo.purpose_since(environment.address)
    return parse_timestamp(given)


def libpq_variables(environment: Environment, *, read_only: bool) -> dict[str, str]:
    """The variables of another program that connects to an environment by libpq, so that no argument holds the address.

    libpq prefers what a service says to any variable. So a service is resolved here, and its name is not passed on:
    with it another database could be the one that is opened, or one that is not read-only.

    Args:
        environment: which database.
        read_only: whether each transaction only reads, unless the session itself asks for more.

    Raises:
        UsageError: the address has an option that libpq takes from no variable.
    """
    given = {key: str(value) for key, value in conninfo.conninfo_to_dict(environment.address).items() if value}
    service = given.pop("service", os.environ.get("PGSERVICE", ""))
    given = {key: value for key, value in (service_options(service) | given).items() if key not in _TUNING}
    known = {option.keyword.decode(): (option.envvar or b"").decode() for option in psycopg.pq.Conninfo.get_defaults()}
    if stray := sorted(key for key in given if not known.get(key)):
        raise UsageError(
            f"psql cannot be started for {environment.name!r}.",
            f"Its address has what libpq takes from no variable: {', '.join(stray)}.",
            "Leave it out of the address, or start psql with the address itself.",
        )
    made = {name: value for name, value in os.environ.items() if name != "PGSERVICE"}
    made.update({known[key]: value for key, value in given.items()}, PGAPPNAME="incident_lib psql")
    if read_only:
        made["PGOPTIONS"] = f"{made.get('PGOPTIONS', '')} -c default_transaction_read_only=on".strip()
    return made


# How a connection is kept alive, and a name that ours replaces: libpq takes none of it from a variable.
_TUNING = {
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
}
