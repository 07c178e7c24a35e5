"""JSON documents at the beginning of a stream: each as a whole, or, if it is large or damaged, by its elements."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING

from incident_lib.logs.record import Element

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incident_lib.logs.records import Stream

LARGEST = 1 << 22  # bytes of one record
ENOUGH = 1000  # characters, by which it is known what follows a document
ALIKE = 16  # elements that are as far apart, after which they are no longer parsed to find their ends

_NEXT = re.compile(r"[\n,]\s*\{")
_SPACE = re.compile(r"[\s,:]*")
_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*\"\s*:\s*")
_BETWEEN = re.compile(r",\s*\n\s*\{\s*\"[^\"\\]+\"")
_NEXT_DOCUMENT = re.compile(r"[\s\x1e]*(?=\{\s*\"|\[\s*[\[{\"])")
_DECODER = json.JSONDecoder(strict=False)


class Documents:
    """The documents at the beginning of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held, self.at = self._decoder.decode(stream.held), 0
        self._torn = False  # whether something was damaged: brackets say no more where it ends
        self._boundary, self._alike = "", 0
        stream.held = b""

    def elements(self) -> Iterator[Element]:
        """Each document as one element, or, if it is large or damaged, each of its elements."""
        yield from self._values()
        while self._is_followed():
            yield from self._values()

    def rest(self) -> bytes:
        """What is after the documents."""
        return self.held[self.at :].lstrip("\r\n").encode("utf-8", "replace") + self._stream.held

    def _fill(self) -> bool:
        while self._stream.fill():
            text, self._stream.held = self._decoder.decode(self._stream.held), b""
            if text:
                self.held, self.at = self.held[self.at :] + text, 0
                return True
        return False

    def _is_followed(self) -> bool:
        """Whether another document follows, other than on a line of its own."""
        if len(self.held) - self.at < ENOUGH:
            self._fill()
        begins = _NEXT_DOCUMENT.match(self.held, self.at)
        if not begins:
            return False
        self.at = begins.end()
        return "\n" not in begins[0] or not self._is_line()

    def _is_line(self) -> bool:
        """Whether the object that begins here is a line of its own."""
        while (end := self.held.find("\n", self.at)) < 0 and len(self.held) - self.at < LARGEST and self._fill():
            pass
        line = self.held[self.at : end if end >= 0 else self.at + LARGEST]
        return line.startswith("{") and line.rstrip().endswith(("}", "},"))

    def _values(self) -> Iterator[Element]:
        """The document as one element, or, if it is large or damaged, each of its elements."""
        if self.at and (found := self._complete()):
            yield found
            return
        while len(self.held) - self.at < LARGEST and self._stream.more:
            if not self._fill():
                break
            if len(self.held) > 1 << 16 and (found := self._complete()):
                yield found
                return
        if found := self._complete():
            yield found
        else:
            yield from self._elements()

    def _complete(self) -> Element | None:
        """The value that begins here, if all of it is held and it is not too large."""
        try:
            _, end = _DECODER.raw_decode(self.held, self.at)
        except (ValueError, RecursionError):
            return None
        if end - self.at > LARGEST:
            return None
        raw, self.at = self.held[self.at : end], end
        return Element(raw)

    def _elements(self) -> Iterator[Element]:
        """The elements of a container that is not read as a whole; of one within it, too, if that is large."""
        self.at += 1
        depth = 1
        while depth:
            if space := _SPACE.match(self.held, self.at):
                self.at = space.end()
            if self.at >= len(self.held) - 1 and self._fill():
                continue
            sign = self.held[self.at : self.at + 1]
            if not sign:
                return
            if sign in "]}":
                depth, self.at = depth - (not self._torn), self.at + 1
            elif sign == '"' and (key := _KEY.match(self.held, self.at)):
                self.at = key.end()
            elif sign in "{[":
                if many := self._until_boundary():
                    yield from many
                elif found := self._element():
                    yield found
                else:
                    depth, self.at = depth + 1, self.at + 1
            else:
                self._scalar()

    def _until_boundary(self) -> list[Element]:
        """The next elements of an indented list, by where the one after each begins: without a look into them."""
        end = self.held.rfind(self._boundary, self.at) if self._alike >= ALIKE else -1
        if end < 0:
            return []
        opening = self._boundary[self._boundary.index("{") :]
        first, *others = self.held[self.at : end].split(self._boundary)
        self.at = end + 1
        return [Element(first + "}"), *(Element(f"{opening}{each}}}") for each in others)]

    def _learn(self, element: Element) -> None:
        """Note what is between two elements, and how the next begins, until it has been the same often enough."""
        between = _BETWEEN.match(self.held, self.at)
        boundary = f"}}{between[0]}" if between else ""
        same = bool(boundary) and boundary == self._boundary and boundary not in element.raw
        self._alike, self._boundary = (self._alike + 1 if same else 0), boundary

    def _element(self) -> Element | None:
        """The next element; None if it is too large: then its own elements come."""
        while not (found := self._complete()):
            if len(self.held) - self.at < LARGEST and self._fill():
                continue
            if len(self.held) - self.at >= LARGEST and not self._damaged():
                return None
            following = _NEXT.search(self.held, self.at)
            end = following.end() - 1 if following else len(self.held)
            self._torn = True
            found, self.at = Element(self.held[self.at : end]), end
            return found
        self._learn(found)
        return found

    def _damaged(self) -> bool:
        """Whether the value that begins here is damaged, and not just longer than what is held."""
        try:
            _DECODER.raw_decode(self.held, self.at)
        except json.JSONDecodeError as error:
            return error.pos < len(self.held) - 1 and not error.msg.startswith("Unterminated string")
        except RecursionError:
            return True
        return False

    def _scalar(self) -> None:
        found = self._complete()
        while not found and len(self.held) - self.at < LARGEST and self._fill():
            found = self._complete()
        if not found:
            following = _NEXT.search(self.held, self.at)
            self.at = following.end() - 1 if following else len(self.held)
