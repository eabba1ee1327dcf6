"""For whom tokens are, as a profile says it."""

from router.model.identity import Identity
from transports import OAuth2


def identity_of(oauth2: OAuth2, subject: str) -> Identity:
    """Name the identity; `subject` is a mailbox, or empty where the tokens are for all mailboxes."""
    return Identity(oauth2.where, client_of(oauth2), oauth2.effective_scope, oauth2.effective_grant, subject)


def identities_of(oauth2: OAuth2, mailbox: str) -> tuple[Identity, ...]:
    """List the identities whose tokens open a mailbox, the first of which wins that has any.

    Where a person logs in, the owner's own login goes before that of the whole profile.
    """
    if oauth2.is_of_mailbox:
        return (identity_of(oauth2, mailbox),)
    whole = identity_of(oauth2, "")
    if mailbox and oauth2.is_by_login:
        return identity_of(oauth2, mailbox), whole
    return (whole,)


def client_of(oauth2: OAuth2) -> str:
    """Name the application: by its id, or by where its service account's key is.

    With a refresh token it is by where that is, too: another's opens other mailboxes.
    """
    named = [oauth2.client_id] if oauth2.client_id is not None else []
    named += [one.where() for one in (oauth2.service_account, oauth2.refresh_token) if one is not None]
    return ", ".join(named)
