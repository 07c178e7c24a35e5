"""The probe of what the fixed index promises: what it answers, what it leaves, and how long it keeps others waiting."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner

from incident_lib.analysis.probe import FAMILIES, Probe, probe_semantics, verify_semantics
from incident_lib.cli import cli
from incident_lib.database import NewThread as Thread
from incident_lib.database import create_chat, fetch_all, fetch_one
from incident_lib.migration.executor import apply
from incident_lib.model.change import INDEX_NAME
from incident_lib.model.checks import Check, Status
from incident_lib.model.errors import IncidentError
from incident_lib.model.threads import Family
from tests.conftest import add

EVERY_VERSION = True
CURE = "Run `incident plan`: it shows what is left to do."
FAMILY = Family(UUID(int=1), UUID(int=7))
LIMITS = 3 * (0.05 + 0.2)  # three inserts, each within the lock and the statement timeout


class Ran(NamedTuple):
    """What a command ended with: its exit code, standard output, and the message that goes with any code but 0."""

    code: int
    out: str
    message: str = ""


def verify(*options):
    """Run `incident verify …` on staging."""
    ran = CliRunner().invoke(cli, ["verify", "--env", "staging", *options], standalone_mode=False)
    if isinstance(ran.exception, IncidentError):
        return Ran(ran.exception.exit_code, ran.stdout, str(ran.exception))
    if ran.exception:
        raise ran.exception
    return Ran(ran.return_value, ran.stdout)


def probed():
    """Run `incident verify --probe`, confirmed."""
    return verify("--probe", "--confirm", "staging")


def lines(ran):
    """The lines of what a command printed, each with single spaces."""
    return [" ".join(line.split()) for line in ran.out.splitlines()]


@pytest.fixture
def original(staging, connection):
    """Staging with the original index, and a family with an active run."""
    add(connection, *FAMILY)
    return staging


@pytest.fixture
def fixed(original):
    """Staging with the fixed index, and a family with an active run."""
    apply(original, confirm="staging")
    return original


@pytest.fixture
def unguarded(original, connection):
    """Staging without a unique index, and a family with an active run."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    return original


@contextmanager
def open_transaction(environment, *statements):
    """Somebody else's transaction, idle after these statements; rolled back at the end."""
    with psycopg.connect(environment.address) as other:
        for statement in statements:
            other.execute(statement)
        yield other
        other.rollback()


END_RUNS = "UPDATE public.q_threads SET is_active = false"
LOCK_PROMPTS = "SELECT FROM public.q_prompts FOR UPDATE"
LOCK_TABLE = "LOCK TABLE public.q_threads IN SHARE MODE"


# What it answers


def test_under_the_fixed_index(fixed, connection):
    """Under the fixed index a chat is admitted beside the run, a second chat and a second run are rejected."""
    assert probe_semantics(connection, [FAMILY]) == (
        Probe("chat beside a run", admitted=1),
        Probe("second chat", rejected=1),
        Probe("second run", rejected=1),
    )


def test_under_the_original_index(original, connection):
    """Under the original index a chat is rejected beside the run, and so is everything else."""
    assert probe_semantics(connection, [FAMILY]) == (
        Probe("chat beside a run", rejected=1),
        Probe("second chat", rejected=1),
        Probe("second run", rejected=1),
    )


def test_without_a_index(unguarded, connection):
    """Without a unique index the chat, a second chat and a second run are all admitted."""
    assert probe_semantics(connection, [FAMILY]) == (
        Probe("chat beside a run", admitted=1),
        Probe("second chat", admitted=1),
        Probe("second run", admitted=1),
    )


def test_without_families(fixed, connection):
    """Without a family nothing is tried."""
    assert probe_semantics(connection, []) == (
        Probe("chat beside a run"),
        Probe("second chat"),
        Probe("second run"),
    )


def test_only_a_few_families_are_tried(fixed, connection):
    """Of many families only the first few are tried."""
    families = [Family(UUID(int=number), FAMILY.owner) for number in range(100, 120)]
    for family in families:
        add(connection, *family)
    assert [each.attempts for each in probe_semantics(connection, families)] == [FAMILIES] * 3


@pytest.mark.parametrize("state", ["fixed", "original", "unguarded"])
def test_nothing_is_left(request, connection, state):
    """Whatever is admitted, nothing is left in the table."""
    request.getfixturevalue(state)
    before = fetch_one(connection, "analysis/checksum")
    probe_semantics(connection, [FAMILY])
    assert fetch_one(connection, "analysis/checksum") == before


def test_no_setting_is_left(fixed, connection):
    """The probe's limits end with its transactions."""
    settings = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
    before = connection.execute(settings).fetchone()
    probe_semantics(connection, [FAMILY])
    assert (connection.execute(settings).fetchone(), connection.info.transaction_status.name) == (before, "IDLE")


# Beside others


