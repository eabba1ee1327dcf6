"""What is known of a folder without looking into it: whether something may have come since it was last listed."""

from collections.abc import Mapping

from transports._attention import Attention

HIGHEST_UID = (1 << 32) - 1


class Watch(Attention):
    """Compares UIDNEXT, as SELECT and STATUS tell it, with how far the folder has been listed.

    HIGHESTMODSEQ (RFC 7162) would stir whenever somebody reads a message, which never matters to us.
    """

    def __init__(self) -> None:
        super().__init__()
        self._validity = ""
        self._listed_to = HIGHEST_UID
        self._told: tuple[str, int] | None = None

    def has_shown(self, seen: int) -> bool:
        """Whether there is nothing beyond this UID for all we know."""
        return not self.dirty and seen >= self._listed_to

    def is_listed(self, validity: str, to: int) -> None:
        """Everything up to this UID has been shown."""
        self._validity, self._listed_to = validity, to
        self.dirty = False

    def hear(self, status: Mapping[str, int]) -> bool:
        """Take what STATUS or SELECT tell; True if there may be something new."""
        if "UIDNEXT" not in status:
            self.dirty = True
            return True
        told = (str(status.get("UIDVALIDITY", self._validity)), status["UIDNEXT"])
        # Told before: what lay between is gone by now, or shown.
        if told != self._told:
            self._told = told
            self.troubled = False
            # Less than was listed: the folder went back, and listing it will tell.
            if told[0] != self._validity or told[1] != self._listed_to + 1:
                self.dirty = True
                return True
        return False
