"""Downloads go on where they stopped, try mirrors in order, and believe only what has its checksum."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from typing import ClassVar

import pytest

from scripts import download as script
from vecaf.data import downloads
from vecaf.errors import ArtifactError, DataError
from vecaf.models import fetching


def packed(names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3000
            tar.addfile(member, io.BytesIO(name.encode().ljust(3000, b".")))
    return buffer.getvalue()


CONTENT = packed(["snow/1/n01/a.JPEG", "fog/5/n01/a.JPEG", "frost/1/n01/a.JPEG"])


@pytest.fixture
def mirror():
    """A server of CONTENT: whole; ending early; unable to go on inside a file. Two more: gone; answering garbage."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list] = []

        def do_GET(self):
            wanted = self.headers.get("Range")
            self.asked.append((self.path, wanted))
            if self.path == "/gone":
                self.send_error(404)
                return
            if self.path == "/garbage":
                self.wfile.write(b"no status line\r\n")
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/simple" else 0
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:4000] if self.path == "/flaky" else body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.address = f"http://127.0.0.1:{server.server_port}"
    Handler.asked.clear()
    yield Handler
    server.shutdown()
    server.server_close()


def entry(mirror, *paths, **changes):
    addresses = [f"{mirror.address}{path}" for path in paths]
    known = {
        "file": "w.tar",
        "bytes": len(CONTENT),
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "members": ["snow", "fog"],
    }
    return known | {"mirrors": addresses} | changes


def test_the_next_mirror_goes_on_where_one_ended(mirror, tmp_path):
    downloads.fetch(entry(mirror, "/gone", "/garbage", "/flaky", "/whole"), tmp_path / "w.tar")
    assert (tmp_path / "w.tar").read_bytes() == CONTENT
    assert mirror.asked[-2:] == [("/flaky", None), ("/whole", "bytes=4000-")]
    assert not (tmp_path / "w.tar.partial").exists()


def test_a_download_that_stopped_is_kept_and_goes_on_next_time(mirror, tmp_path):
    with pytest.raises(DataError, match=rf"\(4000 of {len(CONTENT)} bytes are kept in .*\)"):
        downloads.fetch(entry(mirror, "/flaky"), tmp_path / "w.tar")
    downloads.fetch(entry(mirror, "/whole"), tmp_path / "w.tar")
    assert mirror.asked[-1] == ("/whole", "bytes=4000-")
    assert (tmp_path / "w.tar").read_bytes() == CONTENT


def test_a_server_that_cannot_go_on_sends_all_again(mirror, tmp_path):
    (tmp_path / "w.tar.partial").write_bytes(CONTENT[:500])
    downloads.fetch(entry(mirror, "/simple"), tmp_path / "w.tar")
    assert (tmp_path / "w.tar").read_bytes() == CONTENT


def test_a_file_of_another_checksum_is_deleted(mirror, tmp_path):
    with pytest.raises(DataError, match=r"has the MD5 .*, not wrong; it was deleted"):
        downloads.fetch(entry(mirror, "/whole", md5="wrong"), tmp_path / "w.tar")
    assert not list(tmp_path.iterdir())


def test_the_wanted_folders_of_an_archive_appear_whole(mirror, tmp_path):
    downloads.archive(entry(mirror, "/whole"), tmp_path / "imagenet_c")
    assert sorted(path.name for path in (tmp_path / "imagenet_c").iterdir()) == ["fog", "snow"]
    assert (tmp_path / "imagenet_c/snow/1/n01/a.JPEG").stat().st_size == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["imagenet_c"]


def test_what_the_disk_refuses_is_told_as_a_problem_of_this_download(mirror, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file/below cannot be made"):
        downloads.archive(entry(mirror, "/whole"), tmp_path / "file/below/imagenet_c")
    (tmp_path / ".imagenet_c.partial").touch()  # where the archive is to be unpacked
    with pytest.raises(DataError, match=r"w\.tar could not be unpacked as .*imagenet_c .*; free space or"):
        downloads.archive(entry(mirror, "/whole"), tmp_path / "imagenet_c")
    (tmp_path / "w.tar").write_bytes(b"no archive")
    damaged = {"md5": hashlib.md5(b"no archive").hexdigest()}
    with pytest.raises(DataError, match=r"w\.tar could not be unpacked"):
        downloads.archive(entry(mirror, "/whole", **damaged), tmp_path / "imagenet_c")


def test_the_registry_names_what_each_download_needs():
    for known in json.loads(downloads.REGISTRY.read_text()).values():
        assert known.keys() >= {"file", "bytes", "md5", "mirrors", "members"}
        assert len(known["md5"]) == 32
        assert all(address.startswith("https://") for address in known["mirrors"])


def needs(tmp_path, **changes):
    empty = {"datasets": {}, "corrupted": {}, "backbones": {}, "models": [], "stylers": {}}
    return ["--params", json.dumps(empty | changes)]


def test_what_is_missing_is_fetched_and_what_is_there_is_not(tmp_path, monkeypatch, mirror):
    asked = []
    monkeypatch.setattr(downloads, "dataset", lambda *words: asked.append(words))
    monkeypatch.setattr(fetching, "model", lambda spec: asked.append(spec["timm"]))
    (tmp_path / "registry.json").write_text(json.dumps({"imagenet_c": entry(mirror, "/whole")}))
    root = str(tmp_path / "cifar")
    told = needs(
        tmp_path,
        datasets={"cifar10": ["cifar10", root], "digits": ["digits", None]},
        corrupted={"imagenet": str(tmp_path / "c")},
        backbones={"none": {"timm": "no_such_model", "weights": "timm"}},
    )
    assert script.main([*told, "--registry", str(tmp_path / "registry.json")]) == "3 fetched"
    assert asked == [("cifar10", root), "no_such_model"]
    assert (tmp_path / "c/fog").is_dir()
    assert script.main(needs(tmp_path, datasets={"digits": ["digits", None]})) == "nothing is missing"


def test_what_cannot_be_fetched_is_told_together_after_the_rest(tmp_path, monkeypatch):
    def refuse(spec):
        raise ArtifactError("timm cannot provide it")

    monkeypatch.setattr(fetching, "model", refuse)
    told = needs(
        tmp_path,
        datasets={"net": ["imagenet", str(tmp_path)]},
        backbones={"none": {"timm": "no_such_model", "weights": "timm"}},
    )
    with pytest.raises(DataError) as caught:
        script.main(told)
    assert "2 could not be fetched" in str(caught.value)
    assert "image-net.org" in str(caught.value)
    assert "timm cannot provide it" in str(caught.value)
