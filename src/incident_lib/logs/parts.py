"""Lines that a container's runtime has cut into parts, since they were long: joined."""

from __future__ import annotations

import re

_CRI = re.compile(rb"(?P<lead>\S+ (?P<stream>stdout|stderr) )(?P<tag>[PF]) (?P<text>.*)", re.DOTALL)
_DOCKER = re.compile(
    rb"(?P<lead>\{\"log\": ?\")(?P<text>(?:[^\"\\]|\\.)*)(?P<rest>\", ?\"stream\": ?\"(?P<stream>\w+)\".*)"
)
_MARKS = ((b'","stream":"std', rb'\n","stream":"std'), (b'", "stream": "std', rb'\n", "stream": "std'))


def has_parts(block: bytes, lines: list[bytes]) -> bool:
    """Whether a line of some bytes may be a part; lines: the same."""
    samples = (lines[0], lines[len(lines) // 2], lines[-1]) if lines else ()
    if not any(_CRI.match(line) or _DOCKER.match(line) for line in samples):
        return False
    mark, whole = _MARKS[any(b'", "stream": "' in line for line in samples)]  # some programs put blanks between
    return b" stderr P " in block or b" stdout P " in block or block.count(mark) != block.count(whole)


def join_parts(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The lines, each with its parts, and the parts at the end whose line has not ended."""
    joined: list[bytes] = []
    open_parts: dict[bytes, list[re.Match[bytes]]] = {}
    for line in lines:
        found = _CRI.match(line) or _DOCKER.match(line)
        if found is None:
            joined.append(line)
            continue
        parts = [*open_parts.pop(found["stream"], []), found]
        if _is_last(found):
            joined.append(_whole(parts))
        else:
            open_parts[found["stream"]] = parts
    return joined, [part.string for parts in open_parts.values() for part in parts]


def _is_last(part: re.Match[bytes]) -> bool:
    return part["tag"] == b"F" if part.re is _CRI else part["text"].endswith(rb"\n")


def _whole(parts: list[re.Match[bytes]]) -> bytes:
    if len(parts) == 1:
        return parts[0].string
    first, text = parts[0], b"".join(part["text"] for part in parts)
    return first["lead"] + (b"F " + text if first.re is _CRI else text + first["rest"])
