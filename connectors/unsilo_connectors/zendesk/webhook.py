"""Whom to trust and what Zendesk sends: events with a fixed envelope, and what administrators have triggers send."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ..contract import Connector, MalformedWebhook, Raw, Sender, Translate, UntrustedWebhook, WebhookRequest
from ..payloads import moment
from ..signatures import check_age, check_signature, hmac_base64
from . import comments, triggers
from .actions import ACTIONS, pause, whoami
from .changes import (
    active_verb,
    assigned_verb,
    change,
    custom_field,
    deleted,
    identity,
    merged,
    restored,
    status_verb,
    tagged,
    whole,
)
from .layouts import ORGANIZATION_LAYOUT, TICKET_LAYOUT, USER_LAYOUT
from .notice import PREFIX, TRIGGER, Notice, decode, required
from .settings import ZendeskSettings

SIGNATURE = "x-zendesk-webhook-signature"
TIMESTAMP = "x-zendesk-webhook-signature-timestamp"

TICKET_EVENTS: Mapping[str, Translate[Notice, ZendeskSettings]] = {
    "created": whole(TICKET_LAYOUT, "created"),
    "status_changed": change(TICKET_LAYOUT, "status", status_verb),
    "agent_assignment_changed": change(TICKET_LAYOUT, "assignee_id", assigned_verb),
    "group_assignment_changed": change(TICKET_LAYOUT, "group_id", assigned_verb),
    "priority_changed": change(TICKET_LAYOUT, "priority"),
    "subject_changed": change(TICKET_LAYOUT, "subject"),
    "description_changed": change(TICKET_LAYOUT, "description"),
    "type_changed": change(TICKET_LAYOUT, "type"),
    "tags_changed": tagged(TICKET_LAYOUT),
    "external_id_changed": change(TICKET_LAYOUT, "external_id"),
    "organization_changed": change(TICKET_LAYOUT, "organization_id"),
    "requester_changed": change(TICKET_LAYOUT, "requester_id"),
    "submitter_changed": change(TICKET_LAYOUT, "submitter_id"),
    "brand_changed": change(TICKET_LAYOUT, "brand_id"),
    "form_changed": change(TICKET_LAYOUT, "form_id"),
    "custom_status_changed": change(TICKET_LAYOUT, "custom_status"),
    "custom_field_changed": custom_field(TICKET_LAYOUT),
    "task_due_at_changed": change(TICKET_LAYOUT, "due_at"),
    "problem_link_changed": change(TICKET_LAYOUT, "problem_id"),
    "merged": merged(TICKET_LAYOUT),
    "marked_as_spam": deleted(TICKET_LAYOUT),  # which deletes the ticket
    "soft_deleted": deleted(TICKET_LAYOUT),
    "permanently_deleted": deleted(TICKET_LAYOUT),
    "undeleted": restored(TICKET_LAYOUT),
    "comment_added": comments.added,
    "comment_made_private": comments.made_private,
    "comment_redacted": comments.redacted,
}
USER_EVENTS: Mapping[str, Translate[Notice, ZendeskSettings]] = {
    "created": whole(USER_LAYOUT, "created"),
    "name_changed": change(USER_LAYOUT, "name"),
    "alias_changed": change(USER_LAYOUT, "alias"),
    "details_changed": change(USER_LAYOUT, "details"),
    "notes_changed": change(USER_LAYOUT, "notes"),
    "role_changed": change(USER_LAYOUT, "role"),
    "custom_role_changed": change(USER_LAYOUT, "custom_role_id"),
    "default_group_changed": change(USER_LAYOUT, "default_group_id"),
    "external_id_changed": change(USER_LAYOUT, "external_id"),
    "time_zone_changed": change(USER_LAYOUT, "time_zone"),
    "custom_field_changed": custom_field(USER_LAYOUT),
    "tags_changed": tagged(USER_LAYOUT),
    "identity_created": identity(USER_LAYOUT),
    "identity_changed": identity(USER_LAYOUT),
    "identity_deleted": identity(USER_LAYOUT),
    "active_changed": change(USER_LAYOUT, "active", active_verb),
    "suspended_changed": change(USER_LAYOUT, "suspended"),
    "merged": whole(USER_LAYOUT, "updated", complete=False),  # which of the two is left, is not documented
    "deleted": deleted(USER_LAYOUT),
}
ORGANIZATION_EVENTS: Mapping[str, Translate[Notice, ZendeskSettings]] = {
    "created": whole(ORGANIZATION_LAYOUT, "created"),
    "name_changed": change(ORGANIZATION_LAYOUT, "name"),
    "external_id_changed": change(ORGANIZATION_LAYOUT, "external_id"),
    "custom_field_changed": custom_field(ORGANIZATION_LAYOUT),
    "tags_changed": tagged(ORGANIZATION_LAYOUT),
    "deleted": deleted(ORGANIZATION_LAYOUT),
}
IGNORED: Mapping[str, tuple[str, ...]] = {
    "ticket": (
        "attachment_linked_to_comment", "attachment_redacted_from_comment", "csat_received", "csat_requested",
        "email_ccs_changed", "followers_changed", "next_sla_breach_changed", "ola_policy_changed", "schedule_changed",
        "sla_policy_changed",
    ),
    "user": (
        "group_membership_created", "group_membership_deleted", "last_login_changed", "only_private_comments_changed",
        "organization_membership_created", "organization_membership_deleted", "password_changed", "photo_changed",
    ),
    "agent": (
        "channel_created", "channel_deleted", "groups_updated", "max_capacity_changed", "state_changed",
        "unified_state_changed", "work_item_added", "work_item_removed", "work_item_updated",
    ),
    "article": (
        "author_changed", "comment_changed", "comment_created", "comment_published", "comment_unpublished",
        "published", "subscription_created", "unpublished", "vote_changed", "vote_created", "vote_removed",
    ),
    "community_post": (
        "changed", "comment_changed", "comment_created", "comment_published", "comment_unpublished",
        "comment_vote_changed", "comment_vote_created", "created", "published", "subscription_created", "unpublished",
        "vote_changed", "vote_created", "vote_removed",
    ),
    "messaging_live_metrics": tuple(
        metric + grouping
        for metric in (
            "active_assigned_conversations", "active_unassigned_conversations", "avg_concurrency", "avg_handle_time",
            "avg_requester_wait_time", "avg_time_in_queue", "conversations_in_queue", "longest_requester_wait_time",
            "longest_time_in_queue", "total_active_conversations",
        )
        for grouping in ("", "_by_group", "_by_via_type")
    ),
    "omnichannel_config": ("omnichannel_routing_feature_changed",),
}  # fmt: skip

_KEYED_BY = {"ticket": "ticket", "messaging_ticket": "ticket", "user": "user", "organization": "organization"}


def verify(request: WebhookRequest[ZendeskSettings]) -> None:
    """Signs the header's text as it is, and the body right behind it (Zendesk: verifying webhooks)."""
    sent_at = request.headers.get(TIMESTAMP)
    if not sent_at:
        raise UntrustedWebhook("timestamp_missing")
    message = sent_at.encode("utf-8", "surrogateescape") + request.body
    check_signature(request.headers.get(SIGNATURE), message, request.connection.settings.signing_secret, hmac_base64)
    try:
        moment_sent = moment(sent_at)
    except MalformedWebhook:
        raise UntrustedWebhook("timestamp_malformed") from None
    check_age(moment_sent, request.received_at)


