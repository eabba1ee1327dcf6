"""Records that are merged, and carried out; and where a record is still named."""

from uuid import UUID

from router.repository.database import Database
from router.repository.records import merges
from tests.support.crm import Crm


async def merged(crm: Crm, database: Database, from_id: UUID, into_id: UUID) -> None:
    """Merge by SQL, and carry it out as far as it goes."""
    await crm.sql.execute("SELECT crm.merge_records($1, $2)", from_id, into_id)
    await carry_out(crm, database)


async def carry_out(crm: Crm, database: Database) -> None:
    """Carry out all there is, what is put off or set aside as well; only what others have locked is left."""
    for _ in range(3):
        await crm.wait_for_earlier()
        await crm.admin.execute("UPDATE router.merge SET try_at = now() WHERE done_at IS NULL")
        await crm.admin.execute("UPDATE router.merge_refused SET try_at = now()")
        while await merges.carry_out(database):
            pass


async def named(crm: Crm, record_id: UUID) -> list[str]:
    """Where a record is still named: every column of ids but those that say what was merged, or happened."""
    columns = await crm.admin.fetch(
        """
        SELECT a.attrelid::regclass::text AS relation, a.attname AS name, a.atttypid = 'uuid[]'::regtype AS is_list
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace IN ('crm'::regnamespace, 'router'::regnamespace)
            AND a.atttypid IN ('uuid'::regtype, 'uuid[]'::regtype) AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attrelid::regclass::text NOT IN ('router.merge', 'router.regarding_change')
        """
    )
    found = []
    for column in columns:
        test = f"$1 = ANY({column['name']})" if column["is_list"] else f"{column['name']} = $1"
        if await crm.admin.fetchval(f"SELECT EXISTS (SELECT FROM {column['relation']} WHERE {test})", record_id):
            found.append(f"{column['relation']}.{column['name']}")
    return sorted(found)
