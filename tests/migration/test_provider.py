"""The change `provider` on the demo's threads: refused, settled, rehearsed, applied, and rolled back."""

from __future__ import annotations

import psycopg
import pytest
from click.testing import CliRunner

from incident_lib.analysis import count_threads, investigate, read_residual, read_subject, settle
from incident_lib.analysis.residual import count_provider_conflicts
from incident_lib.analysis.subject import check_version
from incident_lib.cli import cli
from incident_lib.database import read_catalog, reading
from incident_lib.experiments import rehearse
from incident_lib.migration import apply, holds, run_preflight, verify_catalog
from incident_lib.model import Check, Refused, Status
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME, PROVIDER, PURPOSE, IndexKind

EVERY_VERSION = True


def incident_command(environment, monkeypatch, *words):
    """A command in this environment: its exit code, and what it printed; or the error's last sentence."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    ran = CliRunner().invoke(cli, [words[0], "--env", "staging", *words[1:]])
    return ran.exit_code, getattr(ran.exception, "next", ran.output)


def checks_of(environment, change=PROVIDER, target=IndexKind.FIXED):
    """The preflight's checks, by name."""
    with reading(environment) as connection:
        found = read_subject(connection, change, "staging")
        return {check.name: check for check in run_preflight(connection, environment, found, target).checks}


def settled(environment):
    """End the threads that share a key of the provider index, as the demo's step does."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        return settle(connection, PROVIDER, IndexKind.FIXED).ended


@pytest.fixture
def fixed(incident):
    """The demo's threads, with the change `purpose` applied."""
    apply(incident, confirm="staging")
    return incident


@pytest.fixture
def provided(fixed):
    """The demo's threads, with `purpose` and `provider` applied."""
    settled(fixed)
    apply(fixed, confirm="staging", change=PROVIDER)
    return fixed


def test_purpose_comes_first(incident):
    """Before `purpose` is applied, `provider` is refused, and the command that comes first is named."""
    check = checks_of(incident)["indexes"]
    assert (check.status, check.finding, check.action) == (
        Status.FAIL,
        f"{INDEX_NAME} has the key (root_prompt_row_id, owner_id): the change purpose is not applied yet; "
        "apply purpose first",
        "First: `incident apply`.",
    )


def test_the_command_that_comes_first(incident, monkeypatch):
    """The refused command says what to type."""
    code, output = incident_command(incident, monkeypatch, "apply", "--confirm", "staging", "--change", "provider")
    assert (code, output) == (
        1,
        "First: `incident apply --env staging --confirm staging`.",
    )


def test_what_stands_in_the_way(fixed):
    """The eight keys without an owner are counted and named by pseudonyms; they refuse the change."""
    found = checks_of(fixed)
    assert found["duplicates"].finding == "several active threads share 8 keys of the provider index"
    assert found["duplicates"].status is Status.FAIL
    in_the_way = found["rows in the way"].finding
    assert in_the_way.startswith("151 active threads too many under 8 keys, 8 of them with NULL in it: root-")
    assert in_the_way.endswith(", no owner, openai, run; and 5 more")


def test_what_becomes_of_rows_with_null(fixed):
    """How many threads have neither owner nor provider is said, and that NULL is equal to NULL from then on."""
    assert checks_of(fixed)["NULLs"].finding == (
        "159 active threads without owner, 14 active threads without provider: NULL is equal to NULL in the new key, "
        "so that a second row like one of these is rejected"
    )


