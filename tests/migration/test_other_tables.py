"""Changes of an index that has nothing to do with the incident: what is taken, and what is refused with the reason."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from incident_lib.analysis import read_subject, scan
from incident_lib.cli import cli
from incident_lib.database import read_catalog, read_table, reading
from incident_lib.experiments import rehearse
from incident_lib.migration import apply, holds, migration_files, migration_script, run_preflight, verify_catalog
from incident_lib.model import Failed, Status, UsageError, parse_change
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import PURPOSE, IndexKey, IndexKind
from tests.support import shop
from tests.support.examples import SLACK
from tests.support.psql import psql

EVERY_VERSION = True
FIXED, ORIGINAL = IndexKind.FIXED, IndexKind.ORIGINAL


@pytest.fixture
def connection(environment):
    """An autocommit session."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        yield connection


def checks_of(environment, change, target=FIXED):
    """The preflight's checks, by name."""
    with reading(environment) as snapshot:
        found = read_subject(snapshot, change, "staging")
        return {check.name: check for check in run_preflight(snapshot, environment, found, target).checks}


def failures(environment, change, target=FIXED):
    """The findings of the checks that fail, by name."""
    found = checks_of(environment, change, target).values()
    return {check.name: check.finding for check in found if check.status is Status.FAIL}


def definitions(connection):
    """The definitions of the table's unique indexes but the primary key, and the constraint of each."""
    rows = connection.execute(
        "SELECT pg_get_indexdef(i.indexrelid), pg_get_constraintdef(c.oid) FROM pg_index i"
        " LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'"
        " WHERE i.indrelid = 'shop.products'::regclass AND i.indisunique AND NOT i.indisprimary ORDER BY 1"
    ).fetchall()
    return [(definition.partition(" USING btree ")[2], constraint) for definition, constraint in rows]


PLAIN = replace(shop.CHANGE, predicate=None)
WITH_EXPRESSION = replace(
    shop.CHANGE, before=IndexKey(("(lower(slug))",)), after=IndexKey(("tenant_id", "(LOWER(slug))", "locale"))
)
FORMS = {
    "partial": (shop.CHANGE, [("(tenant_id, slug) WHERE (deleted_at IS NULL)", None)]),
    "whole": (PLAIN, [("(tenant_id, slug)", None)]),
    "constraint": (shop.CONSTRAINT, [("(tenant_id, slug)", "UNIQUE (tenant_id, slug)")]),
    "expression": (
        replace(shop.CHANGE, before=IndexKey(("(lower(slug))",)), after=IndexKey(("tenant_id", "(lower(slug))"))),
        [("(tenant_id, lower(slug)) WHERE (deleted_at IS NULL)", None)],
    ),
    "COALESCE": (
        replace(PLAIN, after=IndexKey(("slug", "(COALESCE(locale, ''))"))),
        [("(slug, COALESCE(locale, ''::text))", None)],
    ),
    "nulls": (
        replace(PLAIN, before=IndexKey(("slug",)), after=IndexKey(("slug", "locale"), True)),
        [("(slug, locale) NULLS NOT DISTINCT", None)],
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_applied_and_rolled_back(environment, connection, form):
    """Columns, expressions, partial or not, COALESCE, NULLS NOT DISTINCT and constraints: there and back again."""
    change, expected = FORMS[form]
    shop.create(connection, change)
    before = definitions(connection)
    assert failures(environment, change) == {}
    apply(environment, confirm="staging", change=change)
    assert definitions(connection) == expected
    assert holds(verify_catalog(read_catalog(connection, change)))
    assert apply(environment, confirm="staging", change=change).steps == []
    assert failures(environment, change, ORIGINAL) == {}
    apply(environment, confirm="staging", change=change, target=ORIGINAL)
    assert definitions(connection) == before


def test_include_columns_are_taken_over(environment, connection):
    """The new index has the INCLUDE columns and the storage parameters of the old one."""
    connection.execute(shop.TABLE)
    connection.execute(
        f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (slug) INCLUDE (locale) WITH (fillfactor = 70)"
    )
    apply(environment, confirm="staging", change=PLAIN)
    assert definitions(connection) == [("(tenant_id, slug) INCLUDE (locale) WITH (fillfactor='70')", None)]


def test_another_spelling_is_the_same(environment, connection):
    """Expressions and predicates are compared by what PostgreSQL makes of them, not by their texts."""
    change = replace(
        shop.CHANGE,
        before=IndexKey(("(LOWER( slug ))",)),
        after=IndexKey(("tenant_id", "(LOWER( slug ))")),
        predicate="products.deleted_at is null",
    )
    shop.create(connection, change)
    assert read_catalog(connection, change).state is IndexState.ORIGINAL
    apply(environment, confirm="staging", change=change)
    assert read_catalog(connection, change).state is IndexState.FIXED


# Constraints


def test_a_constraint_changes_its_index_in_one_statement(environment, connection):
    """The old constraint goes and the new one comes in one statement, under a short lock, with its comments."""
    shop.create(connection, shop.CONSTRAINT)
    connection.execute(f"COMMENT ON CONSTRAINT {shop.INDEX} ON shop.products IS 'slugs are unique'")
    result = apply(environment, confirm="staging", change=shop.CONSTRAINT)
    assert [(step.name, step.sql) for step in result.steps] == [
        (
            "build",
            ('CREATE UNIQUE INDEX CONCURRENTLY "products_slug_key_build" ON "shop"."products" ("tenant_id", "slug")',),
        ),
        (
            "swap",
            (
                'ALTER TABLE "shop"."products" DROP CONSTRAINT "products_slug_key", '
                'ADD CONSTRAINT "products_slug_key" UNIQUE USING INDEX "products_slug_key_build"',
                'COMMENT ON CONSTRAINT "products_slug_key" ON "shop"."products" IS \'slugs are unique\'',
            ),
        ),
    ]
    assert result.ended_at is not None


@pytest.mark.newest
@pytest.mark.slow
def test_a_reader_delays_the_constraint_and_no_other_reader(environment, connection):
    """While a long reader is there, the swap is tried again and again; other readers wait for one try at most."""
    shop.create(connection, shop.CONSTRAINT)
    longest = 0.0
    with ThreadPoolExecutor(1) as pool, psycopg.connect(environment.address) as reader:
        reader.execute("SELECT count(*) FROM shop.products")
        swapping = threading.Event()

        def listener(progress):
            if progress.step == "swap":
                swapping.set()

        running = pool.submit(apply, environment, confirm="staging", change=shop.CONSTRAINT, listener=listener)
        assert swapping.wait(10)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            began = time.monotonic()
            connection.execute("SELECT count(*) FROM shop.products")
            longest = max(longest, time.monotonic() - began)
        reader.rollback()
        running.result()
    assert longest < 0.2 + SLACK
    assert definitions(connection) == FORMS["constraint"][1]


def test_a_reader_would_delay_the_constraint(environment, connection):
    """A session that has read the table is named, since the swap of a constraint needs a lock that it holds up."""
    shop.create(connection, shop.CONSTRAINT)
    with psycopg.connect(environment.address, application_name="a reader") as reader:
        reader.execute("SELECT count(*) FROM shop.products")
        check = checks_of(environment, shop.CONSTRAINT)["blocks the swap"]
    assert (check.status, "a reader" in check.finding) == (Status.WARN, True)


def test_an_event_trigger_of_alter_table(environment, connection):
    """An event trigger that fires for ALTER TABLE alone is named where a constraint changes its index."""
    shop.create(connection, shop.CONSTRAINT)
    connection.execute(
        "CREATE FUNCTION shop.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;"
        "CREATE EVENT TRIGGER noting ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION shop.note()"
    )
    found = checks_of(environment, shop.CONSTRAINT)["event triggers"].finding
    assert found == "noting (ddl_command_end, of postgres, shop.note()) fires"


def test_a_constraint_with_a_foreign_key_is_refused(environment, connection):
    """Where a foreign key depends on the constraint, it is refused, and the foreign key is named."""
    shop.create(connection, shop.CONSTRAINT)
    connection.execute("CREATE TABLE shop.orders (slug text REFERENCES shop.products (slug))")
    assert failures(environment, shop.CONSTRAINT)["indexes"] == (
        "products_slug_key cannot be replaced: the foreign key orders_slug_fkey of shop.orders references it; a "
        "foreign key needs a unique index of its own columns: keep this one, or change the foreign key first"
    )


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (
            f"ALTER TABLE shop.products ADD CONSTRAINT {shop.INDEX} UNIQUE (slug) DEFERRABLE",
            "products_slug_key cannot be replaced: its constraint is deferrable; write a migration of your own for it",
        ),
        (
            f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (slug);"
            f"ALTER TABLE shop.products REPLICA IDENTITY USING INDEX {shop.INDEX}",
            "products_slug_key backs no constraint; write constraint = false in tenant.toml",
        ),
        (
            f"ALTER TABLE shop.products DROP CONSTRAINT products_pkey;"
            f"ALTER TABLE shop.products ADD CONSTRAINT {shop.INDEX} PRIMARY KEY (slug)",
            "products_slug_key cannot be replaced: it is the primary key; write a migration of your own for it",
        ),
    ],
)
def test_what_is_not_taken(environment, connection, statement, why):
    """Deferrable constraints, primary keys and an index that backs no constraint are refused with the reason."""
    connection.execute(shop.TABLE)
    connection.execute(statement)
    assert failures(environment, shop.CONSTRAINT)["indexes"] == why


