"""The suite `images`: a folder of photographs made small, by brigade's program and by others.

All read the same files and write JPEGs whose longer side has SIZE pixels, in the same quality.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Pool, get_context
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 4000, 3000
SIZE = 256
QUALITY = 85
SEED = 1
PROGRAM = Path(__file__).resolve().parents[2] / "target" / "release" / "images"


def photograph(number: int) -> Any:
    """Noise of several scales, and discs with sharp edges: 2.5 MB as a JPEG."""
    import cv2
    import numpy

    random = numpy.random.default_rng((SEED, number))
    image = numpy.full((HEIGHT, WIDTH, 3), 128, numpy.float32)
    for columns, strength in ((6, 60), (24, 45), (120, 30), (600, 22), (2000, 14)):
        shape = (max(2, columns * HEIGHT // WIDTH), columns, 3)
        noise = random.standard_normal(shape).astype(numpy.float32)
        image += strength * cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image += 4 * random.standard_normal((HEIGHT, WIDTH, 1)).astype(numpy.float32)
    for _ in range(60):
        colour = tuple(int(part) for part in random.integers(0, 255, 3))
        centre = tuple(int(part) for part in random.integers(0, [WIDTH, HEIGHT]))
        cv2.circle(image, centre, int(random.integers(20, WIDTH // 12)), colour, -1)
    return numpy.clip(image, 0, 255).astype(numpy.uint8)


def make(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), photograph(int(path.stem)), [cv2.IMWRITE_JPEG_QUALITY, 90])


def photographs(count: int) -> Path:
    """A folder of `count` photographs, made by the contender that needs it first."""
    folder = Path(tempfile.gettempdir()) / f"brigade-compare-images-{SEED}-{count}"
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        # In new processes: OpenCV's threads do not survive the fork of a later pool.
        with get_context("spawn").Pool() as pool:
            pool.map(make, [partial / f"{number:04}.jpg" for number in range(count)])
        partial.rename(folder)
    return folder


def by_pillow(task: tuple[Path, Path, bool]) -> None:
    from PIL import Image

    source, target, is_drafted = task
    with Image.open(source) as image:
        if is_drafted:
            # As Pillow's own `thumbnail` does: at least twice the size of the output.
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
        scale = SIZE / max(image.size)
        size = tuple(round(side * scale) for side in image.size)
        image.resize(size, Image.Resampling.LANCZOS).save(target, quality=QUALITY)


def by_opencv(task: tuple[Path, Path, bool]) -> None:
    import cv2

    source, target, is_reduced = task
    cv2.setNumThreads(1)
    image = cv2.imread(str(source), cv2.IMREAD_REDUCED_COLOR_4 if is_reduced else cv2.IMREAD_COLOR)
    scale = SIZE / max(image.shape)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def command(rival: str, files: list[Path], out: Path, workers: int) -> tuple[list[str], str, dict]:
    """The command of a rival that is a program, its standard input, and its environment."""
    names = "".join(f"{path}\n" for path in files)
    geometry = f"{SIZE}x{SIZE}"
    alone = {"MAGICK_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
    if rival in ("brigade", "turbojpeg"):
        program = PROGRAM if rival == "brigade" else PROGRAM.with_name("images-turbojpeg")
        words = [str(program), str(files[0].parent), str(out), "--size", str(SIZE)]
        return words + ["--quality", str(QUALITY), "--workers", str(workers), "--json"], "", {}
    if rival == "mogrify":
        words = ["mogrify", "-path", str(out), "-resize", geometry, "-quality", str(QUALITY)]
        return words + [str(path) for path in files], "", {}
    if rival == "parallel":
        words = ["parallel", f"-j{workers}", "convert", "{}", "-resize", geometry, "-quality"]
        return words + [str(QUALITY), f"{out}/{{/}}"], names, alone
    each = -(-len(files) // workers)
    words = ["xargs", f"-P{workers}", f"-n{each}", "vipsthumbnail", f"--size={SIZE}"]
    return words + [f"--output={out}/%s.jpg[Q={QUALITY}]"], names, alone


def images(rival: str, arguments: dict) -> Callable[[], dict[str, float]]:
    """How many photographs become small in a second?"""
    folder = photographs(arguments["pictures"])
    files, workers = sorted(folder.glob("*.jpg")), arguments["workers"]
    scratch = tempfile.TemporaryDirectory(prefix="brigade-compare-")
    out = Path(scratch.name) / "out"

    library, _, mode = rival.partition("-")
    if library in ("pillow", "opencv"):
        module = {"pillow": "PIL", "opencv": "cv2"}[library]
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
        function = {"pillow": by_pillow, "opencv": by_opencv}[library]
        pool = Pool(workers)
        tasks = [(path, out / path.name, bool(mode)) for path in files]

        def run() -> None:
            for _ in pool.imap_unordered(function, tasks):
                pass
    else:
        words, given, environment = command(rival, files, out, workers)
        program = "vipsthumbnail" if rival == "vipsthumbnail" else words[0]
        if shutil.which(program) is None:
            raise ModuleNotFoundError(name=program)

        def run() -> None:
            environ = os.environ | environment
            done = subprocess.run(
                words, input=given, text=True, env=environ, capture_output=True, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"{words[0]}: {done.stderr}")

    def repetition() -> dict[str, float]:
        out = Path(scratch.name) / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        begin = time.perf_counter()
        run()
        seconds = time.perf_counter() - begin
        made = sum(1 for path in out.iterdir() if path.stat().st_size > 0)
        if made != len(files):
            raise RuntimeError(f"{made} outputs of {len(files)}")
        return {"pictures_per_s": len(files) / seconds}

    return repetition
