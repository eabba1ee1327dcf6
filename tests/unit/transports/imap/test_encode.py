"""What is said to an IMAP server, in its syntax."""

import pytest

from transports.errors import Permanent
from transports.imap.encode import folder_name, uid_set


def test_folder_names() -> None:
    # The examples of RFC 3501 §5.1.3.
    assert folder_name("~peter/mail/台北/日本語") == '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'
    assert folder_name('A&B "\\') == '"A&-B \\"\\\\"'
    with pytest.raises(Permanent):
        folder_name("a\r\nb")


def test_uid_sets() -> None:
    assert uid_set([7, 1, 3, 2, 9, 3]) == "1:3,7,9"
