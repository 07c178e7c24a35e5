"""All counts of an investigation, compared with hand-written SQL and with pandas, and by the number of threads.

python benchmarks/counts.py [--threads 5000000] [--sizes 100000 1000000 5000000 20000000] [--rounds 5]

pandas reads five million rows into five gigabytes of memory, once; twenty million threads take 7 GB of disk.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import harness
import psycopg
from harness import Row

from incident_lib.analysis import investigate
from incident_lib.database import query_text, reading

if TYPE_CHECKING:
    from incident_lib.database import Environment

OURS = """
import sys, time
from incident_lib.analysis import investigate
from incident_lib.database import Environment, reading
began = time.perf_counter()
with reading(Environment("bench", "", sys.argv[1]), seconds=0) as connection:
    investigate(connection)
seconds = time.perf_counter() - began
"""

# What an engineer would write in psql: one pass over all rows, grouped by family, then the counts.
BY_HAND = """
WITH family AS (
    SELECT root_prompt_row_id AS root, owner_id AS owner, count(*) FILTER (WHERE is_active) AS active,
           count(*) FILTER (WHERE is_active AND purpose = 'chat') AS chats,
           count(*) FILTER (WHERE is_active AND purpose = 'run') AS runs,
           min(provider) <> max(provider) OR count(provider) BETWEEN 1 AND count(*) - 1 AS mixed
    FROM public.q_threads WHERE root_prompt_row_id IS NOT NULL GROUP BY root_prompt_row_id, owner_id
)
SELECT count(*) AS families, sum(active) AS active_threads, sum(chats) AS chats, sum(runs) AS runs,
       count(owner) AS blocked_families, count(owner) FILTER (WHERE chats < active) AS blocked_chat,
       count(owner) FILTER (WHERE runs < active) AS blocked_run, count(DISTINCT owner) AS owners,
       count(DISTINCT owner) FILTER (WHERE chats < active) AS owners_chat,
       count(DISTINCT owner) FILTER (WHERE runs < active) AS owners_run,
       count(owner) FILTER (WHERE active > 1) AS coexisting_families,
       coalesce(sum(active) FILTER (WHERE mixed AND owner IS NOT NULL), 0) AS residual_conflicts,
       coalesce(sum(active) FILTER (WHERE owner IS NULL), 0) AS unguarded_threads,
       count(owner) FILTER (WHERE chats > 1) + count(owner) FILTER (WHERE runs > 1) AS duplicates_fixed
FROM family WHERE active > 0
"""

BY_PANDAS = """
import sys, time
import pandas as pd, psycopg
from sqlalchemy import create_engine
began = time.perf_counter()
engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(sys.argv[1]))
threads = pd.read_sql("SELECT * FROM public.q_threads", engine)
threads = threads[threads.root_prompt_row_id.notna()]
family = ["root_prompt_row_id", "owner_id"]
active = threads[threads.is_active.eq(True)]
active = active.assign(chat=active.purpose.eq("chat"), run=active.purpose.eq("run"))
families = active.groupby(family, dropna=False)[["chat", "run"]].sum().reset_index()
families["n"] = active.groupby(family, dropna=False).size().to_numpy()
with_owner = families[families.owner_id.notna()]
providers = threads.groupby(family).provider.nunique(dropna=False)
mixed = providers[providers > 1].index
found = {
    "families": len(families),
    "active": active.purpose.value_counts().to_dict(),
    "blocked": (with_owner.chat.lt(with_owner.n).sum(), with_owner.run.lt(with_owner.n).sum()),
    "owners": (with_owner.owner_id.nunique(), with_owner[with_owner.chat.lt(with_owner.n)].owner_id.nunique(),
               with_owner[with_owner.run.lt(with_owner.n)].owner_id.nunique()),
    "coexisting": with_owner.n.gt(1).sum(),
    "residual": with_owner.set_index(family).n.reindex(mixed).sum(),
    "unguarded": families[families.owner_id.isna()].n.sum(),
    "duplicates": with_owner.chat.gt(1).sum() + with_owner.run.gt(1).sum(),
}
seconds = time.perf_counter() - began
"""


def queries(environment: Environment) -> list[str]:
    """This project's queries of the counts, with their values."""
    with psycopg.connect(environment.address, cursor_factory=psycopg.ClientCursor) as connection:
        conflicts = connection.cursor().mogrify(query_text("analysis/provider_conflicts"), {"usual": "openai"})
    return [query_text("analysis/counts_original"), conflicts]


