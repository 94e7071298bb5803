"""Two processes of a Ray cluster leave what one machine leaves, whatever happens to them; URLs are like folders."""

import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from blemish.cli import app
from blemish.detection.detector import Detector
from blemish.errors import ClusterError, DatasetError, SettingError, UnreadError
from blemish.report import cluster
from blemish.report.batch import inspect_batch
from blemish.report.cluster import connected

ray = pytest.importorskip("ray", reason="needs the extra `cluster`")
fsspec = pytest.importorskip("fsspec", reason="needs the extra `cluster`")
from ray.cluster_utils import Cluster  # noqa: E402

_STORE_BYTES = 80 * 2**20  # Ray takes no less than 75 MB


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes on this machine, with one core each."""
    node = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        started.add_node(**node)
        yield started.address
    finally:
        started.shutdown()


@pytest.fixture(scope="module")
def images(category_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten images, good ones and stained ones, of which two are broken."""
    folder = tmp_path_factory.mktemp("cluster") / "parts"
    for kind in ("good", "stain"):
        shutil.copytree(category_dir / "test" / kind, folder / kind, ignore=shutil.ignore_patterns("00[4-9].png"))
    (folder / "good" / "broken.png").write_bytes(b"no image")
    (folder / "stain" / "empty.png").write_bytes(b"")
    return folder


def everything_in(output: Path) -> dict[str, bytes]:
    """Return all files of a run but page and summary, which show when they were written."""
    files = [path for path in output.rglob("*") if path.is_file() and path.suffix not in (".html", ".pdf")]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def workers_at_work() -> list[int]:
    """Return the processes of our cluster that Ray has given an image, by the name that it gives them."""
    busy = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_busy = (process / "cmdline").read_bytes().startswith(b"ray::_work")
            if is_busy and parent(parent(int(process.name))) == os.getpid():  # between the two is the node
                busy.append(int(process.name))
    return busy


@contextmanager
def killing(most: float = math.inf) -> Iterator[list[int]]:
    """Kill workers as soon as they are at work, until so many are dead or the ``with`` statement ends.

    A worker's first image takes a while, as it loads the model for it, so none is ready before it is seen.
    """
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while len(killed) < most and not is_over.wait(0.01):
            for process in workers_at_work():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        is_over.set()
        killer.join()


def parent(process: int) -> int:
    """Return the process that started another."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[1])


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_cluster_leaves_what_one_machine_leaves(
    address: str, model_path: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)  # workers run elsewhere, and relative paths must lead to the same images
    sources = ["parts", "missing", "parts/good/000.png"]
    here = run("inspect", model_path, *sources, "-o", tmp_path / "here", "--json")
    there = run("inspect", model_path, *sources, "-o", tmp_path / "there", "--json", "--cluster", address)
    assert (there.exit_code, there.stdout) == (here.exit_code, here.stdout)
    assert len(there.stdout.splitlines()) == 12
    assert everything_in(tmp_path / "there") == everything_in(tmp_path / "here")
    assert (tmp_path / "there" / "report.html").is_file()
    assert (tmp_path / "there" / "report.pdf").is_file()


def test_workers_that_are_killed_cost_no_result(address: str, detector: Detector, images: Path, tmp_path: Path) -> None:
    inspect_batch(detector, [images], tmp_path / "here")
    with connected(address) as workers, killing(most=1) as killed:
        inspect_batch(detector, [images], tmp_path / "there", workers=workers)
    assert killed
    assert everything_in(tmp_path / "there") == everything_in(tmp_path / "here")


def test_an_image_that_kills_its_workers_is_a_row_that_the_next_run_tries_again(
    address: str, detector: Detector, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_RETRIES", 0)
    with connected(address) as workers, killing():
        counts = inspect_batch(detector, [images / "good"], tmp_path / "out", workers=workers)
    assert counts.failed == 5
    assert "workers were lost over it" in (tmp_path / "out" / "results.csv").read_text()
    again = inspect_batch(detector, [images / "good"], tmp_path / "out")
    assert (again.kept, again.failed) == (0, 1)


@pytest.fixture
def withheld(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that can read no image now; it works in this process, and where this machine's paths begin."""

    def fail(path: Path) -> None:
        raise UnreadError(f"'{path}': no permission")

    monkeypatch.setattr(cluster, "_detector", lambda job: SimpleNamespace(inspect=fail))
    monkeypatch.chdir(images.parent)


