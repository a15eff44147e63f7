from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms

from fashion_pipeline.errors import DecoderFailed, DecoderUnavailable, UnreadableImage
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.worker import memory_bound
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.stores import Quality
from fashion_pipeline_tests.images.drawing import checks, encode, good, png
from fashion_pipeline_tests.images.misbehaving import PROGRAM, Misdeed, misbehaving

pytestmark = pytest.mark.slow

MAX_PIXELS = 1_000_000


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    """Yield decoders that misbehave as the bytes prescribe."""
    made = Decoders(2, deadline_s=3, program=PROGRAM)
    yield made
    made.close()


def failure(decoders: Decoders, misdeed: Misdeed, where: str = "") -> DecoderFailed:
    """Return the error that a misdeed causes."""
    with pytest.raises(DecoderFailed) as failed:
        decoders.measure(misbehaving(misdeed, where), max_pixels=MAX_PIXELS)
    return failed.value


def pid_of(decoders: Decoders) -> int:
    """Return the id of the process that does the next task."""
    found, _ = decoders.measure(misbehaving(Misdeed.TELL), max_pixels=MAX_PIXELS)
    return int(found.problem_detail.rpartition(" ")[2])


def test_a_worker_measures_like_this_process(decoders: Decoders) -> None:
    """A worker gives the same measurements and pixels, bit for bit."""
    found, pixels = decoders.measure(good(), max_pixels=MAX_PIXELS)
    ours, our_pixels = measure(good(), max_pixels=MAX_PIXELS)
    assert found == ours
    assert pixels is not None
    assert our_pixels is not None
    assert np.array_equal(pixels, our_pixels)
    assert np.array_equal(decoders.render(good(), max_pixels=MAX_PIXELS), our_pixels)


def test_a_refusal_carries_its_reason_and_size(decoders: Decoders) -> None:
    """The reason and size are in the findings of a measurement, and in the error of a render."""
    found, pixels = decoders.measure(png(2000, 2000), max_pixels=MAX_PIXELS)
    assert (found.problem, found.width, pixels) == (Reason.TOO_MANY_PIXELS, 2000, None)
    with pytest.raises(UnreadableImage, match="2000 x 2000") as refused:
        decoders.render(png(2000, 2000), max_pixels=MAX_PIXELS)
    assert (refused.value.reason, refused.value.height) == (Reason.TOO_MANY_PIXELS, 2000)


def test_a_small_copy_keeps_its_shape(decoders: Decoders) -> None:
    """It fits into the square, and comes with the original's findings."""
    shrunk = decoders.shrink(encode(checks(300, 200), "PNG"), side_px=60, max_pixels=MAX_PIXELS)
    assert (shrunk.image.mode, shrunk.image.size) == ("RGB", (60, 40))
    assert (shrunk.original.width, shrunk.original.image_format) == (300, "PNG")


@pytest.mark.parametrize(
    ("misdeed", "reason", "words"),
    [
        (Misdeed.HANG, Reason.DECODER_TIMEOUT, "time limit of 3 s"),
        (Misdeed.CRASH, Reason.DECODER_CRASHED, "SIGSEGV"),
        (Misdeed.EAT, Reason.DECODER_MEMORY, "memory limit of 278 MiB"),
        (Misdeed.EAT_AND_BLAME, Reason.DECODER_MEMORY, "memory limit of 278 MiB"),
        (Misdeed.KILLED, Reason.DECODER_MEMORY, "memory ran out"),
        (Misdeed.LEAVE, Reason.DECODER_CRASHED, "exit status 0"),
        (Misdeed.RAISE, Reason.DECODER_CRASHED, "exit status 1: RuntimeError: of our own"),
        (Misdeed.LIE, Reason.DECODER_CRASHED, "malformed reply"),
        (Misdeed.TOO_FEW, Reason.DECODER_CRASHED, "malformed reply"),
    ],
)
def test_a_bad_decoder_is_one_images_failure(decoders: Decoders, misdeed: Misdeed, reason: Reason, words: str) -> None:
    """However the process ends, its image gets a reason and a message, and the next one is decoded."""
    error = failure(decoders, misdeed, "of our own")
    assert error.reason is reason
    assert words in str(error)
    assert error.retryable
    assert decoders.measure(good(), max_pixels=MAX_PIXELS)[0].problem is None


@pytest.mark.slow
def test_an_image_that_needs_too_much_processor_time_is_rejected() -> None:
    """It would need as much in any later attempt, so it is undecodable, not a failure to retry."""
    decoders = Decoders(1, cpu_s=0.2, program=PROGRAM)
    found, pixels = decoders.measure(misbehaving(Misdeed.HANG), max_pixels=MAX_PIXELS)
    assert (found.problem, pixels) == (Reason.UNDECODABLE, None)
    assert "0.2 s of processor time" in found.problem_detail
    with pytest.raises(UnreadableImage, match="processor time") as refused:
        decoders.render(misbehaving(Misdeed.HANG), max_pixels=MAX_PIXELS)
    assert not refused.value.retryable
    decoders.close()


def test_a_crash_is_retried_once_in_a_fresh_process(decoders: Decoders, tmp_path: Path) -> None:
    """An earlier image may have damaged the process, so the image gets a second attempt."""
    data = misbehaving(Misdeed.CRASH_ONCE, str(tmp_path / "crashed"))
    found, _ = decoders.measure(data, max_pixels=MAX_PIXELS)
    assert (found.problem, (tmp_path / "crashed").exists()) == (None, True)


