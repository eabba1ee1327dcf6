import pytest

from router.postgres.psql import without_password


@pytest.mark.parametrize(
    ("url", "shown", "password"),
    [
        ("postgresql://ann:a%40b%2Fc@db:5432/crm", "postgresql://ann@db:5432/crm", "a@b/c"),
        ("postgres://ann:x@a:1,b:2/crm?sslmode=require", "postgres://ann@a:1,b:2/crm?sslmode=require", "x"),
        ("postgresql://ann:x:y@[::1]:5432/crm", "postgresql://ann@[::1]:5432/crm", "x:y"),
        ("postgresql://db/crm?user=ann&password=a%20b", "postgresql://db/crm?user=ann", "a b"),
        ("postgresql://ann@db/crm?sslkey=/k&sslpassword=hush", "postgresql://ann@db/crm?sslkey=/k", None),
        ("postgresql:///crm?host=/a%20b&port=5432", "postgresql:///crm?host=/a%20b&port=5432", None),
        ("postgresql://ann@/crm?host=/run", "postgresql://ann@/crm?host=/run", None),
    ],
)
def test_the_password_goes_into_the_environment(url: str, shown: str, password: str | None) -> None:
    assert without_password(url) == (shown, {"PGPASSWORD": password} if password else {})
