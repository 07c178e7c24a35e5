"""How names become databases, and the message when one cannot be reached."""

import time
from uuid import uuid4

import psycopg
import pytest
from psycopg import conninfo
from sqlalchemy import exc, text

from incident_lib.database import Environment, connecting, engine, is_transaction_pooled, reading, resolve_environment
from incident_lib.database.connections import CONNECT_SECONDS
from incident_lib.database.environments import services
from incident_lib.model.errors import Failed, UsageError

PASSWORD = "hunter2"
UNREADABLE = [
    f"postgresql://role:{PASSWORD}@host:5432/db?nonsense=1",
    f"postgresql://role:{PASSWORD}@[::1/db",
    f"postgresql://role:{PASSWORD}%zz@host/db",
    f"mysql://role:{PASSWORD}@host/db",
    f"host password={PASSWORD}",
    "",
]
UNREACHABLE = [
    f"postgresql://role:{PASSWORD}@127.0.0.1:1/db",
    f"postgresql://role:{PASSWORD}@nowhere.invalid/db",
    f"postgresql://role:{PASSWORD}@/db?host=/nowhere",
    f"postgresql://role:{PASSWORD}@127.0.0.1:99999/db",
    f"postgresql://role:{PASSWORD}@127.0.0.1:{PASSWORD}/db",
    f"postgresql://role:{PASSWORD}@127.0.0.1/db?connect_timeout={PASSWORD}",
    f"postgresql://role:{PASSWORD}@127.0.0.1/db?sslmode={PASSWORD}",
    f"host=127.0.0.1,127.0.0.1 port=1,2,3 password={PASSWORD}",
]


def staging(address):
    """An environment `staging` of an address."""
    return Environment("staging", "INCIDENT_STAGING_URL", address)


def refused(name):
    """The message for a name that does not resolve."""
    with pytest.raises(UsageError) as error:
        resolve_environment(name)
    return str(error.value)


def unreachable(address):
    """The message for an address that leads to no server."""
    with pytest.raises(Failed) as error, connecting(staging(address), "test"):
        pass
    return str(error.value)


def connection_message(why, action):
    """The complete message on an environment `staging` that cannot be reached."""
    return (
        "The environment 'staging' cannot be reached.\n"
        f"  why:  {why}\n"
        f"  next: {action} Check INCIDENT_STAGING_URL; `psql` with the same address shows the server's own message."
    )


def elsewhere(environment, **changed):
    """The address of the test's own database, with parts of it changed."""
    return conninfo.make_conninfo(environment.address, **changed)


def named(connection, application):
    """How many other sessions of this database have an application name, once those that end are gone."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 5
    while (left := connection.execute(query, [application]).fetchone()[0]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


@pytest.fixture
def service_file(tmp_path, monkeypatch):
    """An empty service file of this test alone; no system-wide one."""
    file = tmp_path / "services.conf"
    file.touch()
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.delenv("PGSYSCONFDIR", raising=False)
    return file


def test_demo(server):
    """`demo` resolves to the embedded server."""
    assert resolve_environment("demo").source == "the embedded server"


def test_demo_is_reached(server):
    """The database behind `demo` is there, and is named demo."""
    with connecting(resolve_environment("demo"), "test") as connection:
        assert connection.info.dbname == "demo"


def test_variable(monkeypatch):
    """A name resolves to its variable, with the address untouched."""
    address = "postgres://role@host:5433/db?application_name=a%20b"
    monkeypatch.setenv("INCIDENT_STAGING_URL", address)
    found = resolve_environment("staging")
    assert (found.name, found.source, found.address) == ("staging", "INCIDENT_STAGING_URL", address)


def test_variable_of_a_name_with_a_dash(monkeypatch):
    """A dash in a name is an underscore in its variable, in upper case."""
    monkeypatch.setenv("INCIDENT_EU_WEST_1_URL", "postgresql://host/db")
    assert resolve_environment("eu-west-1").source == "INCIDENT_EU_WEST_1_URL"


def test_keyword_address(monkeypatch):
    """An address may be written as keywords, too."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", "host=/tmp dbname=db")
    assert resolve_environment("staging").address == "host=/tmp dbname=db"