def test_the_plan_prints_what_would_settle_it(fixed, monkeypatch, tmp_path):
    """The plan prints the statement that would settle the rows, and runs nothing of it."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    with psycopg.connect(fixed.address) as connection:
        before = connection.execute("SELECT count(*) FROM public.q_threads WHERE is_active").fetchone()
    monkeypatch.setenv("INCIDENT_STAGING_URL", fixed.address)
    ran = CliRunner().invoke(cli, ["plan", "--env", "staging", "--change", "provider"])
    assert (ran.exit_code, 'UPDATE "public"."q_threads" SET is_active = false' in ran.output) == (1, True)
    with psycopg.connect(fixed.address) as connection:
        assert connection.execute("SELECT count(*) FROM public.q_threads WHERE is_active").fetchone() == before


def test_settling(fixed):
    """Settled, no two active threads share a key of the new index."""
    assert settled(fixed) == 151
    found = checks_of(fixed)
    assert found["duplicates"] == Check(
        "duplicates", Status.PASS, "no two active threads share a key of the provider index"
    )
    assert not [check for check in found.values() if check.status is Status.FAIL]


def test_applied(provided):
    """Applied, the provider index alone is enforced, under the official name, with NULLS NOT DISTINCT."""
    with psycopg.connect(provided.address) as connection:
        catalog = read_catalog(connection, PROVIDER)
        (index,) = catalog.relevant_indexes
    assert (index.name, index.kind, index.nulls_not_distinct) == (INDEX_NAME, IndexKind.FIXED, True)
    assert holds(verify_catalog(catalog))


def test_purpose_is_still_right(provided, monkeypatch):
    """To `purpose` the finer index is as good: nothing is blocked, and it is applied already."""
    with reading(provided) as connection:
        found = investigate(connection)
    assert (found.catalog.state, found.counts.blocked_families) == (IndexState.FIXED, 0)
    assert holds(verify_catalog(found.catalog))
    code, output = incident_command(provided, monkeypatch, "apply", "--confirm", "staging")
    assert (code, output.splitlines()[0]) == (0, "staging: already applied: only the finer index is enforced.")


def test_no_provider_conflict_is_left(provided):
    """With the provider in the key no thread blocks another provider: all counts of that are 0."""
    with reading(provided) as connection:
        catalog = read_catalog(connection)
        conflicts = count_provider_conflicts(connection, catalog)
        found = read_residual(connection, catalog, conflicts)
        counts = count_threads(connection, catalog)
    assert (counts.residual_conflicts, found.residual_conflicts, found.by_provider) == (0, 0, [])
    assert found.proposal.finding == "It is there: the change provider has been applied."


def test_purpose_is_not_rolled_back_before_provider(provided, monkeypatch):
    """A rollback of `purpose` is refused while `provider` is applied; the command that comes first is named."""
    code, output = incident_command(provided, monkeypatch, "rollback", "--confirm", "staging")
    assert (code, output) == (
        1,
        "First: `incident rollback --env staging --confirm staging --change provider`.",
    )


def test_rolled_back(provided):
    """Without two providers in a family, the rollback ends in the purpose index alone."""
    apply(provided, confirm="staging", change=PROVIDER, target=IndexKind.ORIGINAL)
    with psycopg.connect(provided.address) as connection:
        assert read_catalog(connection, PURPOSE).state is IndexState.FIXED
        assert [index.nulls_not_distinct for index in read_catalog(connection).relevant_indexes] == [False]


def test_a_rollback_checks_the_data(provided, monkeypatch, tmp_path):
    """Once two providers have a thread in one family, the rollback is refused, with the number of such keys."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    with psycopg.connect(provided.address, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO public.q_threads (root_prompt_row_id, owner_id, provider, purpose, is_active)"
            " SELECT root_prompt_row_id, owner_id, 'another', purpose, true FROM public.q_threads"
            " WHERE is_active AND root_prompt_row_id IS NOT NULL AND owner_id IS NOT NULL LIMIT 1"
        )
    check = checks_of(provided, target=IndexKind.ORIGINAL)["duplicates"]
    assert check.finding == "several active threads share 1 key of the purpose index"
    code, _ = incident_command(provided, monkeypatch, "rollback", "--confirm", "staging", "--change", "provider")
    assert code == 1


def test_a_thread_without_owner_is_unique_then(provided):
    """What the preflight says of NULL happens: a second thread without owner, like one that is there, is rejected."""
    with psycopg.connect(provided.address, autocommit=True) as connection:
        (root,) = connection.execute(
            "SELECT root_prompt_row_id FROM public.q_threads"
            " WHERE is_active AND root_prompt_row_id IS NOT NULL AND owner_id IS NULL LIMIT 1"
        ).fetchone()
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "INSERT INTO public.q_threads (root_prompt_row_id, is_active, purpose) VALUES (%s, true, 'run')", [root]
            )


@pytest.mark.newest
def test_the_rehearsal(fixed):
    """The rehearsal fails while rows stand in the way, and works once they are settled; nothing is changed here."""
    assert not rehearse(fixed, PROVIDER).works
    settled(fixed)
    report = rehearse(fixed, PROVIDER)
    assert (report.works, report.change.name, report.rollback.possible) == (True, "provider", True)
    assert report.clients.rejected["other run"] > 0
    assert report.clients.rejected_after == {}
    with psycopg.connect(fixed.address) as connection:
        assert read_catalog(connection, PROVIDER).state is IndexState.ORIGINAL


def test_the_build_that_meets_duplicates_is_cleaned_up(fixed):
    """Where nobody checked the data, the build fails, nothing of it is left, and the message names the change."""
    with pytest.raises(Exception, match="the data does not allow the provider index") as error:
        apply(fixed, confirm="staging", change=PROVIDER)
    assert error.value.next == (
        "`incident plan --env staging --change provider` shows them, and prints SQL that would resolve them."
    )
    with psycopg.connect(fixed.address) as connection:
        assert [
            index.name for index in read_catalog(connection, PROVIDER).indexes if index.kind is IndexKind.FIXED
        ] == []


def test_without_confirmation(fixed):
    """The refusal without a confirmation names the plan of this change."""
    with pytest.raises(Refused) as error:
        apply(fixed, confirm="", change=PROVIDER)
    assert error.value.next == (
        "Read `incident plan --env staging --change provider`, then add `--confirm staging` to allow changes."
    )


@pytest.mark.parametrize(("version", "refused"), [(140010, True), (150000, False), (180004, False)])
def test_a_server_without_nulls_not_distinct(version, refused):
    """On PostgreSQL 14 the index cannot be built: refused, with the version that can."""
    found = [(check.status, check.finding) for check in check_version(PROVIDER, version)]
    expected = [(Status.FAIL, "NULLS NOT DISTINCT came with PostgreSQL 15, and this is 14")]
    assert found == expected * refused
