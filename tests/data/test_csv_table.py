from __future__ import annotations

import csv
import tracemalloc

import numpy as np
import pytest
import torch
from data_cases import one_line, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.data import load
from widthwise.errors import DataError

UCI = [
    ("concrete", "compressive_strength_mpa", (1030, 8), (2.33, 82.6)),
    ("energy-efficiency", "heating_load", (768, 9), (6.01, 43.1)),
    ("energy-efficiency", "cooling_load", (768, 9), (10.9, 48.03)),
    ("airfoil-self-noise", "scaled_sound_pressure_level_db", (1503, 5), (103.38, 140.987)),
    ("power-plant", "net_hourly_electrical_output_mw", (9568, 4), (420.26, 495.76)),
]


def write(tmp_path, text: str, encoding: str = "utf-8"):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(("name", "target", "shape", "span"), UCI)
def test_real_regression_sets(shared_data, name, target, shape, span):
    path = shared_data / "uci" / f"{name}.csv"
    data = load(path, target=target)
    assert (data.name, data.task, data.n_outputs) == (name, "regression", 1)
    assert data.x.shape == shape
    assert (data.y.min().item(), data.y.max().item()) == pytest.approx(span)
    with path.open() as file:
        row = list(csv.DictReader(file))[100]
    assert data.y[100].item() == pytest.approx(float(row.pop(target)))
    assert data.x[100].tolist() == pytest.approx([float(cell) for cell in row.values()])


def test_two_targets(shared_data):
    data = load(shared_data / "uci" / "energy-efficiency.csv", target="heating_load, cooling_load")
    assert data.x.shape == (768, 8)
    assert data.n_outputs == 2
    assert data.y.max(0).values.tolist() == pytest.approx([43.1, 48.03])


def test_a_category_code_is_a_class(shared_data):
    data = load(shared_data / "uci" / "energy-efficiency.csv", target="orientation")
    assert (data.task, data.classes) == ("classification", ("2", "3", "4", "5"))
    assert torch.bincount(data.y).tolist() == [192] * 4


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (["b", "a", "b"], "classification", ("a", "b")),
        (["10", "9", "10"], "classification", ("9", "10")),
        (["1.0", "0.0", "1.0"], "classification", ("0", "1")),
        (["-1", "+1", "1"], "classification", ("-1", "1")),
        (["0.5", "1", "2"], "regression", ()),
        ([str(i) for i in range(20)], "classification", tuple(str(i) for i in range(20))),
        ([str(i) for i in range(21)], "regression", ()),
        (["nan", "null", "none"], "classification", ("nan", "none", "null")),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, cells, task, classes):
    rows = "".join(f"{i}.5,{cell}\n" for i, cell in enumerate(cells))
    data = load(write(tmp_path, "x,y\n" + rows), target="y")
    assert (data.task, data.classes) == (task, classes)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_separators_quotes_spaces_and_byte_order_mark(tmp_path, mark):
    text = f'"a{mark}b"{mark} x {mark}y\r\n 1{mark}"2"{mark}3.5\r\n\r\n4{mark}5{mark} 6.5 \r\n'
    data = load(write(tmp_path, text, "utf-8-sig"), target="y")
    assert data.x.tolist() == [[1, 2], [4, 5]]
    assert data.y.tolist() == [[3.5], [6.5]]