def test_a_replica_identity_is_refused(environment, connection):
    """An index that is the replica identity is not replaced."""
    shop.create(connection, PLAIN)
    connection.execute(f"ALTER TABLE shop.products REPLICA IDENTITY USING INDEX {shop.INDEX}")
    assert failures(environment, PLAIN)["indexes"] == (
        "products_slug_key cannot be replaced: it is the replica identity; write a migration of your own for it"
    )


def test_an_index_that_belongs_to_the_index_of_a_partitioned_table(environment, connection):
    """PostgreSQL drops no index of a partition alone that is attached: refused, also by the script."""
    connection.execute("CREATE TABLE whole (slug text, tenant_id int NOT NULL, at int) PARTITION BY RANGE (at)")
    connection.execute("CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (9)")
    connection.execute("CREATE UNIQUE INDEX whole_key ON whole (slug, at)")
    change = replace(
        PLAIN,
        schema="public",
        table="part",
        index="part_slug_at_idx",
        before=IndexKey(("slug", "at")),
        after=IndexKey(("slug", "at", "tenant_id")),
    )
    assert failures(environment, change)["indexes"] == (
        "part_slug_at_idx cannot be replaced: it is a part of whole_key, the index of the table of which this one is a "
        "partition; make the change on that table"
    )
    assert psql(environment, migration_script(FIXED, change))[0] != 0
    assert [index.name for index in read_catalog(connection, change).indexes] == ["part_slug_at_idx"]


def test_a_constraint_that_the_file_does_not_say(environment, connection):
    """An index that backs a constraint, although the file says that it backs none, is refused."""
    shop.create(connection, shop.CONSTRAINT)
    assert failures(environment, PLAIN)["indexes"] == (
        "products_slug_key backs a UNIQUE constraint; write constraint = true in tenant.toml"
    )


