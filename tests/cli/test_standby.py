"""On a standby: what is said of its age, and that it does not verify the present."""

from __future__ import annotations

import json
import re
from threading import Barrier
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.analysis import Standby, read_standby
from incident_lib.database import Environment, reading, side_by_side
from tests.support import clusters, standby
from tests.support.command import Ran, message, shell
from tests.support.threads import enlarged

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
AT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
UNKNOWN = "It is not known how old its answers are: it has replayed no transaction since it started"
ALL = "it has replayed all that it has received"
INSTEAD = "Use the primary's address, or add --allow-standby."


@pytest.fixture(scope="module")
def pair() -> Iterator[standby.Pair]:
    """A primary and its standby."""
    with standby.streaming() as made:
        yield made


@pytest.fixture(scope="module")
def silent() -> Iterator[standby.Pair]:
    """A primary and its standby, on which nothing was written since the standby started."""
    with standby.streaming() as made:
        yield made


def write(pair: standby.Pair) -> None:
    """Commit a transaction on the primary."""
    with psycopg.connect(clusters.at(pair.primary, "empty_template")) as connection:
        connection.execute("INSERT INTO public.q_prompts VALUES (gen_random_uuid())")


def on(pair: standby.Pair, *words: str, database: str = "incident_template") -> Ran:
    """Run a command on the standby."""
    return shell(*words, "--env", "staging", INCIDENT_STAGING_URL=clusters.at(pair.standby, database))


def read(address: str) -> Standby | None:
    """What is read of a server."""
    with reading(Environment("staging", "INCIDENT_STAGING_URL", clusters.at(address, "empty_template"))) as connection:
        return read_standby(connection)


def test_two_connections_share_a_snapshot_of_a_standby(pair: standby.Pair) -> None:
    """Of a large table, two questions are asked at the same time."""
    both = Barrier(2, timeout=5)
    enlarged(Environment("staging", "INCIDENT_STAGING_URL", clusters.at(pair.primary, "empty_template")))
    pair.catch_up()
    behind = Environment("staging", "INCIDENT_STAGING_URL", clusters.at(pair.standby, "empty_template"))
    with reading(behind) as connection:
        assert side_by_side(connection, lambda _: both.wait(), lambda _: both.wait()) in [(0, 1), (1, 0)]


def test_the_primary_is_no_standby(pair: standby.Pair) -> None:
    """Nothing is said of a primary."""
    assert read(pair.primary) is None


def test_the_age_of_a_standby(pair: standby.Pair) -> None:
    """The age is that of the last transaction that was replayed."""
    write(pair)
    pair.catch_up()
    found = read(pair.standby)
    assert found is not None
    assert (found.receiving, found.caught_up) == (True, True)
    assert found.age_seconds is not None
    assert 0 <= found.age_seconds < 60


def test_an_age_that_is_not_known(silent: standby.Pair) -> None:
    """A standby that has replayed nothing since it started claims no age."""
    found = read(silent.standby)
    assert found == Standby(None, None, receiving=True, caught_up=True)
    assert str(found) == f"This server is a standby. {UNKNOWN}; {ALL}."


def test_a_standby_that_lags(pair: standby.Pair) -> None:
    """A standby that has received more than it has replayed says so."""
    pair.catch_up()
    pair.pause()
    try:
        write(pair)
        with psycopg.connect(pair.standby, autocommit=True) as connection:
            query = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
            while connection.execute(query).fetchone() != (True,):
                pass
        found = read(pair.standby)
    finally:
        pair.resume()
    assert found is not None
    assert not found.caught_up
    assert str(found).endswith(" s ago; it has received more than it has replayed.")


def test_a_standby_without_a_primary() -> None:
    """A standby whose primary is gone says that nothing is sent to it."""
    with standby.streaming() as alone:
        write(alone)
        alone.catch_up()
        alone.cluster.stop()
        found = read(alone.standby)
    assert str(found).endswith(f" s ago; {ALL}; no server sends to it now.")


def test_verify_on_a_standby(silent: standby.Pair) -> None:
    """`verify` answers no on a standby, with how old it is and what to do."""
    ran = on(silent, "verify")
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        1,
        "",
        message("This server is a standby: it answers for the past.", f"{UNKNOWN}; {ALL}.", INSTEAD),
    )


def test_verify_on_a_standby_where_that_is_allowed(silent: standby.Pair) -> None:
    """With --allow-standby `verify` says that it is one, and then what it sees: here, that the fix is not in."""
    ran = on(silent, "verify", "--allow-standby")
    assert (ran.returncode, ran.stdout.splitlines()[1]) == (1, f"This server is a standby. {UNKNOWN}; {ALL}.")
    assert ran.stderr.startswith("incident: The fixed index is not enforced in 'staging'.")


def test_no_probe_on_a_standby(silent: standby.Pair) -> None:
    """A standby cannot be probed."""
    ran = on(silent, "verify", "--allow-standby", "--probe", "--confirm", "staging")
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        1,
        "",
        message(
            "This server is a standby: it cannot be probed.",
            "A probe writes and rolls back, and a standby rejects writes.",
            "Use the primary's address, or leave out --probe and add --allow-standby.",
        ),
    )


def test_investigate_on_a_standby(pair: standby.Pair) -> None:
    """`investigate` says below its verdict that the server is a standby, and how old its answers are."""
    write(pair)
    pair.catch_up()
    ran = on(pair, "investigate")
    said = ran.stdout.splitlines()[1]
    wanted = rf"This server is a standby\. The last transaction that it has replayed is of {AT} UTC, \d+ s ago; {ALL}\."
    assert (ran.returncode, bool(re.fullmatch(wanted, said))) == (0, True)


def test_investigate_on_a_standby_as_json(pair: standby.Pair) -> None:
    """As JSON the age of the standby is a part of the answer."""
    write(pair)
    pair.catch_up()
    ran = on(pair, "investigate", "--format", "json")
    told = json.loads(ran.stdout)
    found = told["result"]["standby"]
    assert set(found) == {"replayed_at", "age_seconds", "receiving", "caught_up"}
    assert (found["receiving"], found["caught_up"], found["age_seconds"] >= 0) == (True, True, True)
    assert "This server is a standby." in told["answer"]


def test_an_unknown_age_as_json(silent: standby.Pair) -> None:
    """An age that is not known is null."""
    found = json.loads(on(silent, "investigate", "--format", "json").stdout)["result"]["standby"]
    assert (found["replayed_at"], found["age_seconds"]) == (None, None)
