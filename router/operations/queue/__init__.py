"""The queue of unresolved senders, as a page works with it: values in, values out.

    pages    who waits, by domain and by sender, filtered and searched
    mail     a sender, and one message; who a sender may be
    held     what is held back, and why
    held_mail  what one of it says
    ruling   who a sender is: what that touches, whether it is done, and undone
    care     who takes care of a sender, who is put off, who looks at whom
    live     what has changed, for all open pages by one connection

`seen` is whose mail the person may see: the ids of owners, None: all mail. What a person may not see is not found:
neither an email, a subject, a number, nor a record that is named because of it. Names of the CRM's records are for all.
"""

from uuid import UUID

Seen = frozenset[UUID] | None
"""Whose mail may be seen: owners, or all."""


def within(seen: Seen, owners: frozenset[UUID] | None) -> Seen:
    """Leave of what may be seen what a filter names; None: no filter."""
    if owners is None:
        return seen
    return owners if seen is None else seen & owners
