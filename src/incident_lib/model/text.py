"""What is said to people: the verdict that everybody reads first, and what each count means. No connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from incident_lib.model.catalog import IndexKind, IndexState
from incident_lib.model.pseudonyms import hide_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.model.model import Counts

ATTEMPT_MEANINGS = {
    "failed_attempts": "creates that the guard rejected, as the servers' logs have them",
    "families": "families that tried, and were rejected",
    "owners": "users that tried, and were rejected",
    "hit_and_blocked": "families that tried, and are blocked for chat now",
    "hit_not_blocked": "families that tried, and are not blocked for chat now",
    "blocked_never_hit": "families that are blocked for chat now, and have not tried",
    "got_a_chat": "families that tried, and got a chat later",
    "without_a_chat": "families that tried, and have got none since",
    "without_their_chat": "families that tried, and whose chats were ended: just before it, perhaps",
    "without_threads": "families that tried, and have no thread in this table",
}

COUNT_MEANINGS = {
    "families": "pairs of root prompt and user with at least one active thread",
    "active_threads": "threads that the guards see: active, with a root prompt",
    "blocked_families": "families in which a chat or a run cannot be created",
    "blocked for chat": "families in which no chat can be created: the incident's headline",
    "blocked for run": "families in which no run can be created",
    "affected_owners": "users with a blocked family",
    "coexisting_families": "families with several active threads: what stands against a rollback",
    "residual_conflicts": "active threads whose family uses several providers: blocked still, after the fix",
    "unguarded_threads": "active threads without an owner: outside both guards",
}

HIDDEN = "Row level security hides rows from this role: every count may be too low."

_FIX = {
    IndexState.ORIGINAL: "The fix is not in.",
    IndexState.BUILDING: "The fix is not in: a build has not finished.",
    IndexState.OVERLAPPING: "The fix is half in: the original guard still stands beside the fixed one.",
    IndexState.RETIRING: "The fix is half in: what is left of the original guard has to go.",
    IndexState.FIXED: "The fix is in.",
    IndexState.MISSING: "The fix is not in, and no guard is in force: duplicates can get in at any moment.",
    IndexState.UNKNOWN: "Whether the fix is in cannot be told.",
}


def verdict_line(
    environment: str, state: IndexState, counts: Counts, *, safe: bool | None, hides_rows: bool = False
) -> str:
    """Say it in one line.

    Args:
        environment: its name, for the next command.
        state: the guard state.
        counts: of the same look.
        safe: what the preflight says; None where it was not asked.
        hides_rows: whether policies hide rows from the role that looked.
    """
    next_step = f"Next: incident apply --env {environment} --confirm {environment}"
    if state is IndexState.FIXED:
        apply, next_step = "Nothing is left to apply.", f"Next: incident verify --env {environment}"
    elif safe is None:
        apply, next_step = (
            "Whether it is safe to apply was not asked.",
            f"Next: incident plan --env {environment}",
        )
    elif safe:
        apply = "It is safe to apply now."
    else:
        apply, next_step = "It is not safe to apply now.", f"Next: incident plan --env {environment}"
    seen = f"{HIDDEN} {blocked_sentence(counts)}" if hides_rows else blocked_sentence(counts)
    return f"{seen} {_FIX[state]} {apply} {next_step}"


def blocked_sentence(counts: Counts) -> str:
    """Say how many families cannot start a chat, and how many users that are."""
    families, owners = counts.blocked.chat, counts.blocked_owners.chat
    if families is None:
        return "How many families cannot start a chat is not known: a guard could not be read."
    if families == 0:
        return "No family is kept from starting a chat."
    return f"{families:,} of {counts.families:,} families ({plural(owners or 0, 'user')}) cannot start a chat."


def before_and_after(before: Counts, after: Counts | None) -> str:
    """Say how many families were kept from a chat, and how many are; what was not seen is not said."""
    if after is None or before.blocked.chat is None:
        return blocked_sentence(before)
    was = f"{before.blocked.chat:,} of {before.families:,} families ({plural(before.blocked_owners.chat or 0, 'user')})"
    left = "unknown" if after.blocked.chat is None else f"{after.blocked.chat:,}" if after.blocked.chat else "none"
    return f"{was} could not start a chat. Blocked after the fix: {left}."


def plural(number: int, word: str) -> str:
    """`1 user`, `2 users`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def join_names(names: Sequence[str], most: int = 8) -> str:
    """Names one after the other; of many only the first, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_server(version: int | None) -> str:
    """`PostgreSQL 18.4`, of a server_version_num."""
    return f"PostgreSQL {version // 10000}.{version % 10000}" if version else "not seen"


_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MOST_LETTERS = 2_000  # of a text that others wrote, before it is cut


def sanitize(thing: Any) -> Any:
    """The same text, list or dict: no text holds a raw id, turns what follows around, or is endless."""
    if isinstance(thing, str):
        text = hide_ids(_TURNING.sub(lambda mark: f"\\u{ord(mark[0]):04x}", thing))
        more = len(text) - MOST_LETTERS
        return f"{text[:MOST_LETTERS]}… ({more:,} more characters)" if more > 0 else text
    if isinstance(thing, dict):
        return {sanitize(key): sanitize(value) for key, value in thing.items()}
    return [sanitize(value) for value in thing] if isinstance(thing, list) else thing


def shorten(name: str, most: int = 28) -> str:
    """A name on one line, as there is room for it in a chart."""
    line = " ".join(name.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def format_families(number: int) -> str:
    """`1 family`, `2 families`."""
    return f"{number:,} {'family' if number == 1 else 'families'}"


def plan_command(target: IndexKind, environment: str = "") -> str:
    """The command that shows the way to a guard."""
    named = f" --env {environment}" if environment else ""
    return f"incident plan{named}{' --rollback' if target is IndexKind.ORIGINAL else ''}"


def format_duration(seconds: float) -> str:
    """A short time as people read it: `11 ms`, `1.5 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def format_bytes(number: int) -> str:
    """Bytes as people read them: `70 kB`, `1.1 GB`."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= least:
            return f"{number / least:.1f} {unit}" if number < 10 * least else f"{number / least:.0f} {unit}"
    return f"{number} bytes"


def counts_by_name(counts: Counts | None) -> dict[str, int | None]:
    """The counts under the words of `MEANINGS`, None where unknown."""
    if counts is None:
        return dict.fromkeys(COUNT_MEANINGS)
    plain = {word: getattr(counts, word, None) for word in COUNT_MEANINGS}
    return plain | {"blocked for chat": counts.blocked.chat, "blocked for run": counts.blocked.run}


def format_count(number: int | None) -> str:
    """A count as people read it: thousands apart, and `unknown` for None."""
    return "unknown" if number is None else f"{number:,}"


def list_unknowns(
    environment: str, counts: Counts, *, hides_rows: bool, since_known: bool, tried_known: bool = False
) -> list[str]:
    """What this look did not see, a sentence each."""
    who = "Who tried: a blocked family could not create a chat; whether its user tried, only the server's log tells."
    if tried_known:
        who = "Who tried before the logs begin or after they end, or was rejected on a server whose log was not read."
    told = [
        who,
        f"Threads without an owner ({counts.unguarded_threads:,}) belong to no guard: nobody is blocked there, "
        "and nothing stops duplicates.",
        f"What the fix leaves: {plural(counts.residual_conflicts, 'active thread')} in families that use several "
        "providers; the guards know nothing of providers.",
    ]
    if not since_known:
        told.append(f"Since when: when the column `purpose` came to {environment} was not given (purpose_since).")
    if hides_rows:
        told.append(HIDDEN)
    return told


def describe_session(row: dict[str, Any]) -> str:
    """A session that others wait for, without its query: pid, application, state, age."""
    who = "a prepared transaction" if row["prepared"] else f"pid {row['pid']}"
    age = f"{row['seconds']:.0f} s" if row["seconds"] is not None else "unknown"
    return f"{who} ({row['application_name'] or 'no application_name'}, {row['state'] or 'state hidden'}, open {age})"