def test_service(service_file):
    """A name without a variable resolves to the libpq service of that name."""
    service_file.write_text("[staging]\nhost=/nowhere\n")
    assert resolve_environment("staging").source == "libpq service staging"


def test_service_is_reached(service_file, environment):
    """Libpq itself reads the service's address."""
    parts = conninfo.conninfo_to_dict(environment.address)
    lines = "\n".join(f"{key}={value}" for key, value in parts.items() if value)
    service_file.write_text(f"# of the tests\n[other]\nhost=/nowhere\n[staging]\n{lines}\n")
    with connecting(resolve_environment("staging"), "test") as connection:
        assert connection.info.dbname == parts["dbname"]


def test_service_of_the_system(service_file, tmp_path, monkeypatch):
    """A service of the system's file is found, too."""
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))
    (tmp_path / "pg_service.conf").write_text("[staging]\nhost=/nowhere\n")
    assert resolve_environment("staging").source == "libpq service staging"


def test_variable_before_service(service_file, monkeypatch):
    """A variable wins over a service of the same name."""
    service_file.write_text("[staging]\nhost=/nowhere\n")
    monkeypatch.setenv("INCIDENT_STAGING_URL", "postgresql://host/db")
    assert resolve_environment("staging").source == "INCIDENT_STAGING_URL"


def test_service_with_a_percent_sign(service_file):
    """A percent sign in a service's password has no special meaning."""
    service_file.write_text("[staging]\npassword=50%off\n")
    assert services() == {"staging"}


@pytest.mark.parametrize("content", [b"no section\n", b"[unclosed\n", b"\xff\xfe\x00"])
def test_broken_service_file(service_file, content):
    """A service file that cannot be parsed names no service."""
    service_file.write_bytes(content)
    assert services() == set()


def test_no_service_file(service_file):
    """A service file that is not there names no service."""
    service_file.unlink()
    assert services() == set()


def test_unknown(service_file, monkeypatch):
    """A name that resolves to nothing gives a message with both ways to make it known."""
    monkeypatch.delenv("INCIDENT_EU_WEST_URL", raising=False)
    assert refused("eu-west") == (
        "The environment 'eu-west' is not known.\n"
        "  why:  The variable INCIDENT_EU_WEST_URL is not set, and no pg_service.conf has a service [eu-west].\n"
        "  next: Set INCIDENT_EU_WEST_URL=postgresql://… , or add [eu-west] to ~/.pg_service.conf, or use `demo`."
    )


@pytest.mark.parametrize(
    "name", ["", " ", "-x", "_x", "a b", "a/b", "../x", "a.b", "a=b", "stäging", "staging\n", "a;b"]
)
def test_odd_name(name):
    """A name that cannot be part of a variable or a folder is refused."""
    assert refused(name) == (
        f"{name!r} cannot be the name of an environment.\n"
        "  why:  A name has letters, digits, `_` and `-` only, since it is part of a variable's name and of a "
        "folder's.\n"
        "  next: Use a name like `staging`; put the address in INCIDENT_STAGING_URL."
    )


@pytest.mark.parametrize("address", UNREADABLE)
def test_malformed_address(monkeypatch, address):
    """An address that libpq cannot read is refused, and never repeated."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", address)
    assert refused("staging") == (
        "INCIDENT_STAGING_URL is set, but libpq cannot read it.\n"
        "  why:  It is not a connection string; its text is not repeated here, since it may hold a password.\n"
        "  next: Set INCIDENT_STAGING_URL=postgresql://role@host:5432/database ; escape special characters as %XX."
    )


def test_malformed_address_is_in_no_traceback(monkeypatch):
    """Libpq's own error, which repeats the address, is not in the traceback of the message."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", f"mysql://role:{PASSWORD}@host/db")
    with pytest.raises(UsageError) as error:
        resolve_environment("staging")
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_repr():
    """The repr of an environment has no address."""
    shown = repr(staging(f"postgresql://role:{PASSWORD}@host/db"))
    assert shown == "Environment(name='staging', source='INCIDENT_STAGING_URL')"


