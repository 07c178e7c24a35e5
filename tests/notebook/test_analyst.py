"""What an analyst does in a notebook, on a real kernel and a real server: filter, group, merge, plot, ask, get help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import incident_lib
from tests.support import clusters, kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kernel import Kernel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with a connection to `staging`, which has the demo's threads; nothing is in its folder of runs."""
    folder = tmp_path_factory.mktemp("analyst")
    with pytest.MonkeyPatch.context() as patch, clusters.database(server, "incident_template") as address:
        patch.setenv("INCIDENT_STAGING_URL", address)
        patch.setenv("INCIDENT_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        with kernel.started() as running:
            assert not running.run("import incident_lib as il").error
            since = "2025-09-22T06:00:00+00:00"
            made = running.run(
                f"incident = il.connect('staging', purpose_since={since!r})\nbefore = incident.snapshot()"
            )
            assert (made.error, made.printed) == ("", "")
            yield running
    assert not (folder / "runs").exists()


def value(cells: Kernel, code: str) -> str:
    """The text of an expression, after other lines."""
    ran = cells.run(code)
    assert ran.error == ""
    return ran.text


# Tab and help


def test_tab_offers_the_public_names(cells: Kernel) -> None:
    """After `il.`, completion offers the public names alone."""
    assert sorted(cells.complete("il.")) == sorted(incident_lib.__all__)


@pytest.mark.parametrize(
    ("start", "names"),
    [
        (
            "incident.",
            "apply attempts change dry_run environment families finish integrity probe purpose_since recovery "
            "rejected_inserts retry run scan snapshot sql threads unknown verify",
        ),
        (
            "before.",
            "at blocked blocker_counts blockers change counts environment example has_provider indexes is_fixed plan "
            "preflight purposes residual summary totals verdict",
        ),
    ],
)
def test_tab_offers_what_an_object_can_do(cells: Kernel, start: str, names: str) -> None:
    """After an Incident or a Snapshot, completion offers what one may use."""
    assert sorted(cells.complete(start)) == names.split()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("il", ["environments()", "connect(name)", "compare(name, …)"]),
        ("il.connect", ["Args:", "confirm:", "Raises:", "UsageError:"]),
        ("incident.families", ["Columns: root, owner, blocked_for (str)", "datetime64[us, UTC]", "Raises:"]),
        ("incident.attempts", ["attempts (Int64", "succeeded_at (datetime64[us, UTC]"]),
        ("incident.sql", ["`:name` for each value", "Failed: PostgreSQL rejected the query"]),
        ("il.plot.before_after", ["ax: the Axes to draw on"]),
    ],
)
def test_help_has_columns_and_errors(cells: Kernel, name: str, parts: list[str]) -> None:
    """Help for a name says what it takes and returns, with dtypes and units, and which errors it raises."""
    text = " ".join(cells.help(name).split())

    assert [part for part in parts if part not in text] == []


def test_help_is_short_enough_to_read(cells: Kernel) -> None:
    """Help for the library is not buried under the methods of pandas."""
    text = cells.help("il")

    assert "pandas.DataFrame" not in text
    assert len(text.splitlines()) < 600


# Tables


def test_filter_and_group(cells: Kernel) -> None:
    """Blocked families are filtered and grouped like any DataFrame, and stay displayed as tables."""
    code = """blocked = incident.families()
runs = blocked[(blocked["blocked_for"] == "chat") & (blocked["blocking_purpose"] == "run")]
runs.groupby("blocking_provider", dropna=False).size().to_dict()"""

    assert value(cells, code) == "{'anthropic': 6, 'manus': 4, 'openai': 1057, nan: 14}"
    assert cells.run("runs.head(3)").bundles[0]["text/html"].startswith("<table>")
    assert value(cells, "blocked['since'].dtype, len(blocked)") == "(datetime64[us, UTC], 1256)"


def test_the_merge_gives_the_records_own_numbers(cells: Kernel) -> None:
    """Families blocked for chat, merged with the attempts, give the same numbers as the sums over both."""
    code = """import incident_lib.paths as paths
tried = incident.attempts([str(paths.DEMO_DATA / "server.log")])
both = incident.families(blocked_for="chat").merge(tried, on=["root", "owner"], how="left")
sums = incident.rejected_inserts.set_index("count")["number"]
hit = int(both["attempts"].notna().sum())
hit, len(both) - hit, int(sums["rejected and blocked"]), int(sums["blocked, never rejected"])"""

    assert value(cells, code) == "(274, 814, 274, 814)"


