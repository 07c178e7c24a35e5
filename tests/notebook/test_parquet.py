"""Tables as Parquet, by the extra `parquet`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pandas as pd
import pytest

from incident_lib.model import Pseudonyms, blocked_table
from incident_lib.model.threads import BlockedFamily
from incident_lib.notebook.frames import to_frame

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_survives_parquet(tmp_path: Path) -> None:
    """A table that is written as Parquet is read again with the same columns, dtypes and values."""
    pytest.importorskip("pyarrow", reason="The extra `parquet` is not installed")
    family = BlockedFamily(
        root_prompt_row_id=UUID(int=1),
        owner_id=UUID(int=2),
        blocked_for="chat",
        since=datetime(2025, 9, 22, 6, 0, 0, 5, tzinfo=UTC),
        blocking_thread=UUID(int=3),
        blocking_purpose="run",
        blocking_provider=None,
    )
    frame = to_frame(blocked_table([family], Pseudonyms("a key")))
    frame.to_parquet(tmp_path / "families.parquet")

    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "families.parquet"), pd.DataFrame(frame))
