"""What several tests share: small trained detectors, made once, the real images where they are at hand, a browser."""

import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from blemish.datasets import read_good
from blemish.detection.detector import Detector
from blemish.detection.pose import Pose
from blemish.drawing import FLAWS, SURFACES, draw_surface
from blemish.images import write_image
from blemish.learning.assembly import Making, Terms, hold_out, prototype_detector, provenance
from blemish.learning.fit import enroll, fit, scales_for
from blemish.learning.reference import Reference
from blemish.learning.training import train
from blemish.learning.triplets import PatchPyramid, PatchSettings, PatchTriplets, TrainingImage
from blemish.results import FloatArray

SIDE = 128  # pixels a side at which the small detector works
LABEL_PX = 192  # pixels a side of drawn labels

# A shell that runs the tests in the background lets them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def category_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn category in MVTec AD's layout: 16 good images to learn from, 8 to judge, 6 with plain stains."""
    folder = tmp_path_factory.mktemp("data") / "brushed metal"
    rng = np.random.default_rng(0)
    surface = SURFACES["brushed_metal"](rng)
    for part, count in (("train/good", 16), ("test/good", 8)):
        for index in range(count):
            write_image(folder / part / f"{index:03}.png", draw_surface(surface, rng, 160, 150))
    for index in range(6):
        image, mask = FLAWS["stain"](draw_surface(surface, rng, 160, 150), rng)
        image[30:80, 40:100] = rng.random((50, 60), dtype=np.float32)  # so plain that a minute of training finds it
        mask[30:80, 40:100] = True
        write_image(folder / "test" / "stain" / f"{index:03}.png", image)
        write_image(folder / "ground_truth" / "stain" / f"{index:03}_mask.png", mask)
    return folder


@pytest.fixture(scope="session")
def detector(category_dir: Path) -> Detector:
    """A detector of the paper's method, trained for some seconds on the drawn category."""
    good = hold_out(read_good(category_dir), category_dir.name, seed=0)
    scales = scales_for(SIDE)
    pyramid = PatchPyramid([TrainingImage(path, good.category) for path in good.learned], scales)
    settings = PatchSettings(epochs=12, batch_size=16, learning_rate=1e-3)
    learner = PatchTriplets(pyramid, settings)
    summary = train(learner, n_steps=learner.n_steps)
    training = {**asdict(settings), "scales": scales, **asdict(summary)}
    making = Making("tayeh2020", training, provenance([good]))
    return prototype_detector(
        learner.network, good, Terms(alpha=0.2), kind=Reference.CATEGORY, side=SIDE, making=making
    )


@pytest.fixture(scope="session")
def nearest_detector(category_dir: Path) -> Detector:
    """A detector of our method, trained for some seconds on the same category."""
    return fit(category_dir, steps=40, alpha=0.2)


def labels(n: int, seed: int = 0) -> list[FloatArray]:
    """Draw labels that all lie alike."""
    rng = np.random.default_rng(seed)
    surface = SURFACES["printed_label"](np.random.default_rng(3))
    return [draw_surface(surface, rng, LABEL_PX, LABEL_PX) for _ in range(n)]


def lying(image: FloatArray, degrees: float) -> FloatArray:
    """Turn a part, clockwise."""
    return Pose(-degrees, 0, 0).turned(image)


@pytest.fixture(scope="session")
def turned_images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Good images of labels in all turns: 24 to learn from, 8 others."""
    folder = tmp_path_factory.mktemp("turned")
    for index, image in enumerate(labels(32)):
        write_image(folder / f"{index:02}.png", lying(image, 360 * index * 0.618 % 360))
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def turned_detector(turned_images: list[Path]) -> Detector:
    """A detector of these labels, enrolled."""
    return enroll(turned_images[:24], alpha=0.1)


@pytest.fixture(scope="session")
def model_path(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of that detector."""
    path = tmp_path_factory.mktemp("models") / "metal.blemish"
    detector.save(path)
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real images beside the project; without them the test is skipped."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real images in {folder.name}/ beside the project")
    return folder


_QUIET = (  # a browser that asks nobody for anything by itself; without a sandbox, for root may not have one
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_OF_THIS_MACHINE = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "ws://127.0.0.1:")


@dataclass
class Tab:
    """A tab of the browser, and what went on in it."""

    page: Page
    requested: list[str] = field(default_factory=list)  # addresses, but for pictures that the page itself holds
    complaints: list[str] = field(default_factory=list)  # errors of scripts, of the console, and dialogs

    @property
    def outside(self) -> list[str]:
        """Addresses beyond this machine that were asked for; none of them was let through."""
        return [address for address in self.requested if not address.startswith(_OF_THIS_MACHINE)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window and with a new profile.

    It lives for one module: while Playwright runs, no other event loop may begin in this thread.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium (scripts/setup does it where it may)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """An empty tab from which nothing leaves this machine; every request is noted, and so is every complaint."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB") as context:
        opened = Tab(context.new_page())

        def note(route: Route) -> None:
            opened.requested.append(route.request.url)
            if route.request.url.startswith(_OF_THIS_MACHINE):
                route.continue_()
            else:
                route.abort()

        context.route("**/*", note)
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on(
            "console",
            lambda message: opened.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        opened.page.on("dialog", lambda dialog: (opened.complaints.append(dialog.message), dialog.dismiss()))
        yield opened
