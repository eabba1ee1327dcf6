"""What the router says when it cannot go on.

RouterError                 words for an admin: what is wrong, and what to do about it
├── SettingsError           the environment: one line for each mistake, naming its variable
└── DatabaseError           the database cannot be used
    ├── EmbeddedError       the embedded PostgreSQL cannot be started or joined
    └── MigrationError      the schema is not one that this program can work with
"""

from collections.abc import Iterable


class RouterError(Exception):
    """Something an admin can put right; its words are shown as they are, without a traceback."""


class SettingsError(RouterError):
    """The environment is wrong."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class DatabaseError(RouterError):
    """The database cannot be used."""


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL cannot be started or joined."""


class MigrationError(DatabaseError):
    """The schema is not one that this program can work with."""
