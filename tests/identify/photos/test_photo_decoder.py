"""Photos in processes that are limited, watched and replaced: what is sound is decoded to the bit, what is not costs a refusal."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from geoplantnet.errors import InputError, TryAgain
from geoplantnet.identify.photos import SURVEY, Decoder, Limits, RefusedPhoto, decoder, resized, square, worker

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from photos import PNG, chunk, crafted, ihdr, jpeg, leaks, mutated, noise, picture, png, raw_png, rich_jpeg, sound, zeros


@pytest.fixture(scope="module")
def one() -> Decoder:
    with Decoder(workers=1) as opened:
        yield opened


def status(pid: int, name: str) -> int:
    """A line of /proc/<pid>/status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def test_every_crafted_photo_meets_its_end(one):
    """Of each the kind of refusal that was foreseen, or pixels of the shape its header tells; the process lives through all, in bounds."""
    one.pixels(jpeg())
    before = one.processes()
    for name, data, kind in crafted():
        try:
            pixels = one.pixels(data)
        except RefusedPhoto as refused:
            assert refused.kind == kind, (name, str(refused))
        else:
            assert kind is None and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, name
    assert one.processes() == before, "a crafted photo ended the decoder"
    budget = decoder.MEMORY_BASE + SURVEY.bytes + decoder.MEMORY_PIXEL * SURVEY.pixels
    assert all(status(pid, "VmHWM") < budget / 2 for pid in before)


def test_mutated_photos_are_decoded_or_refused(one):
    """300 of them: pixels or a refusal of a known kind, and nothing of what they tell of a place."""
    outcomes = {"decoded": 0, "refused": 0}
    for data in mutated(300, seed=5):
        try:
            one.square(data, 32)
            outcomes["decoded"] += 1
            assert leaks(one.resized(data, 64)) == []
        except RefusedPhoto as refused:
            outcomes["refused"] += 1
            assert refused.kind in ("too-many-pixels", "not-an-image", "unsupported", "damaged"), str(refused)
    assert min(outcomes.values()) > 30, outcomes


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("data", sound(), ids=range(len(sound())))
def test_pixels_are_pillows_upright_over_white(one, data):
    """To the bit, beside Pillow in this process on the file as it came."""
    with Image.open(io.BytesIO(data)) as image:
        whole = ImageOps.exif_transpose(image)
        if whole.has_transparency_data:
            whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole.convert("RGBA"))
        oracle = np.asarray(whole.convert("RGB"))
    got = one.pixels(data)
    assert got.shape == oracle.shape and abs(got.astype(int) - oracle).max() <= (1 if data.startswith(PNG) else 0)
    assert np.array_equal(one.square(data, 48), square(got, 48))


def test_deep_and_odd_colours_are_brought_to_eight_bits(one):
    """Of 16 bits the upper 8; grey thrice; 1 and 2 bits over the whole range; transparency over white."""
    grey = raw_png(4, 1, 16, 0, b"\0" + bytes((0, 255, 1, 0, 0x80, 0x80, 0xFF, 0xFF)))
    assert one.pixels(grey)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
    deep = raw_png(1, 1, 16, 2, b"\0" + bytes((1, 255, 2, 255, 3, 255)))
    assert one.pixels(deep)[0, 0].tolist() == [1, 2, 3]
    assert one.pixels(raw_png(8, 1, 1, 0, b"\0\xa5"))[0, :, 0].tolist() == [255, 0, 255, 0, 0, 255, 0, 255]
    assert one.pixels(raw_png(4, 1, 2, 0, b"\0\x1b"))[0, :, 0].tolist() == [0, 85, 170, 255]
    clear = raw_png(2, 1, 8, 6, b"\0" + bytes((9, 9, 9, 0, 9, 9, 9, 255)))
    assert one.pixels(clear)[0].tolist() == [[255] * 3, [9] * 3]
    keyed = raw_png(2, 1, 8, 2, b"\0" + bytes((10, 20, 30, 10, 20, 31)), chunk(b"tRNS", b"\0\x0a\0\x14\0\x1e"))
    assert one.pixels(keyed)[0].tolist() == [[255] * 3, [10, 20, 31]]
    white = one.pixels(jpeg(Image.new("CMYK", (8, 8), (0, 0, 0, 0)))).astype(int)
    assert (white > 250).all()


