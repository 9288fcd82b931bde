"""Members of the workspace become directory.user."""

from collections.abc import Iterable

from unsilo_schemas.user import USER

from ..contract import Event, Facts, Raw
from .callback import SLACKBOT, Callback, Part, first_text, happened_at, nullable_text, part, seconds, text
from .settings import SlackSettings

_NAMES = (("first_name", "given_name"), ("last_name", "family_name"))
_TEXTS = (("name", "handle"), ("tz", "timezone"), ("locale", "locale"))
_ROLES = (  # most powerful first: Slack sets the lesser flags as well
    ("is_primary_owner", "primary_owner"),
    ("is_owner", "owner"),
    ("is_admin", "admin"),
    ("is_ultra_restricted", "single_channel_guest"),
    ("is_restricted", "multi_channel_guest"),
)


def joined(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """A new member, human or bot."""
    return (Event(USER["created"], callback.id, happened_at(callback), _user(callback, raw)),)


def changed(callback: Callback, raw: Raw[SlackSettings]) -> Iterable[Event]:
    """The whole member, not what changed. Members are deactivated and never deleted, whatever `deleted` sounds like."""
    user = _user(callback, raw)
    verb = "deactivated" if user.get("active") is False else "updated"
    return (Event(USER[verb], callback.id, happened_at(callback), user),)


def _user(callback: Callback, raw: Raw[SlackSettings]) -> Facts:
    user = part(callback.event, "user")
    remote_id = text(user, "id")
    known: Facts = {
        **raw.connection.identified("user", remote_id),
        **{ours: nullable_text(user, theirs) for theirs, ours in _TEXTS if theirs in user},
    }
    if isinstance(deleted := user.get("deleted"), bool):
        known["active"] = not deleted
    if isinstance(bot := user.get("is_bot"), bool):
        known["kind"] = "bot" if bot or remote_id == SLACKBOT else "human"
    if (role := _role(user)) is not None:
        known["role"] = role
    if (external := _external(user, callback.body)) is not None:
        known["external"] = external
    if user.get("updated") is not None:
        known["remote_updated_at"] = seconds(user, "updated")
    if isinstance(profile := user.get("profile"), dict):
        known.update(_profile(profile, user))
    return known


def _profile(profile: Part, user: Part) -> Facts:
    known: Facts = {ours: nullable_text(profile, theirs) for theirs, ours in _NAMES if theirs in profile}
    name = first_text(profile, "display_name", "real_name")  # Slack itself shows the second where the first is empty
    if name is not None:
        known["display_name"] = name
    if "email" in profile:
        email = nullable_text(profile, "email")
        confirmed = user.get("is_email_confirmed")
        verified = {"verified": confirmed} if isinstance(confirmed, bool) else {}
        known["emails"] = [{"value": email, "primary": True, **verified}] if email else _nothing(email)
    if "phone" in profile:
        phone = nullable_text(profile, "phone")
        known["phones"] = [{"value": phone}] if phone else _nothing(phone)
    return known


def _nothing(value: str | None) -> list[Facts] | None:
    return None if value is None else []


def _role(user: Part) -> str | None:
    if not any(flag in user for flag, _ in _ROLES):
        return None
    return next((role for flag, role in _ROLES if user.get(flag) is True), "member")


def _external(user: Part, body: Part) -> bool | None:
    """Whether the member is of another workspace; unknown inside an Enterprise Grid, whose workspaces share members.

    The workspace where the app is installed is that of the authorization: the envelope's `team_id` may be another's.
    """
    if user.get("is_stranger") is True:
        return True
    authorizations = body.get("authorizations")
    authorization = authorizations[0] if isinstance(authorizations, list) and authorizations else None
    ours, theirs = first_text(authorization, "team_id"), first_text(user, "team_id")
    if ours is None or theirs is None:
        return None
    if ours == theirs:
        return False
    return None if first_text(authorization, "enterprise_id") else True
