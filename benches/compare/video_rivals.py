"""The suite `video`: a y4m file filtered by brigade's program and by ffmpeg's own filters.

All read the same file and write y4m to a file beside it, in memory. A repetition is a whole run of
the program, with its start and its end.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WIDTH, HEIGHT = 1920, 1080
FOLDER = Path("/dev/shm")
PROGRAM = Path(__file__).resolve().parents[2] / "target" / "release" / "video"
# ffmpeg's filter for each of ours. docs/video.md says how the pictures differ.
RIVALS = {
    "blur": "gblur=sigma=2",
    "blur-near": "gblur=sigma=2:steps=6",
    "denoise": "hqdn3d",
    "edges": "sobel=planes=1",
    "grey": "hue=s=0",
}


def clip(frames: int) -> Path:
    """A film of `frames` frames, made by the contender that needs it first: shapes and noise."""
    path = FOLDER / f"brigade-compare-{WIDTH}-{frames}.y4m"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}")
        size = f"size={WIDTH}x{HEIGHT}:rate=25"
        filters = "noise=alls=12:allf=t,format=yuv420p"
        words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2={size}", "-vf", filters]
        words += ["-frames:v", str(frames), "-f", "yuv4mpegpipe", "-y", str(partial)]
        subprocess.run(words, check=True)
        partial.rename(path)
    return path


def command(rival: str, call: str, mode: str, workers: int, files: list[Path]) -> list[str]:
    """The command that filters the first file into the second."""
    source, target = map(str, files)
    if rival == "brigade":
        words = [str(PROGRAM), source, target, "--filter", call.removesuffix("-near")]
        return words + ["--mode", mode, "--workers", str(workers), "--json"]
    threads = ["-threads", str(workers), "-filter_threads", str(workers)]
    words = ["ffmpeg", "-v", "error", "-nostdin", *threads, "-i", source, "-vf", RIVALS[call]]
    return words + ["-f", "yuv4mpegpipe", "-y", target]


def video(rival: str, arguments: dict) -> Callable[[], dict[str, float]]:
    """How many frames are filtered in a second?"""
    if shutil.which("ffmpeg") is None:
        raise ModuleNotFoundError(name="ffmpeg")
    frames = arguments["frames"]
    scratch = tempfile.TemporaryDirectory(prefix="compare-video-", dir=FOLDER)
    files = [clip(frames), Path(scratch.name) / "out.y4m"]
    words = command(rival, arguments["call"], arguments["mode"], arguments["workers"], files)

    def repetition() -> dict[str, float]:
        assert scratch.name, "the folder exists"
        begin = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]}: {done.stderr}")
        size_bytes = files[1].stat().st_size
        files[1].unlink()
        if size_bytes < frames * WIDTH * HEIGHT * 3 // 2:
            raise RuntimeError(f"{words[0]} wrote {size_bytes} bytes for {frames} frames")
        return {"frames_per_s": frames / seconds}

    return repetition
