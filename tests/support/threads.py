"""Threads as tests make them, and a plain reading of the design's words in Python: the oracle of the counts."""

import csv
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from incident_lib import paths
from incident_lib.model.catalog import IndexState
from incident_lib.model.change import INDEX_NAME
from incident_lib.model.counts import PerPurpose
from incident_lib.model.threads import BlockedFamily
from tests.support.examples import few_examples

ROOTS = [UUID(int=number) for number in (1, 2, 2**127)]
OWNERS = [UUID(int=number) for number in (7, 8, 2**127 + 7)]
START = datetime(2025, 9, 1, tzinfo=UTC)
COLUMNS = ("row_id", "root_prompt_row_id", "owner_id", "provider", "purpose", "is_active", "created_at")
ACTIVE = "WHERE is_active = true AND root_prompt_row_id IS NOT NULL"
ORIGINAL = f"CREATE UNIQUE INDEX original ON public.q_threads (root_prompt_row_id, owner_id) {ACTIVE}"
FIXED = f"CREATE UNIQUE INDEX fixed ON public.q_threads (root_prompt_row_id, owner_id, purpose) {ACTIVE}"
UNREADABLE = "CREATE UNIQUE INDEX odd ON public.q_threads (root_prompt_row_id, owner_id, provider) WHERE is_active"
INDEXES = {
    IndexState.ORIGINAL: [ORIGINAL],
    IndexState.FIXED: [FIXED],
    IndexState.OVERLAPPING: [ORIGINAL, FIXED],
    IndexState.MISSING: [],
    IndexState.UNKNOWN: [ORIGINAL, UNREADABLE],
}
STILL_ENFORCING = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.original'::regclass"
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\x01")


class Thread(NamedTuple):
    """A thread, as far as the words are about it."""

    row_id: UUID
    root: UUID | None
    owner: UUID | None
    provider: str | None
    purpose: str
    is_active: bool | None
    created_at: datetime | None


def threads(providers=(None, "openai", "manus", ""), purposes=("chat", "chat", "run", "run", "eval", "")):
    """Lists of random threads of a few families."""
    one = st.tuples(
        st.sampled_from([None, *ROOTS]),
        st.sampled_from([None, *OWNERS]),
        st.sampled_from(providers),
        st.sampled_from(purposes),
        st.sampled_from([True, True, True, False, None]),
        st.one_of(st.none(), st.integers(0, 5).map(lambda days: START + timedelta(days=days))),
    )
    return st.lists(one, max_size=25).flatmap(
        lambda found: st.permutations(range(1, len(found) + 1)).map(
            lambda ids: [Thread(UUID(int=number), *thread) for number, thread in zip(ids, found, strict=True)]
        )
    )


def enlarged(environment):
    """The environment, with statistics that say it has millions of threads."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute("UPDATE pg_class SET reltuples = 2e6 WHERE oid = 'public.q_threads'::regclass")
    return environment


def with_indexes(connection, statements):
    """Put these unique indexes in the place of the incident's."""
    connection.execute(f"DROP INDEX public.{INDEX_NAME}")
    for statement in statements:
        connection.execute(statement)
    for root in ROOTS:
        connection.execute("INSERT INTO public.q_prompts VALUES (%s)", [root])


def admitted(connection, wanted):
    """Put these threads in the place of all others; those that the unique indexes admitted."""
    values = "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
    query = f"INSERT INTO public.q_threads ({', '.join(COLUMNS)}) {values}"
    with connection.transaction():
        connection.execute("DELETE FROM public.q_threads")
        connection.cursor().executemany(query, wanted)
    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM public.q_threads").fetchall()
    return [Thread(*row) for row in rows]


def active(found):
    """The active threads."""
    return [thread for thread in found if thread.is_active is True and thread.root is not None]


def by_family(found):
    """The threads of each family."""
    families: dict[tuple[Any, Any], list[Thread]] = {}
    for thread in found:
        families.setdefault((thread.root, thread.owner), []).append(thread)
    return families