def test_a_change_that_replaces_nothing(environment, connection):
    """Where no index has the key before or after, the plan says that it makes a new rule."""
    connection.execute(shop.TABLE)
    connection.execute("CREATE UNIQUE INDEX other ON shop.products (slug, locale)")
    check = checks_of(environment, PLAIN)["nothing replaced"]
    assert (check.status, check.finding) == (
        Status.WARN,
        "no unique index with the key (slug) or (tenant_id, slug) on these rows is enforced: the plan makes a new "
        "rule, and rows that are accepted today would be rejected",
    )
    connection.execute(f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (slug)")
    assert "nothing replaced" not in checks_of(environment, PLAIN)


def test_another_index_that_makes_it_useless(environment, connection):
    """A unique index without the new column rejects what the change allows: refused, and named."""
    shop.create(connection, PLAIN)
    connection.execute("CREATE UNIQUE INDEX other ON shop.products (slug) WHERE locale = 'en'")
    assert failures(environment, PLAIN)["indexes"].startswith(
        "other is enforced and is neither the old nor the new index: its predicate may cover other rows than those of "
        "the change: (locale = 'en'::text); if products_slug_key, which is enforced beside it, is enough"
    )


CASELESS = """
CREATE COLLATION shop.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE UNIQUE INDEX products_slug_key ON shop.products ({key} COLLATE shop.caseless)"""
OPERATOR_CLASS = """
CREATE OPERATOR CLASS shop.like_ops FOR TYPE text USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 ~~, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 bttextcmp(text, text);
CREATE UNIQUE INDEX products_slug_key ON shop.products (slug shop.like_ops)"""


@pytest.mark.parametrize(
    ("key", "what"), [("slug", "slug"), ("lower(slug)", "(expression)")], ids=["column", "expression"]
)
def test_an_index_with_a_collation_that_takes_other_values_as_equal(environment, connection, key, what):
    """The new index would have the column's own collation: values that the old one takes as equal would be accepted."""
    if not connection.execute("SELECT FROM pg_collation WHERE collprovider = 'i'").fetchone():
        pytest.skip("this PostgreSQL has no ICU")
    connection.execute(shop.TABLE)
    connection.execute(CASELESS.format(key=f"({key})"))
    before = (key if key == "slug" else f"({key})",)
    change = replace(PLAIN, before=IndexKey(before), after=IndexKey((*before, "tenant_id")))
    assert failures(environment, change)["indexes"].startswith(
        f"products_slug_key is enforced and is neither the old nor the new index: it compares {what} by the collation "
        "caseless; it may be the only index that prevents duplicates"
    )


def test_an_index_with_an_operator_class_that_takes_other_values_as_equal(environment, connection):
    """It is refused; one that only sorts otherwise is not."""
    connection.execute(shop.TABLE)
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE UNIQUE INDEX products_slug_key ON shop.products (slug text_pattern_ops)")
        assert read_catalog(connection, PLAIN).of(ORIGINAL)
    connection.execute(OPERATOR_CLASS)
    assert "it compares slug by the operator class like_ops;" in failures(environment, PLAIN)["indexes"]


def test_other_indexes_that_have_nothing_to_do_with_it(environment, connection):
    """Expressions and exclusion constraints on other columns alone are no reason to refuse, and are not touched."""
    shop.create(connection, PLAIN)
    connection.execute("CREATE UNIQUE INDEX other ON shop.products (lower(locale), id) WHERE deleted_at IS NULL")
    connection.execute("ALTER TABLE shop.products ADD CONSTRAINT ids EXCLUDE (id WITH =)")
    apply(environment, confirm="staging", change=PLAIN)
    catalog = read_catalog(connection, PLAIN)
    assert catalog.state is IndexState.FIXED
    assert {index.name for index in catalog.of(IndexKind.HARMLESS)} == {"other", "ids", "products_pkey"}


@pytest.mark.parametrize("made", ["UNIQUE INDEX other ON shop.products ((slug || locale))", "constraint"])
def test_an_expression_or_exclusion_with_a_column_of_the_key(environment, connection, made):
    """It may reject what the change allows: refused."""
    shop.create(connection, PLAIN)
    exclusion = "ALTER TABLE shop.products ADD CONSTRAINT other EXCLUDE (slug WITH =, locale WITH =)"
    connection.execute(exclusion if made == "constraint" else f"CREATE {made}")
    assert failures(environment, PLAIN)["indexes"].startswith("other is enforced and is neither the old nor the new")


def test_a_function_that_names_the_constraint(environment, connection):
    """A function with BEGIN ATOMIC depends on it: PostgreSQL would not drop the constraint (2BP01)."""
    shop.create(connection, shop.CONSTRAINT)
    connection.execute(
        "CREATE FUNCTION shop.upsert() RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO shop.products (slug)"
        " VALUES ('x') ON CONFLICT ON CONSTRAINT products_slug_key DO NOTHING; END"
    )
    assert failures(environment, shop.CONSTRAINT)["indexes"].startswith(
        "products_slug_key cannot be replaced: function shop.upsert() names its constraint; change it to ON CONFLICT"
    )


# NULLs


BY_LOCALE = replace(PLAIN, after=IndexKey(("slug", "locale")))


def test_nobody_chooses_for_rows_with_null(environment, connection):
    """A new column that may be NULL is refused without a choice, with the number of rows and the choices."""
    shop.create(connection, BY_LOCALE)
    check = checks_of(environment, BY_LOCALE)["NULLs"]
    assert (check.status, check.finding) == (
        Status.FAIL,
        "125 rows without locale now: if two such rows agree in the rest of the key, the old index rejects the second "
        "one, and the new index accepts it",
    )
    assert check.action == (
        'Choose in tenant.toml: nulls_after = "not distinct" (PostgreSQL 15), an expression such as '
        '"(COALESCE(locale, …))" in key_after, or, if duplicates of such rows are meant to be accepted, '
        'not_unique_where_null = ["locale"]; or run ALTER TABLE shop.products ALTER COLUMN locale SET NOT NULL first.'
    )


def test_a_constraint_has_no_expression(environment, connection):
    """Of a UNIQUE constraint, which has no expressions, the choice of one is not offered."""
    change = replace(shop.CONSTRAINT, after=IndexKey(("slug", "locale")))
    shop.create(connection, change)
    assert "COALESCE" not in checks_of(environment, change)["NULLs"].action


ALLOWED = replace(BY_LOCALE, not_unique_where_null=frozenset({"locale"}))


def test_duplicates_that_the_file_allows_are_a_warning(environment, connection):
    """Allowed by name in the file, rows with NULL that are unique no more are a warning; the change is applied."""
    shop.create(connection, BY_LOCALE)
    check = checks_of(environment, ALLOWED)["NULLs"]
    assert (check.status, check.finding.endswith(", as not_unique_where_null of tenant.toml says")) == (
        Status.WARN,
        True,
    )
    apply(environment, confirm="staging", change=ALLOWED)
    for _ in range(2):
        connection.execute("INSERT INTO shop.products (slug) VALUES ('tea')")


def test_a_file_with_distinct_nulls_alone_allows_no_duplicates(environment, connection):
    """`nulls_after = "distinct"` says what the index is, and not that duplicates are meant: refused."""
    shop.create(connection, BY_LOCALE)
    change = parse_change(f'{shop.FILE.replace("tenant_id", "locale")}nulls_after = "distinct"\n', "locale.toml")
    assert failures(environment, change)["NULLs"].startswith("125 rows without locale now")


def test_an_index_that_is_nulls_not_distinct_no_more(environment, connection):
    """Where NULL was equal to NULL and is no more, each column that may be NULL is asked for, a new one or not."""
    keys = {"before": IndexKey(("locale", "slug"), True), "after": IndexKey(("locale", "slug", "tenant_id"))}
    change = replace(PLAIN, **keys)
    shop.create(connection, change)
    check = checks_of(environment, change)["NULLs"]
    assert (check.status, check.finding.partition(" now: ")[0]) == (Status.FAIL, "125 rows without locale")
    assert "COALESCE" not in check.action
    assert checks_of(environment, replace(change, not_unique_where_null=frozenset({"locale"})))["NULLs"].status is (
        Status.WARN
    )


def test_an_expression_that_is_null(environment, connection):
    """A new expression that is NULL in rows that are there is asked for as a column is."""
    change = replace(PLAIN, after=IndexKey(("slug", "(lower(locale))")))
    shop.create(connection, change)
    check = checks_of(environment, change)["NULLs"]
    assert (check.status, check.finding.partition(" now: ")[0]) == (Status.FAIL, "125 rows without (lower(locale))")
    assert 'not_unique_where_null = ["(lower(locale))"]' in check.action


def test_a_rollback_asks_nothing_of_nulls(environment, connection):
    """The old index compares rows with NULL again: what the change would lose refuses no rollback."""
    shop.create(connection, BY_LOCALE)
    apply(environment, confirm="staging", change=ALLOWED)
    assert failures(environment, BY_LOCALE, ORIGINAL) == {}


def test_a_column_that_is_not_null_needs_no_choice(environment, connection):
    """A new column that is NOT NULL asks nothing."""
    shop.create(connection)
    assert "NULLs" not in checks_of(environment, shop.CHANGE)


# ON CONFLICT


BODIES = {
    "sql": "LANGUAGE sql AS $$ INSERT INTO shop.products (slug) VALUES ('x') ON CONFLICT ( \"slug\" ) DO NOTHING $$",
    "plpgsql": (
        "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.products (slug) VALUES ('x')"
        " ON CONFLICT (slug) DO NOTHING; END $$"
    ),
    "atomic": "BEGIN ATOMIC INSERT INTO shop.products (slug) VALUES ('x') ON CONFLICT (slug) DO NOTHING; END",
}


@pytest.mark.parametrize("body", BODIES)
def test_functions_that_name_the_old_key(environment, connection, body):
    """A function with ON CONFLICT and the old key fails after the change (42P10): found in all three forms."""
    shop.create(connection, PLAIN)
    connection.execute(f"CREATE FUNCTION shop.upsert() RETURNS void {BODIES[body]}")
    assert failures(environment, PLAIN)["ON CONFLICT"] == (
        "these functions need the old key, and would fail without it (42P10): shop.upsert()"
    )


def test_functions_that_name_the_new_key(environment, connection):
    """A rollback takes the new key away from functions, and not the old one; the same is said of clients."""
    shop.create(connection, PLAIN)
    apply(environment, confirm="staging", change=PLAIN)
    for name, key in (("by_new", '"tenant_id", slug COLLATE "C" text_ops'), ("by_old", "slug")):
        connection.execute(
            f"CREATE FUNCTION shop.{name}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.products (slug)"
            f" VALUES ('x') ON CONFLICT /* one */ -- more\n ({key}) DO NOTHING; END $$"
        )
    found = checks_of(environment, PLAIN, ORIGINAL)
    assert (found["ON CONFLICT"].status, found["ON CONFLICT"].finding) == (
        Status.WARN,
        "these functions need the new key, and would fail without it (42P10): shop.by_new()",
    )
    assert "a client's ON CONFLICT (tenant_id, slug) fails once the new" in found["ON CONFLICT in clients"].finding


def test_functions_that_name_another_key(environment, connection):
    """A function whose ON CONFLICT has other columns, or another table, is in nobody's way."""
    shop.create(connection, PLAIN)
    connection.execute(
        "CREATE FUNCTION shop.upsert() RETURNS void LANGUAGE sql AS"
        " $$ INSERT INTO shop.products (slug) VALUES ('x') ON CONFLICT (id) DO NOTHING $$"
    )
    assert failures(environment, PLAIN) == {}


def test_functions_that_write_another_table(environment, connection):
    """A longer name is another table's; a key with an expression is meant by a list with an expression alone."""
    connection.execute("CREATE TABLE r (slug text NOT NULL, tenant_id int NOT NULL DEFAULT 1, PRIMARY KEY (slug))")
    connection.execute("CREATE UNIQUE INDEX r_slug ON r (lower(slug)); CREATE VIEW seen AS SELECT * FROM r")
    for name, target in {
        "other": "INTO orders (slug) VALUES ('x') ON CONFLICT (lower(slug))",
        "whole": "INTO r (slug) VALUES ('x') ON CONFLICT (slug)",
        "meant": "INTO r (slug) VALUES ('x') ON CONFLICT (lower(slug))",
        "viewed": "INTO public.\"seen\" (slug) VALUES ('x') ON CONFLICT ((lower(slug)))",
    }.items():
        connection.execute(
            f"CREATE FUNCTION {name}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT {target} DO NOTHING; END $$"
        )
    before = ("(lower(slug))",)
    change = replace(
        PLAIN,
        schema="public",
        table="r",
        index="r_slug",
        before=IndexKey(before),
        after=IndexKey((*before, "tenant_id")),
    )
    assert failures(environment, change) == {
        "ON CONFLICT": "these functions need the old key, and would fail without it (42P10): meant(), viewed()"
    }


def test_clients_are_asked_for(environment, connection):
    """What clients send is not in the database: a warning says so, and what to search for."""
    shop.create(connection, PLAIN)
    check = checks_of(environment, PLAIN)["ON CONFLICT in clients"]
    assert (check.status, check.finding) == (
        Status.WARN,
        "a client's ON CONFLICT (slug) fails once the old index is gone (42P10); the database does not show what "
        "clients send",
    )


# Data


def test_a_rollback_checks_the_data(environment, connection):
    """Once two tenants have the same slug, the old index cannot hold it: the rollback is refused, with the count."""
    shop.create(connection)
    apply(environment, confirm="staging", change=shop.CHANGE)
    connection.execute("INSERT INTO shop.products (tenant_id, slug) VALUES (1, 'same'), (2, 'same')")
    assert failures(environment, shop.CHANGE, ORIGINAL) == {"duplicates": "several rows share 1 key of the old index"}
    with pytest.raises(Failed, match="the data does not allow the old index"):
        apply(environment, confirm="staging", change=shop.CHANGE, target=ORIGINAL)
    assert read_catalog(connection, shop.CHANGE).state is IndexState.FIXED


# Files and tables


@pytest.mark.parametrize("predicate", ["id > 0 OR deleted_at IS NULL", "other_slug IS NOT NULL"])
def test_rows_without_a_key_prevent_no_rollback(environment, connection, predicate):
    """Rows that hold NULL in the key are no duplicates, also where the predicate has an OR, or a longer name."""
    connection.execute(shop.TABLE)
    connection.execute("ALTER TABLE shop.products ALTER slug DROP NOT NULL, ADD other_slug text DEFAULT ''")
    connection.execute("INSERT INTO shop.products (slug) VALUES (NULL), (NULL)")
    connection.execute(f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (tenant_id, slug) WHERE {predicate}")
    assert failures(environment, replace(shop.CHANGE, predicate=predicate), ORIGINAL) == {}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replace(shop.CHANGE, table="nothing"), "There is no table shop.nothing in this database."),
        (replace(shop.CHANGE, after=IndexKey(("slug", "shade"))), "shop.products lacks shade."),
    ],
)
def test_a_table_that_is_not_there(environment, connection, change, what):
    """A table or a column that is not there has one message."""
    shop.create(connection)
    with pytest.raises(Failed) as error, reading(environment) as snapshot:
        read_table(snapshot, change)
    assert error.value.what == what


