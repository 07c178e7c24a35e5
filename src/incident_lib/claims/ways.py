"""The ways to change the guard that are tested beside each other: the fix plan's SQL, and ours."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import psycopg

from incident_lib import environments, investigate, migrate, preflight
from incident_lib.catalog import Kind
from incident_lib.environments import Environment
from incident_lib.errors import Refused

DONE, REFUSED = "done", "refused"
ACTIVITY = "plan"

# As the fix plan has it; its way back is said there in words only: "restore original index".
DROP = "DROP INDEX IF EXISTS idx_q_threads_family_unique"
CREATE_FIXED = """\
CREATE UNIQUE INDEX idx_q_threads_family_unique
ON public.q_threads (root_prompt_row_id, owner_id, purpose)
WHERE is_active = true AND root_prompt_row_id IS NOT NULL"""
CREATE_ORIGINAL = """\
CREATE UNIQUE INDEX idx_q_threads_family_unique
ON public.q_threads (root_prompt_row_id, owner_id)
WHERE is_active = true AND root_prompt_row_id IS NOT NULL"""


@dataclass(frozen=True)
class Way:
    """A way to the fixed guard and back: SQL as somebody would send it; without any it is ours."""

    name: str
    fix: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    one_transaction: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is what `incident apply` and `incident rollback` do."""
        return not self.fix

    def go(self, environment: Environment, target: Kind = Kind.FIXED) -> str:
        """Change the guard.

        Returns:
            DONE; REFUSED, where we said no and changed nothing; or the SQLSTATE with which the SQL ended.

        Raises:
            Failed: the database is not to be reached, or our own way failed.
        """
        if self.ours:
            return _ours(environment, target)
        statements = self.fix if target is Kind.FIXED else self.back
        with environments.connecting(environment, ACTIVITY) as connection:
            try:
                with connection.transaction() if self.one_transaction else nullcontext():
                    for statement in statements:
                        connection.execute(statement.encode())
            except psycopg.Error as error:
                if not error.sqlstate:
                    raise
                return error.sqlstate
        return DONE


def _ours(environment: Environment, target: Kind) -> str:
    """As the command line does it: nothing is begun that the preflight says no to."""
    try:
        with environments.reading(environment) as connection:
            found = investigate.investigate(connection)
            preflight.preflight(connection, environment, found, target).require(environment.name)
        migrate.apply(environment, confirm=environment.name, target=target)
    except Refused:
        return REFUSED
    return DONE


PLAN = (DROP, CREATE_FIXED), (DROP, CREATE_ORIGINAL)
BY_STATEMENT = Way("the plan's SQL by statement", *PLAN)
ONE_TRANSACTION = Way("the plan's SQL in one transaction", *PLAN, one_transaction=True)
OURS = Way("ours")
WAYS = (BY_STATEMENT, ONE_TRANSACTION, OURS)