def blocking(found, purpose):
    """For each family that is blocked for a purpose under the original index, the threads that block it."""
    families = {}
    for (root, owner), held in by_family(active(found)).items():
        others = [thread for thread in held if thread.purpose != purpose]
        if owner is not None and others:
            families[root, owner] = others
    return families


def residual(found):
    """The active threads that hold the fixed index's key in a family that has ever used another provider."""
    families = by_family(found)
    return [
        thread
        for thread in active(found)
        if thread.owner is not None
        and any(other.provider != thread.provider for other in families[thread.root, thread.owner])
    ]


def duplicates(found, *columns):
    """The keys of these columns, of active threads with an owner, that more than one thread holds."""
    keys = [tuple(getattr(thread, column) for column in columns) for thread in active(found) if thread.owner]
    return {key for key in keys if keys.count(key) > 1}


def counted(found, blocks):
    """The counts by the words of the design; `blocks` is None where a unique index cannot be read."""

    def known(number):
        return None if blocks is None else number if blocks else 0

    chat, run = blocking(found, "chat"), blocking(found, "run")
    owners = {purpose: {owner for _, owner in families} for purpose, families in (("chat", chat), ("run", run))}
    return {
        "families": len(by_family(active(found))),
        "active_threads": len(active(found)),
        "active_by_purpose": {
            purpose: sum(thread.purpose == purpose for thread in active(found))
            for purpose in sorted({thread.purpose for thread in active(found)})
        },
        "blocked_families": known(len(chat.keys() | run.keys())),
        "blocked": PerPurpose(known(len(chat)), known(len(run))),
        "affected_owners": known(len(owners["chat"] | owners["run"])),
        "blocked_owners": PerPurpose(known(len(owners["chat"])), known(len(owners["run"]))),
        "coexisting_families": sum(
            owner is not None and len(held) > 1 for (_, owner), held in by_family(active(found)).items()
        ),
        "residual_conflicts": len(residual(found)),
        "unguarded_threads": sum(thread.owner is None for thread in active(found)),
    }


def without_duplicates(counts):
    """The counts but for the duplicate keys."""
    return {name: value for name, value in asdict(counts).items() if name != "duplicate_keys"}


def defused(value):
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if value and value.startswith(FORMULAS) else value


def listed(found, purpose_since, limit):
    """The blocked families by the words of the design, in the promised order."""
    entries = []
    for purpose in ("chat", "run"):
        for (root, owner), held in blocking(found, purpose).items():
            thread = min(held, key=lambda t: (t.created_at is not None, t.created_at or START, t.row_id))
            known = thread.created_at is not None and purpose_since is not None
            since = max(thread.created_at, purpose_since) if known else None
            texts = defused(thread.purpose), defused(thread.provider)
            entries.append(
                BlockedFamily(
                    root_prompt_row_id=root,
                    owner_id=owner,
                    blocked_for=purpose,
                    since=since,
                    blocking_thread=thread.row_id,
                    blocking_purpose=texts[0],
                    blocking_provider=texts[1],
                )
            )
    far = datetime.max.replace(tzinfo=UTC)
    entries.sort(key=lambda e: (e.blocked_for, e.since or far, e.root_prompt_row_id, e.owner_id))
    return entries[:limit]


def demo_threads():
    """The demo's threads, read from its file by the csv module alone."""
    flags = {"t": True, "f": False, "": None}
    with (paths.DEMO_DATA / "threads.csv").open(newline="") as file:
        return [
            Thread(
                UUID(row["row_id"]),
                UUID(row["root_prompt_row_id"]) if row["root_prompt_row_id"] else None,
                UUID(row["owner_id"]) if row["owner_id"] else None,
                row["provider"] or None,
                row["purpose"],
                flags[row["is_active"]],
                datetime.fromisoformat(row["created_at"]) if row["created_at"] else None,
            )
            for row in csv.DictReader(file)
        ]


any_example = settings(max_examples=few_examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
