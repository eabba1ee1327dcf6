"""What the router's own words mean, for those who work with mail and not with the router."""

from collections.abc import Mapping
from typing import Final

from router.model import Disposition, Rule
from router.operations.words import count

RULES: Final[Mapping[str, str]] = {
    Rule.ALL: "all mail",
    Rule.REPLIES: "answers to email of the CRM",
    Rule.KNOWN: "mail of contacts, leads and accounts",
    Rule.EMAIL_ENABLED: "mail of any record that has an address",
    Rule.NONE: "nothing",
}

BECAME: Final[Mapping[str, str]] = {
    Disposition.PROMOTED: "it became the email in the CRM",
    Disposition.DUPLICATE: "it is the same email, received here, too",
    Disposition.IGNORED: "the rule leaves it out, and nothing of it is stored",
    Disposition.HELD: "it waits until a person releases or drops it",
    Disposition.DEAD: "it could not be read or stored",
}

MARKS: Final[Mapping[str, str]] = {
    Disposition.PROMOTED: "well",
    Disposition.DUPLICATE: "well",
    Disposition.IGNORED: "off",
    Disposition.HELD: "held",
    Disposition.DEAD: "broken",
}

METHODS: Final[Mapping[str, str]] = {
    "in-reply-to": "it names that email as what it answers (In-Reply-To)",
    "references": "it names that email in its thread (References)",
    "read-receipt": "it is the receipt for that email",
    "private-header": "it carries the router's own header of that email",
    "token": "it carries that email's token",
    "legacy-token": "it carries that email's token, of the CRM's former router",
    "thread-index": "Outlook's thread index is the same (Thread-Index)",
    "smart-matching": "subject and people are alike",
    "report": "it reports on the delivery of that email",
    "manual": "a person said so in the CRM",
}

ACTIONS: Final[Mapping[str, str]] = {
    "signed-in": "signed in",
    "signed-out": "signed out",
    "sessions-ended": "ended all sessions of",
    "session-ended": "ended a session of",
    "password-chosen": "chose a password",
    "password-changed": "changed the password",
    "passkey-added": "added a passkey",
    "passkey-removed": "removed a passkey",
    "identity-bound": "was bound to the provider's id of the person",
    "person-added": "added the person",
    "person-granted": "changed the roles of",
    "person-reset": "made a new link for",
    "person-disabled": "disabled",
    "owner-approved": "approved the mailbox",
    "owner-disapproved": "took back the approval of",
    "rule-set": "set the rule of",
    "rule-simulated": "tried another rule on",
    "record-made": "made the record",
    "record-changed": "changed the record",
    "ruling-made": "made",
    "ruling-undone": "undid",
    "raw-viewed": "looked at the source of",
    "sending-started": "started sending",
    "sending-stopped": "stopped sending",
    "webhook-added": "added the webhook",
    "webhook-removed": "removed the webhook",
    "webhook-paused": "paused the webhook",
    "webhook-resumed": "resumed the webhook",
    "webhook-replayed": "replayed the webhook",
}


_KINDS: Final[Mapping[str, str]] = {"resolve": "who a sender is", "ignore-sender": "nobody has to say who a sender is"}


def action(name: str) -> str:
    """Say what was done; an action that has no words here says itself."""
    return ACTIONS.get(name, name.replace("-", " "))


def details(of: Mapping[str, object]) -> str:
    """Say an entry's details in a line."""
    if "grants" in of and isinstance(of["grants"], list):
        grants = [one for one in of["grants"] if isinstance(one, dict)]
        owners = sum(one.get("owner") is not None for one in grants)
        role = str(grants[0].get("role")) if grants else "no role"
        return f"{role}, for {count(owners, 'mailbox', 'mailboxes')}" if owners else role
    if of.keys() == {"kind"}:
        return _KINDS.get(str(of["kind"]), str(of["kind"]))
    return ", ".join(f"{name}: {'the default' if value is None else value}" for name, value in of.items())
