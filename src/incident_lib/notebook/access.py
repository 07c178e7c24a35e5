"""Whether an Incident, and what was read through it, may still be used: not once its replacement has failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incident_lib.model import IncidentError


@dataclass
class Access:
    """One Incident's access to its environment, shared by its snapshots and results.

    Attributes:
        error: is raised by every use of them, once it is set.
    """

    error: IncidentError | None = None


class Revocable:
    """What can be used only as long as its access has no error."""

    _access: Access

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and (error := self._access.error):
            raise error
        return super().__getattribute__(name)