def test_values_with_line_breaks_are_compared_whole(environment, connection):
    """Predicates that differ after a line break within a value are different ones."""
    one, other = "locale = E'a\\nb'", "locale = E'a\\nc'"
    shop.create(connection, replace(PLAIN, predicate=one))
    assert failures(environment, replace(PLAIN, predicate=one)) == {}
    assert "indexes" in failures(environment, replace(PLAIN, predicate=other))


@pytest.mark.parametrize("text", ["1", "slug", "slug IS", "1); DROP TABLE shop.products; --", "nothing = 1"])
def test_sql_that_postgresql_does_not_accept(environment, connection, text):
    """An expression that is none has one message, with exit code 2; no second statement is run."""
    shop.create(connection)
    with pytest.raises(UsageError), reading(environment) as snapshot:
        read_table(snapshot, replace(shop.CHANGE, predicate=text))
    assert connection.execute("SELECT count(*) FROM shop.products").fetchone() == (500,)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("(tenant_id)", "It is a column: columns stand without parentheses."),
        ("( tenant_id )", "It is a column: columns stand without parentheses."),
        ('(lower(slug) COLLATE "C")', "It has a collation of its own: an index with one is not changed"),
        ('((lower(slug) collate pg_catalog."C"))', "It has a collation of its own: an index with one is not changed"),
        ("(to_json(slug))", "could not identify an ordering operator for type json"),
        ("meta", "could not identify an ordering operator for type json"),
        ("(count(*))", "aggregate functions are not allowed in WHERE"),
        ("(slug) || (slug)", "The keys in tenant.toml have it."),
    ],
)
def test_a_part_that_no_index_has(environment, connection, part, why):
    """A part that PostgreSQL would index otherwise than the change has it, or not at all, is refused before a build."""
    connection.execute(shop.TABLE)
    connection.execute("ALTER TABLE shop.products ADD meta json")
    change = replace(PLAIN, after=IndexKey(("slug", part)))
    with pytest.raises((Failed, UsageError)) as caught, reading(environment) as snapshot:
        read_table(snapshot, change)
    assert why in caught.value.why


