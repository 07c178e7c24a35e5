"""The kind of an index by its definition and flags, and the state of all unique indexes."""

from dataclasses import replace

import pytest

from incident_lib.model.catalog import Catalog, IndexState, UniqueIndex
from incident_lib.model.change import INDEX_NAME, PURPOSE, IndexKind
from incident_lib.model.tables import indexes_table

PREDICATE = "((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
USABLE = {"valid": True, "ready": True, "live": True}
SCAN_FAILED = {"valid": False, "ready": False, "live": True}
STILL_ENFORCING = {"valid": False, "ready": True, "live": True}
DEAD = {"valid": False, "ready": False, "live": False}


def index(columns, name=INDEX_NAME, **changed):
    """An index of these key columns, by default unique, with the expected predicate, and usable."""
    usual = {"predicate": PREDICATE, "unique": True, "nulls_not_distinct": False, **USABLE}
    return UniqueIndex(name, f"the definition of {name}", tuple(columns), **(usual | changed))


def original(name=INDEX_NAME, **changed):
    """An original index."""
    return index(PURPOSE.before.parts, name, **changed)


def fixed(name=INDEX_NAME, **changed):
    """A fixed index."""
    return index(PURPOSE.after.parts, name, **changed)


def unreadable(name="uq_root", **changed):
    """A unique index whose definition this project cannot read."""
    return index(["root_prompt_row_id"], name, **changed)


@pytest.mark.parametrize("predicate", [PREDICATE, "is_active = true AND root_prompt_row_id IS NOT NULL"])
def test_usual_predicates(predicate):
    """The unique indexes' predicate is recognized as PostgreSQL prints it and as this project writes it."""
    assert original(predicate=predicate).kind is IndexKind.ORIGINAL


def test_a_predicate_that_postgresql_evaluated():
    """Another predicate is recognized if PostgreSQL found that it covers exactly the active threads."""
    assert original(predicate="(NOT (is_active IS NOT TRUE))", covers_same=True).kind is IndexKind.ORIGINAL


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, ""),
        (
            {"predicate": None},
            "it has no predicate, and covers threads that are not active, too",
        ),
        (
            {"predicate": "(purpose = 'run'::text)"},
            "its predicate may cover other threads than the active ones: (purpose = 'run'::text)",
        ),
        ({"nulls_not_distinct": True}, "it is NULLS NOT DISTINCT: threads without an owner conflict, too"),
        ({"unique": False}, "it is an exclusion constraint"),
        (
            {"columns": ("root_prompt_row_id", None)},
            "its key is (root_prompt_row_id, (expression)) and not (root_prompt_row_id, owner_id) or "
            "(root_prompt_row_id, owner_id, purpose)",
        ),
        (
            {"unique": False, "predicate": None},
            "it is an exclusion constraint; it has no predicate, and covers threads that are not active, too",
        ),
    ],
)
def test_differences(changed, text):
    """The text names each difference from both known indexes: key, predicate, NULLs, constraint, expression."""
    assert replace(original(), **changed).differences() == text


def test_differences_hold_no_ids():
    """An id in a predicate is not shown."""
    found = original(predicate="(owner_id = '3f9a1c2b-7d00-4000-8000-000000000000'::uuid)").differences()
    assert found == "its predicate may cover other threads than the active ones: (owner_id = '(an id, hidden)'::uuid)"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["root_prompt_row_id", "owner_id"], IndexKind.ORIGINAL),
        (["owner_id", "root_prompt_row_id"], IndexKind.ORIGINAL),
        (["root_prompt_row_id", "owner_id", "purpose"], IndexKind.FIXED),
        (["purpose", "root_prompt_row_id", "owner_id"], IndexKind.FIXED),
        (["row_id"], IndexKind.HARMLESS),
        (["openai_conversation_id"], IndexKind.HARMLESS),
        (["root_prompt_row_id", "owner_id", "external_session_id"], IndexKind.HARMLESS),
        (["root_prompt_row_id", "owner_id", "provider", "purpose"], IndexKind.FINER),
        (["purpose"], IndexKind.HARMLESS),
        (["root_prompt_row_id"], IndexKind.UNREADABLE),
        (["owner_id"], IndexKind.UNREADABLE),
        (["root_prompt_row_id", "owner_id", "provider"], IndexKind.UNREADABLE),
        (["root_prompt_row_id", "owner_id", "is_active"], IndexKind.UNREADABLE),
        (["root_prompt_row_id", None], IndexKind.UNREADABLE),
        (["root_prompt_row_id", "owner_id", "purpose", None], IndexKind.UNREADABLE),
        (["openai_conversation_id", None], IndexKind.UNREADABLE),
    ],
)
def test_kind_by_columns(columns, expected):
    """The kind of an index depends on its key columns, in any order."""
    assert index(columns).kind is expected


@pytest.mark.parametrize(
    "changed",
    [
        {"predicate": None},
        {"predicate": "((is_active = true) OR (root_prompt_row_id IS NOT NULL))"},
        {"nulls_not_distinct": True},
        {"unique": False},
    ],
)
def test_original_key_with_another_definition_is_unreadable(changed):
    """An index with the original key and another predicate, NULLS NOT DISTINCT or a constraint is unreadable."""
    assert original(**changed).kind is IndexKind.UNREADABLE


