"""Named environments, connections to them, the catalog as it is read, and the demo."""

from incident_lib.database.clients import (
    Family,
    NewThread,
    create_chat,
    deactivate_chats,
    get_or_create_run,
    insert_thread,
)
from incident_lib.database.diagnosis import translate_errors
from incident_lib.database.environments import (
    DEMO,
    Connection,
    Environment,
    check_name,
    connecting,
    engine,
    is_transaction_pooled,
    known_environments,
    reading,
    resolve_environment,
    set_local,
    variable_of,
)
from incident_lib.database.introspection import TableAccess, read_access, read_catalog
from incident_lib.database.queries import fetch_all, fetch_one, query_text

__all__ = [
    "DEMO",
    "Connection",
    "Environment",
    "Family",
    "NewThread",
    "TableAccess",
    "check_name",
    "connecting",
    "create_chat",
    "deactivate_chats",
    "engine",
    "fetch_all",
    "fetch_one",
    "get_or_create_run",
    "insert_thread",
    "is_transaction_pooled",
    "known_environments",
    "query_text",
    "read_access",
    "read_catalog",
    "reading",
    "resolve_environment",
    "set_local",
    "translate_errors",
    "variable_of",
]