def test_expressions_that_an_index_has(environment, connection):
    """Parentheses in texts, and a collation that is not that of the whole, are no reason to refuse a part."""
    connection.execute(shop.TABLE)
    for part in ("(COALESCE(locale, ')'))", '(slug || (locale COLLATE "C"))', "((tenant_id) + (id))"):
        with reading(environment) as snapshot:
            read_table(snapshot, replace(PLAIN, after=IndexKey(("slug", part))))


def test_a_virtual_generated_column(environment, connection):
    """PostgreSQL has no index with one."""
    if connection.info.server_version < 180000:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    connection.execute(shop.TABLE)
    connection.execute("ALTER TABLE shop.products ADD twice bigint GENERATED ALWAYS AS (tenant_id * 2) VIRTUAL")
    with pytest.raises(Failed) as caught, reading(environment) as snapshot:
        read_table(snapshot, replace(PLAIN, after=IndexKey(("slug", "twice"))))
    assert caught.value.what == "shop.products has no index with twice."


# Commands


@pytest.fixture
def incident(environment, connection, tmp_path, monkeypatch):
    """A command with a file of the shop's change, without predicate."""
    shop.create(connection, PLAIN)
    file = tmp_path / "tenant.toml"
    file.write_text(shop.FILE)
    monkeypatch.setenv("INCIDENT_STAGING_URL", environment.address)
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path / "runs"))

    def run(*words, text=shop.FILE):
        file.write_text(text)
        ran = CliRunner().invoke(cli, [*words, "--change", str(file)], env={"COLUMNS": "200"})
        code = getattr(ran.exception, "exit_code", ran.exit_code)
        return code, f"{ran.output}{ran.exception or ''}"

    return run


