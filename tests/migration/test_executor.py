"""The migration on a real server: where it ends, how it is resumed, what it refuses, what a preflight sees."""

import os
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import conninfo, sql

from incident_lib.analysis.investigate import investigate, list_blocked
from incident_lib.analysis.probe import FAMILIES, Probe, probe_families, verify_probes
from incident_lib.database import Environment, fetch_all, fetch_one, read_catalog, reading
from incident_lib.migration.executor import apply
from incident_lib.migration.lock import LOCK_KEY
from incident_lib.migration.preflight import Estimate, Preflight, run_preflight
from incident_lib.migration.verify import holds, verify_catalog
from incident_lib.model.catalog import Catalog, IndexState
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.checks import Check, Status
from incident_lib.model.errors import Failed, Refused
from incident_lib.model.plan import Plan, Step
from incident_lib.model.threads import Family
from tests.conftest import add

EVERY_VERSION = True
COMMENT = "one active thread per prompt family and user"
ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
FIXED_KEY = f"ON public.q_threads (root_prompt_row_id, owner_id, purpose) {ACTIVE}"
BUILD = f"CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.build_name} {FIXED_KEY}"
SWAP = (
    f"BEGIN; ALTER INDEX public.{INDEX_NAME} RENAME TO {PURPOSE.retired_name};"
    f" ALTER INDEX public.{PURPOSE.build_name} RENAME TO {INDEX_NAME}; COMMIT"
)
DROP = f"DROP INDEX CONCURRENTLY public.{PURPOSE.retired_name}"
TOUCH = "SELECT count(*) FROM public.q_threads"
WRITE = "INSERT INTO public.q_threads (purpose) VALUES ('run')"


def is_fixed(catalog):
    """Whether the fixed index alone is enforced."""
    return catalog.state is IndexState.FIXED and holds(verify_catalog(catalog))


def session(environment, name="somebody", **options):
    """A session of somebody else."""
    return psycopg.connect(environment.address, application_name=name, **options)


@contextmanager
def open_transaction(environment, *statements):
    """Somebody else's transaction, idle after these statements; rolled back at the end."""
    with session(environment) as other:
        for statement in statements:
            other.execute(statement)
        yield other
        other.rollback()


@contextmanager
def waiting(environment, statement):
    """A statement in a session of its own that somebody keeps waiting, by its pid; cancelled at the end."""
    with session(environment, autocommit=True) as worker, session(environment, autocommit=True) as boss:
        pid = worker.info.backend_pid
        thread = threading.Thread(target=until_canceled, args=(worker, statement))
        thread.start()
        until_blocked(boss, pid)
        yield pid
        boss.execute("SELECT pg_cancel_backend(%s)", [pid])
        thread.join()


def until_canceled(connection, statement):
    """Execute a statement that somebody is going to cancel."""
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(statement)


def until_blocked(connection, pid, blocker=None):
    """Wait until a session waits for somebody, or for the session `blocker` alone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        (pids,) = connection.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone()
        if pids if blocker is None else pids == [blocker]:
            return
        time.sleep(0.01)
    raise TimeoutError


def canceled(environment, statement):
    """Begin a statement, and end it once it waits for somebody."""
    with waiting(environment, statement):
        pass


def built(connection, environment):
    """Built, not swapped."""
    connection.execute(BUILD)


def swapped(connection, environment):
    """Swapped, not dropped."""
    connection.execute(BUILD)
    connection.execute(SWAP)


def killed_in_first_scan(connection, environment):
    """A build that was killed before it scanned: it waited for a writer."""
    with open_transaction(environment, WRITE):
        canceled(environment, BUILD)


def killed_in_later_wait(connection, environment):
    """A build that was killed when all was indexed: it waited for an old snapshot."""
    with open_transaction(environment, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1"):
        canceled(environment, BUILD)


def drop_killed_in_first_wait(connection, environment):
    """A drop that was killed while the retired index still enforced."""
    swapped(connection, environment)
    with open_transaction(environment, TOUCH):
        canceled(environment, DROP)


def drop_killed_in_second_wait(connection, environment):
    """A drop that was killed when the retired index was already dead."""
    swapped(connection, environment)
    with session(environment) as first, session(environment) as second:
        first.execute(TOUCH)
        with waiting(environment, DROP) as pid:
            second.execute(TOUCH)
            first.rollback()
            until_blocked(connection, pid, blocker=second.info.backend_pid)
        second.rollback()


def missing(connection, environment):
    """No unique index at all."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")


