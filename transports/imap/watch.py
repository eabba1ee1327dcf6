"""What is known of a folder without looking into it: whether something may have come since it was last listed."""

from collections.abc import Mapping

from transports._attention import Attention

HIGHEST_UID = (1 << 32) - 1


class Watch(Attention):
    """Compares UIDNEXT, as SELECT and STATUS tell it, with how far the folder has been listed.

    HIGHESTMODSEQ (RFC 7162) is not compared: it also grows when somebody reads a message, which never matters to us.
    """

    def __init__(self) -> None:
        super().__init__()
        self._validity = ""
        self._listed_to = HIGHEST_UID
        self._last_heard: tuple[str, int] | None = None

    def has_shown(self, seen: int) -> bool:
        """Whether there is nothing beyond this UID for all we know."""
        return not self.dirty and seen >= self._listed_to

    def is_listed(self, validity: str, to: int) -> None:
        """Everything up to this UID has been shown."""
        self._validity, self._listed_to = validity, to
        self.dirty = False

    def hear(self, status: Mapping[str, int]) -> bool:
        """Take the numbers that STATUS or SELECT tell; True if there may be something new."""
        if "UIDNEXT" not in status:
            self.dirty = True
            return True
        heard = (str(status.get("UIDVALIDITY", self._validity)), status["UIDNEXT"])
        # The same as last time: messages that came since then were shown, or are gone again.
        if heard != self._last_heard:
            self._last_heard = heard
            self.troubled = False
            # Also where UIDNEXT is lower than what was listed: the folder went back, and listing it will tell.
            if heard[0] != self._validity or heard[1] != self._listed_to + 1:
                self.dirty = True
                return True
        return False
