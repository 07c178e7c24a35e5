"""The command `scan`: its questions, its answers that are remembered, the change that it prints."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib import paths
from incident_lib.model import INDEX_NAME, UsageError
from incident_lib.records import add_answer, add_both, read_answers
from tests.support.command import shell

if TYPE_CHECKING:
    from pathlib import Path

    from incident_lib.database import Environment

LOG = str(paths.DEMO_DATA / "server.log")
COLUMN = ("public.q_threads", INDEX_NAME, "provider")


@pytest.fixture
def named(incident: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A database of the demo's threads, as `staging`."""
    monkeypatch.setenv("INCIDENT_STAGING_URL", incident.address)
    return incident


@pytest.mark.usefixtures("named")
def test_a_log_says_which_key_is_examined(tmp_path: Path) -> None:
    """The index that rejected rows by a log is examined; the answer is a question."""
    ran = shell("scan", "-e", "staging", "--log", LOG, "--answers", str(tmp_path / "scan.toml"))

    assert ran.stdout.splitlines()[:2] == [
        "3 unique indexes of 2 tables: none is made redundant by one with fewer columns.",
        f"{INDEX_NAME} rejected 1,340 rows in the logs. Does one of the columns purpose, provider belong in its key?",
    ]
    assert (ran.stderr, ran.returncode) == ("", 0)


@pytest.mark.usefixtures("named")
def test_a_no_is_stored_and_shown(tmp_path: Path) -> None:
    """--no stores the answer in a file of the project; the next scan shows it with its date, and does not ask again."""
    file = tmp_path / "scan.toml"
    options = ("-e", "staging", "--index", INDEX_NAME, "--answers", str(file))
    shell("scan", *options, "--no", "provider")
    found = json.loads(shell("scan", *options, "--format", "json").stdout)
    today = datetime.now(UTC).date()

    assert read_answers(file).no == {COLUMN: today}
    assert [(each["column"], each["answered_no"]) for each in found["result"]["examined"][0]["suspects"]] == [
        ("purpose", None),
        ("provider", str(today)),
    ]
    assert found["answer"].endswith(f"{INDEX_NAME} was examined. Does purpose belong in its key?")
    assert f"no, on {today}" in shell("scan", *options).stdout


@pytest.mark.usefixtures("named")
def test_the_change_is_printed_alone(tmp_path: Path) -> None:
    """--toml prints a file for `incident plan --change` on standard output, and nothing else there."""
    answers = ("--answers", str(tmp_path / "scan.toml"))
    ran = shell("scan", "-e", "staging", "--index", INDEX_NAME, "--toml", "purpose", *answers)

    assert tomllib.loads(ran.stdout)["key_after"] == ["root_prompt_row_id", "owner_id", "purpose"]
    assert ran.stderr == "As a file, this is what `incident plan --env staging --change FILE.toml` takes.\n"


SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.products (sku text NOT NULL, part int NOT NULL, CONSTRAINT products_sku UNIQUE (sku, part));
ALTER TABLE shop.products ADD COLUMN tenant text NOT NULL DEFAULT 'main';
CREATE TABLE shop.offers (sku text NOT NULL, part int NOT NULL);
CREATE UNIQUE INDEX offers_sku ON shop.offers (lower(sku), part) WHERE part > 1;
ALTER TABLE shop.offers ADD COLUMN tenant text NOT NULL DEFAULT 'main';
"""


@pytest.mark.parametrize("index", ["products_sku", "offers_sku"])
def test_the_printed_change_is_what_plan_takes(named: Environment, tmp_path: Path, index: str) -> None:
    """A constraint and a partial index with an expression: `plan` reads the printed file, and finds it safe."""
    file = tmp_path / "change.toml"
    with psycopg.connect(named.address) as connection:
        connection.execute(SHOP)
    scanned = shell(
        "scan", "-e", "staging", "--index", index, "--toml", "tenant", "--answers", str(tmp_path / "no.toml")
    )
    file.write_text(scanned.stdout, "utf-8")
    ran = shell("plan", "-e", "staging", "--change", str(file))

    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout.startswith("It is safe to apply now")


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--no", "provider"], 2, "incident: --no and --toml are about one index."),
        (["--index", INDEX_NAME, "--toml", "name"], 1, "incident: No change was written: 'name' is no suspect of"),
        (["--index", INDEX_NAME, "--no", "provder"], 1, "incident: No answer was stored."),
        (["--index", INDEX_NAME, "--no", "owner_id"], 1, "incident: No answer was stored."),
        (["--index", "nothing"], 1, "incident: There is no index 'nothing'."),
    ],
)
def test_what_cannot_be_answered_is_one_message(words: list[str], code: int, message: str, tmp_path: Path) -> None:
    """A wrong name is refused with one message, and nothing is stored."""
    file = tmp_path / "scan.toml"
    ran = shell("scan", "-e", "staging", "--answers", str(file), *words)

    assert (ran.returncode, ran.stdout, file.exists()) == (code, "", False)
    assert ran.stderr.startswith(message)


@pytest.mark.usefixtures("named")
def test_a_log_that_is_none_is_not_read(tmp_path: Path) -> None:
    """A file without an entry of a server ends the command: which indexes rejected rows is unknown."""
    file = tmp_path / "notes.txt"
    file.write_text("nothing\n", "utf-8")
    ran = shell("scan", "-e", "staging", "--log", str(file))

    assert ran.returncode == 3
    assert "Which indexes rejected rows is unknown, not none." in ran.stderr


def test_an_id_in_a_predicate_is_not_shown(named: Environment, tmp_path: Path) -> None:
    """A predicate may hold an id: it is hidden, but in the change that is printed, which is what `plan` takes."""
    user = "1d4d7f3e-0000-4000-8000-000000000007"
    with psycopg.connect(named.address) as connection:
        connection.execute("CREATE TABLE public.keys (name text, owner uuid)")
        connection.execute(f"CREATE UNIQUE INDEX keys_name ON public.keys (name) WHERE owner <> '{user}'")
        connection.execute("ALTER TABLE public.keys ADD COLUMN tenant text NOT NULL DEFAULT 'main'")
    options = ("-e", "staging", "--index", "keys_name", "--answers", str(tmp_path / "scan.toml"))

    assert user not in shell("scan", *options).stdout + shell("scan", *options, "--format", "json").stdout
    assert user in shell("scan", *options, "--toml", "tenant").stdout


@pytest.mark.usefixtures("named")
def test_names_with_spaces_are_quoted_in_the_next_command(incident: Environment, tmp_path: Path) -> None:
    """What the scan prints to be typed works as it is printed."""
    with psycopg.connect(incident.address, autocommit=True) as connection:
        connection.execute('CREATE TABLE orders ("order no" int NOT NULL, "tenant id" int NOT NULL DEFAULT 1)')
        connection.execute('CREATE UNIQUE INDEX "order key" ON orders ("order no")')
    asked = shell("scan", "-e", "staging", "--index", "order key", "--answers", str(tmp_path / "scan.toml")).stdout

    assert "incident scan --env staging --index 'order key' \\\n    --toml 'tenant id' > change.toml" in asked


# Two rules that are both needed


RULES = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (number int CONSTRAINT orders_number UNIQUE, year int);
CREATE UNIQUE INDEX "orders year" ON shop.orders (number, year);
"""
PAIR = ("shop.orders", "orders_number", "orders year")