@pytest.mark.newest
@pytest.mark.slow
def test_the_commands_take_a_file(incident):
    """plan, apply, verify, rollback, sql and rehearse take the file of a change."""
    confirm = ("--env", "staging", "--confirm", "staging")
    commands = [
        ("plan", "--env", "staging"),
        ("rehearse", "--env", "staging"),
        ("apply", *confirm),
        ("verify", "--env", "staging"),
        ("plan", "--env", "staging", "--rollback"),
        ("rollback", *confirm),
        ("sql",),
    ]
    assert [incident(*words)[0] for words in commands] == [0] * len(commands)


@pytest.mark.newest
def test_the_texts_have_the_tables_own_names(incident):
    """No word of the incident is in what a plan of another table prints."""
    for words in (
        ("plan", "--env", "staging", "--all"),
        ("sql",),
        ("apply", "--env", "staging", "--confirm", "staging"),
    ):
        _, output = incident(*words)
        said = output.lower()
        assert [word for word in ("q_threads", "chat", "famil", "purpose", "incident ended") if word in said] == []


@pytest.mark.newest
def test_a_bad_file_has_exit_code_2(incident):
    """A file that describes no change: exit code 2, and one message."""
    code, message = incident("plan", "--env", "staging", text="table = 1")
    assert (code, message.count("does not describe a change of an index")) == (2, 1)
    assert incident("plan", "--env", "staging", text=f"\ufeff{shop.FILE}")[0] == 0  # as some editors write it


@pytest.mark.newest
def test_no_probe_of_another_table(incident):
    """What the clients of another table send is not known: a probe of it is bad usage, and says what to do instead."""
    code, said = incident("verify", "--env", "staging", "--probe")
    assert (code, said.count("There is no probe for shop.products.")) == (2, 1)
    assert "send two INSERTs of rows that differ in tenant_id alone with psql, between BEGIN and ROLLBACK" in said


_CONSTRAINED = f"ALTER TABLE shop.products ADD CONSTRAINT {shop.INDEX} UNIQUE (slug)"
DEPENDS = {
    "foreign key": (_CONSTRAINED, "CREATE TABLE shop.orders (slug text REFERENCES shop.products (slug))"),
    "replica identity": (
        _CONSTRAINED,
        f"ALTER TABLE shop.products REPLICA IDENTITY USING INDEX {shop.INDEX}",
    ),
    "deferrable": (f"{_CONSTRAINED} DEFERRABLE",),
    "no constraint": (f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (slug)",),
    "a function": [
        f"ALTER TABLE shop.products ADD CONSTRAINT {shop.INDEX} UNIQUE (slug)",
        "CREATE FUNCTION shop.upsert() RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO shop.products (slug)"
        f" VALUES ('x') ON CONFLICT ON CONSTRAINT {shop.INDEX} DO NOTHING; END",
    ],
}


@pytest.mark.parametrize(
    "form",
    [
        "partial",
        "constraint",
        *(pytest.param(form, marks=pytest.mark.slow) for form in ("whole", "expression", "nulls")),
    ],
)
def test_the_script(environment, connection, form):
    """The SQL files of another table apply the change by psql, and roll it back."""
    change, expected = FORMS[form]
    shop.create(connection, change)
    before = definitions(connection)
    for target, left in ((FIXED, expected), (ORIGINAL, before)):
        for _ in range(2):
            assert psql(environment, migration_script(target, change))[0] == 0
            assert definitions(connection) == left


@pytest.mark.parametrize(
    ("made", "is_taken"),
    [
        ("(lower(slug)) WHERE (locale = 'en') AND deleted_at IS NULL", True),
        ("(LOWER(slug)) INCLUDE (id) WHERE locale = 'en' AND (deleted_at IS NULL)", True),
        ("(lower(slug)) WHERE locale = 'en'", False),
        ("(upper(slug)) WHERE locale = 'en' AND deleted_at IS NULL", False),
        ("(lower(slug)) NULLS NOT DISTINCT WHERE locale = 'en' AND deleted_at IS NULL", False),
    ],
)
def test_the_script_asks_whether_the_index_is_the_one_of_the_change(environment, connection, made, is_taken):
    """An index with another predicate, another expression or other NULLs stops the script, and is not replaced."""
    if "NULLS" in made and connection.info.server_version < 150000:
        pytest.skip("NULLS NOT DISTINCT came with PostgreSQL 15")
    connection.execute(shop.TABLE)
    connection.execute(f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products {made}")
    before, kept = ("(lower(slug))",), definitions(connection)
    change = replace(
        PLAIN,
        before=IndexKey(before),
        after=IndexKey((*before, "tenant_id")),
        predicate="locale = 'en' AND deleted_at IS NULL",
    )
    code, _ = psql(environment, migration_script(FIXED, change))
    assert (code == 0) is is_taken
    assert (definitions(connection) == kept) is not is_taken


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE shop.products ADD UNIQUE USING INDEX products_slug_key",
        "CREATE TABLE shop.orders (slug text REFERENCES shop.products (slug))",
        "ALTER TABLE shop.products REPLICA IDENTITY USING INDEX products_slug_key",
    ],
)
def test_the_script_of_an_index_that_something_needs(environment, connection, statement):
    """PostgreSQL would not drop it: the script stops before it changes a name."""
    shop.create(connection, PLAIN)
    connection.execute(statement)
    kept = definitions(connection)
    code, error = psql(environment, migration_script(FIXED, PLAIN))
    assert (code, "backs a constraint, or a foreign key or the replica identity needs it" in error) == (3, True)
    assert definitions(connection) == kept


