"""Sentences and formats that several rooms use: the verdict, numbers, durations, names."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from incident_lib.model.catalog import IndexState
from incident_lib.model.change import PROVIDER, PURPOSE, IndexKind
from incident_lib.model.pseudonyms import hide_ids
from incident_lib.model.records import Verdict
from incident_lib.model.timestamps import format_minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from incident_lib.model.counts import Counts
    from incident_lib.model.records import LogsRead, RejectedInserts, SettledThreads, UnreadLog
    from incident_lib.model.scan import ExaminedIndex, ScanFindings

CANNOT_TELL = "It cannot be told which families are blocked: row level security hides rows from this role."
HIDDEN_ROWS = "Row level security hides rows from this role: every count may be too low."

_FIX = {
    IndexState.ORIGINAL: "The fix has not been applied.",
    IndexState.BUILDING: "The fix has not been applied: a build has not finished.",
    IndexState.OVERLAPPING: "The fix is half applied: the original index is still there beside the fixed one.",
    IndexState.RETIRING: "The fix is half applied: the original index has not been dropped completely.",
    IndexState.FIXED: "The fix has been applied.",
    IndexState.MISSING: "The fix has not been applied, and no unique index is enforced: duplicates are possible now.",
    IndexState.UNKNOWN: "Whether the fix has been applied is unknown.",
}


def verdict_line(
    environment: str, state: IndexState, counts: Counts, *, safe: bool | None, hides_rows: bool = False
) -> str:
    """The verdict and the command that follows, in one line; see `verdict_sentence` and `command_after_verdict`."""
    sentence = verdict_sentence(state, counts, safe=safe, hides_rows=hides_rows)
    return f"{sentence} Next: {command_after_verdict(environment, state, safe=safe)}"


def verdict_sentence(state: IndexState, counts: Counts, *, safe: bool | None, hides_rows: bool = False) -> str:
    """The verdict: how many families are blocked, whether the fix has been applied, and whether that is safe now.

    Args:
        state: of the unique indexes.
        counts: of the same snapshot.
        safe: what the preflight says; None: no preflight was run.
        hides_rows: whether row level security hides rows from the role.
    """
    blocked = blocked_sentence(counts)
    if hides_rows and state is not IndexState.FIXED:
        blocked = CANNOT_TELL if counts.blocked.chat == 0 else f"{HIDDEN_ROWS} {blocked}"
    apply = "Nothing is left to apply." if state is IndexState.FIXED else _SAFE[safe]
    return f"{blocked} {_FIX[state]} {apply}"


def provider_verdict(environment: str, state: IndexState, counts: Counts, *, safe: bool) -> str:
    """The same about the change `provider`: how many threads conflict, whether it has been applied, what follows.

    Args:
        environment: its name.
        state: of the unique indexes, as that change judges them.
        counts: of the same snapshot.
        safe: what the preflight says.
    """
    conflicts = counts.residual_conflicts
    rejected = f"{plural(conflicts, 'active thread')} {'blocks' if conflicts == 1 else 'block'} another provider."
    done = state is IndexState.FIXED
    apply = "Nothing is left to apply." if done else _SAFE[safe]
    act = "verify" if done else "apply" if safe else "plan"
    return (
        f"{rejected if conflicts else 'No thread blocks another provider.'} {_PROVIDER.get(state, _PROVIDER_HALF)} "
        f"{apply} Next: {change_command(act, environment, PROVIDER.name)}"
    )


_PROVIDER = {
    IndexState.ORIGINAL: "The change provider has not been applied.",
    IndexState.FIXED: "The change provider has been applied.",
    IndexState.MISSING: "The change provider has not been applied, and no unique index is enforced.",
    IndexState.UNKNOWN: "Whether the change provider has been applied is unknown.",
}
_PROVIDER_HALF = "The change provider is half applied."
_SAFE = {
    None: "Whether it is safe to apply it is unknown.",
    True: "It is safe to apply it now.",
    False: "It is not safe to apply it now.",
}


def command_after_verdict(environment: str, state: IndexState, *, safe: bool | None) -> str:
    """The command that follows a verdict."""
    if state is IndexState.FIXED:
        return f"incident verify --env {environment}"
    return (
        f"incident apply --env {environment} --confirm {environment}" if safe else f"incident plan --env {environment}"
    )


def blocked_sentence(counts: Counts) -> str:
    """How many families cannot start a chat, and how many users that are."""
    families, owners = counts.blocked.chat, counts.blocked_owners.chat
    if families is None:
        return "How many families cannot start a chat is unknown: a unique index could not be read."
    if families == 0:
        return "No family is blocked for chat."
    return f"{families:,} of {counts.families:,} families ({plural(owners or 0, 'user')}) cannot start a chat."


def before_and_after(before: Counts | None, after: Counts | None) -> str:
    """How many families were blocked for chat, and how many are now; an unknown count is not claimed.

    Args:
        before: the counts before the fix; None: no snapshot is from before it.
        after: the counts after it; None: it was not applied.
    """
    if before is None:
        return f"{blocked_sentence(after) if after else ''} No snapshot is from before the fix.".lstrip()
    if after is None or before.blocked.chat is None:
        return blocked_sentence(before)
    was = f"{before.blocked.chat:,} of {before.families:,} families ({plural(before.blocked_owners.chat or 0, 'user')})"
    left = "unknown" if after.blocked.chat is None else f"{after.blocked.chat:,}" if after.blocked.chat else "none"
    verb = "was" if before.blocked.chat == 1 else "were"
    return f"{was} {verb} blocked for chat. Blocked after the fix: {left}."


def rollback_sentence(counts: Counts) -> str:
    """Whether the original index could be restored after the fix, by the counts of a snapshot since."""
    families = counts.coexisting_families
    if families:
        has = "has" if families == 1 else "have"
        return f"A rollback is not possible: {format_families(families)} {has} several active threads."
    return "A rollback is still possible: no family has several active threads yet. The first one that has prevents it."


def summarize_verdicts(verdicts: Iterable[Verdict]) -> str:
    """How many claims have each verdict: `3 claims hold, 3 hold only with this project's method, 2 do not hold.`."""
    numbers = Counter(verdicts)

    def count(verdict: Verdict, one: str, many: str) -> str:
        return f"{numbers[verdict]} {one if numbers[verdict] == 1 else many}"

    return (
        f"{count(Verdict.HOLDS, 'claim holds', 'claims hold')}, "
        f"{count(Verdict.ONLY_HERE, 'holds', 'hold')} only with this project's method, "
        f"{count(Verdict.NO, 'does', 'do')} not hold."
    )


def format_blocked(number: int, verbs: tuple[str, str] = ("was", "were"), where: str = "") -> str:
    """`1 family was blocked for chat`, `2 families in 3 environments were blocked for chat`."""
    return f"{format_families(number)}{where} {verbs[number != 1]} blocked for chat"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 user`, `2 users`; of another form: `1 entry`, `2 entries`."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"


def format_families(number: int) -> str:
    """`1 family`, `2 families`."""
    return f"{number:,} {'family' if number == 1 else 'families'}"


def join_names(names: Sequence[str], most: int = 8) -> str:
    """Names with commas; of many names only the first, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_server(version: int | None) -> str:
    """`PostgreSQL 18.4`, of a server_version_num."""
    return f"PostgreSQL {version // 10000}.{version % 10000}" if version else "unknown"