def test_one_family_by_its_pseudonyms(cells: Kernel) -> None:
    """A family is found by the pseudonyms that a table shows, and its threads have the blocking one."""
    code = """row = incident.families(provider="manus").iloc[0]
found = incident.threads(row["root"], row["owner"])
row["blocking_thread"] in set(found["thread"]), len(incident.families(owner=row["owner"])) >= 1"""

    assert value(cells, code) == "(True, True)"


def test_export_and_import(cells: Kernel) -> None:
    """A table that is written as CSV is read again with its times."""
    code = """import pandas as pd
blocked.to_csv("families.csv", index=False)
again = pd.read_csv("families.csv", parse_dates=["since"])
str(again["since"].dtype), again["since"].equals(blocked["since"])"""

    assert value(cells, code) == "('datetime64[us, UTC]', True)"


def test_environments_side_by_side(cells: Kernel) -> None:
    """`compare` has a row for each environment, also for one that cannot be reached."""
    code = """import os
os.environ["INCIDENT_AWAY_URL"] = "postgresql://me@127.0.0.1:1/db"
il.compare("staging", "away")[["environment", "blocked_for_chat", "problem"]].to_dict("list")"""

    assert value(cells, code) == (
        "{'environment': ['staging', 'away'],\n 'blocked_for_chat': [1088, None],\n 'problem': [nan,\n"
        "  \"The environment 'away' cannot be reached. No server listens at that address.\"]}"
    )


# Charts


def test_a_chart_on_axes_of_ones_own(cells: Kernel) -> None:
    """A chart is drawn on the Axes that were given, which are returned, and leaves the figure's title alone."""
    code = """from matplotlib.figure import Figure
figure = Figure()
figure.suptitle("mine")
left, right = figure.subplots(1, 2)
il.plot.before_after(before, ax=left) is left, figure.get_suptitle(), bool(left.patches), bool(right.patches)"""

    assert value(cells, code) == "(True, 'mine', True, False)"


def test_a_chart_displays_itself(cells: Kernel) -> None:
    """A chart as the last expression is a picture with an alternative text, also after it was changed."""
    ran = cells.run('ax = il.plot.blockers(before)\nax.set_xlabel("changed")\nax')
    (bundle,) = ran.bundles

    assert sorted(bundle) == ["image/png", "text/html", "text/plain"]
    assert bundle["text/plain"].startswith("1,057 of 1,088 families are blocked for chat by a run thread (openai).")
    assert 'alt="1,057 of 1,088 families are blocked' in bundle["text/html"]


def test_a_chart_that_does_not_exist(cells: Kernel) -> None:
    """An unknown chart is an AttributeError."""
    assert "AttributeError" in cells.run("il.plot.pie(before)").error


# SQL


def test_a_query_of_ones_own(cells: Kernel) -> None:
    """A query takes values by name, and returns typed columns with the pseudonyms of the other tables."""
    code = """mine = incident.sql("SELECT owner_id, count(*) AS n, max(created_at) AS last FROM q_threads "
    "WHERE purpose = :purpose AND owner_id IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1", purpose="chat")
[str(dtype) for dtype in mine.dtypes], set(blocked["owner"]) >= set(mine["owner_id"][:3]), len(mine)"""

    assert value(cells, code).startswith("(['str', 'Int64', 'datetime64[us, UTC]'], True,")


def test_an_empty_result_is_typed(cells: Kernel) -> None:
    """A query without a row has its columns and their dtypes."""
    code = """none = incident.sql("SELECT row_id, message_count, is_active, created_at FROM q_threads WHERE false")
{name: str(dtype) for name, dtype in none.dtypes.items()}"""

    assert value(cells, code) == (
        "{'row_id': 'str',\n 'message_count': 'Int64',\n 'is_active': 'boolean',\n 'created_at': 'datetime64[us, UTC]'}"
    )


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("ARRAY[1, 2]", "'[1, 2]'"),
        ("ARRAY[now()] IS NULL", "np.False_"),
        ("'infinity'::date", "NaT"),
        ("'0044-03-15 BC'::date", "NaT"),
        ("'4000000 years'::interval", "NaT"),
        (r"E'it\\'s :here'", '"it\'s :here"'),
    ],
)
def test_a_value_that_pandas_has_no_type_for(cells: Kernel, column: str, shown: str) -> None:
    """An array is a text, a time that Python cannot hold is missing, and a colon in a string is no name."""
    assert value(cells, f'incident.sql("SELECT {column} AS it")["it"][0]') == shown


@pytest.mark.parametrize("values", ["['chat']", "('chat',)", "incident.families(limit=1)['blocked_for']"])
def test_several_values_are_an_array(cells: Kernel, values: str) -> None:
    """A list, a tuple and a column of a DataFrame are sent as an array."""
    code = f"""
incident.sql("SELECT DISTINCT purpose FROM q_threads WHERE purpose = ANY(:some)", some={values})["purpose"].tolist()"""

    assert value(cells, code) == "['chat']"


