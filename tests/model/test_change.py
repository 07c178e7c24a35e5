"""A change of an index as data: names, keys, and the files that describe one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib import paths
from incident_lib.model.change import PROVIDER, PURPOSE, IndexChange, IndexKey, IndexKind
from incident_lib.model.change_file import EXAMPLE_CHANGE, parse_change
from incident_lib.model.errors import Refused, UsageError

SHOP = """\
table = "shop.products"
index = "products_slug_key"
key_before = ["slug"]
key_after = ["tenant_id", "slug"]
"""


def changed(**more: object) -> IndexChange:
    """A change of an index of a shop."""
    values = {"name": "a.toml", "schema": "shop", "table": "products", "index": "products_slug_key"}
    keys = {"before": IndexKey(("slug",)), "after": IndexKey(("tenant_id", "slug"))}
    return IndexChange(**values | keys | more)


def test_the_file_of_a_change() -> None:
    """A file with the four keys that are needed describes a change of a whole index."""
    assert parse_change(SHOP, "a.toml") == changed()


def test_the_example_has_all_keys() -> None:
    """The documented example is read, with its predicate; copied as it is, it lets no row be a duplicate."""
    assert parse_change(EXAMPLE_CHANGE, "a.toml") == changed(predicate="deleted_at IS NULL")


def test_nulls_of_a_file() -> None:
    """NULLS NOT DISTINCT is chosen for the new key, and said of the old one."""
    text = f'{SHOP}nulls_before = "not distinct"\nnulls_after = "not distinct"\n'
    assert [parse_change(text, "a").before.nulls_not_distinct, parse_change(text, "a").after.nulls_not_distinct] == [
        True,
        True,
    ]


def test_nulls_stay_as_they_are() -> None:
    """Without a word NULLs count in the new key as in the old one, and no duplicate is allowed."""
    found = parse_change(f'{SHOP}nulls_before = "not distinct"\n', "a")
    assert (found.after.nulls_not_distinct, found.not_unique_where_null) == (True, frozenset())


def test_duplicates_of_rows_with_null_are_allowed_by_name() -> None:
    """A file names the parts of the new key in which NULL lets rows be duplicates."""
    found = parse_change(f'{SHOP}not_unique_where_null = ["tenant_id"]\n', "a")
    assert found == changed(name="a", not_unique_where_null=frozenset({"tenant_id"}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("table =", "It is no TOML: Invalid value (at end of document)."),
        ('table = "shop.products"', "Object missing required field `index`."),
        (SHOP + 'colour = "red"', "Object contains unknown field `colour`."),
        (SHOP.replace('["slug"]', '"slug"'), "Expected `array`, got `str` - at `key_before`."),
        (
            SHOP + 'not_unique_where_null = ["locale"]',
            "not_unique_where_null has locale, which is not in key_after.",
        ),
        (
            SHOP + 'nulls_after = "not distinct"\nnot_unique_where_null = ["slug"]',
            "not_unique_where_null has parts of the key, and the new index is NULLS NOT DISTINCT.",
        ),
        (SHOP + 'nulls_after = "equal"', "Invalid enum value 'equal' - at `nulls_after`."),
        (
            SHOP.replace("shop.products", "products"),
            "table is 'products', and not a schema and a table with one dot between them.",
        ),
        (SHOP.replace("products_slug_key", "x" * 64), f"'{'x' * 64}' is no name: names have 1 to 63 bytes."),
        (
            SHOP.replace('["slug"]', '["slug", "slug"]'),
            "key_before is ['slug', 'slug']: it has one part or more, and none of them twice.",
        ),
        (
            SHOP + 'constraint = true\npredicate = "deleted_at IS NULL"',
            "A UNIQUE constraint has neither a predicate nor an expression.",
        ),
    ],
)
def test_bad_files(text: str, why: str) -> None:
    """A file that describes no change has one message: what, why, what to do; the exit code is 2."""
    with pytest.raises(UsageError) as error:
        parse_change(text, "a.toml")
    assert (error.value.what, error.value.why, error.value.exit_code) == (
        "a.toml does not describe a change of an index.",
        why,
        2,
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            SHOP.replace('["slug"]', '["slug", "locale"]'),
            "The new key lacks locale: rows that the old index allows may be duplicates. The build then fails.",
        ),
        (SHOP.replace('["tenant_id", "slug"]', '["slug"]'), "The new key has the same parts as the old one."),
        (
            SHOP + 'predicate_before = "a"\npredicate_after = "b"',
            "It changes the predicate: rows that the old index does not cover may be duplicates, and the build fails.",
        ),
    ],
)
def test_other_changes_are_refused(text: str, why: str) -> None:
    """Only a pure widening is applied: a key that loses a part, or another predicate, is refused with the reason."""
    with pytest.raises(Refused) as error:
        parse_change(text, "a.toml")
    assert error.value.why == why


@given(st.text("aé_", min_size=1, max_size=63).filter(lambda name: len(name.encode()) <= 63))
def test_names_are_different_and_not_cut(name: str) -> None:
    """The three names of a change differ, and have at most 63 bytes: PostgreSQL would cut off the rest."""
    names = changed(index=name).names
    assert len(set(names)) == 3
    assert max(len(each.encode()) for each in names) <= 63


@pytest.mark.parametrize(
    ("parts", "of_purpose", "of_provider"),
    [
        (PURPOSE.before.parts, IndexKind.ORIGINAL, IndexKind.COARSER),
        (PURPOSE.after.parts, IndexKind.FIXED, IndexKind.ORIGINAL),
        (PROVIDER.after.parts, IndexKind.FINER, None),
        (("row_id",), None, None),
    ],
)
def test_kinds_depend_on_the_change(
    parts: tuple[str, ...], of_purpose: IndexKind | None, of_provider: IndexKind | None
) -> None:
    """What an index is depends on the change: the fixed index of `purpose` is the original one of `provider`."""
    found = [change.kind_of(parts, nulls_not_distinct=False) for change in (PURPOSE, PROVIDER)]
    assert found == [of_purpose, of_provider]


def test_the_texts_of_another_table_have_its_own_names() -> None:
    """The messages about another table speak of its columns, and of nothing of the incident."""
    assert changed().wording.rejects == "rows that differ in tenant_id alone are rejected"


def test_the_documented_format_is_the_example() -> None:
    """The page about migrations shows the example that is read here."""
    assert EXAMPLE_CHANGE in (paths.ROOT / "docs" / "migration.md").read_text("utf-8")
