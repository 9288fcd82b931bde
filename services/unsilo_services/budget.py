"""What one text may do with one event, counted: loops, filters, tests and sums spend by what they are given.

Counted and not timed, so that an event always fares the same. `weighed` puts into a text's tree what has to be spent by
what no filter stands before; `charged` makes a filter spend by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from jinja2 import TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.utils import _PassArg
from jinja2.visitor import NodeTransformer

BUDGET = "_budget"
"""The name of the budget in a text's context; no text can name it."""

_MOST_WORK = 1_000_000  # pieces (items, ten characters) of one text that are gone through, a second at the worst
_MOST_ITEMS = 1000  # that a loop goes through
_FREE = frozenset({  # filters and tests that take the same time whatever they are given
    "count", "d", "default", "first", "last", "length",
    "boolean", "defined", "mapping", "none", "number", "sequence", "undefined",
})  # fmt: skip
_BY_TENS = frozenset({  # what does not go through a text one character at a time
    "capitalize", "float", "int", "lower", "plain", "replace", "string", "tojson", "trim", "truncate", "upper",
})  # fmt: skip


class Refused(TemplateRuntimeError):
    """What a text does is refused. Ours, so that the message is known to hold no value."""


class Budget:
    """What one text may still do with one event."""

    def __init__(self) -> None:
        self._left = _MOST_WORK

    def spend(self, pieces: int) -> None:
        """Raises Refused where nothing is left."""
        self._left -= pieces
        if self._left < 0:
            raise Refused("does too much with too large an event: `truncate` what may be long, loop through less")

    def weigh(self, *values: Any) -> None:
        """Spends by size, all that is within included."""
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            self.spend(1 + len(value) // 10 if isinstance(value, str) else 1)
            if isinstance(value, Mapping):
                waiting.extend(value)
                waiting.extend(value.values())
            elif isinstance(value, list | tuple):
                waiting.extend(value)
            elif isinstance(value, int):
                self.spend(value.bit_length() // 64 * 1000)  # whose hashes a sender can make all the same


def every(node: nodes.Node) -> Iterable[nodes.Node]:
    """A node of a template's tree, and all below it."""
    yield node
    for child in node.iter_child_nodes():
        yield from every(child)


def weighed(tree: nodes.Template) -> None:
    """Puts the `OWN_FILTERS` around what takes time and is neither filter nor test nor sum."""
    _Weighing().visit(tree)


class _Weighing(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        each = len(list(every(node)))
        self.generic_visit(node)
        node.iter = _around(node.iter, _LOOPED, nodes.Const(each))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _around(node.expr, _WEIGHED)
        for side in node.ops:
            side.expr = _around(side.expr, _WEIGHED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_around(part, _WEIGHED) for part in node.nodes]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _around(node, _WEIGHED)
        node.arg = _around(node.arg, _WEIGHED)
        return node

    def visit_List(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> Any:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _around(node, _WEIGHED)

    visit_Tuple = visit_Dict = visit_List


def _around(node: Any, name: str, *arguments: nodes.Expr) -> Any:
    return node if isinstance(node, nodes.Const) else nodes.Filter(node, name, [*arguments], [], None, None)


@pass_context
def _of_size(context: Context, value: Any) -> Any:
    context[BUDGET].weigh(value)
    return value


@pass_context
def _of_loop(context: Context, items: Any, each: int) -> list[Any]:
    found = few(items)
    context[BUDGET].spend(len(found) * each)
    return found


_LOOPED = "_looped"  # put around what a loop goes through
_WEIGHED = "_weighed"  # put around what takes time by its size
OWN_FILTERS: Mapping[str, Any] = {_LOOPED: _of_loop, _WEIGHED: _of_size}
"""Filters that no text can name."""


def charged(named: Mapping[str, Any]) -> dict[str, Any]:
    """Filters or tests so that they spend by what they are given and make, and make lists and no iterators."""
    return {name: made if name in _FREE else _charged(name, made) for name, made in named.items()}


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    wanted = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def spending(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        budget: Budget = context[BUDGET]
        beside = (*args, *named.values())
        texts = sum(len(text) for text in beside if isinstance(text, str))
        budget.weigh(*beside)
        if not (name == "truncate" and isinstance(value, str)):  # which leaves the rest alone
            budget.weigh(value)
        if isinstance(value, str):
            budget.spend(len(value) * texts // 1000 + (0 if name in _BY_TENS else len(value)))
        elif isinstance(value, Mapping | list | tuple):
            budget.spend(len(value) * texts // 10)  # a text beside a list may be gone through for each item
        made = function(*_passed(wanted, context), value, *args, **named)
        if isinstance(made, Iterator) and not isinstance(made, LoopContext):
            made = list(made)
        if isinstance(made, str | list):
            budget.spend(len(made) // 10 if isinstance(made, str) else len(made))
        return made

    return spending


def _passed(wanted: _PassArg | None, context: Context) -> tuple[Any, ...]:
    """What Jinja hands to a filter before the value."""
    if wanted is None:
        return ()
    if wanted is _PassArg.context:
        return (context,)
    return (context.environment if wanted is _PassArg.environment else context.eval_ctx,)


def few(items: Any) -> list[Any]:
    """What a loop may go through, as a list. Raises Refused."""
    if isinstance(items, Undefined | str) or items is None:
        raise Refused("a loop goes through a list: `default([])` where there may be none")
    found = list(islice(iter(items), _MOST_ITEMS + 1))
    if len(found) > _MOST_ITEMS:
        raise Refused(f"a loop goes through no more than {_MOST_ITEMS} items")
    return found
