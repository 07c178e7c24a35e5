"""The ways to change the unique index that are tested beside each other: the fix plan's SQL, and ours."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import psycopg

from incident_lib.analysis import investigate
from incident_lib.database import Environment, connecting, reading
from incident_lib.migration import apply, run_preflight
from incident_lib.model import IndexKind, Refused

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
class Strategy:
    """A way to the fixed index and back: SQL as somebody would send it; without any it is ours."""

    name: str
    fix: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    one_transaction: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is what `incident apply` and `incident rollback` do."""
        return not self.fix

    def go(self, environment: Environment, target: IndexKind = IndexKind.FIXED) -> str:
        """Change the unique index.

        Returns:
            DONE; REFUSED, where we said no and changed nothing; or the SQLSTATE with which the SQL ended.

        Raises:
            Failed: the database is not to be reached, or our own way failed.
        """
        if self.ours:
            return _ours(environment, target)
        statements = self.fix if target is IndexKind.FIXED else self.back
        with connecting(environment, ACTIVITY) as connection:
            try:
                with connection.transaction() if self.one_transaction else nullcontext():
                    for statement in statements:
                        connection.execute(statement.encode())
            except psycopg.Error as error:
                if not error.sqlstate:
                    raise
                return error.sqlstate
        return DONE


def _ours(environment: Environment, target: IndexKind) -> str:
    """As the command line does it: nothing is begun that the preflight says no to."""
    try:
        with reading(environment) as connection:
            found = investigate(connection)
            run_preflight(connection, environment, found, target).require(environment.name)
        apply(environment, confirm=environment.name, target=target)
    except Refused:
        return REFUSED
    return DONE


PLAN = (DROP, CREATE_FIXED), (DROP, CREATE_ORIGINAL)
BY_STATEMENT = Strategy("the plan's SQL by statement", *PLAN)
IN_ONE_TRANSACTION = Strategy("the plan's SQL in one transaction", *PLAN, one_transaction=True)
THIS_PROJECT = Strategy("ours")
STRATEGIES = (BY_STATEMENT, IN_ONE_TRANSACTION, THIS_PROJECT)
