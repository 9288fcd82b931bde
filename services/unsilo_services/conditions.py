"""Conditions of an event: CEL (cel.dev), with an end to what one may come to."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import first_line
from .expressions import cel

_LONGEST = 4000  # characters; CEL's parser panics on lines without end
_MOST_WORK = 15_000_000  # steps of one condition with one event, a second or two at the worst
_MOST_LISTS = 2  # gone through inside each other
_THROUGH_LISTS = frozenset({"all", "exists", "exists_one", "existsOne", "filter"})
_READS = frozenset({"entity", "changed", "previous", "+", "matches"})  # what may take time by the size of the event
_CEL = re.compile(
    r"""
    //[^\n]*
    | [bB]?[rR] (?: "{3}[\s\S]*?"{3} | '{3}[\s\S]*?'{3} | "[^"]*" | '[^']*' )
    | [bB]?     (?: "{3}(?:\\[\s\S]|[^\\])*?"{3} | '{3}(?:\\[\s\S]|[^\\])*?'{3}
                  | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | (?P<word> \w+ | [=!<>&|]+ | [^\w\s] )
    """,
    re.VERBOSE,
)


class ConditionBroken(Exception):
    """A condition cannot be asked as it is written. The message says what would be right."""


class ConditionFailed(Exception):
    """An event is too large to be asked about in this way."""


class ConditionUnanswered(Exception):
    """A condition has no answer for an event. The message names a field, and never holds a value."""


class Condition:
    """A condition, ready to be asked of events, and how much there is to do in it.

    CEL cannot be stopped once it runs, and the process waits for it. So what it may come to is reckoned beforehand, by
    the lists that the condition goes through: what stands inside one is done once for each item, inside two once for
    each pair.
    """

    def __init__(self, text: str) -> None:
        """Raises ConditionBroken."""
        self._program = _compiled(text)
        self._steps = [0] * (_MOST_LISTS + 1)  # by how many lists they are inside of
        self._reads = [0] * (_MOST_LISTS + 1)
        self._most_written = 1  # items that a list in the condition itself may have
        self._most_lists = 1  # that are put together
        words = ["", *(found["word"] or "''" for found in _CEL.finditer(text) if not found[0].startswith("//"))]
        self.asked_for = list(_ways(words))
        """The ways to fields of the entity that it asks for, also where an example does not come by."""
        inside: list[bool] = []  # for each open bracket, whether it goes through a list
        for number, word in enumerate(words):
            depth = sum(inside)
            self._steps[depth] += 1
            self._reads[depth] += word in _READS
            self._most_written += word == ","
            self._most_lists += word == "+"
            if word in ("(", "[", "{"):
                called = words[number - 1] if word == "(" and words[number - 2] == "." else ""
                if called == "map":
                    raise ConditionBroken("has map: exists, all and filter ask about items as they are")
                if called in _THROUGH_LISTS and depth == _MOST_LISTS:
                    raise ConditionBroken(f"goes through more than {_MOST_LISTS} lists inside each other")
                inside.append(called in _THROUGH_LISTS)
                if called == "filter":
                    self._reads[depth + 1] += 1  # with each item that it takes it copies those that it has
            elif word in (")", "]", "}"):
                inside.pop()

    def of(self, context: Mapping[str, Any]) -> Any:
        """What it comes to with an event. Raises ConditionUnanswered, and ConditionFailed."""
        if any(self._steps[1:]):
            longest, listed, size = _extent(context)
            items = max(longest, self._most_written) * self._most_lists
            listed *= self._most_lists
            work = 0
            for lists in range(1, _MOST_LISTS + 1):
                work += items ** (lists - 1) * (items + listed) * self._steps[lists]
                work += items**lists * size * self._reads[lists]
            if work > _MOST_WORK:
                raise ConditionFailed("goes through lists that are too long")
        return _evaluated(self._program, context)


def _ways(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for number, word in enumerate(words):
        if word != "entity" or words[number - 1] == ".":
            continue
        way, end = [word], number + 1
        while words[end : end + 1] == ["."] and words[end + 1 : end + 2] and words[end + 1].isidentifier():
            way.append(words[end + 1])
            end += 2
        if words[end : end + 1] == ["("]:
            way.pop()  # a function, called of the field before it
        yield tuple(way)


def _extent(context: Mapping[str, Any]) -> tuple[int, int, int]:
    """The longest list in an event, how much all lists hold, and how much there is in all."""
    longest = listed = size = 0
    waiting: list[tuple[Any, bool]] = [(context, False)]
    while waiting:
        value, in_list = waiting.pop()
        weight = 1 + len(value) // 250 if isinstance(value, str) else 1  # characters are gone through that much faster
        size += weight
        listed += weight if in_list else 0
        if isinstance(value, Mapping | list):
            longest = max(longest, len(value))
        if isinstance(value, Mapping):
            waiting.extend((item, in_list) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            waiting.extend((item, True) for item in value)
    return longest, listed, size


def _compiled(text: str) -> cel.Program:
    if len(text) > _LONGEST:
        raise ConditionBroken(f"has more than {_LONGEST} characters")
    try:
        return cel.compile(text)
    except ValueError as error:
        assigns = any(part["word"] == "=" for part in _CEL.finditer(text))
        said = "== compares, = does nothing" if assigns else first_line(error)
        raise ConditionBroken(f"is no CEL expression: {said}") from None


def _evaluated(program: cel.Program, context: Mapping[str, Any]) -> Any:
    try:
        return program.execute(dict(context))
    except KeyError as error:
        raise ConditionUnanswered(f"there is no field {error}: write has(…) && … where it may be absent") from None
    except Exception as error:
        raise ConditionUnanswered(first_line(error)) from None
    except BaseException as error:  # a panic in the library, which says that it is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise ConditionUnanswered("cannot be evaluated") from None