def test_connection_refused():
    """A port without a server has its message."""
    expected = connection_message("No server listens at that address.", "Is the server up, and the port right?")
    assert unreachable("postgresql://role@127.0.0.1:1/db") == expected


def test_unknown_host():
    """A host that cannot be resolved has its message."""
    expected = connection_message("The host's name is not known here.", "Correct the host.")
    assert unreachable("postgresql://role@nowhere.invalid/db") == expected


@pytest.mark.parametrize("host", ["ho..st", "a" * 70 + ".example"])
def test_impossible_host(host):
    """A host name that is not possible has the message of a host that cannot be resolved."""
    expected = connection_message("The host's name is not known here.", "Correct the host.")
    assert unreachable(f"postgresql://role@{host}/db") == expected


def test_wrong_socket_path():
    """A path without a socket has its message."""
    expected = connection_message("There is no socket at that path.", "Is the server up?")
    assert unreachable("postgresql://role@/db?host=/nowhere") == expected


def test_wrong_database(environment):
    """A database that does not exist has its message."""
    expected = connection_message("The server has no database of that name.", "Correct the database.")
    assert unreachable(elsewhere(environment, dbname="nowhere")) == expected


def test_wrong_role(environment):
    """A role that does not exist has its message."""
    expected = connection_message("The server has no role of that name.", "Correct the role.")
    assert unreachable(elsewhere(environment, user="nobody")) == expected


def test_anything_else(environment):
    """Any other rejected connection has a message without the server's text."""
    assert unreachable(elsewhere(environment, options="-c nonsense=1")) == (
        "The environment 'staging' cannot be reached.\n"
        "  why:  The server or the network rejected the connection.\n"
        "  next: Check INCIDENT_STAGING_URL; `psql` with the same address shows the server's own message."
    )


@pytest.mark.parametrize("address", UNREACHABLE)
def test_no_password_in_a_message(address):
    """A password in an address that leads to no server is in no message."""
    assert PASSWORD not in unreachable(address)


def test_unreachable_shows_no_cause():
    """Libpq's own error, which has host and role, is not in the traceback of the message."""
    with pytest.raises(Failed) as error, connecting(staging(UNREACHABLE[0]), "test"):
        pass
    assert error.value.__suppress_context__


def test_postgres_scheme(environment):
    """An address may begin with postgres://, too."""
    address = environment.address.replace("postgresql://", "postgres://")
    with connecting(staging(address), "test") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(("options", "expected"), [({}, CONNECT_SECONDS), ({"connect_timeout": 3}, 3)])
def test_connect_timeout(environment, options, expected):
    """A connection attempt ends after ten seconds, unless the address sets another limit."""
    with connecting(staging(elsewhere(environment, **options)), "test") as connection:
        assert int(connection.info.get_parameters()["connect_timeout"]) == expected


def test_application_name(environment):
    """The application_name of a connection says what the connection is for."""
    with connecting(environment, "test") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("incident_lib test",)


def test_application_name_of_reading(environment):
    """The application_name of a connection that reads is `incident_lib investigate`."""
    with reading(environment) as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("incident_lib investigate",)


def test_no_prepared_statements(environment):
    """A statement that is sent many times is never prepared at the server: a pooler would lose it."""
    with reading(environment) as connection:
        for _ in range(10):
            connection.execute("SELECT %s", [1])
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("transaction_read_only", "on"),
        ("transaction_isolation", "repeatable read"),
        ("statement_timeout", "7s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "1min"),
    ],
)
def test_reading_is_limited(environment, setting, expected):
    """Reading happens in one read-only snapshot, with limits on how long it waits."""
    with reading(environment, seconds=7) as connection:
        assert connection.execute(f"SHOW {setting}").fetchone() == (expected,)


def test_reading_leaves_nothing(environment, connection):
    """Once reading is over, its session is gone."""
    with reading(environment) as looking:
        looking.execute("SELECT count(*) FROM public.q_threads")
    assert named(connection, "incident_lib investigate") == 0


