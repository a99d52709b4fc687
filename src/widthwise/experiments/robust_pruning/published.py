"""The accuracies that the paper prints in its tables, in %.

Tables 1 and 9 disagree on SNIP for ResNet32 and ResNet50; each is as printed. Table 10 repeats Table 9.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["WINNERS", "Numbers", "printed"]

Numbers = Mapping[tuple[str, str, str, float], float]
"""By network, activation, method and sparsity."""

_TABLES: dict[tuple[str, int], tuple[tuple[float, ...], str]] = {
    ("table1", 10): (
        (0.9, 0.95, 0.98, 0.995, 0.999),
        """
        ResNet32 relu SNIP 92.26 91.18 87.78 77.56 9.98
        ResNet32 relu SBP-SR 92.56 91.21 88.25 79.54 51.56
        ResNet50 relu SNIP 91.95 92.12 89.26 80.49 19.98
        ResNet50 relu SBP-SR 92.05 92.74 89.57 82.68 58.76
        ResNet104 relu SNIP 93.25 92.98 91.58 33.63 10.11
        ResNet104 relu SBP-SR 94.69 93.88 92.08 87.47 72.70
        """,
    ),
    ("table2", 10): (
        (0.9, 0.95, 0.98),
        """
        ResNet32 relu unpruned 94.80 94.80 94.80
        ResNet32 relu OBD 93.74 93.58 93.49
        ResNet32 relu random 89.95 89.68 86.13
        ResNet32 relu magnitude 90.21 88.35 86.83
        ResNet32 relu SNIP 92.26 91.18 87.78
        ResNet32 relu GraSP 92.20 91.39 88.70
        ResNet32 relu GraSP-SR 92.30 91.16 87.8
        ResNet32 relu SynFlow 92.01 91.67 88.10
        ResNet32 relu SBP-SR 92.56 91.21 88.25
        ResNet50 relu unpruned 94.90 94.90 94.90
        ResNet50 relu random 85.11 88.76 85.32
        ResNet50 relu magnitude 90.11 89.06 87.32
        ResNet50 relu SNIP 91.95 92.12 89.26
        ResNet50 relu GraSP 92.10 91.74 89.97
        ResNet50 relu SynFlow 92.05 91.83 89.61
        ResNet50 relu SBP-SR 92.05 92.74 89.57
        ResNet104 relu unpruned 94.92 94.92 94.92
        ResNet104 relu random 89.80 87.86 85.52
        ResNet104 relu magnitude 90.05 88.95 87.83
        ResNet104 relu SNIP 93.25 92.98 91.58
        ResNet104 relu GraSP 93.08 92.93 91.19
        ResNet104 relu SynFlow 93.43 92.85 91.03
        ResNet104 relu SBP-SR 94.69 93.88 92.08
        """,
    ),
    ("table2", 100): (
        (0.9, 0.95, 0.98),
        """
        ResNet32 relu unpruned 74.64 74.64 74.64
        ResNet32 relu OBD 73.83 71.98 67.79
        ResNet32 relu random 63.13 64.55 19.83
        ResNet32 relu magnitude 67.07 64.92 59.53
        ResNet32 relu SNIP 69.31 65.63 55.70
        ResNet32 relu GraSP 69.24 66.50 58.43
        ResNet32 relu GraSP-SR 69.12 65.49 58.63
        ResNet32 relu SynFlow 69.03 65.23 58.73
        ResNet32 relu SBP-SR 69.51 66.72 59.51
        ResNet50 relu unpruned 74.9 74.9 74.9
        ResNet50 relu random 65.67 60.23 28.32
        ResNet50 relu magnitude 68.51 63.32 55.21
        ResNet50 relu SNIP 70.43 67.85 60.38
        ResNet50 relu GraSP 70.53 67.84 63.88
        ResNet50 relu SynFlow 70.43 67.95 63.95
        ResNet50 relu SBP-SR 71.79 68.98 64.45
        ResNet104 relu unpruned 75.24 75.24 75.24
        ResNet104 relu random 66.73 64.98 30.31
        ResNet104 relu magnitude 69.57 64.31 60.21
        ResNet104 relu SNIP 71.94 68.73 63.31
        ResNet104 relu GraSP 73.33 70.95 66.91
        ResNet104 relu SynFlow 72.85 70.33 67.02
        ResNet104 relu SBP-SR 74.17 71.84 67.73
        """,
    ),
    ("table3", 200): (
        (0.85, 0.9, 0.95),
        """
        ResNet32 relu SBP-SR 57.25 55.67 50.63
        ResNet32 relu SNIP 56.92 54.99 49.48
        ResNet32 relu GraSP 57.25 55.53 51.34
        ResNet32 relu SynFlow 56.75 55.60 51.50
        ResNet50 relu SBP-SR 59.8 57.74 53.97
        ResNet50 relu SNIP 58.91 56.15 51.19
        ResNet50 relu GraSP 58.46 57.48 52.5
        ResNet50 relu SynFlow 59.31 57.67 53.14
        ResNet104 relu SBP-SR 62.84 61.96 57.9
        ResNet104 relu SNIP 59.94 58.14 54.9
        ResNet104 relu GraSP 61.1 60.14 56.36
        ResNet104 relu SynFlow 61.71 60.81 55.91
        """,
    ),
    ("table5", 10): (
        (0.85, 0.9, 0.95),
        """
        VGG16 relu SNIP 93.09 92.97 92.61
        VGG16 relu SynFlow 93.21 93.05 92.19
        VGG16 relu EOC+rescaling 93.15 92.90 92.70
        3xVGG16 relu SNIP 93.30 93.12 92.85
        3xVGG16 relu SynFlow 92.95 92.91 92.70
        3xVGG16 relu EOC+rescaling 93.97 93.75 93.40
        """,
    ),
    ("table8", 1000): (
        (0.85, 0.9, 0.95),
        """
        ImageNet-ResNet50 relu SNIP 69.05 64.25 44.90
        ImageNet-ResNet50 relu GraSP 69.45 66.41 62.10
        ImageNet-ResNet50 relu SynFlow 69.50 66.20 62.05
        ImageNet-ResNet50 relu SBP-SR 69.75 67.02 62.66
        """,
    ),
    ("table9", 10): (
        (0.9, 0.98, 0.995, 0.999),
        """
        ResNet32 relu SBP-SR 92.56 88.25 79.54 51.56
        ResNet32 relu SNIP 92.24 87.63 77.56 10
        ResNet32 tanh SBP-SR 90.97 86.62 75.04 51.88
        ResNet32 tanh SNIP 90.69 85.47 10 10
        ResNet50 relu SBP-SR 92.05 89.57 82.68 58.76
        ResNet50 relu SNIP 91.64 89.20 80.49 19.98
        ResNet50 tanh SBP-SR 90.43 88.18 80.09 58.21
        ResNet50 tanh SNIP 89.55 10 10 10
        """,
    ),
}

_MATRIX_SPARSITIES = (0.85, 0.9, 0.95, 0.98)
_MATRIX = {
    10: """
        ResNet32 - C C GraSP
        ResNet50 - C SBP-SR GraSP
        ResNet104 - SBP-SR SBP-SR SBP-SR
        VGG16 C C C -
        3xVGG16 EOC+rescaling EOC+rescaling EOC+rescaling -
        """,
    100: """
        ResNet32 - SBP-SR SBP-SR SBP-SR
        ResNet50 - SBP-SR SBP-SR SBP-SR
        ResNet104 - SBP-SR SBP-SR SBP-SR
        """,
    200: """
        ResNet32 C C SynFlow -
        ResNet50 SBP-SR C SBP-SR -
        ResNet104 SBP-SR SBP-SR SBP-SR -
        """,
}
WINNERS: Mapping[int, Mapping[tuple[str, float], str]] = {
    classes: {
        (words[0], sparsity): winner
        for words in map(str.split, text.strip().splitlines())
        for sparsity, winner in zip(_MATRIX_SPARSITIES, words[1:], strict=True)
        if winner != "-"
    }
    for classes, text in _MATRIX.items()
}
"""Table 6, by the number of classes of the data set, the network and the sparsity; C where there is no clear winner."""


def printed(table: str, classes: int) -> Numbers:
    """What a table prints for the data set of so many classes; empty where it has none."""
    sparsities, text = _TABLES.get(("table9" if table == "table10" else table, classes), ((), ""))
    found = {}
    for network, activation, method, *numbers in map(str.split, text.strip().splitlines()):
        for sparsity, number in zip(sparsities, numbers, strict=True):
            found[network, activation, method, sparsity] = float(number)
    return found
