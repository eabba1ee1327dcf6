"""Whom a provider names by which id of its own (OpenID Connect), bound to one account here."""

from router.repository.database import Connection


async def find(connection: Connection, issuer: str, subject: str) -> int | None:
    """Find to whose account an id of the provider's is bound; returns the person's id."""
    person_id: int | None = await connection.fetchval(
        "SELECT person_id FROM router.person_identity WHERE issuer = $1 AND subject = $2", issuer, subject
    )
    return person_id


async def bind(connection: Connection, issuer: str, subject: str, person_id: int) -> bool:
    """Bind an id of the provider's to an account; False where another is bound to it, or it to another."""
    done = await connection.execute(
        "INSERT INTO router.person_identity (issuer, subject, person_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        issuer,
        subject,
        person_id,
    )
    return done != "INSERT 0 0"


async def release(connection: Connection, person_id: int) -> bool:
    """Bind nothing to an account any more; whether something was."""
    done = await connection.execute("DELETE FROM router.person_identity WHERE person_id = $1", person_id)
    return done != "DELETE 0"
