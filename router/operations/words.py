"""How numbers of things are put."""


def count(number: int, what: str, many: str | None = None) -> str:
    """Put a number of things: "1 owner", "2 owners"; `many` where the plural is no -s."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"