def sign(body: bytes, settings: ZendeskSettings, sent_at: datetime) -> Mapping[str, str]:
    """The two headers by which Zendesk proves itself."""
    timestamp = f"{sent_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    signature = hmac_base64(settings.signing_secret[0], timestamp.encode() + body)
    return {SIGNATURE: signature.decode(), TIMESTAMP: timestamp}


def aggregate(notice: Notice, raw: Raw[ZendeskSettings]) -> str:
    """The ticket for all that is said on it. What we ignore keeps its order by its own subject."""
    here = raw.connection
    if notice.kind == TRIGGER:
        return here.entity_id("ticket", triggers.filled(notice, raw).required("ticket"))
    domain = notice.kind[len(PREFIX) :].partition(".")[0]
    remote_type = _KEYED_BY.get(domain)
    if remote_type is not None:
        return here.entity_id(remote_type, required(notice.detail, "id", here))
    subject = notice.body.get("subject")
    return here.entity_id(domain, subject if isinstance(subject, str) else "")


def event_type(notice: Notice, raw: Raw[ZendeskSettings]) -> str:
    """Zendesk's own name, or what kind of trigger it was."""
    return triggers.event_type(notice, raw) if notice.kind == TRIGGER else notice.kind


def delivery_key(notice: Notice, raw: Raw[ZendeskSettings]) -> str | None:
    """Zendesk's number of the call: attempts to deliver it share it."""
    return raw.headers.get(triggers.INVOCATION)


connector = Connector(
    name="zendesk",
    title="Zendesk",
    settings=ZendeskSettings,
    sender=Sender(
        deadline=timedelta(seconds=12),
        retry_horizon=timedelta(hours=1),  # not documented; five attempts with at most a minute between
        on_failure=(
            "Tries again up to 5 times when we take longer than 12 seconds, up to 3 times after 409, and after 429 or "
            "503 only with a Retry-After below 60 seconds; any other failure is final. Pauses when most calls fail. "
            "What was missed must be fetched from the API."
        ),
    ),
    needed_headers=(triggers.INVOCATION,),
    verify=verify,
    sign=sign,
    decode=decode,
    aggregate=aggregate,
    event_type=event_type,
    events={
        **{f"{PREFIX}ticket.{name}": translate for name, translate in TICKET_EVENTS.items()},
        **{f"{PREFIX}user.{name}": translate for name, translate in USER_EVENTS.items()},
        **{f"{PREFIX}organization.{name}": translate for name, translate in ORGANIZATION_EVENTS.items()},
        f"{PREFIX}messaging_ticket.message_added": comments.message_added,
        TRIGGER: triggers.ticket,
        triggers.COMMENT_ADDED: triggers.comment,
    },
    ignored=frozenset(f"{PREFIX}{domain}.{name}" for domain, names in IGNORED.items() for name in names),
    delivery_key=delivery_key,
    outgoing=frozenset({"token"}),
    actions=ACTIONS,
    whoami=whoami,
    pause=pause,
)
