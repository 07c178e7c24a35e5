"""A relay between a client and a server's socket: its connections can be cut, delayed, or swallowed."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

PORT = ".s.PGSQL.5432"


class Proxy:
    """Listens on a socket in a folder of its own; `address` is the server's, through it.

    Attributes:
        delay: seconds that each message takes, in both directions.
        frozen: whether everything that is sent is swallowed, while connections stay open: a black hole.
    """

    def __init__(self, address: str, delay: float = 0) -> None:
        self.delay, self.frozen = delay, False
        self._folder = Path(tempfile.mkdtemp(prefix="proxy-"))
        self._server = str(Path(re.search(r"host=([^&]+)", address)[1]) / PORT)
        self.address = re.sub(r"host=[^&]+", f"host={self._folder}", address)
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / PORT))
        self._listener.listen()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.cut()
        shutil.rmtree(self._folder)

    def cut(self) -> None:
        """Cut every connection, and take no new one."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self.delay)
                if not self.frozen:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
