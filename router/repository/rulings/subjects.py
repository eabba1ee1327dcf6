"""What rulings are on: an address, @ and a domain, or mail whose From has no address."""

from typing import Final

NO_SENDER: Final = "<>"
"""The subject of a ruling on mail whose From has no address, as `router.subject_of` has it."""


def address_of(subject: str) -> str:
    """Return the address of the parties that a subject means; of @ and a domain, just that."""
    return "" if subject == NO_SENDER else subject
