"""What a relay's reply to a message tells of the Message-ID that the relay gives it in place of ours.

Answers name that id, so the email has to be found by it.

250 2.6.0 <a1b2@mail.example.com> [InternalId=42] Queued mail for delivery          Exchange: the id itself
250 Ok 010201932f6e1c7b-8f1d2c3b-11aa-22bb-33cc-000000                              Amazon SES: what is left of the @
250 2.0.0 Ok: queued as 4F2A1B3C9D                                                  Postfix: its own queue's, no more
"""

import re

_ID = re.compile(r"<([^\s<>@]{1,400}@[^\s<>@]{1,255})>")
_WORD = re.compile(r"(?<![\w.=<@-])(?:id=)?([A-Za-z0-9][\w.-]{18,200}[A-Za-z0-9])(?![\w.=>@-])", re.ASCII)
_MOST = 4


def ids_of_reply(text: str) -> tuple[str, ...]:
    """Find what may be the new Message-ID; one of which only the left side is told ends with its `@`.

    A lone word counts if it has 20 characters at least, with digits: shorter ones are of queues, and used again.
    """
    lone = (word + "@" for word in _WORD.findall(text) if any(map(str.isdigit, word)))
    return tuple(dict.fromkeys((*_ID.findall(text), *lone)))[:_MOST]
