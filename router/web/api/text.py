"""What the database can hold of what a client sends."""


def is_storable(text: str) -> bool:
    """Whether it has no NUL, and no half of a pair (surrogate)."""
    try:
        text.encode()  # a loop over the characters would take seconds
    except UnicodeEncodeError:
        return False
    return "\0" not in text
