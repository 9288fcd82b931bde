"""Every entity type, and every event type by name."""

from .account import ACCOUNT
from .contact import CONTACT
from .employee import EMPLOYEE
from .engagement import ENGAGEMENT
from .entity import EntityType, EventType
from .link import LINK
from .opportunity import OPPORTUNITY
from .post import POST, REACTION, REPLY
from .space import MEMBERSHIP, SPACE
from .ticket import COMMENT, TICKET
from .user import USER

ENTITY_TYPES: tuple[EntityType, ...] = (
    ACCOUNT, CONTACT, OPPORTUNITY, ENGAGEMENT,
    EMPLOYEE,
    TICKET, COMMENT,
    SPACE, MEMBERSHIP, POST, REPLY, REACTION,
    USER,
    LINK,
)  # fmt: skip
EVENT_TYPES: dict[str, EventType] = {event.name: event for kind in ENTITY_TYPES for event in kind.events.values()}
