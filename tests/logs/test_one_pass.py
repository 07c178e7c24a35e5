"""One pass over a log answers both questions as two do: the incident's rejected inserts, and those of any index."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib import paths
from incident_lib.logs import DuplicateCounter, Duplicates, read_duplicates, read_rejections
from incident_lib.model import RejectedInserts
from tests.support.examples import examples
from tests.support.wrappings import INDEX, KINDS, Part, truth

CASES = sorted((Path(__file__).parent / "data").iterdir())
OTHER = 'duplicate key value violates unique constraint "q_prompts_pkey"'
Answers = tuple[RejectedInserts, Duplicates]


def in_one_pass(file: Path) -> Answers:
    """Both answers of one pass."""
    counter = DuplicateCounter()
    found = read_rejections([str(file)], duplicates=counter)
    return found.as_record(), counter.result(found.coverages)


def in_two_passes(file: Path) -> Answers:
    """The answers of a pass for each question."""
    return read_rejections([str(file)]).as_record(), read_duplicates([str(file)])


def with_more_of_others(parts: list[Part]) -> list[Part]:
    """The log with three times as many rejections by the index of another table."""
    return [more for part in parts for more in [part] * (3 if part.text == OTHER else 1)]


@pytest.mark.parametrize("case", [paths.DEMO_DATA / "server.log", *CASES], ids=lambda path: path.name)
def test_logs_that_people_have(case: Path) -> None:
    """Of each log both answers are the same as those of two passes."""
    assert in_one_pass(case) == in_two_passes(case)


@pytest.mark.parametrize("kind", KINDS)
def test_each_wrapping(kind: str, tmp_path: Path) -> None:
    """Whatever carries the lines: six rejected inserts of the incident, others of the index of another table."""
    file = tmp_path / "log"
    file.write_bytes(KINDS[kind](with_more_of_others(truth())))
    rejected, duplicates = in_one_pass(file)

    assert (rejected, duplicates) == in_two_passes(file)
    assert rejected.failed_attempts == duplicates.rejected[INDEX] == 6
    assert duplicates.rejected.keys() == {INDEX, "q_prompts_pkey"}


@settings(max_examples=examples(40))
@given(
    data=st.data(), kind=st.sampled_from(["plain", "RDS", "syslog and a prefix", "Cloud SQL, YAML", "CloudNativePG"])
)
def test_a_log_that_is_cut(data: st.DataObject, kind: str) -> None:
    """Cut off at both ends, and with a changed byte, damage is that of the incident's entries alone."""
    log = bytearray(KINDS[kind](with_more_of_others(truth())))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(log))] * 2)))
    log[data.draw(st.integers(0, len(log) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log"
        file.write_bytes(log[begin:end])
        (rejected, duplicates), (alone, others) = in_one_pass(file), in_two_passes(file)

    without_coverage = {"read": None}  # what was found of either tells that it is a log
    assert msgspec.structs.replace(rejected, **without_coverage) == msgspec.structs.replace(alone, **without_coverage)
    assert duplicates.rejected == others.rejected or not duplicates.is_complete


def test_a_line_of_another_format_is_not_the_incidents(tmp_path: Path) -> None:
    """Where a line of another format may tell of another index, the answer says that a pass of its own is needed."""
    file = tmp_path / "log"
    plain, carried = (KINDS[kind](with_more_of_others(truth())) for kind in ("plain", "docker json-file"))
    file.write_bytes(plain + carried)
    (rejected, duplicates), (alone, others) = in_one_pass(file), in_two_passes(file)

    assert rejected.failed_attempts == alone.failed_attempts == 12 - rejected.duplicates
    assert not duplicates.is_complete
    assert others.rejected["q_prompts_pkey"] > duplicates.rejected["q_prompts_pkey"]
