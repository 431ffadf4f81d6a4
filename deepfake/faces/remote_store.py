"""A remote face store, at any URL that fsspec reads: local copies of the videos that a job needs.

<cache>/faces/<video key>.arrow   as in the store, so that a FaceStore with this root reads it
<cache>/fetched.jsonl             one line per file: its key, and its size and version when it was fetched

The caches of fsspec do not suffice: simplecache:: writes under the final name, so that half a file is later
taken for a complete one, and never checks for changes; filecache:: lets two processes write one file at the
same time and assumes that nothing behind HTTP changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.errors import Stopped, UserError
from deepfake.faces.video_faces import file_of
from deepfake.io import atomic_path, file_lock, remove_stale
from deepfake.parallel.pool import progress_bar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Stamp = list[Any]
"""Size in bytes and version of a file, by which a change is noticed; either may be unknown."""

MAX_THREADS = 16
PAUSES_S = (1.0, 4.0)  # before the second and the third attempt
# names that file systems give to a file's version; hashes of the content before times
VERSIONS = "ETag etag md5Hash Content-MD5 mtime LastModified last_modified Last-Modified updated created"
ARROW = b"ARROW1"  # an Arrow file's first and last bytes


def is_url(store: str) -> bool:
    """Whether a store is named by URL (s3://bucket/path) rather than by path (/data/faces, C:\\faces)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)", store) is not None


def public(url: str) -> str:
    """A URL without its password, and without the signature behind the ? of a web address."""
    url = re.sub(r"://([^/@:]*):[^/]*@", r"://\1@", url)
    return url.partition("?")[0] if re.search(r"https?://", url) else url


def error_text(err: Exception) -> str:
    """An error in words, without what follows the ? of addresses in them."""
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1", f"{type(err).__name__}: {err}")


def cache_folder(url: str, base: Path) -> Path:
    """The folder below base for the store at a URL, the same with another password: readable, and a hash."""
    name = public(url).rstrip("/")
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", name.partition("://")[2])[-48:].strip("._-")
    return base / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def fetch(url: str, keys: Sequence[str], cache: Path) -> dict[str, str]:
    """Copy the faces of these videos that the cache lacks or that changed since; each appears when whole.

    Returns reasons by key, for videos that the store has no file of since they could not be read when it was
    made. One process at a time fetches into a cache; others wait and find the work done. Raises UserError if
    the store cannot be read or lacks a video, Stopped if fetching breaks off; what came until then is kept.
    """
    index = cache / "fetched.jsonl"
    paths = {key: cache / file_of(key) for key in keys}
    remote = connect(url)
    with ExitStack() as stack:
        if not stack.enter_context(file_lock(index)):
            log.info("waiting for another process that fetches faces into %s", cache)
            stack.enter_context(file_lock(index, wait=True))
        there, unreadable = list_remote(remote, keys)
        here = read_index(index)
        wanted = {key: s for key, s in there.items() if here.get(key) != s or not paths[key].exists()}
        if wanted:
            log.info("fetching %d of %d videos from %s into %s", len(wanted), len(keys), remote.name, cache)
            copy_files(remote, wanted, paths, index)
            remove_stale(cache / "faces")
    return unreadable


def stamp_of(info: Mapping[str, Any]) -> Stamp:
    """The stamp in what fsspec tells of a file."""
    versions = (f"{name} {info[name]}" for name in VERSIONS.split() if info.get(name))
    return [info.get("size"), next(versions, "")]


class Remote(NamedTuple):
    """A store's file system, the store's root there, and what messages call it."""

    fs: fsspec.AbstractFileSystem
    root: str
    name: str

    def path_of(self, name: str) -> str:
        """Where a file of the store is."""
        if "http" not in self.fs.protocol:
            return f"{self.root.rstrip('/')}/{name}"
        root, mark, query = self.root.partition("?")
        return f"{root.rstrip('/')}/{quote(name)}{mark}{query}"


def connect(url: str) -> Remote:
    """The store at a URL; raises UserError if a package is missing or nobody answers."""
    name = public(url)
    try:
        fs, root = fsspec.url_to_fs(url)
    except ImportError as err:
        raise UserError(f"data.store={name}: a package is missing here: {err}") from err
    except Exception as err:  # every file system has its own errors
        raise UserError(f"data.store={name}: cannot be opened ({error_text(err)})") from err
    fs.invalidate_cache()  # what an earlier fetch saw
    return Remote(fs, root, name)


def list_remote(remote: Remote, keys: Sequence[str]) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Stamps by key of the files that are there, and reasons by key of those videos that have none."""
    try:
        # files with web addresses cannot be listed
        there = (web_stamps if "http" in remote.fs.protocol else listed_stamps)(remote, keys)
        absent = [key for key in keys if key not in there]
        reasons = manifest_reasons(remote) if absent else {}
    except Exception as err:
        raise UserError(f"data.store={remote.name}: cannot be read ({error_text(err)})") from err
    if lacks := [key for key in absent if key not in reasons]:
        raise UserError(
            f"the store {remote.name} lacks {len(lacks)} of {len(keys)} videos (first: {lacks[0]}); a remote "
            "store can only be read: extract into a folder and upload it"
        )
    return there, {key: reasons[key] for key in absent}


def listed_stamps(remote: Remote, keys: Sequence[str]) -> dict[str, Stamp]:
    """Stamps by key of the files that are there, from one listing."""
    listed = retry(lambda: remote.fs.find(remote.path_of("faces"), detail=True))
    infos = {path.lstrip("/"): info for path, info in listed.items()}
    paths = {key: remote.path_of(file_of(key)).lstrip("/") for key in keys}
    return {key: stamp_of(infos[path]) for key, path in paths.items() if path in infos}


def web_stamps(remote: Remote, keys: Sequence[str]) -> dict[str, Stamp]:
    """Stamps by key of the files that are there, each asked for."""

    def ask(key: str) -> Stamp | None:
        try:
            return stamp_of(remote.fs.info(remote.path_of(file_of(key))))
        except FileNotFoundError as err:  # which fsspec makes of whatever goes wrong
            if getattr(err.__cause__, "status", None) in (404, 410):
                return None
            raise err.__cause__ or err from None

    answers = run_in_threads("looking for faces", lambda key: retry(lambda: ask(key)), keys, MAX_THREADS)
    return {key: stamp for key, stamp in answers if stamp is not None}


def manifest_reasons(remote: Remote) -> dict[str, str]:
    """Why videos gave nothing, by key, as the store's manifest says; empty if there is none."""
    try:
        manifest = retry(lambda: remote.fs.cat_file(remote.path_of("manifest.parquet")))
    except FileNotFoundError:
        return {}
    rows = pq.read_table(pa.BufferReader(manifest), columns=["video", "reason"]).to_pylist()
    return {row["video"]: row["reason"] for row in rows if row["reason"]}


def read_index(index: Path) -> dict[str, Stamp]:
    """Stamps by key of the files that were fetched, each key's last; a torn line counts for nothing."""
    stamps = {}
    for line in index.read_text().splitlines() if index.exists() else []:
        try:
            key, size, version = json.loads(line)
        except ValueError:
            continue
        stamps[key] = [size, version]
    return stamps


def copy_files(remote: Remote, stamps: Mapping[str, Stamp], paths: Mapping[str, Path], index: Path) -> None:
    """Copy the files that have stamps, and note each in the index."""

    def copy(key: str) -> None:
        with atomic_path(paths[key], durable=True) as part:
            retry(lambda: download(remote, key, stamps[key], part))

    # two threads may not share a connection, unless fsspec's event loop has it
    num_threads = MAX_THREADS if remote.fs.async_impl else 1
    done = 0
    try:
        with index.open("a") as lines:
            for key, _ in run_in_threads("fetching faces", copy, list(stamps), num_threads):
                print(json.dumps([key, *stamps[key]]), file=lines, flush=True)
                done += 1
    except Exception as err:
        raise Stopped(
            f"fetching from {remote.name} broke off after {done} of {len(stamps)} videos "
            f"({error_text(err)}); these are kept: run the same command again"
        ) from err


def download(remote: Remote, key: str, stamp: Stamp, path: Path) -> None:
    """Copy a video's file to path; raises OSError if something else comes, such as a page that says no."""
    remote.fs.get_file(remote.path_of(file_of(key)), str(path))
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(len(ARROW))
        file.seek(max(size - len(ARROW), 0))
        last = file.read()
    if not first == last == ARROW or stamp[0] not in (None, size):
        raise OSError(f"what came for {key}, {size} bytes, is no whole store file")


def run_in_threads(
    title: str, function: Callable[[Item], Result], items: Sequence[Item], num_threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield every item with function(item), in the order they finish; the first error ends it."""
    with ThreadPoolExecutor(num_threads) as pool, progress_bar() as progress:
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in progress.track(as_completed(futures), total=len(items), description=title):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def retry(function: Callable[[], Result]) -> Result:
    """What function returns, after up to two more attempts; what is not there is not waited for."""
    for pause_s in PAUSES_S:
        try:
            return function()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as err:
            log.debug("trying again in %s s after %s", pause_s, err)
            time.sleep(pause_s)
    return function()
