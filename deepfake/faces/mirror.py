"""A face store that lies elsewhere, at any URL that fsspec can read: copies of the videos a job needs.

<cache>/faces/<video key>.arrow   as in the store, so that a FaceStore with this root reads it
<cache>/fetched.jsonl             a line a file: its key, and size and version there when it was fetched

fsspec's own caches would not do: simplecache:: writes under the final name, so that a killed download passes
for a whole file ever after, and never looks for changes; filecache:: lets two processes write one file at a
time, and takes it for granted that nothing behind HTTP changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from deepfake.errors import Stopped, UserError
from deepfake.faces.claims import claim, replace_whole, sweep
from deepfake.parallel import progress_bar

log = logging.getLogger(__name__)

Item, Result = TypeVar("Item"), TypeVar("Result")

AT_ONCE = 16
PAUSES_S = (1.0, 4.0)  # before the second and the third attempt
VERSIONS = (
    "ETag etag md5Hash Content-MD5 mtime LastModified last_modified Last-Modified updated created".split()
)
ARROW = b"ARROW1"  # what an Arrow file starts and ends with


class Remote(NamedTuple):
    """A store's file system, its root there, and how it is called in messages."""

    fs: AbstractFileSystem
    root: str
    name: str

    @property
    def is_http(self) -> bool:
        """Whether files are addressed by URLs and cannot be listed."""
        return "http" in self.fs.protocol

    def path_of(self, key: str) -> str:
        """Where a video's faces are."""
        return self.file(f"faces/{key}.arrow")

    def file(self, name: str) -> str:
        """Where a file of the store is; what follows the ? of a web address stays behind it."""
        if not self.is_http:
            return f"{self.root.rstrip('/')}/{name}"
        path, mark, query = self.root.partition("?")
        return f"{path.rstrip('/')}/{quote(name)}{mark}{query}"


def is_url(store: str) -> bool:
    """Whether a store is named by URL (s3://bucket/path) rather than by path (/data/faces, C:\\faces)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)", store) is not None


def cache_folder(url: str, base: Path) -> Path:
    """The folder below base for the store at this URL: its end, readable, and a hash; no passwords or keys."""
    name = public(url).rstrip("/")
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name.split("://", 1)[-1])[-48:].strip("._")
    return base / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def public(url: str) -> str:
    """A URL without its password, nor the signature that may follow the ? of a web address."""
    url = re.sub(r"://([^/@:]*):[^/]*@", r"://\1@", url)
    return url.partition("?")[0] if re.search(r"https?://", url) else url


def fetch(url: str, keys: Sequence[str], cache: Path) -> dict[str, str]:
    """Copy the faces of these videos that the cache lacks or that changed since; each appears when whole.

    Returns the reason by key of videos that are not in the store because they could not be read when it was
    made. One process at a time fetches into a cache, others wait and find the work done. Raises UserError if
    the store cannot be read or lacks other videos, Stopped if it breaks off; what came until then is kept.
    """
    index = cache / "fetched.jsonl"
    paths = {key: local_path(cache, key) for key in keys}
    remote = connect(url)
    with ExitStack() as stack:
        if not stack.enter_context(claim(index)):
            log.info("waiting for another process that fetches faces into %s", cache)
            stack.enter_context(claim(index, wait=True))
        there, unreadable = look(remote, keys)
        here = read_index(index)
        missing = {k: paths[k] for k in there if here.get(k) != there[k] or not paths[k].exists()}
        if missing:
            found = f"({len(there) - len(missing)} are there)"
            log.info("fetching %d videos of %s into %s %s", len(missing), remote.name, cache, found)
            fetch_files(remote, missing, there, index)
            sweep(cache / "faces")
    return unreadable


def local_path(cache: Path, key: str) -> Path:
    """Where a video's faces are in the cache; raises UserError for a key that leads out of it."""
    faces = os.path.join(cache, "faces")
    path = os.path.normpath(os.path.join(faces, f"{key}.arrow"))
    if not Path(path).is_relative_to(os.path.normpath(faces)):
        raise UserError(f"video {key!r}: not a key that a face store can have")
    return Path(path)


def connect(url: str) -> Remote:
    """The store at a URL; raises UserError if there is no package for it or nobody answers."""
    try:
        fs, root = fsspec.url_to_fs(url)
        fs.invalidate_cache()  # of listings that an earlier fetch saw
    except ImportError as err:
        raise UserError(f"data.store={public(url)}: a package is missing: {err}") from err
    except Exception as err:  # each file system has errors of its own
        raise unreadable_store(public(url), err) from err
    return Remote(fs, root, public(url))


