"""Rivals of the factorisations: LAPACK of SciPy's OpenBLAS, and of MKL through its C entry points.

Each call copies its matrix, which is stored by columns, as LAPACK wants it, and factors the copy.
"""

import ctypes
from collections.abc import Callable
from typing import Any

Call = Callable[[], Any]

COLUMN_MAJOR = 102


def factor(rival: str, arguments: dict) -> Call:
    """A factorisation or decomposition of an n x n matrix of doubles."""
    import numpy

    n, call = arguments["n"], arguments["call"]
    a = numpy.random.default_rng(1).random((n, n))
    if call == "cholesky":
        a = (a + a.T) / 2 + n * numpy.eye(n)
    if call == "eigh":
        a = (a + a.T) / 2
    a = numpy.asfortranarray(a)
    if rival == "numpy-mkl":
        return mkl_call(arguments["library"], call, a)
    import scipy.linalg
    from scipy.linalg import lapack

    return {
        "lu": lambda: lapack.dgetrf(a),
        "cholesky": lambda: lapack.dpotrf(a, lower=1, clean=0),
        "qr": lambda: lapack.dgeqrf(a),
        "eigh": lambda: scipy.linalg.eigh(a, driver="evd", check_finite=False),
        "svd": lambda: scipy.linalg.svd(a, full_matrices=False, check_finite=False),
    }[call]


def mkl_call(library: str, call: str, a: Any) -> Call:
    """The same by MKL."""
    import numpy

    mkl = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    n, pivots = a.shape[0], numpy.empty(a.shape[0], numpy.int32)
    sizes = ctypes.c_int(n), ctypes.c_int(n)

    def lu() -> None:
        f = a.copy(order="F")
        at = ctypes.c_void_p(f.ctypes.data), ctypes.c_int(n), ctypes.c_void_p(pivots.ctypes.data)
        assert mkl.LAPACKE_dgetrf(ctypes.c_int(COLUMN_MAJOR), *sizes, *at) == 0

    def cholesky() -> None:
        f = a.copy(order="F")
        at = sizes[0], ctypes.c_void_p(f.ctypes.data), ctypes.c_int(n)
        assert mkl.LAPACKE_dpotrf(ctypes.c_int(COLUMN_MAJOR), ctypes.c_char(b"L"), *at) == 0

    return {"lu": lu, "cholesky": cholesky}[call]


def batch(rival: str, arguments: dict) -> Call:
    """Many small systems in one call of NumPy."""
    import numpy

    del rival
    generator = numpy.random.default_rng(1)
    count, n = arguments["count"], arguments["n"]
    a, b = generator.random((count, n, n)), generator.random((count, n, 1))
    return lambda: numpy.linalg.solve(a, b)