def test_a_locked_table(fixed, connection):
    """Where another session has the table locked, nothing is probed."""
    with open_transaction(fixed, LOCK_TABLE):
        assert probe_semantics(connection, [FAMILY]) == (
            Probe("chat beside a run", not_probed=1),
            Probe("second chat", not_probed=1),
            Probe("second run", not_probed=1),
        )


def test_a_locked_prompt(fixed, connection):
    """Where another session has locked the prompt's row, no chat is probed; the second run is rejected before."""
    with open_transaction(fixed, LOCK_PROMPTS):
        assert probe_semantics(connection, [FAMILY]) == (
            Probe("chat beside a run", not_probed=1),
            Probe("second chat", not_probed=1),
            Probe("second run", rejected=1),
        )


def test_a_second_chat_without_a_first_is_not_probed(fixed, connection):
    """Where only the first chat met a lock, the next one is no second chat, and is not said to be admitted as one."""
    connection.execute("CREATE SEQUENCE public.attempts")
    connection.execute(
        "CREATE FUNCTION public.locked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('public.attempts') = 1 THEN RAISE EXCEPTION USING ERRCODE = '55P03'; END IF; RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE TRIGGER locked BEFORE INSERT ON public.q_threads FOR EACH ROW EXECUTE FUNCTION public.locked()"
    )
    assert probe_semantics(connection, [FAMILY]) == (
        Probe("chat beside a run", not_probed=1),
        Probe("second chat", not_probed=1),
        Probe("second run", rejected=1),
    )


def test_a_run_that_somebody_ends_just_now(fixed, connection):
    """Where another session has the run's row, only the second run is not probed."""
    with open_transaction(fixed, END_RUNS):
        assert probe_semantics(connection, [FAMILY]) == (
            Probe("chat beside a run", admitted=1),
            Probe("second chat", rejected=1),
            Probe("second run", not_probed=1),
        )


@pytest.mark.parametrize("statement", [LOCK_PROMPTS, LOCK_TABLE, END_RUNS])
def test_it_gives_up_soon(fixed, connection, statement):
    """Locks that are not to be had in any family hold the probe up for less than a second."""
    families = [Family(UUID(int=number), FAMILY.owner) for number in range(100, 100 + FAMILIES)]
    for family in families:
        add(connection, *family)
    with open_transaction(fixed, statement):
        started = time.monotonic()
        probe_semantics(connection, families)
        assert time.monotonic() - started < 1.0 + 0.25  # what connecting and planning take on a busy machine


@pytest.mark.parametrize("statement", [LOCK_PROMPTS, LOCK_TABLE, END_RUNS])
def test_who_holds_the_lock_does_not_wait(fixed, connection, statement):
    """A session that holds what the probe wants goes on writing while it is probed."""
    with open_transaction(fixed, statement) as other:
        probing = threading.Thread(target=probe_semantics, args=[connection, [FAMILY]])
        probing.start()
        started = time.monotonic()
        other.execute("SET LOCAL lock_timeout = '5s'")
        add(other, *FAMILY, purpose="chat")
        took = time.monotonic() - started
        probing.join()
    assert took < LIMITS


def test_a_client_is_kept_waiting_no_longer_than_the_limits(fixed, connection):
    """A chat client that meets the probe's open chat, held up by a slow trigger, waits no longer than the limits."""
    connection.execute(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.name LIKE 'probe%' AND NEW.purpose = 'run' THEN PERFORM pg_sleep(5); END IF; RETURN NEW; END $$"
    )
    connection.execute(
        "CREATE TRIGGER slow BEFORE INSERT ON public.q_threads FOR EACH ROW EXECUTE FUNCTION public.slow()"
    )
    answers = []
    with psycopg.connect(fixed.address, autocommit=True) as client:
        probing = threading.Thread(target=lambda: answers.extend(probe_semantics(connection, [FAMILY])))
        probing.start()
        until_asleep(client)
        started = time.monotonic()
        create_chat(client, Thread(*FAMILY))
        took = time.monotonic() - started
        probing.join()
    assert took < LIMITS
    assert answers[2] == Probe("second run", not_probed=1)


def until_asleep(connection):
    """Wait until some session of this database sleeps."""
    deadline = time.monotonic() + 10
    asleep = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while connection.execute(asleep).fetchone() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


# What the answers mean


def test_semantics_that_hold():
    """A chat admitted beside a run, and seconds rejected, are what the fix promises."""
    probes = (Probe("chat beside a run", 5), Probe("second chat", 0, 5), Probe("second run", 0, 5))
    assert verify_semantics(probes) == (
        Check("chat beside a run", Status.PASS, "5 of 5 admitted, 0 rejected"),
        Check("second chat", Status.PASS, "0 of 5 admitted, 5 rejected"),
        Check("second run", Status.PASS, "0 of 5 admitted, 5 rejected"),
    )


