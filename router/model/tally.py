"""What the messages that lie in one folder come to."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from router.model.tracking import Disposition


@dataclass(slots=True)
class Tally:
    """How many messages of a folder have which disposition, or why they have none; each is counted once.

    Of those with a disposition, `elsewhere` have it at another place of the mailbox, and `brought_in` since this audit
    found them missing. `waiting`: they are still to be read. `before_start`: they came before reading began; of these,
    `not_certain` are dated so shortly after it that dates do not tell.
    `rule_none`: their owner's rule is `none`, so they are none of the router's. `missing`: nothing accounts for them.
    """

    dispositions: Counter[Disposition] = field(default_factory=Counter)
    elsewhere: int = 0
    brought_in: int = 0
    waiting: int = 0
    before_start: int = 0
    not_certain: int = 0
    rule_none: int = 0
    missing: int = 0

    @property
    def messages(self) -> int:
        """How many there are."""
        return self.dispositions.total() + self.waiting + self.before_start + self.rule_none + self.missing

    def add(self, other: Self) -> None:
        """Count what another folder holds, too."""
        self.dispositions.update(other.dispositions)
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Write it as one mapping, by the names of dispositions and of the other reasons."""
        dispositions = {one.value: self.dispositions[one] for one in Disposition}
        return dispositions | {name: getattr(self, name) for name in _NUMBERS}

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        dispositions = Counter({one: int(written.get(one.value, 0)) for one in Disposition})
        return cls(dispositions, **{name: int(written.get(name, 0)) for name in _NUMBERS})


_NUMBERS = ("elsewhere", "brought_in", "waiting", "before_start", "not_certain", "rule_none", "missing")