def missing_but_for_a_leftover(connection, environment):
    """No enforced unique index, and what a killed build left."""
    killed_in_first_scan(connection, environment)
    missing(connection, environment)


def fixed_under_another_name(connection, environment):
    """The fixed index, built by another session under a name of their own, beside the original."""
    connection.execute(f"CREATE UNIQUE INDEX theirs {FIXED_KEY}")


def only_an_enforcing_leftover(connection, environment):
    """An original index that is invalid and enforces, and nothing else."""
    with open_transaction(environment, TOUCH):
        canceled(environment, f"DROP INDEX CONCURRENTLY public.{INDEX_NAME}")


HALF_WAY = [
    built,
    swapped,
    killed_in_first_scan,
    killed_in_later_wait,
    drop_killed_in_first_wait,
    drop_killed_in_second_wait,
    missing,
    missing_but_for_a_leftover,
    fixed_under_another_name,
    only_an_enforcing_leftover,
]


def catalog_of(environment):
    """The unique indexes, as they are now."""
    with session(environment, autocommit=True) as connection:
        return read_catalog(connection)


def checksum(environment):
    """The checksum over all threads."""
    with session(environment, autocommit=True) as connection:
        return fetch_one(connection, "analysis/checksum")


def chat_families(environment):
    """The families that are blocked for chat."""
    with reading(environment) as connection:
        entries = list_blocked(connection, read_catalog(connection))
    return [Family(e.root_prompt_row_id, e.owner_id) for e in entries if e.blocked_for == "chat"]


def checked(environment, target=IndexKind.FIXED):
    """Every preflight check by its name."""
    with reading(environment) as connection:
        found = run_preflight(connection, environment, investigate(connection), target)
    return {check.name: check for check in found.checks}


def without_age(message):
    """A message in which the age of a transaction is left open."""
    return re.sub(r"open \d+ s", "open N s", message)


@pytest.fixture
def role(connection):
    """A login role of this test alone."""
    name = f"role_{os.getpid()}_{uuid4().hex[:8]}"
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(name)))
    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def as_role(environment, role):
    """The environment, as a role sees it."""
    return Environment(environment.name, environment.source, conninfo.make_conninfo(environment.address, user=role))


# The migration


def test_ends_fixed(incident):
    """After the migration only the fixed index is enforced."""
    apply(incident, confirm="staging")
    assert catalog_of(incident).state is IndexState.FIXED


def test_verify_holds(incident):
    """After the migration every check of the verification holds."""
    apply(incident, confirm="staging")
    assert holds(verify_catalog(catalog_of(incident)))


def test_verify_does_not_hold_before(incident):
    """Before the migration the verification does not hold."""
    assert not is_fixed(catalog_of(incident))


def test_steps(incident):
    """The steps that were taken are those of the plan, and all were done."""
    steps = [(step.name, step.outcome) for step in apply(incident, confirm="staging").steps]
    assert steps == [("build", "done"), ("swap", "done"), ("drop", "done")]


def test_before_and_after(incident):
    """What the migration returns holds the catalog as it was and as it is."""
    migration = apply(incident, confirm="staging")
    assert (migration.before.state, migration.after.state) == (IndexState.ORIGINAL, IndexState.FIXED)


def test_comment_is_kept(incident):
    """The unique index's comment is still there."""
    apply(incident, confirm="staging")
    (index,) = catalog_of(incident).of(IndexKind.FIXED)
    assert (index.name, index.comment) == (INDEX_NAME, COMMENT)


def test_no_thread_is_changed(incident):
    """No thread is changed by the migration."""
    before = checksum(incident)
    apply(incident, confirm="staging")
    assert checksum(incident) == before


def test_no_row_version_is_ours(incident):
    """No version of a thread's row carries a transaction of the migration."""
    migration = apply(incident, confirm="staging")
    with session(incident) as connection:
        found = fetch_one(connection, "analysis/own_versions", {"xids": list(migration.xids)})
    assert found == {"versions": 0}