def test_semantics_that_do_not_hold():
    """A chat rejected beside a run, or a second thread admitted, breaks what the fix promises."""
    probes = (Probe("chat beside a run", 4, 1), Probe("second chat", 1, 4), Probe("second run", 5))
    assert verify_semantics(probes) == (
        Check("chat beside a run", Status.FAIL, "4 of 5 admitted, 1 rejected", CURE),
        Check("second chat", Status.FAIL, "1 of 5 admitted, 4 rejected", CURE),
        Check("second run", Status.FAIL, "5 of 5 admitted, 0 rejected", CURE),
    )


def test_semantics_of_no_family():
    """Where there is no family to try, that is noted."""
    probes = (Probe("chat beside a run"), Probe("second chat"), Probe("second run"))
    note = "no family has a run and no chat: nothing could be probed"
    assert verify_semantics(probes) == (Check("probe", Status.INFO, note),)


def test_semantics_of_nothing_probed():
    """What was not probed at all is noted, and never said to hold."""
    probes = (
        Probe("chat beside a run", not_probed=5),
        Probe("second chat", not_probed=5),
        Probe("second run", 0, 0, 5),
    )
    assert {check.status for check in verify_semantics(probes)} == {Status.INFO}


# `incident verify --probe`


@pytest.mark.parametrize("confirm", [(), ("--confirm", "prod")])
def test_without_confirm(fixed, confirm):
    """A probe writes, if rolled back: without the environment's name it is refused."""
    assert verify("--probe", *confirm) == Ran(
        1,
        "",
        "Nothing was changed in 'staging'.\n"
        f"  why:  A probe writes, and needs its name as confirmation, "
        f"and {repr(confirm[1]) if confirm[1:] and confirm[1] else 'none'} was given.\n"
        "  next: Read `incident plan --env staging`, then add `--confirm staging` to allow changes.",
    )


def test_verify_under_the_fixed_index(fixed):
    """Under the fixed index the verification holds, with all three answers, and ends with 0."""
    ran = probed()
    assert ran.code == 0
    assert [line for line in lines(ran) if line.startswith(("chat", "second", "staging"))] == [
        "staging: only the fixed index is enforced.",
        "chat beside a run pass 1 of 1 admitted, 0 rejected –",
        "second chat pass 0 of 1 admitted, 1 rejected –",
        "second run pass 0 of 1 admitted, 1 rejected –",
    ]


def test_verify_under_the_original_index(original):
    """Under the original index the verification says no, and that a chat was rejected beside the run."""
    ran = probed()
    assert ran.code == 1
    assert f"chat beside a run fail 0 of 1 admitted, 1 rejected {CURE}" in lines(ran)


def test_verify_without_a_index(unguarded):
    """Without a unique index the verification says no, and that seconds were admitted."""
    ran = probed()
    assert ran.code == 1
    assert [line for line in lines(ran) if line.startswith(("chat", "second"))] == [
        "chat beside a run pass 1 of 1 admitted, 0 rejected –",
        f"second chat fail 1 of 1 admitted, 0 rejected {CURE}",
        f"second run fail 1 of 1 admitted, 0 rejected {CURE}",
    ]


def test_verify_without_families(fixed, connection):
    """Where no family has a run and no chat, that is noted, and the definition decides."""
    add(connection, *FAMILY, purpose="chat")
    ran = probed()
    assert ran.code == 0
    assert "probe info no family has a run and no chat: nothing could be probed –" in lines(ran)


def test_verify_of_a_locked_table(fixed):
    """Where nothing could be probed, it is told so, and the definition decides."""
    with open_transaction(fixed, LOCK_TABLE):
        ran = probed()
    assert ran.code == 0
    assert sum("1 not probed" in line for line in lines(ran)) == 3


@pytest.mark.parametrize("state", ["fixed", "original", "unguarded"])
def test_verify_leaves_nothing(request, connection, state):
    """Whatever it finds, `verify --probe` leaves nothing in the table."""
    request.getfixturevalue(state)
    before = fetch_one(connection, "analysis/checksum")
    probed()
    assert fetch_one(connection, "analysis/checksum") == before


def test_verify_without_a_probe_writes_nothing(fixed, connection):
    """Without --probe nobody needs to confirm, and no transaction writes."""
    written = "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'q_threads'"
    before = connection.execute(written).fetchone()
    assert verify().code == 0
    assert connection.execute(written).fetchone() == before


@pytest.mark.parametrize(
    ("run", "chat", "owner", "probed_too"),
    [
        (True, False, UUID(int=8), True),
        (True, True, UUID(int=8), False),
        (False, False, UUID(int=8), False),
        (True, False, None, False),
    ],
)
def test_which_families_are_probed(fixed, connection, run, chat, owner, probed_too):
    """A family of an owner is probed where its run is active and no chat is."""
    add(connection, FAMILY.root, owner, is_active=run)
    add(connection, FAMILY.root, owner, purpose="chat", is_active=chat)
    rows = fetch_all(connection, "analysis/families_without_chat", {"most": FAMILIES})
    assert {Family(**row) for row in rows} == {FAMILY, *([Family(FAMILY.root, owner)] if probed_too else [])}
