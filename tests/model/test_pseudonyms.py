"""Pseudonyms: the same id and key give the same name, and no raw id is left in a text."""

from __future__ import annotations

import re
import subprocess
import sys
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_lib.model.pseudonyms import (
    DEMO_KEY,
    PLAN_OWNER,
    PLAN_ROOT,
    PLAN_THREAD,
    PUBLISHED,
    VARIABLE,
    Pseudonyms,
    pseudonyms_for,
)

ID = UUID("4d486cdb-1824-448c-acd2-c99b0c379a35")
OTHER = UUID("4d486cdb-1824-448c-acd2-c99b0c379a36")
NAMES = Pseudonyms("a key")
RAW = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

ids = st.uuids().map(str)
spelled = st.one_of(
    ids, ids.map(str.upper), ids.map(lambda text: "".join(c.upper() if i % 3 else c for i, c in enumerate(text)))
)
texts = st.tuples(st.text(), spelled, st.text()).map(" ".join) | st.text()
things = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def test_a_name_is_a_word_and_ten_digits() -> None:
    """The name of an id is a word for its kind and ten digits."""
    assert re.fullmatch(r"owner-[0-9a-f]{10}", str(NAMES.name("owner", ID)))


def test_a_name_is_stable() -> None:
    """The same key gives the same name in another object."""
    assert NAMES.name("owner", ID) == Pseudonyms("a key").name("owner", ID)


def test_a_name_is_keyed() -> None:
    """Another key gives another name."""
    assert NAMES.name("owner", ID) != Pseudonyms("another key").name("owner", ID)


def test_two_ids_have_two_names() -> None:
    """Ids that differ in one digit have different names."""
    assert NAMES.name("owner", ID) != NAMES.name("owner", OTHER)


@pytest.mark.parametrize("published", [PLAN_THREAD, PLAN_ROOT, PLAN_OWNER])
def test_a_published_id_stays(published: UUID) -> None:
    """The published ids of the fix plan are not replaced."""
    assert NAMES.name("thread", published) == str(published)


def test_none_has_no_name() -> None:
    """The name of None is None."""
    assert NAMES.name("owner", None) is None


def test_scrub_replaces_an_id_in_a_text() -> None:
    """An id in a text is replaced by its name; the rest of the text is unchanged."""
    assert NAMES.scrub(f"Key ({ID}) exists.") == f"Key ({NAMES.name('id', ID)}) exists."


def test_scrub_replaces_an_id_in_upper_case() -> None:
    """An id in upper case has the same name as in lower case."""
    assert NAMES.scrub(str(ID).upper()) == NAMES.name("id", ID)


def test_scrub_replaces_ids_without_a_separator() -> None:
    """Ids that follow each other, or other hexadecimal digits, are replaced."""
    name = NAMES.name("id", ID)

    assert NAMES.scrub(f"{ID}{ID} a{ID}b") == f"{name}{name} a{name}b"


def test_scrub_replaces_ids_in_nested_values() -> None:
    """Ids in nested lists, tuples and dicts are replaced."""
    name = NAMES.name("id", ID)

    assert NAMES.scrub({"a": [str(ID), {"b": (f"x{ID}",)}]}) == {"a": [name, {"b": [f"x{name}"]}]}


def test_scrub_replaces_ids_in_keys() -> None:
    """An id as a key of a dict is replaced."""
    assert NAMES.scrub({str(ID): 1}) == {NAMES.name("id", ID): 1}


def test_scrub_does_not_change_values_without_an_id() -> None:
    """Values other than texts, and texts without an id, are unchanged."""
    assert NAMES.scrub(["no id", 1, 2.5, None, True, {"a": "b"}]) == ["no id", 1, 2.5, None, True, {"a": "b"}]


def test_scrub_does_not_change_published_ids() -> None:
    """Published ids in a text are not replaced."""
    assert NAMES.scrub(f"thread {PLAN_THREAD}") == f"thread {PLAN_THREAD}"


@given(things)
def test_no_raw_id_survives_scrub(thing: object) -> None:
    """After scrubbing, any value has no raw id except published ones."""
    left = {UUID(found) for found in RAW.findall(repr(NAMES.scrub(thing)))}

    assert left <= PUBLISHED


@given(things)
def test_scrub_is_idempotent(thing: object) -> None:
    """Scrubbing a second time changes nothing."""
    once = NAMES.scrub(thing)

    assert NAMES.scrub(once) == once


def test_the_demo_uses_the_committed_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, without a key in the environment, the committed key is used."""
    monkeypatch.delenv(VARIABLE, raising=False)
    names = pseudonyms_for("demo")

    assert names.name("owner", ID) == Pseudonyms(DEMO_KEY).name("owner", ID)


def test_on_the_demo_a_key_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, a key in the environment is used instead of the committed one."""
    monkeypatch.setenv(VARIABLE, "my key")
    names = pseudonyms_for("demo")

    assert names.name("owner", ID) == Pseudonyms("my key").name("owner", ID)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_other_environments_never_use_the_committed_key(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    """In other environments the default key is random, never the committed one."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    monkeypatch.delenv(VARIABLE)
    names = pseudonyms_for(environment)

    assert names.name("owner", ID) != Pseudonyms(DEMO_KEY).name("owner", ID)


def test_child_processes_have_the_same_random_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes have the same random key, so a run's three notebooks use the same names."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    monkeypatch.delenv(VARIABLE)
    here = pseudonyms_for("staging").name("owner", ID)
    script = (
        "from uuid import UUID; from incident_lib.model import pseudonyms_for;"
        f"print(pseudonyms_for('staging').name('owner', UUID('{ID}')))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert there.strip() == here
