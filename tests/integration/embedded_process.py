"""A process that runs the embedded server until its standard input ends: `embedded_process.py FOLDER BINARIES UID`.

It is started as whoever runs the tests and becomes UID after its imports: the interpreter may be in a closed folder.
"""

import asyncio
import json
import os
import pwd
import sys
from pathlib import Path

import uvloop

from router.errors import RouterError
from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(folder: Path, binaries: Path) -> None:
    try:
        async with EmbeddedServer(folder, binaries, {"fsync": "off"}, accepts_sessions=accepts_sessions) as server:
            say(ready=server.dsn, pid=server.pid)
            await asyncio.to_thread(sys.stdin.read)
    except RouterError as error:
        say(error=str(error))


if __name__ == "__main__":
    if (uid := int(sys.argv[3])) != os.geteuid():
        os.setgroups([])
        os.setgid(pwd.getpwuid(uid).pw_gid)
        os.setuid(uid)
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
