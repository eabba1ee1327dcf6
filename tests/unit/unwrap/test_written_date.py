from datetime import UTC, timedelta, timezone

import pytest

from router.unwrap.written_date import read_written_date

HERE = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Wed, 3 Nov 2021 15:51:30 -0500", "2021-11-03T15:51:30-05:00"),
        ("Mi., 27. Okt. 2021 um 09:31 Uhr", "2021-10-27T09:31:00+01:00"),
        ("Wed, Oct 27, 2021 at 9:31 PM", "2021-10-27T21:31:00+01:00"),
        ("October 27, 2021 12:05 a.m.", "2021-10-27T00:05:00+01:00"),
        ("2021. okt. 27., Sze, 9:31", "2021-10-27T09:31:00+01:00"),
        ("mar. 2 mars 2021 à 09:31", "2021-03-02T09:31:00+01:00"),
        ("marraskuun 2. marrask. 2021 klo 9.31.05 UTC+1", "2021-11-02T09:31:05+01:00"),
        # The same word is October in Croatian, which writes a dot behind the year, and November in Polish.
        ("26. listopada 2021. u 14:25:08 EEST", "2021-10-26T14:25:08+03:00"),
        ("wtorek, 2 listopada 2021, 09:26:50 CET", "2021-11-02T09:26:50+01:00"),
        ("27/10/2021 à(s) 09:31", "2021-10-27T09:31:00+01:00"),
        ("27. 10. 2021 o 9:31", "2021-10-27T09:31:00+01:00"),
        ("02/10/2023 4:52 PM EST", "2023-02-10T16:52:00-05:00"),
        ("2/25/23, 16:52", "2023-02-25T16:52:00+01:00"),
        ("2022年9月19日月曜日 17:55:44 -0400", "2022-09-19T17:55:44-04:00"),
        ("2021-11-02 09:31 GMT+05:30", "2021-11-02T09:31:00+05:30"),
    ],
)
def test_dates_are_read_as_people_write_them(text: str, date: str) -> None:
    read = read_written_date(text, HERE)
    assert read is not None
    assert read.isoformat() == date


@pytest.mark.parametrize(
    "text", ["", "yesterday", "27. Okt. 2021", "09:31", "31. Feb. 2021 09:31", "27. Okt. 2021 25:99", "1 x 2021 9:31"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_written_date(text, UTC) is None