def format_duration(seconds: float) -> str:
    """A time in one or two units: `11 ms`, `1.5 s`, `3 min`, `2 h 5 min`, `21 d 16 h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    days, hours = divmod(round(seconds / 3600), 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number)


def format_bytes(number: int) -> str:
    """Bytes: `70 kB`, `1.1 GB`."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= least:
            return f"{number / least:.1f} {unit}" if number < 10 * least else f"{number / least:.0f} {unit}"
    return f"{number} bytes"


def format_count(number: int | None) -> str:
    """A count with separated thousands, and `unknown` for None."""
    return "unknown" if number is None else f"{number:,}"


def shorten(name: str, most: int = 28) -> str:
    """A name on one line, cut to the room that a chart has."""
    line = " ".join(name.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MOST_LETTERS = 2_000  # of a text that others wrote


def sanitize(thing: Any) -> Any:
    """The same text, list or dict for a report: no raw ids, no marks that change the direction of text, not endless."""
    if isinstance(thing, str):
        marked = not thing.isascii()
        text = hide_ids(_DIRECTION_MARKS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", thing) if marked else thing)
        more = len(text) - MOST_LETTERS
        return f"{text[:MOST_LETTERS]}… ({more:,} more characters)" if more > 0 else text
    if isinstance(thing, dict):
        return {sanitize(key): sanitize(value) for key, value in thing.items()}
    return [sanitize(value) for value in thing] if isinstance(thing, list) else thing


def change_command(act: str, environment: str, change: str = PURPOSE.name) -> str:
    """A command about a change, as `apply`; those that change something with their confirmation.

    Args:
        act: the command's name.
        environment: empty: none is named.
        change: the name of the change.
    """
    named = f" --env {environment}" if environment else ""
    confirm = f" --confirm {environment}" if act in {"apply", "rollback"} and environment else ""
    option = "" if change == PURPOSE.name else f" --change {shlex.quote(change)}"
    return f"incident {act}{named}{confirm}{option}"


def plan_command(target: IndexKind, environment: str = "", change: str = PURPOSE.name) -> str:
    """The command that shows the plan to a target."""
    return f"{change_command('plan', environment, change)}{' --rollback' if target is IndexKind.ORIGINAL else ''}"


def list_unknowns(
    environment: str,
    counts: Counts,
    *,
    hides_rows: bool,
    since_known: bool,
    logs_read: bool = False,
    has_provider: bool = False,
) -> list[str]:
    """What a snapshot does not show, a sentence each.

    Args:
        environment: its name.
        counts: of the snapshot.
        hides_rows: whether row level security hides rows from the role.
        since_known: whether the time is known at which the column purpose came.
        logs_read: whether rejected inserts were read from logs.
        has_provider: whether the unique index has the provider in its key, and covers threads without an owner.
    """
    tried = "Rejected inserts: the table does not show which users tried to start a chat; only the server log does."
    if logs_read:
        tried = (
            "Not counted: inserts that were rejected before the logs begin, after they end, or on a server whose log "
            "was not read."
        )
    lines = [tried]
    if not has_provider:
        lines += [
            f"Active threads without an owner ({counts.unguarded_threads:,}): in a unique index NULL equals no other "
            "NULL, so none of them blocks a new thread, and duplicates are possible.",
            f"Provider conflicts ({counts.residual_conflicts:,}): the clients look threads up by provider, and no "
            "unique index has the provider in its key.",
        ]
    if not since_known:
        lines.append(f"Blocked since when: purpose_since was not given for {environment}.")
    if hides_rows:
        lines.append(HIDDEN_ROWS)
    return lines


def left_out(found: RejectedInserts) -> list[str]:
    """Which rejected inserts are in no count because they are not the incident's, and why, a sentence each."""
    lines = []
    if found.before_purpose is None and found.failed_attempts:
        lines.append(
            "It is unknown when the column purpose was added (parameter purpose_since). Rejected inserts before it are "
            "counted, too, although the purpose cannot have caused them."
        )
    elif found.before_purpose:
        lines.append(
            f"Not counted: {plural(found.before_purpose, 'rejected insert')} before the column purpose was added. The "
            "purpose cannot have caused them."
        )
    if found.by_provider:
        lines.append(
            f"Not counted: {plural(found.by_provider, 'insert')} rejected because of a thread of the same purpose, of "
            "another provider. These are provider conflicts, which the fix does not change."
        )
    return lines


def describe_reading(found: RejectedInserts) -> str:
    """What was read of the logs, if it is less than all of them, or no rejected insert is in it; else empty."""
    texts = []
    if found.lost:
        rest = "more may be rejected inserts" if found.failed_attempts else "may be rejected inserts"
        texts.append(f"{plural(found.lost, 'entry', 'entries')} {rest}, but could not be read.")
    if found.read and (not found.failed_attempts or found.read.not_understood):
        texts.append(_what_was_read(found.read))
    return " ".join(texts)


def _what_was_read(read: LogsRead) -> str:
    about = "" if read.exact else "about "
    span = f", from {format_minute(read.first)} to {format_minute(read.last)} UTC" if read.first and read.last else ""
    texts = [f"Read: {about}{plural(read.entries, 'entry', 'entries')} of PostgreSQL{span}."]
    if not read.errors_logged:
        texts.append(
            "No error of any kind is among them: a server that logs no errors logs no rejected inserts, either."
        )
    if read.not_understood:
        verb = "was" if read.not_understood == 1 else "were"
        texts.append(
            f"Partly read: {about}{read.not_understood:,} of {plural(read.lines, 'line')} {verb} not understood."
        )
    return " ".join(texts)


def unread_sentence(logs: Sequence[UnreadLog]) -> str:
    """That logs were not read, and why; empty where all were."""
    if not logs:
        return ""
    looked = ", ".join(f"{log.file} ({plural(log.lines, 'line')} looked at)" for log in logs)
    which = "The log was not read" if len(logs) == 1 else f"{len(logs)} logs were not read"
    return f"{which}: no entry of a PostgreSQL server was recognised in {looked}."


WEAK_LOCKS = frozenset({"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE"})


def describe_session(row: dict[str, Any]) -> str:
    """A session that others wait for, without its query: what it is, pid, application, state, age, lock on the table.

    Args:
        row: pid, application_name, state, seconds, prepared; where known also `kind` (None: hidden from this role;
            "client backend" needs no word), `mode` (of its strongest lock on the table), and `gid` and `transaction` of
            a prepared transaction, the gid as a pseudonym.
    """
    age = f"{row['seconds']:.0f} s" if row["seconds"] is not None else "unknown"
    kind, mode = row.get("kind", "client backend"), row.get("mode")
    if row["prepared"]:
        known = [row.get("gid"), f"transaction {row['transaction']}" if row.get("transaction") else None]
        return f"a prepared transaction ({', '.join(filter(None, (*known, f'open {age}')))})"
    is_client = kind in {None, "client backend"}
    application = row["application_name"] or ("no application_name" if is_client else None)
    lock = f"{mode} on the table" if mode and (kind is None or mode not in WEAK_LOCKS) else None
    inside = ", ".join(
        filter(None, (application, row["state"] or ("state hidden" if is_client else None), f"open {age}", lock))
    )
    return f"pid {row['pid']} ({inside})" if is_client else f"{kind}, pid {row['pid']} ({inside})"


def settled_sentence(settled: SettledThreads, change: str) -> str:
    """How many threads were ended, so that a change can be applied."""
    were = "was" if settled.ended == 1 else "were"
    return (
        f"{plural(settled.ended, 'active thread')} {were} ended so that the change {change} can be applied: "
        "of several with the same key, the newest stayed active."
    )


def scan_sentence(found: ScanFindings) -> str:
    """What a scan found, in a line for each of its questions."""
    looked = f"{plural(found.unique_indexes, 'unique index', 'unique indexes')} of {plural(found.tables, 'table')}"
    rules = f"{looked}: none is made redundant by one with fewer columns."
    if pairs := found.open_pairs:
        rules = f"{looked}: in {plural(len(pairs), 'pair')} one has no effect. Which of the two is meant?"
    elif found.redundant:
        rules = f"{looked}: none is made redundant by one with fewer columns, or a person answered that it is needed."
    return "\n".join((rules, *(" ".join(_examined_sentence(index).split()) for index in found.examined)))


def _examined_sentence(index: ExaminedIndex) -> str:
    done = f"rejected {plural(index.rejected, 'row')} in the logs" if index.rejected else "was examined"
    if not index.open:
        return f"{index.index} {done}; no column is a suspect."
    names = join_names([suspect.column for suspect in index.open])
    if len(index.open) == 1:
        return f"{index.index} {done}. Does {names} belong in its key?"
    return f"{index.index} {done}. Does one of the columns {names} belong in its key?"