def test_transactions_are_known(incident):
    """The migration tells which transactions were its own."""
    assert apply(incident, confirm="staging").xids


def test_row_versions_of_others_are_found(environment, connection):
    """The question for row versions does find those of a transaction that wrote."""
    with connection.transaction():
        add(connection, uuid4(), uuid4())
        (xid,) = connection.execute("SELECT pg_current_xact_id()::xid::text").fetchone()
    assert fetch_one(connection, "analysis/own_versions", {"xids": [xid]}) == {"versions": 1}


def test_twice_is_once(incident):
    """Applied a second time, it takes no step."""
    apply(incident, confirm="staging")
    assert apply(incident, confirm="staging").steps == []


def test_nothing_ends_the_second_time(incident):
    """Applied a second time, the incident does not end again."""
    apply(incident, confirm="staging")
    assert apply(incident, confirm="staging").ended_at is None


def test_when_the_incident_ended(incident):
    """The moment at which the incident ended lies within the migration."""
    before = datetime.now(UTC)
    migration = apply(incident, confirm="staging")
    assert before < migration.ended_at < datetime.now(UTC)


def test_the_incident_goes_on_while_the_drop_waits(environment):
    """While a reader holds up the drop the incident goes on: it ends after the reader has let go."""
    let_go = []
    with session(environment) as reader:
        reader.execute(TOUCH)

        def listener(progress):
            if progress.step == "drop" and progress.blockers and not let_go:
                let_go.append(datetime.now(UTC))
                reader.close()

        migration = apply(environment, confirm="staging", listener=listener)
    assert migration.ended_at > let_go[0]


def test_listener_is_told_who_is_waited_for(environment):
    """The listener is told by whom the drop is held up."""
    told = []
    with session(environment) as reader:
        reader.execute(TOUCH)
        pid = reader.info.backend_pid

        def listener(progress):
            if progress.step == "drop" and progress.blockers:
                told.extend(map(without_age, progress.blockers))
                reader.close()

        apply(environment, confirm="staging", listener=listener)
    assert told[0] == f"pid {pid} (somebody, idle in transaction, open N s)"


def test_listener_is_told(incident):
    """The listener is told of each step as it begins."""
    told = []
    apply(incident, confirm="staging", listener=told.append)
    assert [p.step for p in told if p.phase == "begins"] == ["build", "swap", "drop"]


def test_done_is_told(incident):
    """After each step somebody is told how many were taken."""
    told = []
    apply(incident, confirm="staging", done=lambda migration: told.append(len(migration.steps)))
    assert sorted(set(told)) == [1, 2, 3]


def test_lock_is_given_back(incident):
    """After the migration nobody holds its advisory lock."""
    apply(incident, confirm="staging")
    with session(incident) as connection:
        assert fetch_all(connection, "migration/lock_holder", {"key": LOCK_KEY}) == []


@pytest.mark.parametrize("confirm", ["", "prod", "STAGING", "staging "])
def test_wrong_confirm(incident, confirm):
    """Without the environment's very name nothing is changed."""
    with pytest.raises(Refused) as error:
        apply(incident, confirm=confirm)
    assert str(error.value) == (
        "Nothing was changed in 'staging'.\n"
        f"  why:  Changing an environment needs its name as confirmation, "
        f"and {repr(confirm) if confirm else 'none'} was given.\n"
        "  next: Read `incident plan --env staging`, then add `--confirm staging` to allow changes."
    )


def test_wrong_confirm_changes_nothing(incident):
    """Where the name was not given, the original index is still enforced."""
    with pytest.raises(Refused):
        apply(incident, confirm="prod")
    assert catalog_of(incident).state is IndexState.ORIGINAL


def test_rollback(incident):
    """The way back ends with the original index alone."""
    apply(incident, confirm="staging")
    apply(incident, confirm="staging", target=IndexKind.ORIGINAL)
    catalog = catalog_of(incident)
    assert (catalog.state, [i.name for i in catalog.relevant_indexes]) == (IndexState.ORIGINAL, [INDEX_NAME])


def test_rollback_changes_no_thread(incident):
    """No thread is changed by the migration and its rollback."""
    before = checksum(incident)
    apply(incident, confirm="staging")
    apply(incident, confirm="staging", target=IndexKind.ORIGINAL)
    assert checksum(incident) == before


