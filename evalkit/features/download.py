"""One file over HTTP into a ``.part`` file, going on where an earlier download stopped.

Proxies are those of the environment (``https_proxy`` and its kin), as `urllib` reads them.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from evalkit.errors import WeightsError
from evalkit.files import explain_os_errors

Progress = Callable[[int, int], None]

_BLOCK = 1 << 18
_TIMEOUT = 30.0
# Answers after which it is no use to ask again; the others may be a busy server's.
_FINAL = {400, 401, 403, 404, 405, 410, 451}


class _Interrupted(Exception):
    """The transfer ended early; another attempt may go on from what was received."""


def download(
    url: str,
    part: Path,
    *,
    advice: str,
    progress: Progress | None = None,
    attempts: int = 4,
    pause: float = 1.0,
) -> None:
    """Fills ``part`` with what ``url`` holds, beginning after the bytes that are there.

    A server that does not know byte ranges is asked for the whole file. What was received stays on the disk
    when this fails or is killed.

    Args:
        url: Where the file is.
        part: Where its bytes go; whether they are the right ones is for the caller to check.
        advice: What the user can do when this fails; ends the message.
        progress: Called with (bytes there, bytes in all) after every block; in all is 0 where unknown.
        attempts: How often to try before giving up.
        pause: Seconds before the second attempt; doubled for each further one.

    Raises:
        WeightsError: The server cannot be reached, does not have the file, or ends every transfer early.
        StoreError: The disk is full or the folder cannot be written.
    """
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _receive(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code in _FINAL:
                break
        except (_Interrupted, http.client.HTTPException, OSError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = str(cause) or type(cause).__name__
    raise WeightsError(f"{url} could not be downloaded: {reason}; {advice}")


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "evalkit", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        # An opener of its own reads the environment's proxies as they are now.
        opener = urllib.request.build_opener()
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # There is nothing after the bytes that are here: they are all, or they are not this file's.
        error.close()
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return
        part.unlink()
        raise _Interrupted(
            "the server does not have the bytes that an earlier download would go on with"
        ) from None
    with response:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        resumed = response.status == 206 and found is not None and int(found[1]) == have
        if response.status == 206 and not resumed:
            part.unlink()
            raise _Interrupted("the server sent other bytes than were asked for")
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else 0
        with explain_os_errors(part, "downloading to"):
            file = part.open("ab" if resumed else "wb", buffering=0)
        with file:
            while block := response.read(_BLOCK):
                with explain_os_errors(part, "downloading to"):
                    file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
        if done < total:
            raise _Interrupted(f"the connection ended after {done:,} of {total:,} bytes")
