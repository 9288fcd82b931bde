"""Flows in both directions through a system that does not tell the hub's writes from what others did: refused.

Each echo would be taken for news and written on, for ever.
"""

from collections.abc import Iterator

from .configuration import Configuration, connector_of, whole_name


def loop_through(connection: str, configuration: Configuration) -> str | None:
    """Why flows may not write to a connection, and what to do; None if they may."""
    section = configuration.connections[connection]
    if connector_of(section).knows_its_echoes or section.own_accounts:
        return None
    types = section.settings.get("types")
    told = {type for type in types.values() if isinstance(type, str)} if isinstance(types, dict) else set()
    for name, flow in sorted(configuration.flows.items()):
        if heard := sorted(told.intersection(map(whole_name, flow.on))):
            return (
                f"may come back as news without end: flow {name} waits for {heard[0]}, which {connection} tells of "
                f"without a sign of what the hub wrote: set own_accounts of {connection} to the actor under which the "
                "hub's writes come back, or use it in one direction only"
            )
    return None


def loops(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """What is wrong with flows that are all well by themselves: the place, and the problem."""
    for name, flow in sorted(configuration.flows.items()):
        for number, step in enumerate(flow.do):
            if step.deliver in configuration.connections and (why := loop_through(step.deliver, configuration)):
                yield f"flow {name}: do.{number}.deliver", why
