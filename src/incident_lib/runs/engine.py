"""Papermill's engine with fewer saves: papermill writes the whole notebook twice for each cell."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from papermill.engines import NBClientEngine, papermill_engines

from incident_lib.runs.kernels import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 1.0  # that pass from one save to the next


class SparingEngine(NBClientEngine):  # type: ignore[misc]
    """A notebook is saved once a second while it is executed, and at its end, however it ends."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Execute the cells; papermill itself saves the notebook before and afterwards."""
        nb_man.save = _seldom(nb_man.save)
        try:
            return super().execute_managed_notebook(nb_man, kernel_name, **options)
        finally:
            del nb_man.save


def _seldom(save: Callable[..., None]) -> Callable[..., None]:
    last = time.monotonic()

    def save_seldom(**options: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS:
            save(**options)
            last = time.monotonic()

    return save_seldom


papermill_engines.register(ENGINE, SparingEngine)
