"""Named environments, connections to them, what PostgreSQL's catalog says, the clients of the product, the demo."""

from incident_lib.database import clients, demo
from incident_lib.database.clients import (
    NewThread,
    create_chat,
    deactivate_chats,
    delete_thread,
    find_active,
    get_or_create_run,
    insert_thread,
)
from incident_lib.database.connections import (
    Connection,
    OutOfTime,
    bounded,
    connecting,
    engine,
    is_transaction_pooled,
    reading,
    seconds_left,
    send_transaction,
    sending,
    set_local,
    statement_seconds,
)
from incident_lib.database.diagnosis import action_for, safe_message, translate_errors
from incident_lib.database.environments import (
    DEMO,
    Environment,
    check_name,
    known_environments,
    purpose_since,
    resolve_environment,
    variable_of,
)
from incident_lib.database.introspection import TableAccess, lock_holders, read_access, read_catalog
from incident_lib.database.queries import fetch_all, fetch_one, query_text

__all__ = [
    "DEMO",
    "Connection",
    "Environment",
    "NewThread",
    "OutOfTime",
    "TableAccess",
    "action_for",
    "bounded",
    "check_name",
    "clients",
    "connecting",
    "create_chat",
    "deactivate_chats",
    "delete_thread",
    "demo",
    "engine",
    "fetch_all",
    "fetch_one",
    "find_active",
    "get_or_create_run",
    "insert_thread",
    "is_transaction_pooled",
    "known_environments",
    "lock_holders",
    "purpose_since",
    "query_text",
    "read_access",
    "read_catalog",
    "reading",
    "resolve_environment",
    "safe_message",
    "seconds_left",
    "send_transaction",
    "sending",
    "set_local",
    "statement_seconds",
    "translate_errors",
    "variable_of",
]
