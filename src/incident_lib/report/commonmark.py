"""The structure of a CommonMark text, by line: its headings, its list items, and its lines without comments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# Of the lines of a paragraph: code, which may quote a comment, or a comment.
_CODE_OR_COMMENT = re.compile(r"(?<![`\\])(`+)(?!`).+?(?<!`)\1(?!`)|(?<!\\)<!--.*?-->", re.DOTALL)


class MarkdownError(Exception):
    """A text that would not be read as it was meant: the line, and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(line, why)
        self.line, self.why = line, why


@dataclass(frozen=True)
class Heading:
    """A heading that is in no list and no quote; its lines are those from `line` to before `end`."""

    line: int
    end: int
    level: int
    text: str


@dataclass
class Item:
    """An item of a list.

    Attributes:
        line: its first line; end: the line after its last one.
        texts: its paragraphs, each with its line, its own lines joined.
        items: the items of the lists within it.
        other: the first line of anything else in it; 0: there is nothing else.
    """

    line: int
    end: int
    texts: list[tuple[int, str]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    other: int = 0


class Document:
    """A text as CommonMark reads it. Lines are counted from 1.

    Raises:
        MarkdownError: a comment or a block of code has no end, and would take all that follows.
    """

    def __init__(self, text: str) -> None:
        from markdown_it import MarkdownIt

        self._source = re.sub(r"\r\n?", "\n", text).split("\n")
        self._tokens = MarkdownIt("commonmark").parse("\n".join(self._source))
        for token in self._tokens:
            self._check_end(token)

    @cached_property
    def lines(self) -> list[str]:
        """The lines without comments; a line within a comment is empty."""
        lines = list(self._source)
        for token in self._tokens:
            if token.map and token.type in {"inline", "html_block"}:
                begin, end = token.map
                pattern = _COMMENT if token.type == "html_block" else _CODE_OR_COMMENT
                lines[begin:end] = pattern.sub(_blank, "\n".join(lines[begin:end])).split("\n")
        return lines

    @property
    def headings(self) -> list[Heading]:
        """The headings that are in no list and no quote, in order."""
        return [
            Heading(token.map[0] + 1, token.map[1] + 1, int(token.tag[1:]), _without_comments(inline.content))
            for token, inline in zip(self._tokens, self._tokens[1:], strict=False)
            if token.type == "heading_open" and token.level == 0 and token.map
        ]

    @property
    def code_lines(self) -> set[int]:
        """The lines within a fence of code."""
        fences = (token.map for token in self._tokens if token.type == "fence" and token.map)
        return {line for begin, end in fences for line in range(begin + 1, end + 1)}

    def items(self, first: int, end: int) -> list[Item]:
        """The items of the lists that are in no quote and no other list, between two lines."""
        return [item for item in self._items if first <= item.line < end]

    @cached_property
    def _items(self) -> list[Item]:
        found, open_ = list[Item](), list[Item]()
        for token in self._tokens:
            if token.type == "list_item_open" and token.map and (open_ or token.level == 1):
                item = Item(token.map[0] + 1, token.map[1] + 1)
                (open_[-1].items if open_ else found).append(item)
                open_.append(item)
            elif token.type == "list_item_close" and open_:
                open_.pop()
            elif open_ and token.map:
                _add(open_[-1], token)
        return found

    def _check_end(self, token: Token) -> None:
        if not token.map:
            return
        begin, end = token.map
        if token.type == "html_block" and "<!--" in _COMMENT.sub("", token.content):
            raise MarkdownError(begin + 1, "this comment has no end")
        if token.type == "html_block" and token.level == 0 and not self._ends_html(token.content):
            raise MarkdownError(begin + 1, "this HTML has no end")
        last = self._source[end - 1].strip()
        is_closed = end - 1 > begin and last.startswith(token.markup) and not last.strip(token.markup[:1])
        if token.type == "fence" and token.level == 0 and not is_closed:
            raise MarkdownError(begin + 1, "this block of code has no end")

    @staticmethod
    def _ends_html(content: str) -> bool:
        """Whether HTML that would take all that follows has an end."""
        for begin, end in _HTML_ENDS:
            if re.match(rf"\s*{begin}", content, re.IGNORECASE):
                return re.search(end, content, re.IGNORECASE) is not None
        return True


# How HTML begins that blank lines do not end, and how it ends.
_HTML_ENDS = (
    (r"<(?:script|pre|style|textarea)(?:\s|>|$)", r"</(?:script|pre|style|textarea)>"),
    (r"<\?", r"\?>"),
    (r"<!\[CDATA\[", r"\]\]>"),
    (r"<![A-Z]", r">"),
)
_FRAMES = frozenset({"paragraph_open", "bullet_list_open", "ordered_list_open"})


def _add(item: Item, token: Token) -> None:
    line = token.map[0] + 1 if token.map else item.line
    if token.type == "inline":
        text = _without_comments(token.content)
        item.texts += [(line, " ".join(text.split()))] if text.strip() else []
    elif token.type == "html_block" and not _COMMENT.sub("", token.content).strip():
        return
    elif token.type not in _FRAMES:
        item.other = item.other or line


def _without_comments(text: str) -> str:
    return _CODE_OR_COMMENT.sub(_blank, text).strip()


def _blank(found: re.Match[str]) -> str:
    """Code as it is; of a comment its line breaks, so that lines keep their numbers."""
    return "\n" * found[0].count("\n") if found[0].startswith("<!--") else found[0]


def without_lines(lines: Sequence[str], first: int, taken: Iterator[Item]) -> str:
    """The text of lines, the first of which has a number, without those of some items."""
    gone = {line for item in taken for line in range(item.line, item.end)}
    return "\n".join(text for number, text in enumerate(lines, start=first) if number not in gone).strip()