def test_a_smaller_jpeg_looks_like_the_photo(one):
    """Decoded coarsely or whole: the size is the same, pixels on average within 3 levels; upright, and without metadata."""
    data = rich_jpeg(orientation=6)
    big = jpeg(picture(1600, 1200), quality=92)
    for photo, longest in ((data, 40), (big, 200), (big, 1500), (png(picture(300, 200)), 100)):
        coarse, whole = one.resized(photo, longest), resized(one.pixels(photo), longest)
        a, b = (np.asarray(Image.open(io.BytesIO(x))).astype(int) for x in (coarse, whole))
        assert a.shape == b.shape and abs(a - b).mean() < 3 and leaks(coarse) == []


def test_threads_get_each_their_own_photo():
    """40 photos by 8 threads and 2 processes: every answer is that of its photo."""
    photos = [noise(n, 40 + n, 30) for n in range(40)]
    with Decoder(workers=2) as two, ThreadPoolExecutor(8) as pool:
        for data, pixels in zip(photos, pool.map(two.pixels, photos), strict=True):
            assert np.array_equal(pixels[..., 0], np.asarray(Image.open(io.BytesIO(data))))


def test_a_decoder_that_was_killed_is_replaced():
    """Idle or not: the next photo is answered, by another process, and nobody is told."""
    with Decoder(workers=1) as killed:
        before = killed.pixels(jpeg())
        (first,) = killed.processes()
        os.kill(first, signal.SIGKILL)
        assert np.array_equal(killed.pixels(jpeg()), before)
        assert first not in killed.processes()


def test_a_decoder_that_hangs_is_ended_and_replaced():
    """Stopped in the middle: too-slow after its time, then the next photo is decoded."""
    with Decoder(workers=1, seconds=0.3) as hanging:
        hanging.pixels(jpeg())
        (pid,) = hanging.processes()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(RefusedPhoto, match=r"0\.3 s") as refused:
            hanging.pixels(jpeg())
        assert refused.value.kind == "too-slow" and not Path(f"/proc/{pid}").exists()
    with Decoder(workers=1, seconds=20) as patient:
        assert patient.pixels(jpeg()).shape == (72, 96, 3)


def test_a_photo_that_ends_every_decoder_is_refused(monkeypatch):
    """It may kill two; then it is damaged, and a sound one is still decoded."""
    sent = []

    def killed(self, request, data, seconds):
        sent.append(data)
        if len(data) > 3000:
            os.kill(self._process.pid, signal.SIGKILL)
        return ask(self, request, data, seconds)

    ask = decoder._Worker.ask
    monkeypatch.setattr(decoder._Worker, "ask", killed)
    with Decoder(workers=1) as fragile:
        fragile._idle.queue[0]._wait()
        with pytest.raises((RefusedPhoto, TryAgain)):
            fragile.pixels(noise(1))
        assert len(sent) <= 2 and fragile.pixels(png(picture(8, 8))).shape == (8, 8, 3)


