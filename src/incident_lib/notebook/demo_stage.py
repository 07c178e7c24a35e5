"""The demo's database at the stage of the story at which a notebook begins: before the fix, or before `provider`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.analysis import settle
from incident_lib.database import connecting, demo
from incident_lib.migration import apply
from incident_lib.model import PROVIDER, IndexKind

if TYPE_CHECKING:
    from incident_lib.database import Environment
    from incident_lib.model import IndexChange, SettledThreads


def set_stage(environment: Environment, database: str, change: IndexChange) -> SettledThreads | None:
    """Make one of the demo's databases again, as it is before a change.

    Before `purpose` it is as the incident left it. Before `provider` the fix has been applied, the clients have tried
    their chats again, and the threads that stand in the way of `provider` have ended.

    Returns:
        How many threads were ended, and when; None: none had to be.
    """
    demo.reset(database)
    if change != PROVIDER:
        return None
    apply(environment, confirm=environment.name)
    demo.retry_chats(environment.address)
    with connecting(environment, "settle") as connection:
        return settle(connection, PROVIDER, IndexKind.FIXED)