@pytest.fixture
def rules(named: Environment) -> None:
    """A table of a shop with two unique rules, of which the wider one has no effect."""
    with psycopg.connect(named.address) as connection:
        connection.execute(RULES)


@pytest.mark.usefixtures("rules")
def test_that_both_are_needed_is_stored_and_shown(tmp_path: Path) -> None:
    """The scan prints how to answer; the answer is stored with its date, shown, and the pair is not asked again."""
    file = tmp_path / "scan.toml"
    options = ("-e", "staging", "--answers", str(file))
    asked = shell("scan", *options).stdout
    assert "in 1 pair one has no effect. Which of the two is meant?" in asked
    assert "incident scan --env staging --both orders_number 'orders year'" in asked
    shell("scan", *options, "--both", *PAIR[1:])
    found = json.loads(shell("scan", *options, "--format", "json").stdout)
    shown = shell("scan", *options).stdout
    today = datetime.now(UTC).date()

    assert read_answers(file).both == {PAIR: today}
    assert [each["answered_both"] for each in found["result"]["redundant"]] == [str(today)]
    assert found["answer"].endswith(
        "none is made redundant by one with fewer columns, or a person answered that it is needed."
    )
    assert f"both are needed, on {today}" in " ".join(shown.split())
    assert "--both" not in shown


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("names", "hint"), [(PAIR[:0:-1], " Did you mean orders_number orders year?"), (("a", "b"), "")]
)
def test_a_pair_that_is_none_is_refused(names: tuple[str, str], hint: str, tmp_path: Path) -> None:
    """Two indexes that are no such pair, or in the other order: one message, and nothing is stored."""
    file = tmp_path / "scan.toml"
    ran = shell("scan", "-e", "staging", "--answers", str(file), "--both", *names)

    assert (ran.returncode, ran.stdout, file.exists()) == (1, "", False)
    said = " ".join(ran.stderr.split())
    assert f"{names[0]} and {names[1]} are no pair of which the second one has no effect.{hint} next:" in said


def test_both_kinds_of_answers_are_in_one_file(tmp_path: Path) -> None:
    """Both kinds of answers are in one file; a first one keeps its date."""
    file = tmp_path / "scan.toml"
    add_answer(file, COLUMN)
    file.write_text(f"{file.read_text('utf-8')}{BOTH}", "utf-8")
    add_both(file, PAIR)

    assert ([*read_answers(file).no], [*read_answers(file).both]) == ([COLUMN], [PAIR])
    assert str(read_answers(file).both[PAIR]) == "2025-09-22"


BOTH = """
[[both]]
table = "shop.orders"
narrow = "orders_number"
wide = "orders year"
date = 2025-09-22
"""


# The file of answers


def test_a_first_answer_stays(tmp_path: Path) -> None:
    """An answer that is given again keeps its date, and what people wrote into the file stays."""
    file = tmp_path / "scan.toml"
    names = f'table = "public.q_threads"\nindex = "{INDEX_NAME}"\ncolumn = "provider"'
    held = f"# ours\n[[no]]\n{names}\ndate = 2025-09-22\n"
    file.write_text(held, "utf-8")
    add_answer(file, COLUMN)
    add_answer(file, ("shop.ü", 'a "quoted" one', "tenant\\id"))

    assert file.read_text("utf-8").startswith(held)
    assert [*read_answers(file).no] == [COLUMN, ("shop.ü", 'a "quoted" one', "tenant\\id")]
    assert str(read_answers(file).no[COLUMN]) == "2025-09-22"


@pytest.mark.parametrize("text", ["[[no]", '[[no]]\ntable = "a"\n', "[[yes]]\n", "[[no]]\ntable = 1\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    """A file that holds something else is one message; it is not overwritten."""
    file = tmp_path / "scan.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"scan\.toml does not hold answers to a scan\."):
        add_answer(file, COLUMN)

    assert file.read_text("utf-8") == text
