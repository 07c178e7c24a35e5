"""Named databases: how a name resolves to an address."""

from __future__ import annotations

import os
import re
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo

from incident_lib.database import demo
from incident_lib.model import UsageError, parse_timestamp

if TYPE_CHECKING:
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
    raise UsageError(
        f"The environment {name!r} is not known.",
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
    user = Path(os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    files = [user]
    if "PGSYSCONFDIR" in os.environ:
        files.append(Path(os.environ["PGSYSCONFDIR"]) / "pg_service.conf")
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    for file in files:
        try:
            parser.read(file)
        except (ConfigError, OSError, UnicodeDecodeError):
            continue
    return parser


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