def test_a_constraint_without_overlaps(environment, connection):
    """It rejects more than equal values: neither plan nor script replaces it, and it is in no pair of a scan."""
    if connection.info.server_version < 180000:
        pytest.skip("WITHOUT OVERLAPS came with PostgreSQL 18")
    connection.execute(
        "CREATE TABLE stays (room int4range, during int4range NOT NULL UNIQUE, tenant_id int NOT NULL,"
        " CONSTRAINT stays_key UNIQUE (room, during WITHOUT OVERLAPS))"
    )
    key = ("room", "during")
    change = replace(
        shop.CONSTRAINT,
        schema="public",
        table="stays",
        index="stays_key",
        before=IndexKey(key),
        after=IndexKey((*key, "tenant_id")),
    )
    assert "stays_key is enforced and is neither the old nor the new index" in failures(environment, change)["indexes"]
    assert psql(environment, migration_script(FIXED, change))[0] != 0
    with reading(environment) as snapshot:
        assert scan(snapshot).redundant == []


@pytest.mark.parametrize("name", ["nulls", "included"])
def test_the_script_of_an_index_with_equal_nulls(environment, connection, name):
    """It is taken with INCLUDE columns, too."""
    if connection.info.server_version < 150000:
        pytest.skip("NULLS NOT DISTINCT came with PostgreSQL 15")
    connection.execute(shop.TABLE)
    include = "INCLUDE (id)" if name == "included" else ""
    connection.execute(f"CREATE UNIQUE INDEX {shop.INDEX} ON shop.products (slug) {include} NULLS NOT DISTINCT")
    change = replace(PLAIN, before=IndexKey(("slug",), True), after=IndexKey(("slug", "locale"), True))
    assert psql(environment, migration_script(FIXED, change))[0] == 0
    assert read_catalog(connection, change).state is IndexState.FIXED


@pytest.mark.parametrize("constraint", [False, True])
def test_the_script_of_names_that_need_quotes(environment, connection, constraint):
    """Names with quotes, braces and percent signs are written as what they are, also inside of texts."""
    index, table, column = "o'k%s{x}", 'Order "Items"', "it's %I"
    names = sql.Identifier(table), sql.Identifier(column), sql.Identifier(index)
    create = "ADD CONSTRAINT {2} UNIQUE ({1})" if constraint else "ADD CHECK (true)"
    connection.execute(sql.SQL("CREATE TABLE {0} ({1} text, tenant_id int NOT NULL)").format(*names))
    connection.execute(sql.SQL(f"ALTER TABLE {{0}} {create}").format(*names))
    if not constraint:
        connection.execute(sql.SQL("CREATE UNIQUE INDEX {2} ON {0} ({1})").format(*names))
    change = replace(
        PLAIN,
        schema="public",
        table=table,
        index=index,
        before=IndexKey((column,)),
        after=IndexKey((column, "tenant_id")),
        constraint=constraint,
    )
    for target in (FIXED, ORIGINAL):
        psql(environment, migration_script(target, change))
        assert [found.name for found in read_catalog(connection, change).of(target)] == [index]


def test_the_script_asks_what_becomes_of_rows_with_null(environment, connection):
    """Where a new column may be NULL the files stop before they build, unless its file allows duplicates."""
    shop.create(connection, BY_LOCALE)
    before = definitions(connection)
    texts = [text for _, text in migration_files(FIXED, BY_LOCALE)]
    for text in (texts[0], texts[2]):
        code, said = psql(environment, text)
        assert (code, "locale may be NULL, and rows with NULL there would be unique no more" in said) == (3, True)
    assert definitions(connection) == before
    assert psql(environment, migration_script(FIXED, ALLOWED))[0] == 0
    assert definitions(connection) == [("(slug, locale)", None)]


def test_the_files_of_a_constraint():
    """The constraint changes its index in one statement: nothing is left to drop."""
    assert [name for name, _ in migration_files(FIXED, shop.CONSTRAINT)] == [
        "01_check.sql",
        "02_build.sql",
        "03_swap.sql",
    ]


def comments(connection):
    """The comments on the index and on the constraint."""
    return connection.execute(
        "SELECT obj_description(conindid, 'pg_class'), obj_description(oid, 'pg_constraint') FROM pg_constraint"
        " WHERE conname = %s",
        [shop.INDEX],
    ).fetchall()


def test_the_script_of_a_constraint_keeps_its_comments(environment, connection):
    """The comments on the constraint and on its index are on the new ones, there and back again."""
    shop.create(connection, shop.CONSTRAINT)
    connection.execute(f"COMMENT ON INDEX shop.{shop.INDEX} IS 'it''s 100%'")
    connection.execute(f"COMMENT ON CONSTRAINT {shop.INDEX} ON shop.products IS 'one tea'")
    for target in (FIXED, ORIGINAL):
        assert psql(environment, migration_script(target, shop.CONSTRAINT))[0] == 0
        assert comments(connection) == [("it's 100%", "one tea")]


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_files_of_a_constraint_run_again(environment, connection, place):
    """Ended after any file, all of them run again end the same; one that is run twice does nothing more."""
    shop.create(connection, shop.CONSTRAINT)
    texts = [text for _, text in migration_files(FIXED, shop.CONSTRAINT)]
    for text in (*texts[:place], *texts, texts[-1]):
        assert psql(environment, text)[0] == 0
    assert definitions(connection) == FORMS["constraint"][1]
    assert holds(verify_catalog(read_catalog(connection, shop.CONSTRAINT)))


