"""The strategies to change the unique index that are compared: the fix plan's SQL, and this project's migration."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import psycopg

from incident_lib.analysis import investigate
from incident_lib.database import Environment, connecting, reading
from incident_lib.migration import apply, run_preflight
from incident_lib.model import IndexKind, Refused

DONE, REFUSED = "done", "refused"

# As the fix plan has it; of the rollback it only says "restore original index".
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
    """How the fix is applied and rolled back: the SQL that is sent; without SQL, this project's commands."""

    name: str
    apply_sql: tuple[str, ...] = ()
    rollback_sql: tuple[str, ...] = ()
    one_transaction: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is what `incident apply` and `incident rollback` do."""
        return not self.apply_sql

    def apply(self, environment: Environment, target: IndexKind = IndexKind.FIXED) -> str:
        """Change the index.

        Returns:
            DONE; REFUSED, where this project's preflight failed and nothing was changed; or the SQLSTATE of the error.

        Raises:
            Failed: the database cannot be reached, or this project's migration failed.
        """
        if self.ours:
            return _migrate(environment, target)
        statements = self.apply_sql if target is IndexKind.FIXED else self.rollback_sql
        with connecting(environment, "plan") as connection:
            try:
                with connection.transaction() if self.one_transaction else nullcontext():
                    for statement in statements:
                        connection.execute(statement.encode())
            except psycopg.Error as error:
                if not error.sqlstate:
                    raise
                return error.sqlstate
        return DONE


def _migrate(environment: Environment, target: IndexKind) -> str:
    """Run the preflight, then migrate, as the commands do."""
    try:
        with reading(environment) as connection:
            found = investigate(connection)
            run_preflight(connection, environment, found, target).require(environment.name)
        apply(environment, confirm=environment.name, target=target)
    except Refused:
        return REFUSED
    return DONE


_PLAN = (DROP, CREATE_FIXED), (DROP, CREATE_ORIGINAL)
BY_STATEMENT = Strategy("the plan's SQL by statement", *_PLAN)
IN_ONE_TRANSACTION = Strategy("the plan's SQL in one transaction", *_PLAN, one_transaction=True)
THIS_PROJECT = Strategy("this project")
STRATEGIES = (BY_STATEMENT, IN_ONE_TRANSACTION, THIS_PROJECT)