# Resuming


@pytest.mark.parametrize(
    ("left_by", "flags"),
    [
        (killed_in_first_scan, (False, False, True)),
        (killed_in_later_wait, (False, True, True)),
        (drop_killed_in_first_wait, (False, True, True)),
        (drop_killed_in_second_wait, (False, False, False)),
    ],
)
def test_flags_of_leftovers(environment, connection, left_by, flags):
    """Each kind of leftover has the flags that the migration's table gives."""
    left_by(connection, environment)
    assert [(i.valid, i.ready, i.live) for i in read_catalog(connection).relevant_indexes if not i.usable] == [flags]


@pytest.mark.parametrize("left_by", HALF_WAY)
def test_resumed(environment, connection, left_by):
    """From wherever it was left, the migration ends with the fixed index alone, under the official name."""
    left_by(connection, environment)
    apply(environment, confirm="staging")
    catalog = read_catalog(connection)
    assert (is_fixed(catalog), [i.name for i in catalog.relevant_indexes]) == (True, [INDEX_NAME])


@pytest.mark.parametrize("left_by", [built, swapped, killed_in_later_wait, drop_killed_in_first_wait, missing])
def test_rolled_back_from_half_way(environment, connection, left_by):
    """From wherever the migration was left, the rollback ends with the original index alone."""
    left_by(connection, environment)
    apply(environment, confirm="staging", target=IndexKind.ORIGINAL)
    catalog = read_catalog(connection)
    assert (catalog.state, [i.name for i in catalog.relevant_indexes]) == (IndexState.ORIGINAL, [INDEX_NAME])


@pytest.mark.parametrize(
    ("step", "statements"),
    [
        ("build", (BUILD,)),
        ("swap", (SWAP,)),
        ("swap", (SWAP, DROP)),
        ("drop", (DROP,)),
    ],
)
def test_somebody_else_did_it_first(environment, connection, step, statements):
    """Where somebody else does a step by hand at the same moment, the migration goes on from the catalog."""
    todo = list(statements)

    def listener(progress):
        while (progress.step, progress.phase) == (step, "begins") and todo:
            connection.execute(todo.pop(0))

    apply(environment, confirm="staging", listener=listener)
    assert is_fixed(read_catalog(connection))


# The probe


def test_probe_before(incident):
    """Before the migration every family that is blocked for chat is rejected."""
    families = chat_families(incident)
    with session(incident, autocommit=True) as connection:
        assert probe_families(connection, families) == Probe("chat", rejected=FAMILIES)


def test_probe_after(incident):
    """After the migration the families that were blocked for chat are admitted."""
    families = chat_families(incident)
    apply(incident, confirm="staging")
    with session(incident, autocommit=True) as connection:
        assert probe_families(connection, families) == Probe("chat", admitted=FAMILIES)


def test_probe_leaves_no_trace(incident):
    """What a probe inserts is rolled back."""
    families = chat_families(incident)
    apply(incident, confirm="staging")
    before = checksum(incident)
    with session(incident, autocommit=True) as connection:
        probe_families(connection, families)
    assert checksum(incident) == before


def test_probe_of_a_locked_table(environment, connection):
    """A family is not probed where a lock is not to be had."""
    family = Family(uuid4(), uuid4())
    add(connection, *family)
    with open_transaction(environment, "LOCK TABLE public.q_threads IN SHARE MODE"):
        assert probe_families(connection, [family]) == Probe("chat", not_probed=1)


def test_probe_of_a_locked_row(environment, connection):
    """A family is not probed where somebody else changes its chat just now."""
    family = Family(uuid4(), uuid4())
    add(connection, *family, purpose="chat")
    with open_transaction(environment, "UPDATE public.q_threads SET name = 'x'"):
        assert probe_families(connection, [family]) == Probe("chat", not_probed=1)


def test_probe_beside_an_open_insert(environment, connection):
    """A family is not probed where somebody else inserts the same key just now."""
    family = Family(uuid4(), uuid4())
    connection.execute("INSERT INTO public.q_prompts VALUES (%s)", [family.root])
    with session(environment) as other:
        add(other, *family, purpose="chat")
        assert probe_families(connection, [family]) == Probe("chat", not_probed=1)