def test_a_value_that_cannot_be_sent(cells: Kernel) -> None:
    """A value of a type that PostgreSQL does not know is an error that says so."""
    assert "A value has a type that PostgreSQL does not know." in cells.run("incident.sql('SELECT :x', x=il)").error


def test_an_error_carries_no_other(cells: Kernel) -> None:
    """The error of a query has no cause and no context with PostgreSQL's own text, which may have raw ids."""
    code = """try:
    incident.sql("SELECT owner_id::text::int FROM q_threads")
except Exception as error:
    found = error
found.__cause__, found.__context__"""

    assert value(cells, code) == "(None, None)"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("DELETE FROM q_threads", "PostgreSQL says: cannot execute DELETE in a read-only transaction."),
        ("COMMIT; DELETE FROM q_threads", "cannot insert multiple commands into a prepared statement."),
        ("SELECT purpos FROM q_threads", 'PostgreSQL says: column "purpos" does not exist.'),
        ("SELECT purpos FROM q_threads", 'next: Perhaps you meant to reference the column "q_threads.purpose".'),
        (
            "SELECT set_config('transaction_read_only', 'off', true)",
            "read-write mode must be set before any query",
        ),
        ("SELECT * FROM q_threads FOR UPDATE", "cannot execute SELECT FOR UPDATE in a read-only transaction."),
    ],
)
def test_a_query_that_is_refused(cells: Kernel, query: str, says: str) -> None:
    """A write is refused by PostgreSQL, and a wrong name gets PostgreSQL's own message and hint."""
    assert says in cells.run(f"incident.sql({query!r})").error
    assert value(cells, "len(incident.families(limit=5))") == "5"


def test_an_error_holds_no_raw_id(cells: Kernel) -> None:
    """An id in the text of an error is a pseudonym."""
    raw = "5b0c1a52-7a0e-4dd9-8a11-3c6f1e0d9b77"
    error = cells.run(f"incident.sql('SELECT \"' + {raw!r} + '\" FROM q_threads')").error

    assert 'column "id-' in error
    assert "next: Correct the query." in error


def test_a_query_leaves_no_snapshot_open(cells: Kernel, server: str) -> None:
    """After a query and after an error, the server has no session of the notebook: nothing can hold up a build."""
    cells.run('incident.sql("SELECT 1 AS one")')
    cells.run('incident.sql("SELECT nothing")')
    code = """incident.sql("SELECT count(*) AS others FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()")["others"][0]"""

    assert value(cells, code) == "np.int64(0)"


def test_a_slow_query_is_ended(cells: Kernel) -> None:
    """A query that takes too long is ended by the server, and the message says how to allow more."""
    cells.run('os.environ["INCIDENT_TIMEOUT"] = "0.2"')
    error = cells.run('incident.sql("SELECT pg_sleep(5)")').error
    cells.run('del os.environ["INCIDENT_TIMEOUT"]')

    assert "canceling statement due to statement timeout" in error
    assert "set the variable INCIDENT_TIMEOUT to more seconds" in error


# Names


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('incident.snapshot("befor")', "There is no phase 'befor'."),
        ('incident.families(blocked_for="chats")', "No family is blocked for 'chats'."),
        ("incident.families(limit='ten')", "limit must be a number of rows."),
        ('incident.families(owner="owner-0000000000")', "No thread has the owner 'owner-0000000000'."),
        ('incident.threads("x", "y")', "root is neither a UUID nor a pseudonym."),
        ("incident.families(ower=1)", "TypeError"),
        ("incident.attempts(7)", "The parameter log must be a text, or a list of texts."),
        ('incident.sql("SELECT :x")', "The query has no value for :x."),
        ('incident.sql("SELECT 1", y=2)', "The query has no name :y."),
        ('il.connect("nowhere")', "The environment 'nowhere' is not known."),
    ],
)
def test_an_unknown_name_is_an_error(cells: Kernel, code: str, says: str) -> None:
    """An unknown phase, purpose, id, parameter, value or environment is an error with one message."""
    assert says in cells.run(code).error


def test_no_repr_is_long(cells: Kernel) -> None:
    """The repr of each object is one line."""
    code = """objects = [incident, before, incident.verify(), incident.probe(), incident.recovery(), incident.apply(),
    il.postmortem(), il.plot.blockers(before)]
max(len(repr(each)) for each in objects) < 300, max(repr(each).count("\\n") for each in objects)"""

    assert value(cells, code) == "(True, 0)"
