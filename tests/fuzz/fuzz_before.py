"""Imports what is large and not ours before the fuzzer watches imports, so that it stays as fast as it is."""

import hypothesis  # noqa: F401
import matplotlib.figure  # noqa: F401
import numba  # noqa: F401
import numpy  # noqa: F401
import PIL.Image  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.special  # noqa: F401
import sklearn.base  # noqa: F401
import torch

torch.set_num_threads(1)
