"""Style sheet and scripts: read and compressed once, and kept for a year: their names change with their content."""

import gzip
import hashlib
import mimetypes
from importlib.resources import files
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_KEPT: Final = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


class Asset(NamedTuple):
    """One file, as it is and compressed."""

    media_type: str
    plain: bytes
    compressed: bytes


class Assets:
    """The files of a folder of this package."""

    def __init__(self, folder: str) -> None:
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for file in files(__package__).joinpath(folder).iterdir():
            content = file.read_bytes()
            stem, _, ending = file.name.rpartition(".")
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
            media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self._names[file.name] = name
            self._assets[name] = Asset(media_type, content, gzip.compress(content, 9, mtime=0))

    def name(self, file: str) -> str:
        """Name a file as it is served. Raises KeyError."""
        return self._names[file]

    async def serve(self, request: Request) -> Response:
        """Answer with a file."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = {**_KEPT, "Content-Encoding": "gzip"}
            return Response(asset.compressed, media_type=asset.media_type, headers=headers)
        return Response(asset.plain, media_type=asset.media_type, headers=_KEPT)


ASSETS: Final = Assets("static")
