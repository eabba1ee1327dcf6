"""How many automatic emails came lately on the threads that automatic mail answers: a loop is cut by it."""

from collections.abc import Collection
from uuid import UUID

from router.model import ThreadLoad
from router.repository.database import Connection


async def read_thread_load(connection: Connection, answered: Collection[UUID]) -> ThreadLoad:
    """Count the automatic emails of the last hour on the threads of these emails, which automatic copies answer.

    A thread is named by its top: from the answered email upwards, the first that is older than an hour, or else the
    last. So the query reads only the thread's last hour, however long the thread is, and each email of it once, however
    many of them are answered. Emails that answer each other in a circle, which the CRM can write, are one thread.
    """
    load = ThreadLoad()
    if not answered:
        return load
    rows = await connection.fetch(
        """
        WITH RECURSIVE up AS (
            SELECT id, correlated_id, created_at FROM crm.email WHERE id = ANY($1::uuid[])
            UNION
            SELECT e.id, e.correlated_id, e.created_at
            FROM up JOIN crm.email AS e ON e.id = up.correlated_id
            WHERE up.created_at > now() - interval '1 hour'
        ), down AS (
            SELECT up.id AS thread_id, up.id FROM up
            WHERE up.created_at <= now() - interval '1 hour'
                OR (SELECT parent.id FROM crm.email AS parent WHERE parent.id = up.correlated_id) IS NULL
            UNION
            SELECT down.thread_id, e.id FROM down JOIN crm.email AS e ON e.correlated_id = down.id
            WHERE e.created_at > now() - interval '1 hour'
        ), circle AS (
            SELECT id FROM up EXCEPT SELECT id FROM down
        ), thread AS (
            SELECT thread_id, id, id <> thread_id AS counts FROM down
            UNION ALL
            SELECT first_value(id) OVER (ORDER BY id), id, true FROM circle
        )
        SELECT thread_id, id AS named_id, NULL AS domain, NULL AS number FROM thread WHERE id = ANY($1::uuid[])
        UNION ALL
        SELECT thread.thread_id, NULL, substring(p.address FROM '[^@]*$') AS domain, count(DISTINCT e.id)
        FROM thread
        JOIN crm.email AS e ON e.id = thread.id AND 'automatic' = ANY(e.flags)
            AND e.correlation_method IS DISTINCT FROM 'report'
        JOIN crm.party AS p ON p.email_id = e.id AND p.role = 'from' AND p.position = 0
        WHERE thread.counts
        GROUP BY thread.thread_id, domain
        """,
        list(answered),
    )
    for row in rows:
        if row["named_id"]:
            load.threads[row["named_id"]] = row["thread_id"]
        else:
            load.automatic[row["thread_id"], row["domain"]] = row["number"]
    return load