def test_cpu_time_ends_a_photo_that_the_clock_would_let_on():
    """The kernel ends a process that computes for longer than it may: by SIGXCPU."""
    code = f"""
import runpy, sys
worker = runpy.run_path({worker.__file__!r})
worker['_allow'](0)
while True: pass
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGXCPU


def test_memory_that_is_not_given_is_a_refusal(monkeypatch):
    """A photo within the limits of pixels that needs more memory than there is: refused, and the process lives."""
    monkeypatch.setattr(decoder, "MEMORY_BASE", 30_000_000)
    monkeypatch.setattr(decoder, "MEMORY_PIXEL", 1)
    big = PNG + ihdr(5000, 5000, 1, 0) + chunk(b"IDAT", zeros(5000 * 626)) + chunk(b"IEND", b"")
    with Decoder(workers=1, limits=Limits()) as small:
        small.pixels(png())
        before = small.processes()
        with pytest.raises(RefusedPhoto, match="memory") as refused:
            small.pixels(big)
        assert refused.value.kind == "too-many-pixels" and small.pixels(png()).shape == (72, 96, 3) and small.processes() == before


def test_a_process_is_confined():
    """No secret of ours, no file of ours, none it could open or make; memory, core dumps and what it may write are limited."""
    os.environ["A_SECRET"] = "do not tell"
    with Decoder(workers=1, limits=Limits()) as opened:
        opened.pixels(jpeg())
        (pid,) = opened.processes()
        place = Path(f"/proc/{pid}")
        assert b"do not tell" not in (place / "environ").read_bytes() and (place / "cwd").readlink() == Path("/")
        assert sorted(p.name for p in (place / "fd").iterdir()) == ["0", "1", "2"]
        limits = {line[:25].strip(): line[26:46].strip() for line in (place / "limits").read_text().splitlines()[1:]}
        assert limits["Max file size"] == limits["Max core file size"] == limits["Max processes"] == "0" and limits["Max open files"] == "3"
        assert int(limits["Max address space"]) < 1_200_000_000 and limits["Max cpu time"].isdigit()
    del os.environ["A_SECRET"]
    assert not place.exists()


def test_all_busy_is_try_again():
    """A server answers 503 then: it says for how long it waited, and nothing is wrong afterwards."""
    with Decoder(workers=1, patience=0.1, seconds=30) as busy:
        busy.pixels(jpeg())
        (pid,) = busy.processes()
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(busy.pixels, jpeg())
            while not busy._idle.empty():
                time.sleep(0.01)
            with pytest.raises(TryAgain, match=r"0\.1 s"):
                busy.pixels(jpeg())
            os.kill(pid, signal.SIGCONT)
            assert waiting.result().shape == (72, 96, 3)
        assert busy.pixels(jpeg()).shape == (72, 96, 3)


def test_a_decoder_that_cannot_start_is_not_the_photos_fault(monkeypatch, tmp_path):
    """TryAgain, which says where to look; once it can start, photos are decoded."""
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(9)")
    monkeypatch.setattr(worker, "__file__", str(broken))
    with Decoder(workers=1) as late:
        for _ in range(2):
            with pytest.raises(TryAgain, match="did not start"):
                late.pixels(jpeg())
        monkeypatch.undo()
        assert late.pixels(jpeg()).shape == (72, 96, 3)


def test_closing_ends_all_processes():
    """Those that are idle and the one at work, whose photo is still answered; then the decoder says that it is closed."""
    before = threading.active_count()
    opened = Decoder(workers=2)
    with pytest.raises(InputError, match="with Decoder"):
        opened.pixels(jpeg())
    big = jpeg(picture(3000, 2000))
    with opened, ThreadPoolExecutor(1) as pool:
        opened.pixels(jpeg())
        pids = opened.processes()
        answer = pool.submit(opened.pixels, big)
        while opened._idle.qsize() == 2:
            time.sleep(0.001)
        opened.close()
        assert answer.result().shape == (2000, 3000, 3)
    with pytest.raises(InputError, match="closed"):
        opened.pixels(jpeg())
    gc.collect()
    assert len(pids) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in pids) and threading.active_count() <= before


def test_limits_of_a_call_and_of_the_decoder_both_hold(one):
    """The smaller counts; a photo of a plot is refused as one of a plant, and taken as what it is."""
    big = PNG + ihdr(7000, 4000, 1, 0) + chunk(b"IDAT", zeros(4000 * 876)) + chunk(b"IEND", b"")
    with pytest.raises(RefusedPhoto) as refused:
        one.square(big, 32)
    assert refused.value.kind == "too-many-pixels" and one.square(big, 32, SURVEY).shape == (32, 32, 3)
    for bad in ({"workers": 0}, {"seconds": 0.0}):
        with pytest.raises(InputError):
            Decoder(**bad)
    with pytest.raises(InputError, match="8,192"):
        one.square(jpeg(), 0)
