"""What a node says when it is done: a line on it in the graph editor that stays until it runs again."""

LINE = "persona_notice"  # in the ui output; web/js/notices.js shows it


def line(text: str) -> dict[str, tuple[str]]:
    """The part of a node's ui output that says it."""
    return {LINE: (text,)}
