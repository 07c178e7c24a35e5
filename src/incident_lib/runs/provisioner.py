"""Forked kernels as jupyter_client takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from incident_lib.runs.forked import SERVER


class ForkProvisioner(LocalProvisioner):
    """jupyter_client's way of starting a kernel, with a fork in place of a new interpreter."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork a kernel for a command `python -m ipykernel_launcher …`."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        process: Any = SERVER.fork(arguments, options.get("cwd") or str(Path.cwd()), options["env"])
        self.process = process
        self.pid = self.pgid = process.pid  # it makes itself the leader of its group
        return self.connection_info
