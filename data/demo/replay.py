"""The replay: each visit sent to the server by the client of its day, and what users did about rejections."""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random
from typing import LiteralString, NamedTuple
from uuid import UUID

from psycopg import Connection, errors
from scenario import END, PLAN_FAMILY, Intent, Plan, Visit, moment, new_id, thread_name

from incident_lib.database import NewThread, clients
from incident_lib.model.threads import Family

STAYS_AWAY, DELETES, RETURNS = 0.9, 0.25, 0.15

DEACTIVATE_ALL: LiteralString = (
    "UPDATE public.q_threads SET is_active = false WHERE root_prompt_row_id = %s AND owner_id = %s AND is_active = true"
)
FIND_ANY: LiteralString = (
    "SELECT row_id FROM public.q_threads"
    " WHERE root_prompt_row_id = %s AND owner_id = %s AND provider = %s AND is_active = true"
    " ORDER BY created_at DESC LIMIT 1"
)
LIST_ACTIVE: LiteralString = (
    "SELECT row_id FROM public.q_threads"
    " WHERE root_prompt_row_id = %s AND owner_id = %s AND is_active = true ORDER BY created_at, row_id"
)
CONVERSE: LiteralString = (
    "UPDATE public.q_threads"
    " SET message_count = coalesce(message_count, 0) + %(messages)s, last_message_at = %(at)s,"
    " last_response_id = CASE WHEN openai_conversation_id IS NOT NULL THEN %(response)s END,"
    " openai_conversation_id = regexp_replace(openai_conversation_id, '^pending-.*', %(conversation)s)"
    " WHERE row_id = %(row_id)s"
)

Client = Callable[[Connection, NewThread], UUID]


def create_chat_early(connection: Connection, thread: NewThread) -> UUID:
    """The chat client before the purpose column: it ended every active thread of the family, runs too."""
    connection.execute(DEACTIVATE_ALL, thread.family)
    return clients.insert_thread(connection, thread)


def get_or_create_run_early(connection: Connection, thread: NewThread) -> UUID:
    """The run client before the purpose column: any active thread of its provider would do, chats too."""
    row = connection.execute(FIND_ANY, (*thread.family, thread.provider)).fetchone()
    return UUID(str(row[0])) if row else clients.insert_thread(connection, thread)


EARLY: dict[Intent, Client] = {"chat": create_chat_early, "run": get_or_create_run_early}
CURRENT: dict[Intent, Client] = {
    "chat": clients.create_chat,
    "run": clients.get_or_create_run,
    "eval": clients.get_or_create_run,
}


class Failure(NamedTuple):
    """A create that the server answered with 23505, as the client counted it."""

    attempted_at: datetime
    root_prompt_row_id: UUID
    owner_id: UUID | None
    purpose: str


