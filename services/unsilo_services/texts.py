"""Texts of an event: Jinja2 in its sandbox, cut down to what a text needs.

A text picks fields, branches, goes through a list, and uses the filters below. It calls nothing, reaches no attribute
of a Python object, and nothing in it grows without end: neither an author's slip nor what a sender wrote can hold up
the process that all flows run in: each text has a budget (budget.py) for each event.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from jinja2 import (
    StrictUndefined,
    TemplateError,
    Undefined,
    UndefinedError,
    nodes,
    pass_context,
    pass_environment,
)
from jinja2.environment import TemplateExpression
from jinja2.filters import do_sum
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .budget import BUDGET, OWN_FILTERS, Budget, Refused, charged, every, few, weighed
from .errors import first_line

MOST_TEXT = 100_000  # characters that a text may grow to; vendors take far less
_MOST_NUMBER = 2**63
_MOST_LOOPS = 2  # inside each other

_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.CondExpr, nodes.If, nodes.For, nodes.Assign, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv,
    nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
)  # fmt: skip
_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "string",
    "sum", "title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount",
)  # fmt: skip
_OF_LOOPS = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"})
_OF_JINJA = frozenset({"self", "super", "caller", "varargs", "kwargs"})
_PLAIN = "_plain"  # in a context: how the bodies of the event's own system are read; no text can name it


class TextBroken(Exception):
    """A text cannot be run as it is written. The message says what would be right."""


class TextFailed(Exception):
    """A text could not be made of this event. The message names a field, and never holds a value."""


class _Missing(StrictUndefined):
    """A field that the event lacks: it can be asked for, or have something put in its place, and nothing else."""

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)

    def __bool__(self, *none: Any) -> Any:
        return False

    def __eq__(self, *others: Any) -> Any:
        return all(isinstance(other, _Missing) for other in others)

    def __ne__(self, *others: Any) -> Any:
        return not self.__eq__(*others)

    def __hash__(self, *none: Any) -> Any:
        return 0


class Environment(ImmutableSandboxedEnvironment):
    """What texts for one system run in: what comes from an event is escaped for it, what the author wrote is not."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def __init__(self, escape: Callable[[str], str]) -> None:
        super().__init__(undefined=_Missing, autoescape=False, finalize=lambda value: escape(shown(value)))
        self.escape = escape
        self.globals.clear()
        known = {name: self.filters[name] for name in _FILTERS}
        own = {"join": _join, "replace": _replace, "round": _round, "sum": _sum, "tojson": _tojson, "plain": _plain}
        self.filters = {**charged({**known, **own}), **OWN_FILTERS}
        self.tests = charged(self.tests)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _OF_LOOPS:
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a list or a mapping, or a part of a text; of what is missing or null, everything is missing."""
        if isinstance(obj, Mapping | list | tuple | str):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(name=argument)

    def call_filter(self, name: str, *value: Any, **options: Any) -> Any:
        """A filter that another one applies, by a name that may come from the event."""
        if name in OWN_FILTERS:
            raise Refused(f"there is no filter {name}")
        return super().call_filter(name, *value, **options)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sides = (left, right)
        if any(isinstance(side, Undefined) for side in sides):
            return super().call_binop(context, operator, left, right)  # which raises
        if all(isinstance(side, int | float) for side in sides):
            return _number(super().call_binop(context, operator, *map(_number, sides)))
        if operator == "+" and any(all(isinstance(side, of) for side in sides) for of in (str, list, tuple)):
            context[BUDGET].weigh(left, right)
            return left + right
        raise Refused(f"only numbers can stand beside {operator}" + ", or two texts, or two lists" * (operator == "+"))


class Text:
    """One text as it is written in a flow, ready to be made of events."""

    def __init__(self, source: str, environment: Environment) -> None:
        """Raises TextBroken."""
        self._environment = environment
        try:
            tree = environment.parse(source)
            self._names = _checked(tree, environment)
            weighed(tree)
            tree.set_environment(environment)
            self.asked_for = [way for way in (name.split(".") for name in self._names) if way[0] == "entity"]
            """The ways to fields of the entity that it asks for, also where an example does not come by."""
            self._value = _single(tree, environment)
            self._template = environment.from_string(tree)
        except (TemplateError, SyntaxError) as error:
            raise TextBroken(f"is no template: {first_line(error)}") from None
        except RecursionError:
            raise TextBroken("is no template: nested too deeply") from None

    def of(self, context: Mapping[str, Any], plain: Callable[[str], str]) -> Any:
        """What an event makes of it: a text, or the value itself where that is all there is and it is no plain one.

        `plain` reads bodies of the event's own system. Raises TextFailed.
        """
        seen = {**context, _PLAIN: plain, BUDGET: Budget()}
        try:
            if self._value is None:
                return _joined(self._template.generate(seen))
            value = self._value(seen)
            if isinstance(value, Mapping | list | tuple):
                return _escaped(value, self._environment.escape)
            return _joined([self._environment.escape(shown(value))])
        except TextFailed:
            raise
        except UndefinedError as error:
            name = str(error)  # from a list of what is asked for, since a name in brackets may come from the event
            field = next((known for known in self._names if known.rpartition(".")[2] == name), "something it asks for")
            raise TextFailed(f"{field} is missing: ask with `{{% if … %}}`, or give it a `default('…')`") from None
        except Refused as error:
            raise TextFailed(str(error)) from None
        except Exception as error:  # whatever a template does is the template's fault
            raise TextFailed(f"ends with {type(error).__name__}") from None


def _joined(generated: Iterable[str]) -> str:
    parts = []
    room = MOST_TEXT
    for part in generated:
        room -= len(part)
        if room < 0:
            raise TextFailed(f"has more than {MOST_TEXT} characters: `truncate` what may be long")
        parts.append(part)
    return "".join(parts)


def shown(value: Any) -> str:
    """A value as it stands in a text: null is nothing, and what is no text is written as JSON."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Undefined):
        return str(value)  # which raises
    return "" if value is None else _tojson(value)