@pytest.mark.parametrize("changed", [{"predicate": None}, {"nulls_not_distinct": True}])
def test_fixed_key_with_another_definition_is_harmless(changed):
    """An index with the fixed key and another definition is harmless: it cannot make one purpose block another."""
    assert fixed(**changed).kind is IndexKind.HARMLESS


def test_exclusion_is_unreadable():
    """An exclusion constraint is unreadable for any columns, since its operators may compare anything."""
    assert fixed(unique=False).kind is IndexKind.UNREADABLE


def test_kind_does_not_depend_on_the_name():
    """An original index with the name of the build is an original index."""
    assert original(PURPOSE.build_name).kind is IndexKind.ORIGINAL


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(USABLE, True), (STILL_ENFORCING, True), (SCAN_FAILED, False), (DEAD, False)],
)
def test_enforced(flags, expected):
    """An index is enforced if it is ready, valid or not."""
    assert original(**flags).enforced is expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(USABLE, True), (STILL_ENFORCING, False), (SCAN_FAILED, False), (DEAD, False)],
)
def test_usable(flags, expected):
    """An index is usable if it is valid, ready and live."""
    assert original(**flags).usable is expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (USABLE, "valid"),
        (STILL_ENFORCING, "invalid, still enforced"),
        (SCAN_FAILED, "invalid, not enforced"),
        (DEAD, "invalid, not enforced, being dropped"),
    ],
)
def test_text_of_flags(flags, expected):
    """Each combination of flags has a text."""
    assert original(**flags).flags() == expected


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([original()], IndexState.ORIGINAL),
        ([original(), index(["row_id"], "q_threads_pkey")], IndexState.ORIGINAL),
        ([fixed()], IndexState.FIXED),
        ([fixed("another_name")], IndexState.FIXED),
        ([original(), fixed(PURPOSE.build_name, **SCAN_FAILED)], IndexState.BUILDING),
        ([original(), fixed(PURPOSE.build_name, **STILL_ENFORCING)], IndexState.BUILDING),
        ([original(), fixed(PURPOSE.build_name, builder=4711, **SCAN_FAILED)], IndexState.BUILDING),
        ([original(), fixed(PURPOSE.build_name)], IndexState.OVERLAPPING),
        ([fixed(), original(PURPOSE.retired_name)], IndexState.OVERLAPPING),
        ([fixed(), original(PURPOSE.retired_name, **STILL_ENFORCING)], IndexState.RETIRING),
        ([fixed(), original(PURPOSE.retired_name, **DEAD)], IndexState.RETIRING),
        ([], IndexState.MISSING),
        ([index(["row_id"], "q_threads_pkey")], IndexState.MISSING),
        ([original(**DEAD)], IndexState.MISSING),
        ([fixed(PURPOSE.build_name, **SCAN_FAILED)], IndexState.MISSING),
        ([unreadable()], IndexState.UNKNOWN),
        ([fixed(), unreadable()], IndexState.UNKNOWN),
        ([original(), unreadable(**STILL_ENFORCING)], IndexState.UNKNOWN),
        ([original(), unreadable(**DEAD)], IndexState.ORIGINAL),
    ],
)
def test_state(indexes, expected):
    """The state depends on the definitions and flags of the unique indexes."""
    assert Catalog(tuple(indexes)).state is expected


def test_the_examples_have_every_state():
    """The examples of `test_state` have each of the seven states."""
    (mark,) = test_state.pytestmark
    assert {state for _, state in mark.args[1]} == set(IndexState)


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([original()], True),
        ([original("another_name")], True),
        ([fixed(), original(PURPOSE.retired_name, **STILL_ENFORCING)], True),
        ([fixed(PURPOSE.build_name), original()], True),
        ([fixed(), original(PURPOSE.retired_name, **DEAD)], False),
        ([fixed()], False),
        ([original(**SCAN_FAILED)], False),
        ([], False),
        ([unreadable()], None),
        ([original(), unreadable()], None),
        ([fixed(), unreadable(**STILL_ENFORCING)], None),
        ([fixed(), unreadable(**SCAN_FAILED)], False),
    ],
)
def test_blocks(indexes, expected):
    """One purpose blocks another if an original index is enforced; None if an index cannot be read."""
    assert Catalog(tuple(indexes)).blocks is expected


def test_relevant_indexes_exclude_harmless_ones():
    """The indexes that may block families are all except the harmless ones."""
    expected_indexes = (original(), fixed(PURPOSE.build_name), unreadable())
    assert Catalog((*expected_indexes, index(["row_id"], "q_threads_pkey"))).relevant_indexes == expected_indexes


def test_indexes_table():
    """The table has name, kind, key and flags of each unique index, and no harmless index."""
    catalog = Catalog((original(**STILL_ENFORCING), unreadable(), index(["row_id"], "q_threads_pkey")))
    assert indexes_table(catalog).rows == (
        (INDEX_NAME, "original", "root_prompt_row_id, owner_id", "invalid, still enforced", True),
        ("uq_root", "unreadable", "root_prompt_row_id", "valid", True),
    )