def test_a_target_whose_name_has_a_comma(tmp_path):
    assert load(write(tmp_path, 'x,"y, in m"\n1,2.5\n2,3.5\n'), target="y, in m").y.tolist() == [[2.5], [3.5]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x,z,y\n1,2,3.5\n1,abc,2.5\n", "line 3, column 'z': 'abc' is no finite number"),
        ("x,z,y\n1,,3.5\n", "line 2, column 'z': the cell is empty"),
        ("x,z,y\n1,nan,3.5\n", "line 2, column 'z': 'nan' is no finite number"),
        ("x,z,y\n1,-inf,3.5\n", "line 2, column 'z': '-inf' is no finite number"),
        ("x,z,y\n1,1e300,3.5\n", "line 2, column 'z': '1e300' is no finite number"),
        ("x,z,y\n1,1_000,3.5\n", "line 2, column 'z': '1_000' is no finite number"),
        ('x,z,y\n1,"2\n3",3.5\n', r"line 3, column 'z': '2\n3' is no finite number"),
        ("x,y\n1,2.5\n2,high\n3,4.5\n", "line 3, column 'y': 'high' is no finite number"),
        ("x,y\n1,2.5\n2,\n", "line 3, column 'y': the cell is empty"),
        ("x,y\n1,a\n2,\n3,b\n", "line 3, column 'y': the cell is empty"),
        ("x,y\n1,2.5\n2,nan\n", "line 3, column 'y': 'nan' is no finite number"),
        ("x,y\n1,2.5\n2\n", "line 3 has 1 cells, the header 2"),
        ("x,y\n1,2.5,3\n", "line 2 has 3 cells, the header 2"),
        ("x,y,x\n1,2.5,3\n", "two columns are named 'x'"),
        ("x,,y\n1,2.5,3\n", "column 2 has no name"),
        ("1,2,3\n4,5,6\n", "line 1 holds numbers only"),
        ("x,y\n", "no rows"),
        ("", "empty"),
        ("\nx,y\n1,2\n", "empty"),
        ("y\n1.5\n2.5\n", "no column beside the target"),
        ("x,y\n1,3.5\n2,3.5\n", "never varies"),
        ("x,y\n1,a\n2,a\n", "one class"),
        ('x,y\n1,"2.5\n', "unexpected end of data"),
        ("x,y\n1," + "9" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_bad_tables(tmp_path, text, what):
    assert what in refused(write(tmp_path, text), target="y")


def test_an_unknown_target_lists_the_columns_and_the_nearest(tmp_path):
    path = write(tmp_path, "width,depth,price\n1,2,3.5\n2,3,4.5\n")
    message = refused(path, target="pice")
    assert "it has width, depth, price" in message
    assert "did you mean 'price'?" in message
    assert "say which column to predict" in refused(path)
    assert "given twice" in refused(path, target="price,price")
    assert "target '' is no column" in refused(path, target="")


def test_long_values_are_cut(tmp_path):
    assert len(refused(write(tmp_path, "x,y\n" + "a" * 5000 + ",1.5\n"), target="y")) < 400


def test_a_long_class_name_costs_its_own_length_only(tmp_path):
    text = "x,y\n" + "1,a\n" * 20_000 + "1," + "b" * 100_000 + "\n"
    path = write(tmp_path, text)
    tracemalloc.start()
    try:
        assert load(path, target="y").n_outputs == 2
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20  # as fixed-width text: 8 GB
    finally:
        tracemalloc.stop()


def test_not_utf8(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("größe,y\n1,2\n".encode("latin-1"))
    assert "UTF-8" in refused(path, target="y")


def test_two_targets_must_both_be_numbers(tmp_path):
    assert "column 'b': 'u'" in refused(write(tmp_path, "x,a,b\n1,2,u\n2,3,v\n"), target="a,b")


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=2, max_size=20))
def test_numbers_survive_the_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text("a,y,b\n" + "".join(f"{a!r},{y!r},{b!r}\n" for a, y, b in rows))
    if len({y for _, y, _ in rows}) == 1:
        refused(path, target="y")
        return
    data = load(path, target="y")
    expected = np.array(rows, dtype=np.float32)
    np.testing.assert_array_equal(data.x.numpy(), expected[:, [0, 2]])
    if data.task == "regression":
        np.testing.assert_array_equal(data.y[:, 0].numpy(), expected[:, 1])
    else:
        assert [float(data.classes[label]) for label in data.y] == [float(y) for _, y, _ in rows]


@settings(deadline=None, max_examples=100)
@given(content=st.one_of(st.binary(max_size=100), st.text('ab,;\t"\n\r .0159e-y\0', max_size=80).map(str.encode)))
def test_random_text_gives_data_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(content)
    try:
        data = load(path, target="y")
    except DataError as error:
        one_line(error, path)
    else:
        assert torch.isfinite(data.x).all()


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_decimal_comma_where_commas_do_not_separate(tmp_path, mark):
    data = load(write(tmp_path, f"a{mark}b{mark}y\n-1,5{mark}2{mark},25\n+3,0e1{mark}4{mark}2,5\n"), target="y")
    assert data.x.tolist() == [[-1.5, 2], [30, 4]]
    assert data.y.tolist() == [[0.25], [2.5]]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a;y\n1,5;2\n1.5;3\n", "some numbers have a decimal comma, others a point; use one of them"),
        ("a,y\nred,2.5\nblue,1.5\n", "give each of the column's words a column of 0 and 1"),
        ("a,y\nNA,2.5\n1,1.5\n", "fill in what is missing"),
        ("a,y\n,2.5\n1,1.5\n", "fill in what is missing"),
        ('a,y\n"1,234.5",2.5\n1,1.5\n', "write numbers without marks between thousands"),
        ("a,y\n2024-01-31,2.5\n1,1.5\n", "correct it, or remove the row or the column"),
    ],
)
def test_bad_cells_come_with_advice(tmp_path, text, advice):
    assert advice in refused(write(tmp_path, text), target="y")


def test_tab_separated_values_by_their_usual_name(tmp_path):
    (tmp_path / "größen.tsv").write_text("a\ty\n1\t2.5\n2\t3.5\n", encoding="utf-8")
    assert load(tmp_path / "größen.tsv", target="y").x.tolist() == [[1], [2]]