def test_the_swap_of_a_constraint_tries_again(environment, connection):
    """A reader that holds the table makes the swap give way and try again; meanwhile other sessions read and write."""
    shop.create(connection, shop.CONSTRAINT)
    *before, (_, swap) = migration_files(FIXED, shop.CONSTRAINT)
    for _, text in before:
        assert psql(environment, text)[0] == 0
    with psycopg.connect(environment.address) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM shop.products")
        swapped = pool.submit(psql, environment, swap)
        until_waiting(connection)
        connection.execute("SET statement_timeout = '5s'")
        for n in range(20):
            connection.execute("INSERT INTO shop.products (slug) VALUES (%s)", [f"beside {n}"])
            time.sleep(0.05)
        assert not swapped.done()
        reader.rollback()
        assert swapped.result()[0] == 0
    assert definitions(connection) == FORMS["constraint"][1]


def until_waiting(connection):
    """Wait until a session waits for a lock on the products."""
    wanted = "SELECT FROM pg_locks WHERE relation = 'shop.products'::regclass AND NOT granted"
    deadline = time.monotonic() + 30
    while connection.execute(wanted).fetchone() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("statement", DEPENDS)
def test_the_script_of_a_constraint_that_something_needs(environment, connection, statement):
    """A constraint that a foreign key, the replica identity or nothing at all stands on stops the first file."""
    connection.execute(shop.TABLE)
    for each in DEPENDS[statement]:
        connection.execute(each)
    before = definitions(connection)
    code, said = psql(environment, migration_script(FIXED, shop.CONSTRAINT))
    assert (code, "backs no UNIQUE constraint of this table alone that can be replaced" in said) == (3, True)
    assert definitions(connection) == before


def test_the_script_of_a_constraint_stops_at_duplicates(environment, connection):
    """Where rows share a key of the old constraint, the way back stops before it builds."""
    shop.create(connection, shop.CONSTRAINT)
    assert psql(environment, migration_script(FIXED, shop.CONSTRAINT))[0] == 0
    connection.execute("INSERT INTO shop.products (tenant_id, slug) VALUES (8, 'tea'), (9, 'tea')")
    code, said = psql(environment, migration_script(ORIGINAL, shop.CONSTRAINT))
    assert (code, "several rows share a key: the old index cannot hold them" in said) == (3, True)
    assert definitions(connection) == FORMS["constraint"][1]


@pytest.mark.newest
@pytest.mark.parametrize(
    "form", ["constraint", *(pytest.param(form, marks=pytest.mark.slow) for form in ("partial", "COALESCE"))]
)
def test_the_rehearsal(environment, connection, form):
    """A rehearsal copies the parts of the key as HMACs; similar rows are rejected before the change, and not after."""
    change, _ = FORMS[form]
    shop.create(connection, change)
    before = definitions(connection)
    report = rehearse(environment, change)
    assert (report.works, report.threads, report.rollback.possible) == (True, 500 - 50 * (form == "partial"), True)
    assert report.clients.rejected["similar row"] > 0
    assert report.clients.rejected_after == {}
    assert definitions(connection) == before


@pytest.mark.newest
def test_the_rehearsal_of_values_that_are_equal_and_have_other_texts(environment, connection):
    """The copy has texts; whether rows share a key is counted at the source, where 1.0 is equal to 1.00."""
    connection.execute("CREATE TABLE prices (price numeric NOT NULL, tenant_id int NOT NULL)")
    connection.execute("INSERT INTO prices VALUES (1.0, 1), (1.00, 2)")
    connection.execute("CREATE UNIQUE INDEX prices_key ON prices (price, tenant_id)")
    before = IndexKey(("price",))
    after = IndexKey(("price", "tenant_id"))
    change = replace(PLAIN, schema="public", table="prices", index="prices_key", before=before, after=after)
    assert rehearse(environment, change).rollback.possible is False


@pytest.mark.newest
def test_the_rehearsal_of_another_index_of_the_incidents_table(environment):
    """A file may change an index of the table in another way: nothing is known of its rows and clients."""
    added = replace(PURPOSE.after, parts=(*PURPOSE.before.parts, "name"))
    change = replace(PURPOSE, name="name.toml", after=added, following=None, words=None)
    assert rehearse(environment, replace(change, not_unique_where_null=frozenset({"name"}))).works
    assert "ON CONFLICT in clients" in checks_of(environment, change)


# Interrupted


@pytest.mark.slow
@pytest.mark.parametrize("form", ["partial", "constraint"])
def test_killed_between_any_two_steps(environment, connection, form):
    """Stopped after any step, the same command ends in the new index alone."""
    change, expected = FORMS[form]
    shop.create(connection, change)

    class Stopped(Exception):
        """Between two steps."""

    for number in (1, 2, 3):

        def done(migration, number=number):
            if len(migration.steps) == number:
                raise Stopped

        with suppress(Stopped):
            apply(environment, confirm="staging", change=change, done=done)
        apply(environment, confirm="staging", change=change)
        assert definitions(connection) == expected
        apply(environment, confirm="staging", change=change, target=ORIGINAL)


# Partitions


def test_a_partitioned_table(environment, connection):
    """A partitioned table of a shop is changed and rolled back; its expressions are compared, too."""
    connection.execute(
        """
        CREATE SCHEMA shop;
        CREATE TABLE shop.products (tenant_id bigint NOT NULL DEFAULT 1, slug text NOT NULL, deleted_at timestamptz)
            PARTITION BY HASH (slug);
        CREATE TABLE shop.products_0 PARTITION OF shop.products FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE shop.products_1 PARTITION OF shop.products FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO shop.products (slug) SELECT 'slug-' || n FROM generate_series(1, 100) AS n;
        CREATE UNIQUE INDEX products_slug_key ON shop.products (slug) WHERE deleted_at IS NULL;
        """
    )
    change = replace(shop.CHANGE, predicate="products.deleted_at is null")
    before = definitions(connection)
    assert failures(environment, change) == {}
    apply(environment, confirm="staging", change=change)
    assert definitions(connection) == [("(tenant_id, slug) WHERE (deleted_at IS NULL)", None)]
    apply(environment, confirm="staging", change=change, target=ORIGINAL)
    assert definitions(connection) == before