def _checked(tree: nodes.Template, environment: Environment) -> list[str]:
    """Refuses what a text may not hold. Returns the fields that it asks for, with dots."""
    for node in every(tree):
        if not isinstance(node, _NODES) or (isinstance(node, nodes.For) and node.recursive):
            _refuse(node, f"texts have no {type(node).__name__.lower()}: they pick fields, branch, loop and filter")
        if isinstance(node, nodes.Filter) and (node.name in OWN_FILTERS or node.name not in environment.filters):
            known = ", ".join(sorted(name for name in environment.filters if name not in OWN_FILTERS))
            _refuse(node, f"there is no filter {node.name}: there are {known}")
        if isinstance(node, nodes.Name) and (node.name.startswith("_") or node.name in _OF_JINJA):
            _refuse(node, f"there is no {node.name}")
    for loop in tree.find_all(nodes.For):
        if _depth(loop) > _MOST_LOOPS:
            _refuse(loop, f"more than {_MOST_LOOPS} loops inside each other")
    asked_for = (node for node in every(tree) if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Name))
    return sorted(set(map(_dotted, asked_for)))


def _depth(loop: nodes.Node) -> int:
    within = max((_depth(inner) for inner in loop.iter_child_nodes()), default=0)
    return within + 1 if isinstance(loop, nodes.For) else within


def _dotted(node: nodes.Node) -> str:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_dotted(node.node)}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return f"{_dotted(node.node)}.{node.arg.value}"
    return "…"


def _single(tree: nodes.Template, environment: Environment) -> Callable[[Mapping[str, Any]], Any] | None:
    """The value of a text that is one expression and nothing else."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    [*found] = tree.body[0].nodes
    if len(found) != 1 or isinstance(found[0], nodes.TemplateData):
        return None
    result = nodes.Assign(nodes.Name("result", "store"), found[0], lineno=1)
    template = nodes.Template([result], lineno=1)
    template.set_environment(environment)
    return TemplateExpression(environment.from_string(template), undefined_to_none=False)


def _refuse(node: nodes.Node, why: str) -> NoReturn:
    raise TextBroken(f"line {node.lineno}: {why}")


def _escaped(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, str | Undefined):
        return escape(shown(value))
    if isinstance(value, Mapping):
        return {name: _escaped(item, escape) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item, escape) for item in value]
    return value


def _number(value: Any) -> Any:
    if not -_MOST_NUMBER <= value <= _MOST_NUMBER:
        raise Refused("reckons with numbers that are too large")
    return value


@pass_environment
def _sum(environment: Environment, items: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    """Of numbers: lists and texts would be copied with each that is added."""
    if not isinstance(start, int | float):
        raise Refused("only numbers can be summed")
    return do_sum(environment, items, attribute, start)


@pass_context
def _plain(context: Context, value: Any) -> Any:
    """A body as plain text, read as the event's own system writes it."""
    return context[_PLAIN](value) if isinstance(value, str) else value


def _join(items: Any, separator: str = "", attribute: str | None = None) -> str:
    found = [item if attribute is None else item.get(attribute) for item in few(items)]
    texts = [shown(item) for item in found]
    _bounded(sum(map(len, texts)) + len(texts) * len(separator))
    return separator.join(texts)


def _replace(text: Any, old: str, new: str, count: int = -1) -> str:
    whole = shown(text)
    _bounded(len(whole) + whole.count(old) * len(new))
    return whole.replace(old, new, count)


def _round(value: Any, precision: int = 0) -> float:
    return round(float(value), precision)


def _tojson(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=shown)


def _bounded(length: int) -> None:
    if length > 10 * MOST_TEXT:
        raise Refused("grows too large: `truncate` what may be long")
