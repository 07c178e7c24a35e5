"""Pseudonyms: the same id, the same key, the same name; and no raw id survives."""

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
    """An id's name is the word for what it is, and ten digits."""
    assert re.fullmatch(r"owner-[0-9a-f]{10}", str(NAMES.name("owner", ID)))


def test_a_name_is_stable() -> None:
    """The same key gives the same name, in another object too."""
    assert NAMES.name("owner", ID) == Pseudonyms("a key").name("owner", ID)


def test_a_name_is_keyed() -> None:
    """Another key gives another name."""
    assert NAMES.name("owner", ID) != Pseudonyms("another key").name("owner", ID)


def test_two_ids_have_two_names() -> None:
    """Ids that differ in one digit have different names."""
    assert NAMES.name("owner", ID) != NAMES.name("owner", OTHER)


@pytest.mark.parametrize("published", [PLAN_THREAD, PLAN_ROOT, PLAN_OWNER])
def test_a_published_id_stays(published: UUID) -> None:
    """The fix plan's own ids are published, and stay as they are."""
    assert NAMES.name("thread", published) == str(published)


def test_no_id_has_no_name() -> None:
    """None stays None."""
    assert NAMES.name("owner", None) is None


def test_scrub_names_an_id_in_a_text() -> None:
    """An id inside a text is replaced by its name, the text around it stays."""
    assert NAMES.scrub(f"Key ({ID}) exists.") == f"Key ({NAMES.name('id', ID)}) exists."


def test_scrub_names_an_id_in_upper_case() -> None:
    """An id in capitals is the same id, and gets the same name."""
    assert NAMES.scrub(str(ID).upper()) == NAMES.name("id", ID)


def test_scrub_names_ids_in_nested_things() -> None:
    """Ids are found in lists, tuples and dicts within each other."""
    name = NAMES.name("id", ID)

    assert NAMES.scrub({"a": [str(ID), {"b": (f"x{ID}",)}]}) == {"a": [name, {"b": [f"x{name}"]}]}


def test_scrub_names_ids_in_keys() -> None:
    """An id that is a key of a dict is named, too."""
    assert NAMES.scrub({str(ID): 1}) == {NAMES.name("id", ID): 1}


def test_scrub_leaves_what_holds_no_id() -> None:
    """What is no text, and text without an id, stays as it is."""
    assert NAMES.scrub(["no id", 1, 2.5, None, True, {"a": "b"}]) == ["no id", 1, 2.5, None, True, {"a": "b"}]


def test_scrub_leaves_published_ids() -> None:
    """The published ids stay in a text."""
    assert NAMES.scrub(f"thread {PLAN_THREAD}") == f"thread {PLAN_THREAD}"


@given(things)
def test_no_raw_id_survives_scrub(thing: object) -> None:
    """Whatever is scrubbed, no raw id but the published is left anywhere in it."""
    left = {UUID(found) for found in RAW.findall(repr(NAMES.scrub(thing)))}

    assert left <= PUBLISHED


@given(things)
def test_scrub_twice_is_scrub_once(thing: object) -> None:
    """What was scrubbed is not changed by being scrubbed again."""
    once = NAMES.scrub(thing)

    assert NAMES.scrub(once) == once


def test_the_demos_key_is_the_committed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, without a key of one's own, the committed key gives the names."""
    monkeypatch.delenv(VARIABLE, raising=False)
    names = pseudonyms_for("demo")

    assert names.name("owner", ID) == Pseudonyms(DEMO_KEY).name("owner", ID)


def test_a_key_of_ones_own_wins_on_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the demo, too, a key that is set is the one that is used."""
    monkeypatch.setenv(VARIABLE, "my key")
    names = pseudonyms_for("demo")

    assert names.name("owner", ID) == Pseudonyms("my key").name("owner", ID)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_elsewhere_the_demos_key_is_never_used(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    """Elsewhere an unset key is a random one, never the one that everybody knows."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    monkeypatch.delenv(VARIABLE)
    names = pseudonyms_for(environment)

    assert names.name("owner", ID) != Pseudonyms(DEMO_KEY).name("owner", ID)


def test_a_random_key_holds_in_processes_that_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random key is handed to the kernels of the run, so that its three notebooks use the same names."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    monkeypatch.delenv(VARIABLE)
    here = pseudonyms_for("staging").name("owner", ID)
    script = (
        "from uuid import UUID; from incident_lib.model import pseudonyms_for;"
        f"print(pseudonyms_for('staging').name('owner', UUID('{ID}')))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert there.strip() == here
