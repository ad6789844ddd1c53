"""Text from a server or a file, for a line on somebody's terminal."""


def printable(text: str) -> str:
    """Show, as escapes, all that a terminal or a reader of lines would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
