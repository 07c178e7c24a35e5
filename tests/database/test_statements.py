"""The statements that --verbose prints: their shape, without a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from incident_lib.database.statements import LOGGER, LoggedCursor

if TYPE_CHECKING:
    from incident_lib.database import Environment


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("SELECT 'secret', 'it''s secret', ''", "SELECT '…', '…', '…'"),
        (r"SELECT E'a\'secret', e'secret\\', 1", "SELECT '…', '…', 1"),
        ("SELECT $$secret$$, $a$ $$secret' $a$, 2", "SELECT '…', '…', 2"),
        ("SELECT 'a -- b', 'secret' -- it's secret\n, 3", "SELECT '…', '…' , 3"),
        ("SELECT 4 /* it's secret */ AS \"it's\"", 'SELECT 4 AS "it\'s"'),
        ("SELECT U&'secret', B'1', N'secret'", "SELECT U&'…', B'…', N'…'"),
    ],
)
def test_no_value_is_logged(staging: Environment, caplog: pytest.LogCaptureFixture, sent: str, logged: str) -> None:
    """However a literal is written, only that there is one is logged; comments are left out."""
    with (
        caplog.at_level("DEBUG", LOGGER.name),
        psycopg.connect(staging.address, cursor_factory=LoggedCursor) as connection,
    ):
        connection.execute(sent)

    assert [record.message.split("ms  ")[1] for record in caplog.records] == [logged]
