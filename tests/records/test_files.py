"""Files of records, claims and rehearsals: reading returns what was written, and a wrong file is an error."""

from __future__ import annotations

import json
import re
from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from incident_lib.model import ClaimsReport, RehearsalReport, RunRecord, UsageError
from incident_lib.records import RunFolder, read_claims, read_rehearsal, to_json, write_claims, write_rehearsal
from incident_lib.records.schemas import ANSWERS, FOLDER, SCHEMAS, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Keys = tuple[str | int, ...]
FILES: dict[type, tuple[str, Callable[[Path], Any]]] = {
    RunRecord: ("record.json", lambda file: RunFolder(file.parent).read()),
    ClaimsReport: ("claims.json", read_claims),
    RehearsalReport: ("rehearsal.json", read_rehearsal),
}
# Any value of a type, and one example. JSON has integers of up to 64 bits, and no NaN.
SCALARS: dict[type, tuple[st.SearchStrategy[Any], Any]] = {
    inspect.StrType: (st.text(max_size=20), "text"),
    inspect.IntType: (st.integers(-(2**63), 2**63 - 1), 1),
    inspect.FloatType: (st.floats(allow_nan=False, allow_infinity=False), 1.5),
    inspect.BoolType: (st.booleans(), True),
    inspect.NoneType: (st.none(), None),
    inspect.DateType: (st.dates(), "2026-01-01"),
    inspect.DateTimeType: (st.datetimes(timezones=st.just(UTC)), "2026-01-01T12:00:00Z"),
    inspect.AnyType: (st.none() | st.booleans() | st.text(max_size=5) | st.integers(-9, 9), "text"),
}


def values(of: inspect.Type) -> st.SearchStrategy[Any]:
    """Any value of a type, from msgspec's description of the type."""
    match of:
        case inspect.StructType(cls=cls, fields=fields):
            found = st.builds(cls, **{field.name: values(field.type) for field in fields})
        case inspect.UnionType(types=types):
            found = st.one_of(*map(values, types))
        case inspect.ListType(item_type=item):
            found = st.lists(values(item), max_size=3)
        case inspect.VarTupleType(item_type=item):
            found = st.lists(values(item), max_size=3).map(tuple)
        case inspect.TupleType(item_types=items):
            found = st.tuples(*map(values, items))
        case inspect.DictType(key_type=key, value_type=value):
            found = st.dictionaries(values(key), values(value), max_size=3)
        case inspect.EnumType(cls=members):
            found = st.sampled_from(list(members))
        case inspect.LiteralType(values=literals):
            found = st.sampled_from(literals)
        case _:
            found = SCALARS[type(of)][0]
    return found


described = cache(inspect.type_info)


def example(of: inspect.Type) -> Any:
    """An example of a type, as in JSON, with each of its keys: nothing is null, no list is empty."""
    match of:
        case inspect.StructType(fields=fields):
            found: Any = {field.encode_name: example(field.type) for field in fields}
        case inspect.UnionType(types=types):
            found = example(next(part for part in types if not isinstance(part, inspect.NoneType)))
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            found = [example(item)]
        case inspect.TupleType(item_types=items):
            found = [example(item) for item in items]
        case inspect.DictType(key_type=key, value_type=value):
            found = {example(key): example(value)}
        case inspect.EnumType(cls=members):
            found = next(iter(members)).value
        case inspect.LiteralType(values=literals):
            found = literals[0]
        case _:
            found = SCALARS[type(of)][1]
    return found


def keys(of: inspect.Type, at: Keys = ()) -> Iterator[tuple[Keys, inspect.Field]]:
    """Each key of a struct and of its nested structs, by its path in `example`."""
    match of:
        case inspect.StructType(fields=fields):
            for field in fields:
                yield (*at, field.encode_name), field
                yield from keys(field.type, (*at, field.encode_name))
        case inspect.UnionType(types=types):
            yield from keys(next(part for part in types if not isinstance(part, inspect.NoneType)), at)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from keys(item, (*at, 0))


def container(whole: Any, path: Keys) -> Any:
    """The object with the last key of a path."""
    for key in path[:-1]:
        whole = whole[key]
    return whole


def formatted_path(path: Keys) -> str:
    """A path as messages have it: `steps[0].sql`."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, path)))


def message(read: Callable[[Path], Any], file: Path, contents: Any) -> str | None:
    """The error message for a file with these contents; None if it can be read."""
    file.write_text(json.dumps(contents), "utf-8")
    try:
        read(file)
    except UsageError as error:
        return error.what + " " + error.why
    return None


@pytest.mark.parametrize("type_", FILES)
def test_any_value_is_equal_after_writing_and_reading(
    type_: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any record, claims or rehearsal is equal after writing and reading it."""
    name, read = FILES[type_]

    @given(values(described(type_)))
    def holds(made: Any) -> None:
        (tmp_path / name).write_text(to_json(made), "utf-8")

        assert read(tmp_path / name) == made

    holds()


@pytest.mark.parametrize("text", ["[ 1, 2 ]", "[\n 1,\n 2\n]", "[\u2028a, b]", "\\", '"', "\x00"])
def test_texts_are_not_reformatted(text: str) -> None:
    """A text that looks like JSON is not reformatted."""
    assert json.loads(to_json({"text": text})) == {"text": text}


