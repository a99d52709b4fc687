"""Downloads from a server of our own on this machine, over TLS, that does what servers do wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from widthwise.data import arff, download, openml
from widthwise.errors import DataError

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server gives, and what it was asked."""

    url: str = ""
    trust: ssl.SSLContext | None = None
    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    redirect: str = ""
    asked: list[str | None] = field(default_factory=list)


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers["Range"]
            site.asked.append(wanted)
            if site.redirect and self.path != "/moved":
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            start = int(wanted[6:-1]) if wanted and site.ranges else 0
            if start >= len(site.content) and start:
                self.send_error(416)
                return
            rest = site.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: site.cuts.pop(0)] if site.cuts else rest)

        def log_message(self, *_):
            pass

    return Handler


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "made.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture
def site(certificate, monkeypatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = Site(trust=ssl.create_default_context(cafile=str(certificate[0])))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(found)) as server:
        server.handle_error = lambda *_: None
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ours.load_cert_chain(*certificate)
        server.socket = ours.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found.url = f"https://127.0.0.1:{server.server_port}/data"
        yield found
        server.shutdown()


def bring(site: Site, folder: Path, **changes: object) -> Path:
    path = folder / "data.arff"
    download.download(site.url, path, **{"md5": MD5, "limit": 2**22, "trust": site.trust, **changes})
    return path


def test_a_file_comes_whole(site, tmp_path):
    assert bring(site, tmp_path, md5=MD5.upper()).read_bytes() == CONTENT
    assert site.asked == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["data.arff"]


def test_a_broken_connection_is_taken_up_where_it_broke(site, tmp_path):
    site.cuts = [1_000_000, 500_000]
    assert bring(site, tmp_path).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_from_an_earlier_one(site, tmp_path):
    site.cuts = [100] * 5
    with pytest.raises(OSError, match="connection broke"):
        bring(site, tmp_path)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [(".data.arff.part", 500)]
    site.asked.clear()
    assert bring(site, tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=500-"]


def test_what_was_whole_when_the_process_ended_is_not_asked_for_again(site, tmp_path):
    (tmp_path / ".data.arff.part").write_bytes(CONTENT)
    bring(site, tmp_path)
    assert site.asked == []


def test_a_server_without_rests_begins_anew(site, tmp_path):
    site.cuts, site.ranges = [1_000_000], False
    assert bring(site, tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 2


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"and more", b"x" * len(CONTENT)])
def test_a_rest_of_another_file_is_thrown_away(site, tmp_path, left):
    (tmp_path / ".data.arff.part").write_bytes(left)
    assert bring(site, tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_nothing_kept(site, tmp_path):
    with pytest.raises(DataError, match="md5"):
        bring(site, tmp_path, md5="0" * 32)
    assert list(tmp_path.iterdir()) == []
    assert len(site.asked) == 2


def test_more_than_the_limit_is_refused(site, tmp_path):
    with pytest.raises(DataError, match="more than 1000 bytes"):
        bring(site, tmp_path, limit=1000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="more than 1000 bytes"):
        download.fetched(site.url, 1000, trust=site.trust)


def test_a_server_without_a_certificate_that_is_believed(site, tmp_path):
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        bring(site, tmp_path, trust=None)
    assert not (tmp_path / "data.arff").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "x"])
def test_no_other_scheme_not_even_by_redirection(site, tmp_path, url):
    with pytest.raises(OSError, match="https"):
        download.fetched(url, 10, trust=site.trust)
    site.redirect = url if ":" in url else "http://127.0.0.1:9/x"
    with pytest.raises(OSError, match="https|not allowed"):
        bring(site, tmp_path)
    assert not (tmp_path / "data.arff").exists()
    assert all(asked is None for asked in site.asked)


def test_a_redirection_within_tls_is_followed(site, tmp_path):
    site.redirect = site.url.replace("/data", "/moved")
    assert bring(site, tmp_path).read_bytes() == CONTENT


def recorded(name: str) -> bytes:
    folder = resources.files("sklearn.datasets.tests.data.openml.id_61")
    return gzip.decompress((folder / name).read_bytes())


def test_openmls_own_answers_are_understood(tmp_path):
    """scikit-learn's tests carry answers of the real server, of the iris data."""
    try:
        about, data = recorded("api-v1-jd-61.json.gz"), recorded("data-v1-dl-61.arff.gz")
    except (ModuleNotFoundError, FileNotFoundError):
        pytest.skip("this scikit-learn comes without its tests")
    said = openml._description(about)
    assert said["url"].startswith("https://")
    assert len(said["md5_checksum"]) == 32
    path = tmp_path / "iris.arff"
    path.write_bytes(data)
    x, y = arff.read(path, said["default_target_attribute"], 150)
    from sklearn.datasets import load_iris

    assert (np.abs(x - load_iris().data) > 0.05).sum() < 5  # the two differ in a few flowers
    assert sorted(set(y)) == ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]
    assert len(x) == 150


def test_a_set_is_fetched_checked_and_read(site, tmp_path, monkeypatch):
    """From the description to the arrays, over the network of this machine."""
    table = b"% by us\n@RELATION 'a b'\n@ATTRIBUTE p1 real\n@attribute 'cla ss' {'a','b'}\n@data\n1,'a'\n\n%\n2,b\n"
    about = {"url": site.url, "md5_checksum": hashlib.md5(table).hexdigest(), "default_target_attribute": "cla ss"}
    site.content = table
    monkeypatch.setattr(openml, "fetched", lambda url, limit: json.dumps({"data_set_description": about}).encode())
    monkeypatch.setattr(openml, "download", lambda *given: download.download(*given, trust=site.trust))
    x, y = openml.arrays_of(1, tmp_path / "a.arff", 3)
    assert (x.tolist(), y.tolist()) == ([[1.0], [2.0]], ["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data_set_description": 3}',
        b'{"data_set_description": {"url": "https://x"}}',
        b"[" * 10**5,
    ],
)
def test_a_description_that_is_none(answer):
    with pytest.raises(DataError):
        openml._description(answer)


HEAD = b"@attribute a real\n@attribute y {0}\n@data\n"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"@data\n1,0\n", HEAD + b"1\n", HEAD + b"1,0,0\n", HEAD + b"x,0\n", HEAD + b"?,0\n", HEAD + b"{0 1}\n",
        HEAD + b"1,0\n" * 3, b"@attribute y real\n" + HEAD, HEAD + b"1" * 2**20, b"@attribute a real\n" * 70_000,
        HEAD.replace(b"@data", b""),
    ],
)  # fmt: skip
def test_arff_that_is_none(tmp_path, content):
    path = tmp_path / "a.arff"
    path.write_bytes(content)
    with pytest.raises(DataError):
        arff.read(path, "y", 2)
