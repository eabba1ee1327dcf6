"""Who a sender may be, guessed from names as people and programs write them."""

import pytest

from router.parse.guess import Guess, guess


@pytest.mark.parametrize(
    ("display_name", "address", "name"),
    [
        ("Lena Kestrel", "lena@kestrel.example", "Lena Kestrel"),
        ("Kestrel, Lena", "l@kestrel.example", "Lena Kestrel"),
        ("'Lena Kestrel'", "l@kestrel.example", "Lena Kestrel"),
        ("KESTREL Lena", "l@kestrel.example", "Lena Kestrel"),
        ("LENA KESTREL", "l@kestrel.example", "Lena Kestrel"),
        ("lena kestrel", "l@kestrel.example", "Lena Kestrel"),
        ("Smith, John, MD", "j@hospital.example", "John Smith"),
        ("Frau Lena Kestrel", "l@kestrel.example", "Lena Kestrel"),
        ("Dr. Ümit Şahin", "u@s.example", "Dr. Ümit Şahin"),
        ("Jean-Luc O'NEIL", "x@y.example", "Jean-Luc O'Neil"),
        ("Ludwig van Beethoven", "l@b.example", "Ludwig van Beethoven"),
        ("Иван Петров", "ivan@firma.example", "Иван Петров"),
        ("王小明", "wang@abc.example", "王小明"),
        ("山田 太郎", "taro@firma.example", "山田 太郎"),
        ("محمد علي", "m@firma.example", "محمد علي"),
        ("lena.kestrel@kestrel.example", "lena.kestrel@kestrel.example", "Lena Kestrel"),
        ("", "lena.kestrel+shop@kestrel.example", "Lena Kestrel"),
        ("", "l.kestrel@kestrel.example", "L. Kestrel"),
        ("", "anna1985@gmail.com", "Anna"),
        ("", "info@kestrel.example", ""),
        ("", "x7f3k2@kestrel.example", ""),
        ("Sales Team", "sales@kestrel.example", ""),
        ("Acme Inc.", "sales@acme.example", ""),
        ("ben costa", "ben@gmail.com", "Ben Costa"),
        ("Tina Stone via Forms", "forms@forms.example", "Tina Stone"),
        ("Free-Frames.example", "news@free-frames.example", ""),
        ("Lena Kestrel\ufffd\ufffd", "l@kestrel.example", "Lena Kestrel"),
        ("", "", ""),
    ],
)
def test_a_name_is_put_as_it_is_spoken(display_name: str, address: str, name: str) -> None:
    assert guess(display_name, address, (), is_public=False).name == name


@pytest.mark.parametrize(
    ("display_name", "address", "signature", "company"),
    [
        (
            "Lena",
            "lena@kestrel.example",
            ["Lena Kestrel", "Kestrel Tours GmbH", "Tel. 0123 456789"],
            "Kestrel Tours GmbH",
        ),
        ("Lena", "lena@kestrel.example", ["Lena Kestrel | Kestrel Tours Ltd. | London"], "Kestrel Tours Ltd."),
        ("Anna", "a@b.example", ["Nowak Sp. z o.o."], "Nowak Sp. z o.o."),
        ("Иван", "ivan@f.example", ["ООО Ромашка"], "ООО Ромашка"),
        ("山田", "taro@f.example", ["株式会社サンプル"], "株式会社サンプル"),
        ("Lena (Kestrel Tours)", "lena@gmail.com", [], "Kestrel Tours"),
        ("Lena Kestrel | Kestrel Tours", "lena@gmail.com", [], "Kestrel Tours"),
        ("Kestrel Support", "support@kestrel.example", [], "Kestrel"),
        ("Lena", "lena@mail.kestrel-tours.co.uk", [], "Kestrel Tours"),
        ("Lena", "lena@ibm.com", [], "IBM"),
        ("Lena", "lena@büro.example", [], "Büro"),
    ],
)
def test_a_company_is_found_in_signature_display_name_or_domain(
    display_name: str, address: str, signature: list[str], company: str
) -> None:
    is_public = address.endswith("@gmail.com")
    assert guess(display_name, address, signature, is_public=is_public).company == company


@pytest.mark.parametrize(
    ("display_name", "text", "company"),
    [
        ("Lena Kestrel", "Thursday is fine.\n\nBest regards,\nLena Kestrel\n\nKestrel Coast Tours GmbH\nKai 1", True),
        ("Lena Kestrel", "Fine.\n\nLena Kestrel, Account Manager\nKestrel Coast Tours GmbH", True),
        ("Kestrel, Lena", "Thursday is fine.\n\nLena\nKestrel Coast Tours GmbH", True),
        ("Lena Kestrel", "We have heard of it from\nKestrel Coast Tours GmbH\n\nLena Kestrel", False),
        ("Lena Kestrel", "Lena writes to you for\nKestrel Coast Tours GmbH", False),
        ("", "Lena\nKestrel Coast Tours GmbH", False),
    ],
)
def test_a_company_is_found_below_the_name_at_the_end_of_a_text(display_name: str, text: str, company: bool) -> None:
    found = guess(display_name, "info@kestrel.example", (), is_public=False, text=text)
    assert found.company == ("Kestrel Coast Tours GmbH" if company else "Kestrel")


def test_a_provider_of_everybody_is_no_company() -> None:
    assert guess("Lena Kestrel", "lena@gmail.com", (), is_public=True).company == ""


def test_a_signature_names_who_the_address_does_not() -> None:
    found = guess("", "info@kestrel.example", ["Mit freundlichen Grüßen", "Jörg van der Müller"], is_public=False)
    assert found == Guess("Jörg van der Müller", "signature", "Kestrel", "address")


def test_what_is_no_name_is_not_taken_for_one() -> None:
    signature = ["Sent from my phone", "+49 89 123456", "https://kestrel.example", "Lena@kestrel.example"]
    assert guess("", "info@kestrel.example", signature, is_public=False).name == ""
