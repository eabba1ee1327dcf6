"""Whether a folder is worth looking into: its view notes it, its account asks."""


class Attention:
    """`dirty`: there may be what the reader has not been shown. `troubled`: reading failed.

    A folder that could not be read is tried again when its time comes, not at once.
    """

    def __init__(self) -> None:
        self.dirty = True
        self.troubled = False

    @property
    def urgent(self) -> bool:
        """Whether it is worth looking now."""
        return self.dirty and not self.troubled

    def note_failure(self) -> None:
        """Reading failed: the folder is to be listed again."""
        self.dirty = self.troubled = True
