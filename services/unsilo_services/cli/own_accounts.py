"""Why the hub does not know who it is in a system. Told from the configuration: nobody is called."""

from pydantic import ValidationError
from unsilo_connectors.actions import Refused
from unsilo_connectors.contract import nobody

from ..configuration import ConnectionSection, connection_of, connector_of


def cannot_ask(section: ConnectionSection) -> str | None:
    """What the settings lack for the vendor to be asked; None if they are enough."""
    try:
        steps = connector_of(section).whoami(connection_of(section))
        next(steps)
    except StopIteration:
        if connector_of(section).whoami is nobody:  # delivery need not ask
            return None
        return "no token: the hub cannot ask who it is there"
    except Refused as error:
        return f"{section.connector} {error}"
    except ValidationError:
        return "its settings do not hold: the hub cannot ask who it is there"
    steps.close()
    return None