def test_pairs_are_on_one_line() -> None:
    """A pair of values is on one line of a file; every other item is on its own line."""
    assert to_json({"points": [("2026-01-01", 1), (2, 3)], "a": [1, 2, 3]}) == (
        '{\n "points": [\n  ["2026-01-01", 1],\n  [2, 3]\n ],\n "a": [\n  1,\n  2,\n  3\n ]\n}\n'
    )


@pytest.mark.parametrize("type_", FILES)
def test_the_example_is_read(type_: type, tmp_path: Path) -> None:
    """The example that the next tests change is complete and correct."""
    name, read = FILES[type_]

    assert message(read, tmp_path / name, example(described(type_))) is None


@pytest.mark.parametrize("type_", FILES)
def test_a_missing_key_is_named(type_: type, tmp_path: Path) -> None:
    """A file without one of its required keys is refused; the message names the file and the key."""
    name, read = FILES[type_]
    required = [path for path, field in keys(described(type_)) if field.required]
    messages = {}
    for path in required:
        damaged = example(described(type_))
        del container(damaged, path)[path[-1]]
        messages[path] = message(read, tmp_path / name, damaged)

    assert len(required) > 20
    assert {
        path: text
        for path, text in messages.items()
        if text is None or name not in text or formatted_path(path) not in text
    } == {}


@pytest.mark.parametrize("type_", FILES)
def test_a_value_of_a_wrong_type_is_named(type_: type, tmp_path: Path) -> None:
    """A file with a value of a wrong type is refused; the message names the file and the key."""
    name, read = FILES[type_]
    messages = {}
    for path, _ in keys(described(type_)):
        damaged = example(described(type_))
        holder = container(damaged, path)
        holder[path[-1]] = {} if isinstance(holder[path[-1]], list) else []
        messages[path] = message(read, tmp_path / name, damaged)
    del messages["schema_version",]  # see `test_another_version_is_named`

    assert {
        path: text
        for path, text in messages.items()
        if text is None or name not in text or formatted_path(path) not in text
    } == {}


@pytest.mark.parametrize("type_", FILES)
@pytest.mark.parametrize("version", [1, 3, "2", None, []])
def test_another_version_is_named(type_: type, version: object, tmp_path: Path) -> None:
    """A file of another schema version is refused; the message names the file and the expected version."""
    name, read = FILES[type_]
    found = message(read, tmp_path / name, {**example(described(type_)), "schema_version": version})

    assert found is not None
    assert name in found
    assert found.endswith("It is of another version: this one reads schema_version 2 only.")


@pytest.mark.parametrize("type_", FILES)
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema_version": 2}', "\xff", "[" * 100_000, "NaN"])
def test_a_file_that_is_not_a_record_is_an_error(type_: type, text: str, tmp_path: Path) -> None:
    """A file that is not a JSON object of its type is refused; the message has three parts and names the file."""
    name, read = FILES[type_]
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as raised:
        read(tmp_path / name)

    assert name in raised.value.what
    assert raised.value.why[0].isupper()
    assert raised.value.why.endswith(".")
    assert raised.value.next


def test_the_message_for_a_missing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The complete message for a record without one of its keys."""
    monkeypatch.chdir(tmp_path)
    damaged = example(described(RunRecord))
    del damaged["steps"][0]["sql"]
    (tmp_path / "record.json").write_text(json.dumps(damaged), "utf-8")
    with pytest.raises(UsageError) as raised:
        RunFolder(tmp_path).read()

    assert str(raised.value) == (
        "record.json cannot be read.\n"
        "  why:  It lacks the key steps[0].sql.\n"
        "  next: Run it again with this version, or remove the folder."
    )


def test_claims_are_written_and_read(tmp_path: Path) -> None:
    """Claims are equal after writing and reading them, and no other file is left."""
    claims = msgspec.convert(example(described(ClaimsReport)), ClaimsReport)
    write_claims(claims, tmp_path / "new" / "claims.json")

    assert read_claims(tmp_path / "new" / "claims.json") == claims
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["claims.json"]


def test_a_rehearsal_is_written_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal is written to the folder of its environment, and is equal after reading it."""
    monkeypatch.setenv("INCIDENT_RUNS", str(tmp_path))
    rehearsal = msgspec.convert(example(described(RehearsalReport)), RehearsalReport)
    file = write_rehearsal(rehearsal)

    assert file == tmp_path / rehearsal.environment / "rehearsal.json"
    assert read_rehearsal(file) == rehearsal


@pytest.mark.parametrize("name", [*SCHEMAS, ANSWERS])
def test_committed_schemas_are_generated(name: str) -> None:
    """The committed JSON Schemas are those of the types: `make schemas` would change no file."""
    assert (FOLDER / f"{name}.schema.json").read_text("utf-8") == schema(name)


def test_every_schema_is_of_a_type() -> None:
    """Each committed schema is generated from a type."""
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.schema.json" for name in (*SCHEMAS, ANSWERS)}
