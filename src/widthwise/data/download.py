"""Files from the network: over TLS alone, going on where they were cut off, kept only if their hash is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import time
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from widthwise.errors import DataError

__all__ = ["download", "fetched"]

_TRIES, _WRONG = 5, 2
_PAUSE = 1.0  # seconds between two tries
_PATIENCE = 60.0  # seconds without a byte
_CHUNK = 2**20
_NOTHING_MORE, _PARTIAL = 416, 206


def fetched(url: str, limit: int, *, trust: ssl.SSLContext | None = None) -> bytes:
    """A small answer as a whole.

    Args:
        url: of it; ``https`` only, after redirections too.
        limit: bytes at most.
        trust: whose certificates to believe; those of the system by default.

    Raises:
        DataError: if it is larger.
        OSError: if it cannot be had.
    """
    with _asked(url, {}, trust) as answer:
        data: bytes = answer.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{url}: got more than {limit} bytes, which this cannot be")
    return data


def download(url: str, path: Path, md5: str, limit: int, *, trust: ssl.SSLContext | None = None) -> None:
    """Bring a file to ``path``: whole and with the right hash, or not at all.

    What has come before a connection broke, or the process ended, stays beside it under a hidden name, and the next try
    or the next call asks for the rest; where a server has no rests to give, it begins anew.

    Args:
        url: of it; ``https`` only, after redirections too.
        path: where to; its folder exists.
        md5: that it must have, in hexadecimal digits.
        limit: bytes at most.
        trust: whose certificates to believe; those of the system by default.

    Raises:
        DataError: if it is larger, or has another hash, twice from its beginning.
        OSError: if it cannot be had, after several tries, or the folder cannot be written.
    """
    part, wrong, failure = path.with_name(f".{path.name}.part"), 0, OSError(f"{url}: cannot be had")
    for again in range(_TRIES):
        if part.exists() and _md5(part) == md5.lower():
            break
        time.sleep(_PAUSE if again else 0)
        found = _continued(url, part, limit, trust)
        failure = failure if found is None else found
        if found is None and _md5(part) != md5.lower():  # another file, or the halves of two
            part.unlink()
            wrong += 1
            if wrong == _WRONG:
                raise DataError(f"{url}: its md5 is not {md5}, which it should be; try again later")
    if not part.exists() or _md5(part) != md5.lower():
        raise failure
    part.replace(path)


def _continued(url: str, part: Path, limit: int, trust: ssl.SSLContext | None) -> OSError | None:
    """Ask for what is missing of a file; the error after which more is missing, if any."""
    have = part.stat().st_size if part.exists() else 0
    try:
        with _asked(url, {"Range": f"bytes={have}-"} if have else {}, trust) as answer:
            goes_on = answer.status == _PARTIAL and str(answer.headers["Content-Range"]).startswith(f"bytes {have}-")
            with part.open("ab" if goes_on else "wb") as file:
                _copy(answer, file, url, limit)
    except HTTPError as error:
        if error.code == _NOTHING_MORE and have:
            part.unlink()
        return error
    except http.client.HTTPException as error:
        return OSError(f"{url}: {error!r}")
    except OSError as error:
        return error
    except DataError:
        part.unlink()
        raise
    return None


def _copy(answer: Any, file: IO[bytes], url: str, limit: int) -> None:
    """What an answer holds, to the disk before it is believed.

    Raises:
        DataError: for more bytes than the limit.
        OSError: if it ends before the end it declares.
    """
    declared = answer.headers["Content-Length"]
    left = int(declared) if str(declared).isdecimal() else None
    while chunk := answer.read(_CHUNK):
        file.write(chunk)
        left = None if left is None else left - len(chunk)
        if file.tell() > limit:
            raise DataError(f"{url}: got more than {limit} bytes, which this cannot be")
    file.flush()
    os.fsync(file.fileno())
    if left:
        raise OSError(f"{url}: the connection broke, {left} bytes before the end")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _asked(url: str, headers: dict[str, str], trust: ssl.SSLContext | None) -> Any:
    """The answer of a server; no other scheme than ``https`` is known to the opener that asks it."""
    _check_secure(url)
    opener = request.OpenerDirector()
    handlers = (
        request.ProxyHandler(),
        request.HTTPSHandler(context=trust or ssl.create_default_context()),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _SecureRedirects(),
        request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    try:
        return opener.open(request.Request(url, headers={"User-Agent": "widthwise", **headers}), timeout=_PATIENCE)
    except HTTPError as error:
        error.close()
        raise


class _SecureRedirects(request.HTTPRedirectHandler):
    """Follows to ``https`` only."""

    def redirect_request(self, *args: Any) -> request.Request | None:
        """The request for the new address, the last argument; the answer that gave it is the second."""
        try:
            _check_secure(args[-1])
        except URLError:
            args[1].close()
            raise
        return super().redirect_request(*args)


def _check_secure(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise URLError(f"{url} is not https, the one allowed")