def agree(environment: Environment) -> None:
    """Check that the hand-written SQL counts the same as this project."""
    with reading(environment, seconds=0) as connection:
        counts = investigate(connection).counts
    with psycopg.connect(environment.address, row_factory=psycopg.rows.dict_row) as connection:
        row = connection.execute(BY_HAND).fetchone() or {}
    names = ("families", "active_threads", "blocked_families", "coexisting_families", "residual_conflicts")
    assert {name: getattr(counts, name) for name in names} == {name: row[name] for name in names}
    assert (counts.blocked.chat, counts.blocked.run) == (row["blocked_chat"], row["blocked_run"])
    assert (counts.affected_owners, counts.unguarded_threads) == (row["owners"], row["unguarded_threads"])


def against_psql(environment: Environment, threads: int, rounds: int) -> tuple[list[Row], harness.Child]:
    """The counts compared with psql, and the time and memory of one of this project's processes."""
    children: list[harness.Child] = []

    def ours() -> float:
        children.append(harness.child(OURS, environment.address))
        return children[-1].seconds

    took = harness.medians(
        rounds,
        {
            "ours": ours,
            "by hand": lambda: harness.psql(environment, BY_HAND),
            "the same queries": lambda: sum(harness.psql(environment, query) for query in queries(environment)),
        },
    )
    what, shown = f"all counts, {threads:,} threads", f"{took['ours']:.2f} s"
    rows = [
        Row(what, f"psql, {how}", shown, f"{took[name]:.2f} s", took["ours"] / took[name], 1.2)
        for name, how in (("by hand", "written by hand, one pass"), ("the same queries", "this project's queries"))
    ]
    return rows, harness.Child(took["ours"], statistics.median(one.megabytes for one in children))


def against_pandas(environment: Environment, threads: int, ours: harness.Child) -> list[Row]:
    """The counts compared with pandas, which reads all rows; measured once."""
    pandas = harness.child(BY_PANDAS, environment.address)
    what, against = f"all counts, {threads:,} threads", "pandas, reading the rows and grouping"
    return [
        Row(
            f"{what}: time",
            against,
            f"{ours.seconds:.2f} s",
            f"{pandas.seconds:.1f} s",
            pandas.seconds / ours.seconds,
            100,
            "{:.0f} ×",
            at_least=True,
        ),
        Row(
            f"{what}: memory",
            against,
            f"{ours.megabytes:.0f} MB",
            f"{pandas.megabytes:,.0f} MB",
            pandas.megabytes / ours.megabytes,
            50,
            "{:.0f} ×",
            at_least=True,
        ),
    ]


def by_size(sizes: list[int], rounds: int) -> list[Row]:
    """How time and memory grow with the number of threads: the exponent of a fitted power law."""
    environments = {size: harness.database(size) for size in sizes}
    children: dict[int, list[harness.Child]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size, environment in environments.items():
            children[size].append(harness.child(OURS, environment.address))
    seconds = [statistics.median(one.seconds for one in children[size]) for size in sizes]
    megabytes = [statistics.median(one.megabytes for one in children[size]) for size in sizes]
    slope = statistics.linear_regression([math.log(n) for n in sizes], [math.log(s) for s in seconds]).slope
    middle = statistics.mean(megabytes)
    away = max(abs(peak - middle) for peak in megabytes) / middle
    what = f"all counts, {sizes[0]:,} to {sizes[-1]:,} threads"
    ran = ", ".join(f"{s:.2f} s" for s in seconds)
    held = ", ".join(f"{peak:.1f} MB" for peak in megabytes)
    return [
        Row(f"{what}: exponent of time", "itself", ran, f"{', '.join(f'{n:,}' for n in sizes)}", slope, 1.05, "{:.2f}"),
        Row(f"{what}: Python's peak memory", "its mean", held, f"{middle:.1f} MB", away, 0.1, "± {:.0%}"),
    ]


def main() -> None:
    """Measure, and write the section."""
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--threads", type=int, default=5_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000, 20_000_000])
    options = parser.parse_args()
    environment = harness.database(options.threads)
    agree(environment)
    rows, ours = against_psql(environment, options.threads, options.rounds)
    rows += against_pandas(environment, options.threads, ours)
    rows += by_size(options.sizes, options.rounds)
    plan = "\n\n".join(harness.explained(environment, query) for query in queries(environment))
    harness.report("counts", rows, options.out, harness.details("Query plan of the counts, with times", plan))


if __name__ == "__main__":
    main()