def test_probe_replaces_a_chat(environment, connection):
    """A chat is tried as the chat client does it: the old chat is ended first, so it is in nobody's way."""
    family = Family(uuid4(), uuid4())
    add(connection, *family, purpose="chat")
    assert probe_families(connection, [family]) == Probe("chat", admitted=1)


def test_probe_of_a_run(environment, connection):
    """A run is rejected where a chat holds the family's key."""
    family = Family(uuid4(), uuid4())
    add(connection, *family, purpose="chat")
    assert probe_families(connection, [family], "run") == Probe("run", rejected=1)


def test_probe_of_few(environment, connection):
    """Of many families only the first few are tried."""
    families = [Family(UUID(int=number), UUID(int=1)) for number in range(1, 20)]
    connection.cursor().executemany("INSERT INTO public.q_prompts VALUES (%s)", [[f.root] for f in families])
    assert probe_families(connection, families).attempts == FAMILIES


def test_probe_in_words():
    """A probe says how many were admitted, rejected and not probed."""
    assert str(Probe("chat", 2, 1, 1)) == "chat: 2 of 4 admitted, 1 rejected, 1 not probed"


@pytest.mark.parametrize(
    ("after", "answer"),
    [
        (Probe("chat", admitted=5), Status.PASS),
        (Probe("chat", admitted=4, not_probed=1), Status.PASS),
        (Probe("chat", admitted=4, rejected=1), Status.FAIL),
        (Probe("chat", not_probed=5), Status.INFO),
        (Probe("chat"), Status.INFO),
    ],
)
def test_verify_probes(after, answer):
    """A probe verifies the fix where something was tried and nothing was rejected."""
    assert verify_probes(Probe("chat", rejected=5), after).status is answer


# Failures and refusals


def duplicated(connection):
    """No unique index, and a family with two active runs."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    family = Family(uuid4(), uuid4())
    add(connection, *family)
    add(connection, *family)


def test_duplicates(environment, connection):
    """Duplicates under the fixed key fail the build, and are told without a key's values."""
    duplicated(connection)
    with pytest.raises(Failed) as error:
        apply(environment, confirm="staging")
    assert str(error.value) == (
        "The step `build` failed: the data does not allow the fixed index.\n"
        "  why:  At least two active threads share one of its keys (SQLSTATE 23505).\n"
        "  next: `incident plan --env staging` shows them, and prints SQL that would resolve them."
    )


def test_duplicates_leave_no_index(environment, connection):
    """A build that failed on duplicates leaves no index behind."""
    duplicated(connection)
    with pytest.raises(Failed):
        apply(environment, confirm="staging")
    assert read_catalog(connection).relevant_indexes == ()


def test_duplicates_give_the_lock_back(environment, connection):
    """After a failure nobody holds the advisory lock."""
    duplicated(connection)
    with pytest.raises(Failed):
        apply(environment, confirm="staging")
    assert connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() == (True,)


def test_rollback_on_coexisting_families(environment, connection):
    """A rollback that the data cannot keep fails, and leaves only the fixed index enforced."""
    apply(environment, confirm="staging")
    family = Family(uuid4(), uuid4())
    for purpose in ("chat", "run"):
        add(connection, *family, purpose=purpose)
    with pytest.raises(Failed):
        apply(environment, confirm="staging", target=IndexKind.ORIGINAL)
    assert is_fixed(read_catalog(connection))


def test_somebody_is_at_it(environment):
    """Where another session holds the advisory lock, whoever does not want to wait is refused, and told who it is."""
    with session(environment, "operator", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(Refused) as error:
            apply(environment, confirm="staging", wait=False)
        pid = other.info.backend_pid
    assert without_age(str(error.value)) == (
        "Another migration is running.\n"
        f"  why:  Pid {pid} (operator, idle, open N s) is migrating this database.\n"
        "  next: Remove --no-wait to wait for it and then continue, or try again later."
    )


def test_somebody_is_waited_for(environment):
    """Where another session holds the advisory lock, it is waited for, and told about."""
    told = []
    with session(environment, "operator", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])

        def listener(progress):
            told.append(without_age(progress.phase))
            if progress.step == "wait":
                other.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])

        apply(environment, confirm="staging", listener=listener)
        assert told[0] == f"for pid {other.info.backend_pid} (operator, idle, open N s): working"