class Replay:
    """The visits in the order of the scenario's clock, those included that follow from a rejection."""

    def __init__(self, rng: Random, connections: list[Connection], planned: Plan) -> None:
        self.rng, self.connections, self.numbers = rng, connections, count()
        self.visits = [(visit.at, next(self.numbers), visit) for visit in planned.visits]
        self.failures: list[Failure] = []
        self.errors: list[datetime] = []
        self.gave_up: set[Family] = set()
        heapify(self.visits)

    def run(self, until: datetime, by_intent: dict[Intent, Client]) -> None:
        """Serve every visit before that moment."""
        day = None
        while self.visits and self.visits[0][0] < until:
            at, _, visit = heappop(self.visits)
            if at.date() != day:
                day = at.date()
                print(f"\r{day}: {len(self.failures)} rejected inserts so far", end="", file=sys.stderr)
            self.serve(visit, by_intent)

    def serve(self, visit: Visit, by_intent: dict[Intent, Client]) -> None:
        """One visit, on one connection of the pool; who gave up on a family's chat seldom tries again."""
        connection = self.rng.choice(self.connections)
        if visit.intent == "delete":
            self.delete(connection, visit.family)
        elif not (visit.intent == "chat" and visit.family in self.gave_up and self.rng.random() < STAYS_AWAY):
            self.create(connection, visit, by_intent[visit.intent])

    def create(self, connection: Connection, visit: Visit, client: Client) -> None:
        """Try to create the thread, and note what the server answers."""
        try:
            row_id = client(connection, self.new_thread(visit))
        except errors.UniqueViolation:
            self.errors.append(visit.at)
            self.failures.append(Failure(visit.at, *visit.family, visit.intent))
            self.react(visit)
        except errors.ForeignKeyViolation:
            self.errors.append(visit.at)
        else:
            self.gave_up.discard(visit.family)
            self.converse(connection, row_id, visit.at)

    def new_thread(self, visit: Visit) -> NewThread:
        """What the client asks for: a chat brings its conversation, a run a placeholder or a session's id."""
        rng, chat, openai = self.rng, visit.intent == "chat", visit.provider == "openai"
        conversation = f"conv_{rng.randbytes(12).hex()}" if chat else f"pending-{rng.randbytes(8).hex()}"
        return NewThread(
            *visit.family,
            row_id=visit.row_id or new_id(rng),
            assistant_row_id=new_id(rng) if rng.random() < 0.3 else None,
            child_prompt_row_id=new_id(rng) if rng.random() < 0.3 else None,
            openai_conversation_id=conversation if chat or openai else None,
            external_session_id=None if chat or openai else f"{visit.provider}-{rng.randbytes(8).hex()}",
            name=thread_name(rng),
            provider=None if chat else visit.provider,
            purpose="eval" if visit.intent == "eval" else None,
            created_at=visit.at,
        )

    def converse(self, connection: Connection, row_id: UUID, at: datetime) -> None:
        """The messages that follow, within the hour; one thread in eight never gets any."""
        if self.rng.random() < 1 / 8:
            return
        messages = {
            "row_id": row_id,
            "messages": 2 * self.rng.randint(1, 12),
            "at": min(at + self.some_seconds(20, 3600), END),
            "response": f"resp_{self.rng.randbytes(12).hex()}",
            "conversation": f"conv_{self.rng.randbytes(12).hex()}",
        }
        connection.execute(CONVERSE, messages)

    def some_seconds(self, least: int, most: int) -> timedelta:
        """A wait between two numbers of seconds, to the millisecond."""
        return timedelta(milliseconds=self.rng.randrange(1000 * least, 1000 * most))

    def react(self, visit: Visit) -> None:
        """After a rejection: again in minutes, or delete what stands in the way, or another day, or never."""
        if visit.family == PLAN_FAMILY:
            return
        if visit.tries > 1:
            self.again(visit, self.some_seconds(20, 600), tries=visit.tries - 1)
        elif self.rng.random() < DELETES:
            wait = self.some_seconds(40, 900)
            self.again(visit, wait, intent="delete")
            self.again(visit, wait + self.some_seconds(20, 90))
        else:
            self.give_up(visit)

    def give_up(self, visit: Visit) -> None:
        """Leave the chat of this family alone; some come back once, on one of the next days."""
        if visit.intent == "chat":
            self.gave_up.add(visit.family)
        if self.rng.random() < RETURNS:
            later = moment(self.rng, visit.at + timedelta(hours=9), visit.at + timedelta(days=4))
            self.again(visit, later - visit.at)

    def again(self, visit: Visit, wait: timedelta, intent: Intent | None = None, tries: int = 1) -> None:
        """Plan another visit of the same family, after a while."""
        later = visit._replace(at=visit.at + wait, intent=intent or visit.intent, tries=tries)
        heappush(self.visits, (later.at, next(self.numbers), later))

    def delete(self, connection: Connection, family: Family) -> None:
        """Delete the threads that the user sees: the family's active ones."""
        for (row_id,) in connection.execute(LIST_ACTIVE, family).fetchall():
            clients.delete_thread(connection, row_id)
