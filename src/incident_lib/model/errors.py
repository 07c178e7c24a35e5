"""Errors as people read them: what happened, why, and what to do next."""


class IncidentError(Exception):
    """One message for people, and the exit code of the command: 3, it could not be done.

    Attributes:
        what, why, next: one sentence each; never a secret, an address or a user's id.
    """

    exit_code = 3

    def __init__(self, what: str, why: str, next: str) -> None:  # noqa: A002 - the design's word
        super().__init__(what, why, next)
        self.what, self.why, self.next = what, why, next

    def __str__(self) -> str:
        return f"{self.what}\n  why:  {self.why}\n  next: {self.next}"

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines in place of a traceback."""
        return str(self).splitlines()


class Refused(IncidentError):
    """The answer is no, or the command is refused: exit code 1."""

    exit_code = 1


class UsageError(IncidentError):
    """The call itself is wrong; nothing was begun: exit code 2."""

    exit_code = 2


class Failed(IncidentError):
    """It could not be done, or failed midway: exit code 3."""


class Interrupted(IncidentError):
    """Ctrl-C, SIGTERM or SIGHUP, after the cleanup: exit code 130."""

    exit_code = 130
