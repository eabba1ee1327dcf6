"""What a connection learns from what the server says, without any connection."""

import pytest

from transports.imap.state import State


def fed(*lines: bytes, stage: str = "CONNECTED") -> State:
    state = State()
    state.stage = stage
    for line in lines:
        state.take((line,))
    return state


@pytest.mark.parametrize(
    ("greeting", "stage"),
    [
        (b"* OK hello", "NONAUTH"),
        (b"* ok hello", "NONAUTH"),
        (b"* PREAUTH in already", "AUTH"),
        (b"* BYE we are full", "LOGOUT"),
        (b"* 3 EXISTS", "LOGOUT"),
        (b"* ", "LOGOUT"),
    ],
)
def test_the_greeting_says_where_a_session_begins(greeting: bytes, stage: str) -> None:
    assert fed(greeting).stage == stage


def test_the_greeting_may_offer_capabilities() -> None:
    assert fed(b"* OK [CAPABILITY imap4rev1 IDLE] hello").capabilities == {"IMAP4REV1", "IDLE"}
    assert fed(b"* BYE [CAPABILITY IDLE] full").capabilities == set()


def test_bye_ends_it_at_any_time() -> None:
    assert fed(b"* BYE going down", stage="SELECTED").stage == "LOGOUT"


def test_capabilities_are_those_told_last_and_what_is_enabled_adds_up() -> None:
    state = fed(b"* CAPABILITY A B", b"* CAPABILITY B c", b"* ENABLED X", b"* enabled utf8=accept", stage="AUTH")
    assert state.capabilities == {"B", "C"}
    assert state.enabled == {"X", "UTF8=ACCEPT"}
    assert state.utf8


def test_more_messages_are_news_only_in_a_selected_folder() -> None:
    state = fed(b"* 3 EXISTS", stage="AUTH")
    assert (state.exists, state.news) == (3, False)
    state.stage = "SELECTED"
    state.take((b"* 3 EXISTS",))
    state.take((b"* 2 EXPUNGE",))
    assert (state.exists, state.news) == (2, False)
    state.take((b"* 3 exists",))
    assert (state.exists, state.news) == (3, True)


def test_what_vanished_is_counted_unless_it_had_vanished_before() -> None:
    state = fed(b"* 9 EXISTS", b"* VANISHED (EARLIER) 1:5", b"* VANISHED 6:7,20", stage="SELECTED")
    assert state.exists == 6
    state.take((b"* VANISHED 1:4000000000",))
    assert state.exists == 0


def test_numbers_that_are_none() -> None:
    state = fed(b"* OK [UIDNEXT 4] ok", b"* NO [UIDVALIDITY many] hm", b"* 99999999999 EXISTS", stage="SELECTED")
    assert (state.number("UIDNEXT"), state.number("UIDVALIDITY"), state.number("HIGHESTMODSEQ")) == (4, 0, 0)
    assert (state.validity, state.exists) == ("many", 0)


def test_a_server_that_invents_codes_fills_no_memory() -> None:
    state = fed(*(b"* OK [X%d 1] ok" % number for number in range(1000)), b"* OK [X1 2] ok", stage="AUTH")
    assert len(state.codes) == 100
    assert state.number("X1") == 2


def test_a_folder_that_is_left_is_forgotten_but_not_what_the_server_can_do() -> None:
    state = fed(b"* CAPABILITY IDLE", b"* OK [UIDVALIDITY 7] ok", b"* OK [APPENDUID 7 1] ok", stage="SELECTED")
    state.news = True
    state.leave_folder()
    assert (state.stage, state.news, state.validity) == ("AUTH", False, "")
    assert (state.capabilities, state.codes) == ({"IDLE"}, {"APPENDUID": "7 1"})
    state.forget_offers()
    assert (state.capabilities, state.codes) == (set(), {})


@pytest.mark.parametrize(
    "line", [b"* ", b"*  ", b"* 3", b"* 3 ", b"* VANISHED", b"* \xff\xfe", b"* OK", b"* OK [", b"* x y"]
)
def test_nonsense_changes_nothing(line: bytes) -> None:
    state = fed(line, stage="SELECTED")
    assert vars(state) == vars(fed(stage="SELECTED"))
