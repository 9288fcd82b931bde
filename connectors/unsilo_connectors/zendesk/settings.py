"""What an operator says of one Zendesk account, and of the bodies that its triggers send."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from ..contract import Settings
from ..secrets import RotatingSecret, Secret

Path = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]
Word = Literal[
    "created", "updated", "assigned", "status_changed", "escalated", "merged", "resolved", "reopened", "closed",
    "deleted", "restored", "comment_added",
]  # fmt: skip


class Template(Settings):
    """Where a trigger's body holds what: our field names, each with a dotted path. Null where a body lacks a field.

    The defaults are the template that the connector's guide recommends.
    """

    event: Path | None = "event"
    key: Path | None = "key"
    time: Path | None = "ticket.updated_at"
    actor: Path | None = "actor.id"
    actor_name: Path | None = "actor.name"

    ticket: Path = "ticket.id"
    title: Path | None = "ticket.subject"
    description: Path | None = "ticket.description"
    kind: Path | None = "ticket.type"
    status: Path | None = "ticket.status"
    priority: Path | None = "ticket.priority"
    reporter: Path | None = "ticket.requester_id"
    assignees: Path | None = "ticket.assignee_id"
    units: Path | None = "ticket.group_id"
    account: Path | None = "ticket.organization_id"
    parent: Path | None = "ticket.problem_id"
    due_at: Path | None = "ticket.due_at"
    channel: Path | None = "ticket.via"
    external_id: Path | None = "ticket.external_id"
    merged_into: Path | None = "ticket.merged_into"
    tags: Path | None = "ticket.tags"
    custom: Path | None = "ticket.custom_fields"
    remote_created_at: Path | None = "ticket.created_at"
    remote_updated_at: Path | None = "ticket.updated_at"

    comment: Path | None = "comment.id"
    body: Path | None = "comment.body"
    html_body: Path | None = "comment.html_body"
    visibility: Path | None = "comment.is_public"
    author: Path | None = "comment.author.id"
    author_name: Path | None = "comment.author.name"

    _steps: dict[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Splits the paths once, and not for each delivery."""
        self._steps.update((name, tuple(path.split("."))) for name, path in self if path is not None)

    @property
    def steps(self) -> Mapping[str, tuple[str, ...]]:
        """The way to each field, by our name."""
        return self._steps


class ZendeskSettings(Settings):
    """One Zendesk account. `event_words` translates the words that a trigger's body uses for what happened.

    `email` and `token` are the agent's under whose name the hub writes; without them nothing is written. `url` is where
    the account answers, if not at its subdomain.
    """

    signing_secret: RotatingSecret
    subdomain: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$")
    template: Template = Template()
    event_words: Mapping[str, Word] = {}
    url: str | None = Field(default=None, pattern=r"^https?://\S*[^/\s]$")
    email: str | None = Field(default=None, pattern=r"^[^\s:@/]+@[^\s:@/]+$")
    token: Secret | None = None

    @property
    def api(self) -> str | None:
        """Where the account's API answers, as far as the settings say."""
        return self.url or (self.subdomain and f"https://{self.subdomain}.zendesk.com")
