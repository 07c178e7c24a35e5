"""An id by its pseudonym, among many."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from incident_lib.database import reading
from incident_lib.model import Pseudonyms
from incident_lib.notebook.families import find_id

if TYPE_CHECKING:
    from incident_lib.database import Environment

FILL = """
INSERT INTO public.q_threads (root_prompt_row_id, owner_id, purpose, is_active)
SELECT gen_random_uuid(), lpad(n::text, 32, '0')::uuid, 'run', true FROM generate_series(1, 50000) AS n
"""


def test_the_transaction_goes_on_after_an_id_was_found(environment: Environment) -> None:
    """An id is found among 50,000, wherever it is, and the transaction answers the next query."""
    with psycopg.connect(environment.address, autocommit=True) as connection:
        connection.execute("ALTER TABLE public.q_threads DROP CONSTRAINT q_threads_root_prompt_row_id_fkey")
        connection.execute(FILL)
    names = Pseudonyms("a key")
    ids = [UUID(int=0x1), UUID(f"{25000:032}"), UUID(f"{50000:032}")]

    with reading(environment) as connection:
        found = [find_id(connection, names, "owner", str(names.name("owner", each))) for each in ids]
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert found == ids
