"""Rivals of the array library: what each call is in NumPy, SciPy and others.

The sizes are those of src/arrays.rs.
"""

from collections.abc import Callable
from typing import Any

AXIS_LEN = 4096
BINS = 1000
IMAGE_SIDE = 5000
SIGMA = 2.0
PICKED = 4
QUANTILES = (0.25, 0.5, 0.75)
TOP = 100
SEED = 1

Call = Callable[[], Any]


class Absent(Exception):
    """The rival has no such call."""


def chosen(calls: dict[str, Call], name: str) -> Call:
    if name not in calls:
        raise Absent(name)
    return calls[name]


def reduce(rival: str, arguments: dict) -> Call:
    """A reduction of a whole array of f64, or along an axis."""
    import numpy

    a = numpy.random.default_rng(SEED).random((arguments["elements"] // AXIS_LEN, AXIS_LEN))
    if rival == "bottleneck":
        import bottleneck

        calls = {
            "min": lambda: bottleneck.nanmin(a),
            "argmax": lambda: bottleneck.nanargmax(a),
            "sum_axis0": lambda: bottleneck.nansum(a, 0),
            "sum_axis1": lambda: bottleneck.nansum(a, 1),
            "var_axis0": lambda: bottleneck.nanvar(a, 0),
            "max_axis1": lambda: bottleneck.nanmax(a, 1),
            "argmax_axis0": lambda: bottleneck.nanargmax(a, 0),
        }
    else:
        b = a.copy()
        calls = {
            "mean": a.mean,
            "var": a.var,
            "min": a.min,
            "argmax": a.argmax,
            "dot": lambda: numpy.vdot(a, b),
            "norm": lambda: numpy.linalg.norm(a),
            "sum_axis0": lambda: a.sum(0),
            "sum_axis1": lambda: a.sum(1),
            "var_axis0": lambda: a.var(0),
            "max_axis1": lambda: a.max(1),
            "argmax_axis0": lambda: a.argmax(0),
        }
    return chosen(calls, arguments["call"])


def elements(rival: str, arguments: dict) -> Call:
    """A call on elements; where brigade writes into an array that is there, so does the rival."""
    import numpy

    n, call = arguments["elements"], arguments["call"]
    generator = numpy.random.default_rng(SEED)
    a = generator.random((n // AXIS_LEN, AXIS_LEN))
    out = numpy.zeros_like(a)
    mask = generator.integers(0, 1, a.shape, numpy.uint8, endpoint=True).astype(bool)
    row = a.mean(0)
    if rival == "numexpr":
        import numexpr

        names = {"a": a, "b": out, "row": row, "mask": mask}
        calls = {
            "map": lambda: numexpr.evaluate("a * a + 1.0", names, out=out),
            "zip_rows": lambda: numexpr.evaluate("a - row", names, out=out),
            "where": lambda: numexpr.evaluate("where(mask, a, b)", names),
        }
    elif rival == "fast-histogram":
        import fast_histogram

        flat = a.ravel()
        histogram = lambda: fast_histogram.histogram1d(flat, BINS, (0.0, 1.0))  # noqa: E731
        calls = {"histogram": histogram}
    else:
        narrow = numpy.zeros(a.shape, numpy.float32)
        flat, flat_mask = a.ravel(), mask.ravel()
        counted = generator.integers(0, BINS, n)
        picked = generator.integers(0, n, n // PICKED, numpy.uint64)

        def square() -> None:
            numpy.multiply(a, a, out=out)
            numpy.add(out, 1.0, out=out)

        calls = {
            "cast": lambda: numpy.copyto(narrow, a, casting="same_kind"),
            "map": square,
            "zip_rows": lambda: numpy.subtract(a, row, out=out),
            "histogram": lambda: numpy.histogram(flat, BINS, (0.0, 1.0)),
            "bincount": lambda: numpy.bincount(counted),
            "quantiles": lambda: numpy.quantile(flat, QUANTILES),
            "cumsum": a.cumsum,
            "transpose": lambda: numpy.ascontiguousarray(a.T),
            "take": lambda: flat.take(picked.view(numpy.int64)),
            "compress": lambda: flat[flat_mask],
            "where": lambda: numpy.where(mask, a, out),
        }
    return chosen(calls, call)


def random(rival: str, arguments: dict) -> Call:
    """Random numbers by the same counter-based generator."""
    import numpy

    del rival
    n = arguments["elements"]
    generator = numpy.random.Generator(numpy.random.Philox(SEED))
    out = numpy.zeros(n)
    calls = {
        "uniform": lambda: generator.random(out=out),
        "normal": lambda: generator.standard_normal(out=out),
        "integers": lambda: generator.integers(0, 1000, n),
        "shuffle": lambda: generator.shuffle(out),
        "permutation": lambda: generator.permutation(n),
    }
    return chosen(calls, arguments["call"])


def filters(rival: str, arguments: dict) -> Call:
    """A filter of an image of f32, with reflected borders."""
    import numpy

    image = numpy.random.default_rng(SEED).random((IMAGE_SIDE, IMAGE_SIDE), numpy.float32)
    weights = (numpy.arange(25, dtype=numpy.float32) / 300).reshape(5, 5)
    out = numpy.zeros_like(image)
    if rival == "scipy":
        from scipy import ndimage

        calls = {
            "gaussian": lambda: ndimage.gaussian_filter(image, SIGMA, output=out),
            "sobel": lambda: ndimage.sobel(image, 1),
            "correlate": lambda: ndimage.correlate(image, weights),
        }
    elif rival == "opencv":
        import cv2

        cv2.setNumThreads(arguments["workers"])
        # As many taps as SciPy's default and brigade have: four deviations on each side.
        size, border = 2 * int(4 * SIGMA + 0.5) + 1, cv2.BORDER_REFLECT
        calls = {
            "gaussian": lambda: cv2.GaussianBlur(image, (size, size), SIGMA, out, SIGMA, border),
            "sobel": lambda: cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, borderType=border),
            "correlate": lambda: cv2.filter2D(image, cv2.CV_32F, weights, borderType=border),
        }
    elif rival == "apply-parallel":
        from skimage.filters import gaussian
        from skimage.util import apply_parallel

        def blur() -> Any:
            return apply_parallel(
                gaussian, image, depth=int(4 * SIGMA + 0.5), dtype=numpy.float32,
                extra_keywords={"sigma": SIGMA}, compute=True,
            )  # fmt: skip

        calls = {"gaussian": blur}
    else:

        def jacobi() -> None:
            padded = numpy.pad(image, 1, "edge")
            numpy.add(padded[:-2, 1:-1], padded[2:, 1:-1], out=out)
            numpy.add(out, padded[1:-1, :-2], out=out)
            numpy.add(out, padded[1:-1, 2:], out=out)
            numpy.multiply(out, 0.25, out=out)

        calls = {"stencil": jacobi}
    return chosen(calls, arguments["call"])


def keys(arguments: dict) -> Any:
    """Random keys of the type that is asked for."""
    import numpy

    dtype = {"u": "uint", "i": "int", "f": "float"}[arguments["dtype"][0]] + arguments["dtype"][1:]
    n, generator = arguments["elements"], numpy.random.default_rng(SEED)
    if dtype.startswith("float"):
        return generator.random(n, dtype)
    limits = numpy.iinfo(dtype)
    return generator.integers(limits.min, limits.max, n, dtype, endpoint=True)


def sort(rival: str, arguments: dict) -> tuple[Callable, Callable]:
    """What makes the operand of a sort in place, or of a search, untimed; and the call on it."""
    import numpy

    a, call = keys(arguments), arguments["call"]
    if rival == "polars":
        import polars

        series = polars.Series(a)
        in_order = series.sort()
        calls = {
            "sort": lambda _: series.sort(),
            "argsort": lambda _: series.arg_sort(),
            "unique": lambda _: series.value_counts(sort=True),
            "top_k": lambda _: series.top_k(TOP),
            "searchsorted": lambda _: in_order.search_sorted(series),
        }
        return (lambda: None), chosen(calls, call)
    in_order = numpy.sort(a)
    calls = {
        "sort": lambda copy: copy.sort(),
        "argsort": lambda _: a.argsort(kind="stable"),
        "unique": lambda _: numpy.unique(a, return_counts=True),
        "top_k": lambda _: numpy.argpartition(a, a.size - TOP)[-TOP:],
        "searchsorted": lambda _: in_order.searchsorted(a),
    }
    return (a.copy if call == "sort" else lambda: None), chosen(calls, call)


def transform(rival: str, arguments: dict) -> Call:
    """A Fourier transform of doubles. FFTW measures its plan, and writes into memory of its own.

    Without a limit it measures plans of a long transform for more than ten minutes.
    """
    import numpy

    name, _, sides = arguments["call"].partition(" ")
    shape = tuple(int(side) for side in sides.split("x"))
    axes = (0,) if name == "fft-axis0" else tuple(range(len(shape)))
    threads, generator = arguments["workers"], numpy.random.default_rng(SEED)
    x = generator.random(shape)
    if name != "rfft":
        x = x + 1j * generator.random(shape)
    if rival == "scipy":
        import scipy.fft

        calls = {
            "fft": lambda: scipy.fft.fftn(x, axes=axes, workers=threads),
            "fft-axis0": lambda: scipy.fft.fftn(x, axes=axes, workers=threads),
            "fft-in-place": lambda: scipy.fft.fftn(x, workers=threads, overwrite_x=True),
            "rfft": lambda: scipy.fft.rfftn(x, workers=threads),
        }
        return chosen(calls, name)
    import pyfftw

    given = pyfftw.empty_aligned(x.shape, x.dtype)
    out_shape = (*shape[:-1], shape[-1] // 2 + 1) if name == "rfft" else shape
    out = given if name == "fft-in-place" else pyfftw.empty_aligned(out_shape, complex)
    plan = pyfftw.FFTW(
        given, out, axes=axes, threads=threads, flags=("FFTW_MEASURE",), planning_timelimit=30.0
    )
    given[:] = x
    return plan
