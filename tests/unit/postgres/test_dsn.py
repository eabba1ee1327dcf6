import pytest

from router.postgres.dsn import hosts_of, without_password, writable


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


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://ann:x:y@db/crm", ["db:5432"]),
        ("postgresql://ann:x@db1:5433,db2/crm", ["db1:5433", "db2:5432"]),
        ("postgresql://ann:not@encoded@db/crm", ["db:5432"]),
        ("postgresql://[::1]:5433/crm", ["[::1]:5433"]),
        ("postgresql:///crm?host=/a%20b&port=5433", ["/a b:5433"]),
        ("postgresql:///crm?host=a,b&port=1,2", ["a:1", "b:2"]),
        ("postgresql:///crm?host=a,b&port=1", ["a:1", "b:1"]),
        ("postgresql://%2Frun%2Fpg/crm", ["/run/pg:5432"]),
        ("postgresql:///crm", []),
    ],
)
def test_hosts_are_listed_in_their_order(url: str, hosts: list[str]) -> None:
    assert [str(host) for host in hosts_of(url)] == hosts


def test_a_port_is_a_number() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        hosts_of("postgresql://ann:x@db:54s/crm")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgresql://ann:x@a,b/crm", "postgresql://ann:x@a,b/crm?target_session_attrs=read-write"),
        ("postgresql:///crm?host=a,b&user=ann", "postgresql:///crm?host=a,b&user=ann&target_session_attrs=read-write"),
        ("postgresql://a,b/crm?target_session_attrs=any", "postgresql://a,b/crm?target_session_attrs=any"),
        ("postgresql://ann:x@a/crm", "postgresql://ann:x@a/crm"),
        ("postgresql:///crm?host=/run", "postgresql:///crm?host=/run"),
        ("postgresql:///crm", "postgresql:///crm"),
    ],
)
def test_of_several_hosts_the_writable_one_is_meant(url: str, meant: str) -> None:
    assert writable(url) == meant