def test_reading_that_fails_leaves_nothing(environment, connection):
    """After reading failed, its session is gone, too."""
    with pytest.raises(ZeroDivisionError), reading(environment) as looking:  # noqa: PT012
        looking.execute("SELECT count(*) FROM public.q_threads")
        raise ZeroDivisionError
    assert named(connection, "incident_lib investigate") == 0


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT count(*) FROM public.q_threads"])
def test_lost_connection(environment, connection, statement):
    """A session that an administrator ended gives a message."""
    with pytest.raises(Failed) as error, reading(environment) as looking:  # noqa: PT012
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [looking.info.backend_pid])
        looking.execute(statement)
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 57P01).\n"
        "  why:  PostgreSQL says: terminating connection due to administrator command.\n"
        "  next: Run the same command again."
    )


def test_lost_connection_at_the_end(environment, connection):
    """A session that was ended after its last statement gives a message, too."""
    with pytest.raises(Failed) as error, reading(environment) as looking:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [looking.info.backend_pid])
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 57P01).\n"
        "  why:  PostgreSQL says: terminating connection due to administrator command.\n"
        "  next: Run the same command again."
    )


def test_used_after_it_was_lost(environment, connection):
    """A statement on a session that is known to be lost gives a message of this project."""
    with pytest.raises(Failed) as error, connecting(environment, "test") as looking:  # noqa: PT012
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [looking.info.backend_pid])
        with pytest.raises(psycopg.Error):
            looking.execute("SELECT 1")
        looking.execute("SELECT 1")
    assert str(error.value) == (
        "The connection was lost in the environment 'staging'.\n"
        "  why:  The server or the network closed it.\n"
        "  next: Run the same command again: a migration continues from the catalog."
    )


def test_no_values_in_a_message(environment, connection):
    """The message on a statement that violates a key has none of the key's values."""
    row_id = uuid4()
    connection.execute("INSERT INTO public.q_prompts VALUES (%s)", [row_id])
    with pytest.raises(Failed) as error, connecting(environment, "test") as writing:
        writing.execute("INSERT INTO public.q_prompts VALUES (%s)", [row_id])
    assert str(error.value) == (
        "A query failed in the environment 'staging' (SQLSTATE 23505).\n"
        "  why:  PostgreSQL says: duplicate key value violates unique constraint ….\n"
        "  next: Several active threads share a key: `incident plan` shows them."
    )


def test_pooler(environment):
    """The embedded server itself is no pooler in transaction mode."""
    assert not is_transaction_pooled(environment)


def test_engine_reads(environment):
    """The engine answers an analyst's own queries."""
    with engine(environment).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM public.q_threads")).scalar() == 0


def test_engine_refuses_writes(environment):
    """PostgreSQL itself rejects a write through the engine."""
    with engine(environment).connect() as connection, pytest.raises(exc.SQLAlchemyError) as error:
        connection.execute(text("INSERT INTO public.q_prompts DEFAULT VALUES"))
    assert error.value.orig.sqlstate == "25006"


def test_engine_refuses_writes_that_commit(environment):
    """PostgreSQL rejects a write also in a transaction that would commit."""
    with pytest.raises(exc.SQLAlchemyError) as error, engine(environment).begin() as connection:
        connection.execute(text("DELETE FROM public.q_threads"))
    assert error.value.orig.sqlstate == "25006"


def test_engine_names_itself(environment):
    """The application_name of the engine's connections is `incident_lib notebook`."""
    with engine(environment).connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "incident_lib notebook"


def test_engine_shows_no_address():
    """The repr of an engine has no address."""
    assert repr(engine(staging(UNREACHABLE[0]))) == "Engine(postgresql+psycopg://)"


def test_engine_leaves_nothing(environment, connection):
    """After a query the engine holds no session."""
    made = engine(environment)
    with made.connect() as asking:
        asking.execute(text("SELECT 1"))
    assert named(connection, "incident_lib notebook") == 0
