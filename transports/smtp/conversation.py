"""What an SMTP listener answers to a message."""

from collections.abc import Sequence

from transports._listener.conversation import Conversation, one_line
from transports.base import Acceptance


class SmtpConversation(Conversation):
    """A conversation in SMTP."""

    @staticmethod
    def reply(answers: Sequence[Acceptance]) -> str:
        """Answer for all recipients at once: 250 if all took the message; 4xx if one may take it later.

        A sender that comes again after 4xx hands over once more what some have already taken; that is a duplicate, and
        no loss, whereas 5xx would be one.
        """
        refused = [answer for answer in answers if not answer.accepted]
        return one_line(min(refused or answers, key=lambda answer: answer.code))
