"""The pieces of one error as one entry: by the process that wrote them, in the order of the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from incident_lib.logs.entry import BUILD, KEY, Entry, decode, names_provider
from incident_lib.logs.pieces import Piece, Rest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CODE = re.compile(r"[0-9A-Z]{5}")


def join(first: Piece, following: Iterable[Piece | Rest], preceding: Iterable[Piece | Rest]) -> Entry:
    """An entry from its first line and the pieces around it.

    Args:
        first: its first line.
        following: the pieces after it, in the order in which the server wrote them.
        preceding: those before it, the nearest first: for a log whose order within a moment is not kept.
    """
    parts = _parts(first, following)
    detail = first.detail or _detail(parts) or _detail(_of_the_moment(first, preceding))
    statements = [first.statement, *(decode(part.text) for part in parts)]
    builds = (each for each in statements if BUILD.match(each or ""))
    state = first.state if first.state and _CODE.fullmatch(first.state) else None
    return Entry(
        time=first.time,
        message=decode(first.text) or "",
        state=state,
        detail=detail,
        role=first.role,
        process=first.process,
        application=first.application,
        command=first.command or first.statement or next(builds, None),
        names_provider=any(map(names_provider, statements)),
        carried=first.carried,
    )


def _parts(first: Piece, pieces: Iterable[Piece | Rest]) -> list[Piece]:
    """The pieces of an entry: those of its process, up to its next entry; lines that continue them are in them."""
    parts: list[Piece] = []
    others: list[Piece] = []  # since the last part
    for piece in pieces:
        if isinstance(piece, Rest):
            if parts and piece.continues(parts[-1]) and not any(map(piece.continues, others)):
                parts[-1] = parts[-1]._replace(text=parts[-1].text + b"\n" + piece.text)
        elif parts and parts[-1].ends:
            break
        elif not piece.belongs_to(first):
            others.append(piece)
        elif piece.begins:
            break
        else:
            parts.append(piece)
            others.clear()
    return parts


def _of_the_moment(first: Piece, preceding: Iterable[Piece | Rest]) -> Iterator[Piece]:
    """The pieces before an entry that are its own, where its pieces have one time and no order."""
    for piece in preceding:
        if isinstance(piece, Piece) and piece.belongs_to(first):
            if piece.begins or piece.time != first.time:
                return
            yield piece


def _detail(parts: Iterable[Piece]) -> str | None:
    return next((decode(part.text) for part in parts if KEY.search(part.text)), None)
