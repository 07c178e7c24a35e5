"""What is read from a real server's catalog: definitions, flags, names, rights."""

import os
from contextlib import contextmanager
from unittest.mock import patch
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from incident_lib.database import fetch_all, introspection, lock_holders, read_access, read_catalog
from incident_lib.database.introspection import is_decidable
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.errors import Failed
from tests.conftest import add

EVERY_VERSION = True
ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
FAMILY = "root_prompt_row_id, owner_id"


def made(connection, definition, name="made"):
    """Make a unique index on the table from its keys and predicate, and read it from the catalog."""
    connection.execute(f"CREATE UNIQUE INDEX {name} ON public.q_threads {definition}")
    return read(connection, name)


def read(connection, name):
    """The index of a name, as it is read; None if the table has no such index."""
    return next((index for index in read_catalog(connection).indexes if index.name == name), None)


@pytest.fixture
def nobody(connection):
    """A role without any right; `connection` may take it."""
    role = sql.Identifier(f"nobody_{os.getpid()}_{uuid4().hex[:8]}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    yield role
    connection.execute("RESET ROLE")
    connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
    connection.execute(sql.SQL("DROP ROLE {}").format(role))


@contextmanager
def acting_as(connection, role):
    """Take a role for a while."""
    connection.execute(sql.SQL("SET ROLE {}").format(role))
    yield
    connection.execute("RESET ROLE")


def test_original(connection):
    """The incident's unique index is read as the original index."""
    assert read(connection, INDEX_NAME).kind is IndexKind.ORIGINAL


def gone(times):
    """Reads of which the first ones meet an index that another session drops."""
    errors = [psycopg.errors.InternalError_("cache lookup failed for attribute 1 of relation 1")] * times
    answers = iter(errors)

    def fetch(*question):
        if error := next(answers, None):
            raise error
        return fetch_all(*question)

    return patch.object(introspection, "fetch_all", fetch)


def test_an_index_that_is_dropped_meanwhile_is_read_again(connection):
    """Where another session drops an index while it is read, the catalog is read again, a few times."""
    with gone(introspection.MOST_READS - 1):
        assert read(connection, INDEX_NAME).kind is IndexKind.ORIGINAL
    with gone(introspection.MOST_READS), pytest.raises(psycopg.errors.InternalError_):
        read_catalog(connection)


def test_a_failed_transaction_is_not_read_again(connection):
    """In a transaction the error is raised: the transaction has failed."""
    with gone(1), pytest.raises(psycopg.errors.InternalError_), connection.transaction():
        read_catalog(connection)


def test_comment(connection):
    """The unique index's comment is read."""
    assert read(connection, INDEX_NAME).comment == "one active thread per prompt family and user"


def test_definition(connection):
    """The unique index's definition is read as PostgreSQL prints it, with its schema."""
    assert read(connection, INDEX_NAME).definition == (
        "CREATE UNIQUE INDEX idx_q_threads_family_unique ON public.q_threads USING btree (root_prompt_row_id, owner_id)"
        " WHERE ((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
    )


def test_flags(connection):
    """A unique index that was built to the end is valid, ready and live."""
    index = read(connection, INDEX_NAME)
    assert (index.valid, index.ready, index.live) == (True, True, True)


def test_nobody_builds(connection):
    """A unique index that was built to the end has no builder."""
    assert read(connection, INDEX_NAME).builder is None


def test_columns(connection):
    """The key columns are read in their order."""
    assert made(connection, f"(purpose, {FAMILY}) {ACTIVE}").columns == ("purpose", "root_prompt_row_id", "owner_id")


def test_included_columns_are_no_key(connection):
    """Columns that an index only includes are not part of its key."""
    assert made(connection, f"({FAMILY}) INCLUDE (purpose) {ACTIVE}").kind is IndexKind.ORIGINAL


DEFINITIONS = [
    (f"({FAMILY}, purpose) {ACTIVE}", IndexKind.FIXED),
    (f"(purpose, owner_id, root_prompt_row_id) {ACTIVE}", IndexKind.FIXED),
    (f"(owner_id, root_prompt_row_id) {ACTIVE}", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE is_active AND root_prompt_row_id IS NOT NULL", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE root_prompt_row_id IS NOT NULL AND is_active IS TRUE", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE ((root_prompt_row_id IS NOT NULL) AND ((is_active = true)))", IndexKind.ORIGINAL),
    (f"({FAMILY} DESC) {ACTIVE}", IndexKind.ORIGINAL),
    ("(openai_conversation_id)", IndexKind.HARMLESS),
    (f"({FAMILY}, external_session_id) {ACTIVE}", IndexKind.HARMLESS),
    ("(lower(external_session_id))", IndexKind.HARMLESS),
    ("(lower(external_session_id)) WHERE is_active", IndexKind.UNREADABLE),
    (f"({FAMILY}, provider, purpose) {ACTIVE}", IndexKind.FINER),
    ("(root_prompt_row_id) WHERE is_active", IndexKind.UNREADABLE),
    (f"({FAMILY})", IndexKind.UNREADABLE),
    (f"({FAMILY}) WHERE is_active", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE is_active AND NOT (root_prompt_row_id IS NULL)", IndexKind.ORIGINAL),
    (f"({FAMILY}, purpose) WHERE is_active IS NOT DISTINCT FROM true", IndexKind.FIXED),
    (f"({FAMILY}) WHERE is_active = 't' AND root_prompt_row_id IS NOT NULL", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE is_active IS TRUE", IndexKind.ORIGINAL),
    (f"({FAMILY}) {ACTIVE} AND owner_id IS NOT NULL", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE NOT (is_active IS NOT TRUE OR root_prompt_row_id IS NULL)", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE CASE WHEN is_active THEN root_prompt_row_id IS NOT NULL END", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE coalesce(is_active, false)", IndexKind.ORIGINAL),
    (f"({FAMILY}) WHERE is_active IS NOT FALSE", IndexKind.UNREADABLE),
    (f"({FAMILY}) WHERE is_active OR owner_id IS NULL", IndexKind.ORIGINAL),
    (f"({FAMILY}) {ACTIVE} AND root_prompt_row_id <> owner_id", IndexKind.UNREADABLE),
    (f"({FAMILY}) {ACTIVE} AND root_prompt_row_id IS DISTINCT FROM owner_id", IndexKind.UNREADABLE),
    (f"({FAMILY}) {ACTIVE} AND owner_id <> '{UUID(int=7)}'", IndexKind.UNREADABLE),
    (f"({FAMILY}) {ACTIVE} AND created_at IS NOT NULL", IndexKind.UNREADABLE),
    (f"({FAMILY}) {ACTIVE} AND uuid_eq(owner_id, owner_id)", IndexKind.UNREADABLE),
    (f"({FAMILY}) WHERE is_active OR root_prompt_row_id IS NOT NULL", IndexKind.UNREADABLE),
    (f"({FAMILY}) WHERE NOT is_active AND root_prompt_row_id IS NOT NULL", IndexKind.UNREADABLE),
    (f"({FAMILY}) {ACTIVE} AND purpose = 'run'", IndexKind.UNREADABLE),
    (f"({FAMILY}, provider) {ACTIVE}", IndexKind.UNREADABLE),
    (f"({FAMILY}) NULLS NOT DISTINCT {ACTIVE}", IndexKind.UNREADABLE),
    (f"({FAMILY}, lower(purpose)) {ACTIVE}", IndexKind.UNREADABLE),
    ("((root_prompt_row_id::text || owner_id::text)) WHERE is_active", IndexKind.UNREADABLE),
]


def test_kind(connection):
    """The kind of a real unique index follows from its definition alone."""
    for definition, expected in DEFINITIONS:
        with connection.transaction(force_rollback=True):
            assert (definition, made(connection, definition).kind) == (definition, expected)


def test_usual_properties(connection):
    """The incident's index includes nothing, and has no special property."""
    index = read(connection, INDEX_NAME)
    assert (index.include, index.storage, index.tablespace, index.special) == ((), (), None, ())


def test_properties(connection):
    """INCLUDE columns and storage parameters are read in their order."""
    index = made(connection, f"({FAMILY}) INCLUDE (purpose, name) WITH (fillfactor = 70) {ACTIVE}")
    assert (index.include, index.storage) == (("purpose", "name"), ("fillfactor=70",))


@pytest.mark.parametrize(
    ("key", "special"),
    [
        ("root_prompt_row_id DESC, owner_id", ("root_prompt_row_id DESC",)),
        ("root_prompt_row_id, owner_id DESC NULLS LAST", ("owner_id DESC NULLS LAST",)),
        ("root_prompt_row_id NULLS FIRST, owner_id", ("root_prompt_row_id NULLS FIRST",)),
        (f'{FAMILY}, purpose COLLATE "C"', ("purpose COLLATE C",)),
        (f"{FAMILY}, purpose text_pattern_ops", ("purpose text_pattern_ops",)),
        (f"{FAMILY}, lower(purpose) DESC", ("(expression) DESC",)),
    ],
)
def test_special_key_columns(connection, key, special):
    """Order, place of NULLs, collation and operator class of a key column are read where they are unusual."""
    assert made(connection, f"({key}) {ACTIVE}").special == special


def test_clustered(connection):
    """An index that CLUSTER uses is recognized."""
    made(connection, "(row_id)")
    connection.execute("ALTER TABLE public.q_threads CLUSTER ON made")
    assert read(connection, "made").special == ("CLUSTER ON",)


def test_a_function_named_like_a_column(connection):
    """A function with the name of a column is not taken for the column, and is not called."""
    connection.execute(
        "CREATE FUNCTION public.owner_id(uuid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "SET search_path = public"
    )
    assert made(connection, f"({FAMILY}) {ACTIVE} AND owner_id(owner_id)").kind is IndexKind.UNREADABLE


def test_usual_predicates_ask_nothing(connection):
    """Where the predicate is the usual one, PostgreSQL is not asked what it covers."""
    connection.execute("SET default_transaction_read_only = on")
    with patch("incident_lib.database.introspection.query_text", side_effect=AssertionError):
        assert read(connection, INDEX_NAME).covers_same


@pytest.mark.parametrize(
    "predicate",
    [
        "",
        "is_active; DROP TABLE q_threads",
        "is_active AND $1",
        "is_active(root_prompt_row_id)",
        "is_active::integer",
        "is_active_too",
        "(SELECT true)",
        "is_active -- AND",
        "owner_id = '1'",
        '"is_active"',
        "is_active = 't'::text",
        "q_threads.is_active",
    ],
)
def test_what_is_not_decidable(predicate):
    """A predicate with any other word than those of the list is not evaluated."""
    assert not is_decidable(predicate)


def test_expression_has_no_column(connection):
    """A key that is an expression is read as None."""
    assert made(connection, f"({FAMILY}, lower(purpose))").columns == ("root_prompt_row_id", "owner_id", None)


def test_unreadable_state(connection):
    """An unreadable unique index beside the original index makes the state of the unique indexes unknown."""
    made(connection, "(root_prompt_row_id) WHERE is_active")
    assert read_catalog(connection).state is IndexState.UNKNOWN


def test_unique_constraint(connection):
    """A unique constraint is read as the index behind it."""
    connection.execute("ALTER TABLE public.q_threads ADD CONSTRAINT one_each UNIQUE (root_prompt_row_id, owner_id)")
    assert read(connection, "one_each").kind is IndexKind.UNREADABLE


def test_exclusion_constraint(connection):
    """An exclusion constraint on the root prompt is read, and unreadable."""
    connection.execute(
        "ALTER TABLE public.q_threads ADD CONSTRAINT apart EXCLUDE USING hash (root_prompt_row_id WITH =)"
    )
    assert read(connection, "apart").kind is IndexKind.UNREADABLE


def test_exclusion_of_the_fixed_key(connection):
    """An exclusion constraint over the key and the predicate of the fixed index is not taken for the fixed index."""
    connection.execute(
        "ALTER TABLE public.q_threads ADD CONSTRAINT apart EXCLUDE USING btree"
        " (root_prompt_row_id WITH =, owner_id WITH =, purpose WITH =)"
        " WHERE (is_active = true AND root_prompt_row_id IS NOT NULL)"
    )
    assert read(connection, "apart").kind is IndexKind.UNREADABLE


def test_plain_indexes_are_not_read(connection):
    """Of the table's indexes only those that can reject a row are read."""
    assert [index.name for index in read_catalog(connection).indexes] == [INDEX_NAME, "q_threads_pkey"]


def test_another_schema(connection):
    """A table and an index of the same names in another schema are not confused with the unique index."""
    connection.execute("DROP INDEX public.idx_q_threads_family_unique")
    connection.execute("CREATE SCHEMA other")
    connection.execute("CREATE TABLE other.q_threads (LIKE public.q_threads)")
    connection.execute(f"CREATE UNIQUE INDEX {INDEX_NAME} ON other.q_threads ({FAMILY}) {ACTIVE}")
    assert read_catalog(connection).state is IndexState.MISSING


def test_another_schema_takes_no_name(connection):
    """Our name in another schema is not taken in ours."""
    connection.execute("CREATE SCHEMA other")
    connection.execute(f"CREATE TABLE other.{PURPOSE.build_name} ()")
    assert read_catalog(connection).taken_names == {}


def test_search_path_does_not_matter(connection):
    """The table is found by its schema, whatever the search path of the session is."""
    connection.execute("CREATE SCHEMA other")
    connection.execute("CREATE TABLE other.q_threads (LIKE public.q_threads)")
    connection.execute("SET search_path = other, pg_catalog")
    assert read_catalog(connection).state is IndexState.ORIGINAL


def test_name_taken_on_another_table(connection):
    """An index of our name on another table is reported with its definition."""
    connection.execute(f"CREATE INDEX {PURPOSE.build_name} ON public.q_prompts (row_id)")
    expected = f"CREATE INDEX {PURPOSE.build_name} ON public.q_prompts USING btree (row_id)"
    assert read_catalog(connection).taken_names == {PURPOSE.build_name: expected}


def test_name_taken_by_a_table(connection):
    """A table of our name is reported as a relation of its kind."""
    connection.execute(f"CREATE TABLE public.{PURPOSE.build_name} ()")
    assert read_catalog(connection).taken_names == {PURPOSE.build_name: "a relation of kind r"}


def test_name_taken_by_a_plain_index(connection):
    """An index of our name on the table that is not unique is reported: it is no unique index."""
    connection.execute(f"CREATE INDEX {PURPOSE.build_name} ON public.q_threads (name)")
    expected = f"CREATE INDEX {PURPOSE.build_name} ON public.q_threads USING btree (name)"
    assert read_catalog(connection).taken_names == {PURPOSE.build_name: expected}


def test_failed_build(connection):
    """A CONCURRENTLY build that found duplicates in its first scan leaves an index that is not enforced."""
    connection.execute("DROP INDEX public.idx_q_threads_family_unique")
    root, owner = uuid4(), uuid4()
    add(connection, root, owner)
    add(connection, root, owner)
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            f"CREATE UNIQUE INDEX CONCURRENTLY {PURPOSE.build_name} ON public.q_threads ({FAMILY}) {ACTIVE}"
        )
    index = read(connection, PURPOSE.build_name)
    assert (index.valid, index.ready, index.live) == (False, False, True)


def test_failed_build_admits_duplicates(connection):
    """PostgreSQL itself admits a duplicate beside an index that is reported as not enforced."""
    test_failed_build(connection)
    root, owner = uuid4(), uuid4()
    add(connection, root, owner)
    add(connection, root, owner)
    assert not read(connection, PURPOSE.build_name).enforced


@contextmanager
def holding(environment, mode):
    """A session of somebody else, by its pid, that holds a lock on the table."""
    with psycopg.connect(environment.address) as other:
        other.execute(f"LOCK TABLE public.q_threads IN {mode} MODE")
        yield other.info.backend_pid


@pytest.fixture
def leftover(connection):
    """An index that is not complete, which may be a leftover."""
    test_failed_build(connection)


@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_which_locks_count(environment, connection, mode):
    """The sessions that hold the lock of a build, or a stronger one, are found."""
    with holding(environment, mode) as pid:
        assert lock_holders(connection, autovacuum=False) == {pid}


def test_lock_holders(environment, connection, leftover):
    """Beside an incomplete index the catalog names the sessions that hold the lock of a build."""
    with holding(environment, "SHARE UPDATE EXCLUSIVE") as pid:
        assert held(connection) == (pid,)


def held(connection):
    """The pids that a catalog names."""
    return read_catalog(connection).lock_holders


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW EXCLUSIVE", "SHARE"])
def test_weaker_locks_build_nothing(environment, connection, leftover, mode):
    """Readers, writers and holders of SHARE build no index CONCURRENTLY."""
    with holding(environment, mode):
        assert held(connection) == ()


def test_the_own_lock_does_not_count(connection, leftover):
    """The session that reads the catalog may hold the lock itself."""
    with connection.transaction():
        connection.execute("LOCK TABLE public.q_threads IN SHARE UPDATE EXCLUSIVE MODE")
        assert held(connection) == ()


def test_a_lock_beside_complete_indexes(environment, connection):
    """Where every index is complete none can be a leftover, and locks are not read."""
    with holding(environment, "SHARE UPDATE EXCLUSIVE"):
        assert held(connection) == ()


def test_lock_holders_that_this_role_may_not_see(environment, connection, leftover, nobody):
    """Every role sees which sessions hold the lock."""
    with holding(environment, "SHARE UPDATE EXCLUSIVE") as pid, acting_as(connection, nobody):
        assert held(connection) == (pid,)


def test_missing_table(connection):
    """A database without the table gives one message."""
    connection.execute("DROP TABLE public.q_threads")
    with pytest.raises(Failed) as error:
        read_access(connection)
    assert str(error.value) == (
        "There is no table public.q_threads in this database.\n"
        "  why:  It holds 1 table, none of that name: it may be the wrong database.\n"
        "  next: Check the database in the environment's address: `incident env list` says where that is."
    )


def test_a_table_elsewhere_is_named(connection):
    """A table of that name in another schema, or in other letters, is named with what is not looked at."""
    connection.execute('ALTER TABLE public.q_threads RENAME TO "Q_Threads"')
    connection.execute("CREATE SCHEMA app CREATE TABLE q_threads (row_id uuid)")
    with pytest.raises(Failed) as error:
        read_access(connection)
    assert error.value.why == 'It holds app.q_threads, public."Q_Threads", which this project does not look at.'


def test_missing_table_has_no_indexes(connection):
    """A database without the table has no unique index."""
    connection.execute("DROP TABLE public.q_threads")
    assert read_catalog(connection).indexes == ()


def test_missing_columns(connection):
    """Every column that the table lacks is named in one message."""
    connection.execute("ALTER TABLE public.q_threads DROP COLUMN provider CASCADE, DROP COLUMN created_at")
    with pytest.raises(Failed) as error:
        read_access(connection)
    assert str(error.value) == (
        "public.q_threads lacks provider, created_at.\n"
        "  why:  The incident is about a table that has these columns.\n"
        "  next: Has every migration of q_threads been applied there?"
    )


def test_no_select_right(connection, nobody):
    """The message for a role that may not read the table says which right to ask for."""
    with acting_as(connection, nobody), pytest.raises(Failed) as error:
        read_access(connection)
    assert str(error.value) == (
        "This role may not read public.q_threads.\n"
        "  why:  It has no SELECT right on it.\n"
        "  next: Ask the owner: GRANT SELECT ON public.q_threads TO the role of this environment."
    )


def test_rights_of_the_owner(connection):
    """The table's owner owns it, may write, and sees every row."""
    rights = read_access(connection)
    assert (rights.owned, rights.writable, rights.hides_rows) == (True, True, False)


def test_rights_of_a_reader(connection, nobody):
    """A role that may only read neither owns nor writes, and the table's policies hide rows from it."""
    connection.execute(sql.SQL("GRANT SELECT ON public.q_threads TO {}").format(nobody))
    with acting_as(connection, nobody):
        rights = read_access(connection)
    assert (rights.owned, rights.writable, rights.hides_rows) == (False, False, True)


@pytest.mark.parametrize("right", ["INSERT", "UPDATE"])
def test_half_a_right_to_write(connection, nobody, right):
    """A role that may only insert, or only update, may not write as a chat client does."""
    connection.execute(sql.SQL(f"GRANT SELECT, {right} ON public.q_threads TO {{}}").format(nobody))
    with acting_as(connection, nobody):
        rights = read_access(connection)
    assert not rights.writable


def test_the_server(connection):
    """The test's server is a primary of the version that it says, and its table is a plain one."""
    rights = read_access(connection)
    expected = (connection.info.server_version, False, False)
    assert (rights.server_version, rights.standby, rights.partitioned) == expected


def test_partitioned(connection):
    """A partitioned table is distinguished from a plain one."""
    connection.execute("ALTER TABLE public.q_threads RENAME TO q_threads_old")
    connection.execute("CREATE TABLE public.q_threads (LIKE public.q_threads_old) PARTITION BY HASH (row_id)")
    assert read_access(connection).partitioned


TYPES_FAILED = (
    "public.q_threads has a column of another type than expected.\n"
    "  why:  {}.\n"
    "  next: Counts and comparisons could be wrong with it: this project does not work with this table."
)


def retyped(connection, **types):
    """The table with other types of some columns; what was made of them is gone."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'public.q_threads'::regclass AND contype = 'f'"
        )
    ]
    for name in names:
        connection.execute(f"ALTER TABLE public.q_threads DROP CONSTRAINT {name}")
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'public.q_threads'::regclass"
        " AND NOT indisprimary"
    ).fetchall()
    for (name,) in indexes:
        connection.execute(f"DROP INDEX {name}")
    for column, new in types.items():
        connection.execute(
            f"ALTER TABLE public.q_threads ALTER {column} DROP DEFAULT,"
            f" ALTER {column} TYPE {new} USING {column}::text::{new}"
        )


@pytest.mark.parametrize("new", ["purpose_enum", "varchar(20)", "char(4)", "label", "text"])
def test_purposes_of_other_types(connection, new):
    """A purpose that is an enum, a varchar, a char or a domain over text is not refused."""
    connection.execute("CREATE TYPE purpose_enum AS ENUM ('run', 'chat'); CREATE DOMAIN label AS text")
    retyped(connection, purpose=new)
    read_access(connection)


@pytest.mark.parametrize(
    ("types", "why"),
    [
        ({"is_active": "integer"}, "is_active is integer and not boolean"),
        ({"owner_id": "text"}, "owner_id is text and not uuid"),
        ({"created_at": "timestamp"}, "created_at is timestamp without time zone and not timestamp with time zone"),
        ({"purpose": "json"}, "purpose is json and not text"),
        (
            {"owner_id": "varchar(40)", "root_prompt_row_id": "text"},
            "root_prompt_row_id is text and not uuid; owner_id is character varying(40) and not uuid",
        ),
    ],
)
def test_odd_types(connection, types, why):
    """Columns of a type that would be read wrongly are all named in one message."""
    retyped(connection, **types)
    with pytest.raises(Failed) as error:
        read_access(connection)
    assert str(error.value) == TYPES_FAILED.format(why)