def test_a_damaged_image_is_not_reported_as_out_of_memory(decoders: Decoders) -> None:
    """It is undecodable even after an image for which the process used all its memory."""
    damaged = good()[:600] + b"\xff" * 20_000
    first = decoders.measure(damaged, max_pixels=MAX_PIXELS)[0].problem
    assert first is not None
    failure(decoders, Misdeed.EAT_AND_BLAME)
    assert decoders.measure(damaged, max_pixels=MAX_PIXELS)[0].problem == first


def test_a_worker_is_reused(decoders: Decoders) -> None:
    """One process decodes many images, and one that exited while idle is replaced."""
    first = pid_of(decoders)
    assert pid_of(decoders) == first
    os.kill(first, signal.SIGKILL)
    assert pid_of(decoders) != first


def test_a_hang_delays_no_other_image(tmp_path: Path) -> None:
    """While one worker hangs, another continues."""
    decoders, end = Decoders(2, deadline_s=60, program=PROGRAM), tmp_path / "end"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decoders.measure, misbehaving(Misdeed.WAIT, end), max_pixels=MAX_PIXELS)
        for _ in range(3):
            assert decoders.measure(good(), max_pixels=MAX_PIXELS)[0].problem is None
        assert not waiting.done()
        end.touch()
        assert waiting.result()[0].problem is None
    decoders.close()


def test_a_worker_does_not_get_the_environment(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shop keys and database passwords are not in the process that reads strangers' files."""
    monkeypatch.setenv("MY_SHOP_SECRET", "s")
    decoders.close()
    found, _ = decoders.measure(misbehaving(Misdeed.TELL), max_pixels=MAX_PIXELS)
    assert "PYTHONPATH" in found.problem_detail
    assert "MY_SHOP_SECRET" not in found.problem_detail
    assert "HOME" not in found.problem_detail.replace("PYTHONHOME", "")


def test_workers_that_cannot_start_fail_the_run() -> None:
    """No image is blamed; the message holds the process's last log line."""
    decoders = Decoders(1, program=("-c", "raise SystemExit('no decoder here')"))
    with pytest.raises(DecoderUnavailable, match="no decoder here"):
        decoders.measure(good(), max_pixels=MAX_PIXELS)
    with pytest.raises(DecoderUnavailable):
        decoders.measure(good(), max_pixels=MAX_PIXELS)


_PARENT = """
import sys, threading
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline_tests.images.misbehaving import PROGRAM, Misdeed, misbehaving
decoders = Decoders(2, deadline_s=10, program=PROGRAM)
task = threading.Thread(target=decoders.measure, args=[misbehaving(Misdeed.HANG)], kwargs={"max_pixels": 10})
task.start()
print(decoders.measure(misbehaving(Misdeed.TELL), max_pixels=10)[0].problem_detail, flush=True)
task.join()
"""


def test_no_worker_outlives_its_parent() -> None:
    """After SIGKILL of the parent, an idle worker exits at once, a hanging one at its deadline."""
    command = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ}) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        workers: list[psutil.Process] = []
        while len(workers) < 2 and parent.poll() is None:  # the hanging one may still be starting
            workers = psutil.Process(parent.pid).children()
        assert len(workers) == 2
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


_FORKING = """
import os
from fashion_pipeline.images.workers import decoders
from fashion_pipeline_tests.images.drawing import good
before, _ = decoders().measure(good(), max_pixels=10**6)
if os.fork() == 0:
    assert decoders().measure(good(), max_pixels=10**6)[0] == before
    decoders().close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert decoders().measure(good(), max_pixels=10**6)[0] == before
print("done")
"""


def test_a_forked_process_has_its_own_workers() -> None:
    """After a fork, parent and child each use their own workers and get their own replies."""
    assert subprocess.check_output([sys.executable, "-W", "error", "-c", _FORKING]) == b"done\n"


def test_the_largest_allowed_image_fits_into_the_memory_limit(decoders: Decoders) -> None:
    """The most demanding kind (a WebP with transparency, a colour profile and a rotation) stays within the limit."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"abcd")
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (4000, 2500), (200, 100, 50, 128))
    unknown = profile.replace("sRGB".encode("utf-16-be"), "abcd".encode("utf-16-be"))
    data = encode(image, "WEBP", method=0, quality=1, icc_profile=unknown, exif=exif)
    patient = Decoders(1, program=PROGRAM)
    found, _ = patient.measure(data, max_pixels=4000 * 2500)
    assert (found.width, found.transparent, found.problem) == (2500, True, None)
    status = Path(f"/proc/{pid_of(patient)}/status").read_text()
    patient.close()
    peaks = {line.split()[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("Vm")}
    assert 4000 * 2500 * 12 < peaks["VmHWM:"] < peaks["VmPeak:"] < memory_bound(4000 * 2500)


def test_the_memory_limit_is_the_documented_one() -> None:
    """With the default of 40 million pixels a worker may use 1,171 MiB."""
    bound = memory_bound(Quality.model_validate({}).max_pixels) >> 20
    assert f"{bound:,} MiB" in (Path(__file__).parents[2] / "docs" / "assets.md").read_text("utf-8")
