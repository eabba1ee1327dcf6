"""Every quarter of an hour is noted how much mail there had been: what came in between is the difference."""

from datetime import timedelta

from router.model import Disposition
from router.operations import overview
from router.repository.database import Database
from router.repository.overview.samples import read_samples, take_sample
from tests.support.build import mail
from tests.support.crm import Crm
from tests.support.promoting import promoting
from tests.support.unsent import KARL, ULLA, ended


async def _an_hour_passes(crm: Crm) -> None:
    await crm.admin.execute("UPDATE router.sample SET at = at - interval '1 hour'")


async def test_what_came_and_went_between_two_samples_is_their_difference(crm: Crm, database: str) -> None:
    await crm.owner(ULLA, "all")
    async with promoting(database) as house, Database(database) as router:
        await house.promote(ULLA, mail(**{"From": KARL, "To": ULLA, "Message-ID": "<1@kunde.test>"}))
        await ended(crm, "failed")
        assert await take_sample(router) is False
        await take_sample(router)  # of this quarter there is one
        await _an_hour_passes(crm)
        await crm.admin.execute("UPDATE router.decision SET decided_at = decided_at - interval '2 hours'")
        for number in (2, 3):
            await house.promote(ULLA, mail(**{"From": KARL, "To": ULLA, "Message-ID": f"<{number}@kunde.test>"}))
        await crm.admin.execute("UPDATE router.decision SET received_at = decided_at - interval '40 s'")
        await ended(crm, "unknown", state="unknown")
        await crm.send(ULLA, [KARL], "Offer", "Chairs")
        await take_sample(router)
        first, last = await read_samples(router, timedelta(days=1))
        assert last.at - first.at == timedelta(hours=1)
        assert (first.copies[Disposition.PROMOTED], last.copies[Disposition.PROMOTED]) == (1, 3)
        assert (first.outcomes, last.outcomes["unknown"]) == ({"sent": 0, "failed": 0, "unknown": 0}, 1)
        assert (last.lag, last.to_send, last.unresolved) == (40.0, 1, 3)
        quarters = await overview.read_day(router)
        assert len(quarters) == 96
        [known] = [one for one in quarters if one.copies is not None]
        assert known is quarters[-1]
        assert known.copies == {one: 2 * (one is Disposition.PROMOTED) for one in Disposition}
        assert known.outcomes == {"sent": 0, "failed": 0, "unknown": 1}
        # What was held and is released later makes a total smaller, and nothing came.
        await _an_hour_passes(crm)
        await crm.admin.execute("UPDATE router.source_count SET promoted = 0")
        await take_sample(router)
        assert (await overview.read_day(router))[-1].copies == dict.fromkeys(Disposition, 0)
        # What nobody draws any more goes.
        await crm.admin.execute("UPDATE router.sample SET at = at - interval '2 days'")
        await take_sample(router)
        assert len(await read_samples(router, timedelta(days=9))) == 1
