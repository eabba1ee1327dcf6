import re

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ContentRefused
from router.model.mail_address import message_id_domain, smtp_address


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("ann@client.example", "ann@client.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),
        ("a@MÜNCHEN.example", "a@xn--mnchen-3ya.example"),
        ("a@mu\u0308nchen.example", "a@xn--mnchen-3ya.example"),
        ("a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"),
        ("a@נייטיב.example", "a@xn--5dbncab2b.example"),
        ("a@نامه\u200cای.example", "a@xn--mgba3gch31f060k.example"),
        ("a@a_b.example", "a@a_b.example"),
        ("a@localhost", "a@localhost"),
        ('"a b"@x.example', '"a b"@x.example'),
        ('"a\\"b"@x.example', '"a\\"b"@x.example'),
        ('"a@b"@x.example', '"a@b"@x.example'),
        ("a..b@x.example", '"a..b"@x.example'),
        (".a@x.example", '".a"@x.example'),
        ("o'neil+tag@x.example", "o'neil+tag@x.example"),
        ("jörg@x.example", "jörg@x.example"),
        ("朱@münchen.example", "朱@xn--mnchen-3ya.example"),
        ("a@[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        (f"a@{'x' * 63}.example", f"a@{'x' * 63}.example"),
    ],
)
def test_addresses_are_written_as_smtp_takes_them(address: str, written: str) -> None:
    assert smtp_address(address) == written


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("bob@my/bank.example", "'my/bank' in its domain is no name of a host"),
        ("ann@exam,ple.com", "'exam,ple' in its domain is no name of a host"),
        ("a@ｅxample.com", r"its domain has '\uff45', which stands for e"),
        ("ａ@example.com", r"its local part has '\uff41', which stands for a"),
        ("a@exam\u200bple.com", r"its domain has a character that cannot be seen: '\u200b'"),
        ("a\u200b@example.com", r"its local part has a character that cannot be seen: '\u200b'"),
        ("a@exam\u00adple.com", r"its domain has a character that cannot be seen: '\xad'"),
        ("a\u00a0b@example.com", r"its local part has a character that cannot be seen: '\xa0'"),
        ('"ü\u200b"@example.com', r"its local part has a character that cannot be seen: '\u200b'"),
        ("a@例え。example", "has characters that stand for others"),
        ("a@ﬁnance.example", "has characters that stand for others"),
        ("a@i❤.example", "is no internationalized name"),
        ("a@exam\u200dple.example", "is no internationalized name"),
        ("a@ü-.example", "is no internationalized name"),
        (f"a@{'ü' * 63}.example", "is no internationalized name"),
        (f"a@{'x' * 64}.example", "in its domain is no name of a host"),
        (f"a@{'x.' * 130}example", "its domain is longer than 253 characters"),
        (f"{'a' * 320}@x.example", "it is longer than 320 characters"),
        ("a@-x.example", "'-x' in its domain is no name of a host"),
        ("a@x..example", "two together"),
        ("a@x.example.", "ends with a dot"),
        ("a@", "or is empty"),
        ("@x.example", "it has no local part"),
        ('""@x.example', "its local part is not quoted as it should be"),
        ('"a"b"@x.example', "its local part is not quoted as it should be"),
        ('"a\r\nb"@x.example', "its local part is not quoted as it should be"),
        ("root", "it has no @"),
        ("", "it has no @"),
        ("a b@x.example", "its local part has ' ', which only a quoted one may have"),
        (" a@x.example", "its local part has ' '"),
        ("a@x.example ", "'example ' in its domain"),
        ('a"b@x.example', "its local part has '\"'"),
        ("a@b@x.example", "its local part has '@'"),
        ("a@x.example>\r\nBcc: b", "in its domain is no name of a host"),
        ("a\r\nb@x.example", r"its local part has '\r'"),
        ("a@x\0.example", r"'x\x00' in its domain"),
        ("\ud800@x.example", "cannot be seen"),
        ("a@\ud800.example", "cannot be seen"),
        ("a@[300.0.2.1]", "is no address literal"),
        ("a@[ipv6:x]", "is no address literal"),
        ("a@[192.0.2.1", "is no address literal"),
    ],
)
def test_o7_what_is_no_valid_address_is_refused_and_not_repaired(address: str, words: str) -> None:
    with pytest.raises(ContentRefused, match=re.escape(words)) as refused:
        smtp_address(address)
    assert str(refused.value).isascii()


@given(st.text() | st.from_regex(r"[^@]{1,5}@[^@]{1,8}\.[a-zü.,/\u200b ]{1,5}", fullmatch=True))
def test_an_address_is_written_as_it_is_or_refused(address: str) -> None:
    try:
        written = smtp_address(address)
    except ContentRefused:
        return
    local, _, domain = written.rpartition("@")
    assert domain.isascii()
    assert local.strip('"') == address.rpartition("@")[0].strip('"')
    if not domain.startswith("["):
        assert idna.decode(domain) == idna.decode(address.rpartition("@")[2], uts46=True)
    assert not re.search(r"[\x00-\x1f\x7f<>\u2028\u2029]", re.sub(r'^".*"@', "", written))
    assert smtp_address(written) == written


@pytest.mark.parametrize(
    ("mailbox", "domain"),
    [
        ("sales@example.com", "example.com"),
        ("sales@straße.example", "xn--strae-oqa.example"),
        ("sales@[192.0.2.1]", "[192.0.2.1]"),
        ("sales", "mailbox.invalid"),
        ("sales@my/bank.example", "mailbox.invalid"),
    ],
)
def test_o17_the_domain_of_message_ids_is_the_mailboxs_own_in_ascii(mailbox: str, domain: str) -> None:
    assert message_id_domain(mailbox) == domain