def test_lock_of_another_database_does_not_matter(environment, server):
    """An advisory lock of the same key in another database stands in nobody's way."""
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        assert len(apply(environment, confirm="staging", wait=False).steps) == 3


def test_waited_too_long(environment):
    """Where the advisory lock is not given back in time, waiting ends."""
    with session(environment, "operator", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        with pytest.raises(Failed) as error:
            apply(environment, confirm="staging", budget=0)
        pid = other.info.backend_pid
    assert without_age(str(error.value)) == (
        "The budget ended while waiting for another migration.\n"
        f"  why:  pid {pid} (operator, idle, open N s) is still migrating this database.\n"
        "  next: Try again later: `incident plan` then shows what is left to do."
    )


def test_budget(environment):
    """A build that waits for a writer longer than the budget is given up, and the writer is named."""
    with session(environment) as writer:
        writer.execute(WRITE)

        def listener(progress):
            if progress.step == "clean up":
                writer.close()

        pid = writer.info.backend_pid
        with pytest.raises(Failed) as error:
            apply(environment, confirm="staging", budget=0.5, listener=listener)
    assert without_age(str(error.value)) == (
        "The step `build` took longer than the budget, and was cancelled.\n"
        f"  why:  It waited for pid {pid} (somebody, idle in transaction, open N s).\n"
        "  next: Ask their owners to end these transactions, or allow more with --budget."
        " Run the same command again: it continues from the catalog."
    )


def test_budget_leaves_no_index(environment, connection):
    """A build that was given up because of an old snapshot leaves nothing that enforces."""
    snapshot = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
    with open_transaction(environment, *snapshot), pytest.raises(Failed):
        apply(environment, confirm="staging", budget=0.5)
    assert [index.name for index in read_catalog(connection).relevant_indexes] == [INDEX_NAME]


def test_name_is_taken(environment, connection):
    """Where something else holds a name that we need, nothing is changed."""
    for name in PURPOSE.names[1:]:
        connection.execute(f"CREATE TABLE public.{name} ()")
    with pytest.raises(Refused) as error:
        apply(environment, confirm="staging")
    assert str(error.value) == (
        "The catalog holds indexes that this project does not change.\n"
        "  why:  A name that the plan needs is taken (idx_q_threads_family_unique_build is a relation of kind r; "
        "idx_q_threads_family_unique_retired is a relation of kind r); rename what has it.\n"
        "  next: Then run it again; `incident plan --env staging` shows the plan."
    )


def test_not_the_owner(environment, connection, role):
    """A role that does not own the table fails at the first step, and changes nothing."""
    with pytest.raises(Failed) as error:
        apply(as_role(environment, role), confirm="staging")
    assert str(error.value) == (
        "The step `build` failed: this role may not do that (SQLSTATE 42501).\n"
        "  why:  Only the table's owner, with CREATE on its schema, may build and drop its indexes.\n"
        "  next: Use that role."
    )


# The preflight


def test_preflight_of_the_incident(environment):
    """On a quiet server every check is fine."""
    assert {check.status for check in checked(environment).values()} == {Status.PASS}


def test_preflight_says_how_many_steps(environment):
    """The check of the unique indexes counts the steps to the fix."""
    assert checked(environment)["indexes"] == Check("indexes", Status.PASS, "3 steps to the fixed index")


def test_preflight_of_a_refusal(environment, connection):
    """A catalog that cannot be planned from stops."""
    for name in PURPOSE.names[1:]:
        connection.execute(f"CREATE TABLE public.{name} ()")
    assert checked(environment)["indexes"] == Check(
        "indexes",
        Status.FAIL,
        f"a name that the plan needs is taken ({PURPOSE.build_name} is a relation of kind r; "
        f"{PURPOSE.retired_name} is a relation of kind r); rename what has it",
        "Then run `incident plan` again.",
    )


def test_preflight_of_a_stranger(environment, connection, role):
    """A role that does not own the table is stopped."""
    connection.execute(sql.SQL("GRANT SELECT ON public.q_threads TO {}").format(sql.Identifier(role)))
    assert checked(as_role(environment, role))["table owner"] == Check(
        "table owner",
        Status.FAIL,
        "only the table's owner may build or drop its indexes (SQLSTATE 42501)",
        "Use the owner's role for this environment.",
    )


@pytest.mark.parametrize(("forced", "answer"), [("FORCE", Status.FAIL), ("NO FORCE", Status.PASS)])
def test_preflight_of_row_level_security(environment, connection, role, forced, answer):
    """Where row level security is forced on the table's owner, its counts may be too low, which stops."""
    connection.execute(sql.SQL("ALTER TABLE public.q_threads OWNER TO {}").format(sql.Identifier(role)))
    connection.execute(f"ALTER TABLE public.q_threads {forced} ROW LEVEL SECURITY")
    assert checked(as_role(environment, role))["row level security"].status is answer


def test_preflight_of_duplicates(environment, connection):
    """Keys that the fixed index cannot hold stop the migration."""
    duplicated(connection)
    assert checked(environment)["duplicates"] == Check(
        "duplicates",
        Status.FAIL,
        "several active threads share 1 key of the fixed index",
        "Resolve them first: `incident plan` prints SQL for it, and never runs it.",
    )


@pytest.mark.parametrize("target", [IndexKind.FIXED, IndexKind.ORIGINAL])
def test_preflight_of_coexisting_families(environment, connection, target):
    """A family with an active chat and run stops the rollback, and not the migration."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    family = Family(uuid4(), uuid4())
    for purpose in ("chat", "run"):
        add(connection, *family, purpose=purpose)
    expected = {IndexKind.FIXED: Status.PASS, IndexKind.ORIGINAL: Status.FAIL}[target]
    assert checked(environment, target)["duplicates"].status is expected


@pytest.mark.parametrize("key", ["(root_prompt_row_id, owner_id)", "( owner_id,\n root_prompt_row_id )"])
def test_preflight_of_on_conflict(environment, connection, key):
    """A function that names the original index's key in ON CONFLICT stops."""
    connection.execute(
        "CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        f" INSERT INTO public.q_threads DEFAULT VALUES ON CONFLICT {key} WHERE is_active DO NOTHING; END $$"
    )
    assert checked(environment)["ON CONFLICT"] == Check(
        "ON CONFLICT",
        Status.FAIL,
        "these functions need the original key, and would fail without it (42P10): upsert()",
        "Change them to ON CONFLICT DO NOTHING without a key, which works before and after.",
    )


def test_preflight_of_on_conflict_in_a_parsed_body(environment, connection):
    """A function with BEGIN ATOMIC has no source text; its body is read, too."""
    connection.execute(
        "CREATE FUNCTION public.upsert() RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO public.q_threads (name)"
        " VALUES ('') ON CONFLICT (root_prompt_row_id, owner_id)"
        " WHERE is_active = true AND root_prompt_row_id IS NOT NULL DO NOTHING; END"
    )
    assert checked(environment)["ON CONFLICT"].status is Status.FAIL


@pytest.mark.parametrize("key", ["(root_prompt_row_id, owner_id, purpose)", "(row_id)"])
def test_preflight_of_another_on_conflict(environment, connection, key):
    """A function that names another key in ON CONFLICT is in nobody's way."""
    connection.execute(
        "CREATE FUNCTION public.upsert() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        f" INSERT INTO public.q_threads DEFAULT VALUES ON CONFLICT {key} DO NOTHING; END $$"
    )
    assert checked(environment)["ON CONFLICT"].status is Status.PASS


def test_preflight_of_a_trigger(environment, connection):
    """A trigger that a probe would fire is named."""
    connection.execute(
        "CREATE TRIGGER same BEFORE UPDATE ON public.q_threads"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    assert checked(environment)["triggers"] == Check("triggers", Status.INFO, "these triggers fire in a probe: same")


def test_preflight_of_ownerless_threads(environment, connection):
    """Active threads without an owner are noted."""
    add(connection, uuid4(), None)
    expected = Check(
        "threads without an owner",
        Status.INFO,
        "1 active thread without an owner: the original and the fixed index ignore them",
    )
    assert checked(environment)["threads without an owner"] == expected


def test_preflight_of_other_purposes(environment, connection):
    """Active threads of a purpose that is neither chat nor run are noted."""
    add(connection, uuid4(), uuid4(), purpose="eval")
    assert checked(environment)["purposes"] == Check(
        "purposes",
        Status.INFO,
        "there are also 'eval': each purpose gets a key of its own",
    )


@pytest.mark.parametrize(
    ("statement", "build", "drop"),
    [(TOUCH, Status.PASS, Status.WARN), (WRITE, Status.WARN, Status.WARN), ("SELECT 1", Status.PASS, Status.PASS)],
)
def test_preflight_of_open_transactions(environment, statement, build, drop):
    """A transaction that read the table holds up the drop, one that wrote it the build, too."""
    with open_transaction(environment, statement):
        found = checked(environment)
    assert [found[f"blocks the {step}"].status for step in ("build", "drop")] == [build, drop]


def test_preflight_names_who_holds_it_up(environment):
    """Who holds it up is named by pid, application, state and age."""
    with open_transaction(environment, TOUCH) as reader:
        seen = checked(environment)["blocks the drop"].finding
        pid = reader.info.backend_pid
    assert without_age(seen) == f"pid {pid} (somebody, idle in transaction, open N s)"


def test_preflight_of_a_done_migration(environment):
    """Nobody holds up what is done already."""
    apply(environment, confirm="staging")
    with open_transaction(environment, WRITE):
        assert {check.status for check in checked(environment).values()} == {Status.PASS}


ESTIMATE = Estimate(rows=1_250_000, table_bytes=1_140_000_000)
STEP = Step("build", (), "none", transaction=False, why="why")
WAITS = Check("blocks the drop", Status.WARN, "pid 1 (psql, idle, open 3 s)", "cure")
STOPS = Check("table owner", Status.FAIL, "seen", "The cure.")


@pytest.mark.parametrize(
    ("steps", "checks", "expected"),
    [
        (
            (STEP,),
            (Check("triggers", Status.PASS, "none"),),
            f"It is safe to apply now; {ESTIMATE}. No session would block it now. "
            f"Next: incident apply --env eu --confirm eu",
        ),
        (
            (STEP,),
            (WAITS,),
            f"It is safe to apply now; {ESTIMATE}. It would wait for: pid 1 (psql, idle, open 3 s)."
            " Next: incident apply --env eu --confirm eu",
        ),
        (
            (STEP,),
            (WAITS, STOPS, Check("pooler", Status.FAIL, "seen")),
            "It is not safe to apply now: table owner, pooler. Next: resolve that, then incident plan --env eu",
        ),
        ((), (), "Only the fixed index is enforced. Next: incident verify --env eu"),
    ],
)
def test_sentence(steps, checks, expected):
    """A preflight ends with one sentence: safe or not, who holds it up, the next command."""
    assert Preflight(Plan(PURPOSE, IndexKind.FIXED, steps), checks, ESTIMATE, Catalog(())).summary("eu") == expected


def test_sentence_of_a_rollback():
    """The sentence of a rollback's preflight names the rollback's command."""
    assert Preflight(Plan(PURPOSE, IndexKind.ORIGINAL, (STEP,)), (), ESTIMATE, Catalog(())).summary("eu") == (
        f"It is safe to roll back now; {ESTIMATE}. No session would block it now. "
        f"Next: incident rollback --env eu --confirm eu"
    )


def test_estimate():
    """An estimate says how long the build takes, and what it takes of disk, of WAL and of reading."""
    assert str(ESTIMATE) == (
        "the build takes about 1 s with the table in memory, 74 MB of disk and as much WAL, and reads 1.1 GB twice"
    )


def test_require():
    """Where a check stops, it is required in vain, and the message holds what was seen and the cure."""
    with pytest.raises(Refused) as error:
        Preflight(Plan(PURPOSE, IndexKind.FIXED, (STEP,)), (WAITS, STOPS), ESTIMATE, Catalog(())).require("eu")
    assert str(error.value) == ("Nothing was changed in 'eu'.\n  why:  table owner: seen.\n  next: The cure.")


def test_require_what_only_waits():
    """What only has to wait is not refused."""
    Preflight(Plan(PURPOSE, IndexKind.FIXED, (STEP,)), (WAITS,), ESTIMATE, Catalog(())).require("eu")
