"""Slack's event types that are known and not wanted: counted, kept in `raw` for a while, and no dead letters."""

_NOTES = (  # message subtypes that nobody wrote; what they tell, other events tell better
    "assistant_app_thread", "app_conversation_join", "app_conversation_leave", "bot_add", "bot_disable", "bot_enable",
    "bot_remove", "channel_archive", "channel_canvas_updated", "channel_join", "channel_leave", "channel_name",
    "channel_posting_permissions", "channel_purpose", "channel_topic", "channel_unarchive", "document_mention",
    "ekm_access_denied", "file_comment", "file_mention", "group_archive", "group_join", "group_leave", "group_name",
    "group_purpose", "group_topic", "group_unarchive", "huddle_thread", "joiner_notification", "message_replied",
    "pinned_item", "reminder_add", "reminder_delete", "reply_broadcast", "sh_room_created", "sh_room_shared",
    "share_shortcut", "slackbot_response", "tabbed_canvas_updated", "tombstone", "unpinned_item",
)  # fmt: skip

_DIRECT = (  # what event_type calls the closed ones
    "message.im", "message.mpim", "message.app_home", "reaction_added.im", "reaction_removed.im",
)  # fmt: skip

_OTHER_ITEMS = (
    "reaction_added/file", "reaction_added/file_comment", "reaction_removed/file", "reaction_removed/file_comment",
)  # fmt: skip

_TOLD_ELSEWHERE = (
    "app_mention",  # the same message comes as message.*
    "message_metadata_posted", "message_metadata_updated", "message_metadata_deleted",  # as message.* too
    "user_profile_changed", "user_status_changed", "user_huddle_changed",  # as user_change
    "channel_left", "group_left",  # as member_left_channel
)  # fmt: skip

_OF_THE_APP = (
    "url_verification", "app_rate_limited", "app_context_changed", "app_deleted", "app_home_opened", "app_installed",
    "app_requested", "app_uninstalled", "app_uninstalled_team", "tokens_revoked", "scope_granted", "scope_denied",
    "resources_added", "resources_removed", "user_resource_granted", "user_resource_denied", "user_resource_removed",
    "team_access_granted", "team_access_revoked", "function_executed", "workflow_deleted", "workflow_published",
    "workflow_unpublished", "workflow_step_deleted", "workflow_step_execute", "assistant_thread_started",
    "assistant_thread_context_changed", "agent_session_stopped", "agent_session_title_changed",
    "entity_details_requested", "link_shared",
)  # fmt: skip

_ABOUT_OTHER_THINGS = (
    "call_rejected", "channel_history_changed", "group_history_changed", "im_history_changed", "channel_id_changed",
    "dnd_updated", "dnd_updated_user", "email_domain_changed", "emoji_changed", "file_change", "file_comment_added",
    "file_comment_deleted", "file_comment_edited", "file_created", "file_deleted", "file_public", "file_shared",
    "file_unshared", "goodbye", "grid_migration_finished", "grid_migration_started", "group_close", "group_open",
    "im_close", "im_created", "im_open", "invite_requested", "pin_added", "pin_removed",
    "shared_channel_invite_accepted", "shared_channel_invite_approved", "shared_channel_invite_declined",
    "shared_channel_invite_received", "shared_channel_invite_requested", "star_added", "star_removed",
    "subteam_created", "subteam_members_changed", "subteam_self_added", "subteam_self_removed", "subteam_updated",
    "team_domain_change", "team_rename",
)  # fmt: skip

IGNORED = frozenset(
    [f"message/{subtype}" for subtype in _NOTES]
    + [*_DIRECT, *_OTHER_ITEMS, *_TOLD_ELSEWHERE, *_OF_THE_APP, *_ABOUT_OTHER_THINGS]
)
