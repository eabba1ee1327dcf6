"""Scripts that fill a database with sample data, and whether they may."""

from uuid import UUID

from router.repository.database import Database


async def run_script(database: Database, script: str) -> None:
    """Run the statements of a script in one transaction."""
    async with database.transaction() as connection:
        await connection.execute(script)


async def may_fill(database: Database, record_id: UUID) -> bool:
    """Whether the database is empty, or holds this record already; it need not have been migrated."""
    async with database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('crm.record') IS NULL"):
            # The schema router may be there alone: a first migration was broken off.
            empty: bool = await connection.fetchval(
                """
                SELECT NOT EXISTS (
                    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
                        AND n.nspname NOT IN ('information_schema', 'router'))
                """
            )
            return empty
        ours: bool = await connection.fetchval(
            """
            SELECT EXISTS (SELECT FROM crm.record WHERE id = $1)
                OR NOT EXISTS (SELECT FROM crm.record) AND NOT EXISTS (SELECT FROM crm.email)
            """,
            record_id,
        )
        return ours
