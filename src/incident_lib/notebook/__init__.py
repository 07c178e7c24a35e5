"""What `import incident_lib as il` offers inside a notebook: runs, snapshots, the fix, displays."""

from incident_lib.notebook.parameters import assigned_names
from incident_lib.notebook.session import MIGRATION

__all__ = ["MIGRATION", "assigned_names"]