def look(remote: Remote, keys: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Size and version by key of files that are there, reasons by key of videos that could not be read."""
    try:
        there = stamps(remote, list(keys))
        absent = [key for key in keys if key not in there]
        reasons = manifest_reasons(remote) if absent else {}
    except Exception as err:
        raise unreadable_store(remote.name, err) from err
    if lacks := [key for key in absent if key not in reasons]:
        raise UserError(
            f"the store {remote.name} lacks {len(lacks)} of {len(there) + len(absent)} videos (first: "
            f"{lacks[0]}); a store at a URL can only be read: extract into a folder and upload that"
        )
    return there, {key: reasons[key] for key in absent}


def unreadable_store(name: str, err: Exception) -> UserError:
    """What to say of a store that gives no answer."""
    return UserError(f"data.store={name}: cannot be read ({type(err).__name__}: {err})")


def stamps(remote: Remote, keys: Sequence[str]) -> dict[str, str]:
    """Size and version by key, of those that are there."""
    if remote.is_http:
        found = at_once("looking for faces", lambda key: http_stamp(remote, key), keys, AT_ONCE)
        return {key: answer for key, answer in found if answer is not None}
    listed = patiently(lambda: remote.fs.find(remote.file("faces"), detail=True))
    infos = {name.lstrip("/"): info for name, info in listed.items()}
    own = {key: remote.fs._strip_protocol(remote.path_of(key)).lstrip("/") for key in keys}
    return {key: stamp(infos[path]) for key, path in own.items() if path in infos}


def http_stamp(remote: Remote, key: str) -> str | None:
    """Size and version of a file; None if there is none."""
    try:
        return stamp(patiently(lambda: remote.fs.info(remote.path_of(key))))
    except FileNotFoundError as err:
        # fsspec says so of whatever goes wrong
        if err.__cause__ is None or getattr(err.__cause__, "status", None) in (404, 410):
            return None
        raise err.__cause__ from None


def stamp(info: Mapping[str, Any]) -> str:
    """Size and version in what a file system tells of a file."""
    version = next((f" {name} {info[name]}" for name in VERSIONS if info.get(name)), "")
    return f"{info.get('size')} bytes{version}"


def manifest_reasons(remote: Remote) -> dict[str, str]:
    """Why videos gave nothing, by key, as the store's manifest says; empty without one."""
    try:
        manifest = patiently(lambda: remote.fs.cat_file(remote.file("manifest.parquet")))
    except FileNotFoundError:
        return {}
    rows = pq.read_table(pa.BufferReader(manifest), columns=["video", "reason"]).to_pylist()
    return {row["video"]: row["reason"] for row in rows if row["reason"]}


def read_index(index: Path) -> dict[str, str]:
    """Size and version by key of what was fetched, the last line of each; a torn line says nothing."""
    known: dict[str, str] = {}
    for line in index.read_text().splitlines() if index.exists() else []:
        try:
            key, version = json.loads(line)
        except ValueError:
            continue
        known[key] = version
    return known


def fetch_files(remote: Remote, paths: Mapping[str, Path], there: Mapping[str, str], index: Path) -> None:
    """Copy each video's file to its path, and note it in the index."""

    def copy(key: str) -> None:
        replace_whole(paths[key], lambda path: patiently(lambda: download(remote, key, there[key], path)))

    # of file systems without an event loop few can be used by two threads
    num_threads = AT_ONCE if remote.fs.async_impl else 1
    done = 0
    try:
        with index.open("a") as lines:
            for key, _ in at_once("fetching faces", copy, list(paths), num_threads):
                lines.write(json.dumps([key, there[key]]) + "\n")
                lines.flush()
                done += 1
    except Exception as err:
        raise Stopped(
            f"fetching {remote.name} broke off after {done} of {len(paths)} videos ({type(err).__name__}: "
            f"{err}); they are kept in {index.parent}: run the same command again"
        ) from err


def download(remote: Remote, key: str, expected: str, path: Path) -> None:
    """Copy a video's file to path; raises OSError if that is not what was expected."""
    remote.fs.get_file(remote.path_of(key), str(path))
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(ARROW))
        file.seek(-min(size, len(ARROW)), os.SEEK_END)
        whole = start == file.read() == ARROW
    if not whole or expected.split()[0] not in ("None", str(size)):
        raise OSError(f"{key}: {size} bytes came, which are not an Arrow file of {expected}")


def at_once(
    title: str, function: Callable[[Item], Result], items: Sequence[Item], num_threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield every item with function(item) as they finish; the first error ends it."""
    with ThreadPoolExecutor(num_threads) as pool, progress_bar() as progress:
        task = progress.add_task(title, total=len(items))
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
                progress.advance(task)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def patiently(function: Callable[[], Result]) -> Result:
    """What function returns, at the third attempt at the latest; a file that is not there is not waited for."""
    for pause_s in PAUSES_S:
        try:
            return function()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as err:
            log.debug("another attempt in %s s: %s", pause_s, err)
            time.sleep(pause_s)
    return function()