HERE = SimpleNamespace(get=lambda done: done, exceptions=ray.exceptions)
JOB: Any = SimpleNamespace(is_drawn=False)
IMAGE = Path("parts/good/000.png"), ""


@pytest.mark.usefixtures("withheld")
def test_an_image_that_a_worker_sees_and_cannot_read_is_a_row() -> None:
    record, _ = cluster._result_of(HERE, IMAGE, cluster._work(JOB, IMAGE))
    assert (record["verdict"], "n_bytes" in record) == ("error", False)


@pytest.mark.usefixtures("withheld")
def test_an_image_that_a_worker_does_not_see_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path)
        done = cluster._work(JOB, IMAGE)
    with pytest.raises(ClusterError, match="does not see"):
        cluster._result_of(HERE, IMAGE, done)


def test_a_run_that_was_stopped_here_goes_on_there(
    address: str, detector: Detector, images: Path, tmp_path: Path
) -> None:
    inspect_batch(detector, [images], tmp_path / "here")

    def stop(record: dict[str, Any]) -> None:
        if "stain" in record["path"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_batch(detector, [images], tmp_path / "there", tell=stop)
    with connected(address) as workers:
        assert inspect_batch(detector, [images], tmp_path / "there", workers=workers).kept == 6
    assert everything_in(tmp_path / "there") == everything_in(tmp_path / "here")


def test_a_prefix_gives_on_a_cluster_what_its_folder_gives_here(
    address: str, detector: Detector, images: Path, tmp_path: Path
) -> None:
    told: list[list[dict[str, Any]]] = [[], []]
    inspect_batch(detector, [images], tell=told[0].append)
    with connected(address) as workers:
        inspect_batch(detector, [f"file://{images}"], tmp_path / "out", workers=workers, tell=told[1].append)
    assert [record["path"] for record in told[1]] == [f"file://{record['path']}" for record in told[0]]
    own = ("path", "reason", "modified_ns", "version")
    plain = [[{name: record[name] for name in record if name not in own} for record in records] for records in told]
    assert plain[0] == plain[1]
    again = inspect_batch(detector, [f"file://{images}"], tmp_path / "out")
    assert again.kept == 10


@pytest.fixture
def store(images: Path) -> Iterator[str]:
    """The images in a store in memory, with a mask and a hidden file, which are not inspected."""
    memory = fsspec.filesystem("memory")
    memory.put(str(images), "/parts", recursive=True)
    picture = (images / "stain" / "000.png").read_bytes()
    memory.pipe({"/parts/test/0.png": picture, "/parts/ground_truth/0_mask.png": picture, "/parts/.0.png": picture})
    yield "memory://parts"
    memory.rm("/parts", recursive=True)


def test_a_store_is_inspected_and_gone_on_with(detector: Detector, store: str, tmp_path: Path) -> None:
    first = inspect_batch(detector, [store], tmp_path / "out")
    assert (first.good + first.defective, first.failed) == (9, 2)
    fsspec.filesystem("memory").pipe("/parts/test/0.png", b"damaged")
    again = inspect_batch(detector, [store], tmp_path / "out")
    assert (again.kept, again.failed) == (10, 3)


def test_an_image_that_its_store_does_not_give_is_tried_again(
    detector: Detector, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise TimeoutError("busy")

    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
        assert inspect_batch(detector, [store], tmp_path / "out").failed == 11
    assert inspect_batch(detector, [store], tmp_path / "out").kept == 0


@pytest.mark.parametrize("url", ["memory://nothing", "no-such-store://bucket"])
def test_a_url_without_images_is_an_error_that_names_it(detector: Detector, url: str) -> None:
    with pytest.raises(DatasetError, match=url):
        inspect_batch(detector, [url])


@pytest.mark.parametrize(
    ("address", "error"),
    [("local", SettingError), ("http://h:1", SettingError), ("h:x", SettingError), ("127.0.0.1:9", ClusterError)],
)
def test_an_address_that_leads_nowhere_is_an_error_at_once(address: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"), connected(address):
        pass
