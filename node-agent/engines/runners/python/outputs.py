"""Outputs: whatever a script leaves in a variable becomes a file with types. Part of the runner, see runner.py."""

import base64
import csv
import datetime
import decimal
import json
import os


def write_output(description, namespace):
    """Writes one output and returns what it was: rows, and names and types of the columns."""
    name = description["name"]
    if name not in namespace:
        raise DataError(f"Output variable {name} was not set by the script.")
    path = os.path.join(SCRATCH, description["file"])
    if description["format"] == "file":
        os.replace(namespace[name], path)
        return {"name": name, "kind": description["kind"], "format": "file", "rows": 0, "columns": []}
    try:
        columns = [(str(column), *typed(series)) for column, series in output_columns(namespace[name], description)]
        check_names([column for column, _, _ in columns])
        lengths = {len(values) for _, _, values in columns}
        if len(lengths) > 1:
            raise DataError("its columns differ in length")
        rows = lengths.pop() if lengths else 0
        if description["kind"] != "table" and len(columns) != 1:
            raise DataError(f"a {description['kind']} has one column, but this has {len(columns)}")
        if description["kind"] == "value" and rows != 1:
            raise DataError(f"a value has one element, but this has {rows}")
        (write_csv if description["format"] == "csv" else write_json)(path, columns, description["kind"])
    except DataError as error:
        raise DataError(f"Output {name}: {error}") from None
    return {
        "name": name, "kind": description["kind"], "format": description["format"], "rows": rows,
        "columns": [{"name": column, "type": kind} for column, kind, _ in columns],
    }


def output_columns(value, description):
    """The columns of whatever a script may leave in an output variable."""
    import numpy
    import pandas

    name = description["name"]
    if isinstance(value, pandas.DataFrame):
        return [(column, value.iloc[:, index]) for index, column in enumerate(value.columns)]
    if isinstance(value, (pandas.Series, pandas.Index)):
        if isinstance(value, pandas.Index):
            value = value.to_series()
        return [(name if value.name is None or description["kind"] == "value" else value.name, value)]
    if isinstance(value, numpy.ndarray) and value.ndim == 2:
        return [(f"{name}.{index + 1}", pandas.Series(value[:, index])) for index in range(value.shape[1])]
    if isinstance(value, numpy.ndarray) and value.ndim > 2:
        raise DataError(f"an array with {value.ndim} dimensions is no {description['kind']}")
    if isinstance(value, dict):
        return [(column, series_of(element)) for column, element in value.items()]
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__iter__"):
        return [(name, series_of([value]))]
    if isinstance(value, numpy.ndarray):
        return [(name, pandas.Series(value.reshape(-1)))]
    elements = list(value)
    if description["kind"] == "table" and elements and all(isinstance(row, dict) for row in elements):
        frame = pandas.DataFrame(elements)
        return [(column, frame[column]) for column in frame.columns]
    return [(name, series_of(elements))]


def series_of(value):
    """A Series of objects, so that pandas does not change the types of what the script gave."""
    import numpy
    import pandas

    if isinstance(value, (pandas.Series, pandas.Index, numpy.ndarray)):
        return pandas.Series(value)
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__iter__"):
        value = [value]
    elements = list(value)
    array = numpy.empty(len(elements), dtype=object)
    for index, element in enumerate(elements):
        array[index] = element
    return pandas.Series(array, dtype=object)


def typed(series):
    """The type of a column, and its values as a Series of plain Python values (or numbers) with None missing."""
    import numpy
    import pandas

    asked = series.attrs.get("spotfire_type")
    dtype = series.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        series = series.astype(dtype.categories.dtype)
        dtype = series.dtype
    if pandas.api.types.is_bool_dtype(dtype) and dtype != object:
        return "Boolean", series.astype(object).where(series.notna(), None)
    if pandas.api.types.is_integer_dtype(dtype):
        size = dtype.itemsize
        unsigned = pandas.api.types.is_unsigned_integer_dtype(dtype)
        if size < 4 or (size == 4 and not unsigned):
            return ("LongInteger" if asked == "LongInteger" else "Integer"), series
        if unsigned and size == 8 and len(series) and series.max() > INT64[1]:
            raise DataError("a number is too large for LongInteger")
        return "LongInteger", series
    if pandas.api.types.is_float_dtype(dtype):
        if dtype.itemsize < 4:
            series = series.astype("float32")
        return ("SingleReal" if dtype.itemsize <= 4 else "Real"), series
    if pandas.api.types.is_datetime64_any_dtype(dtype):
        if getattr(dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        converted = pandas.Series(series.dt.to_pydatetime() if len(series) else [], dtype=object)
        return "DateTime", converted.where(series.notna().to_numpy(), None)
    if pandas.api.types.is_timedelta64_dtype(dtype):
        converted = pandas.Series(series.dt.to_pytimedelta() if len(series) else [], dtype=object)
        return "TimeSpan", converted.where(series.notna().to_numpy(), None)
    if pandas.api.types.is_complex_dtype(dtype):
        raise DataError("complex numbers are not supported")
    return typed_objects([plain(value, pandas, numpy) for value in series], asked)


def plain(value, pandas, numpy):
    """A Python value without the wrappers of numpy and pandas; None when it is missing."""
    if value is None or value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, numpy.generic):
        value = value.item()
    if isinstance(value, pandas.Timestamp):
        value = value.to_pydatetime()
    elif isinstance(value, pandas.Timedelta):
        value = value.to_pytimedelta()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return bytes(value) if isinstance(value, bytearray) else value


OBJECT_TYPES = (
    (bool, "Boolean"), (int, "LongInteger"), (float, "Real"), (str, "String"), (bytes, "Binary"),
    (datetime.datetime, "DateTime"), (datetime.date, "Date"), (datetime.time, "Time"),
    (datetime.timedelta, "TimeSpan"), (decimal.Decimal, "Currency"),
)


def typed_objects(values, asked):
    import pandas

    kinds = []
    for class_ in {type(value) for value in values if value is not None}:
        kind = next((kind for base, kind in OBJECT_TYPES if issubclass(class_, base)), None)
        if kind is None:
            raise DataError(f"values of type {class_.__name__} are not supported")
        kinds.append(kind)
    kinds = sorted(set(kinds))
    if not kinds:
        kind = asked if asked in TYPES else "String"
    elif len(kinds) == 1:
        kind = kinds[0]
    elif kinds == ["LongInteger", "Real"]:
        kind = "Real"
        values = [None if value is None else float(value) for value in values]
    else:
        raise DataError(f"a column mixes {' and '.join(kinds)}; give it values of one type")
    if kind == "LongInteger":
        present = [value for value in values if value is not None]
        if min(present) < INT64[0] or max(present) > INT64[1]:
            raise DataError("a number is too large for LongInteger")
        if asked == "Integer" and INT32[0] <= min(present) and max(present) <= INT32[1]:
            kind = "Integer"
    return kind, pandas.Series(values, dtype=object)


def value_to_text(kind):
    if kind == "Boolean":
        return lambda value: "true" if value else "false"
    if kind == "DateTime":
        return lambda value: value.isoformat()
    if kind == "TimeSpan":
        return time_span_to_text
    if kind == "Binary":
        return lambda value: base64.b64encode(value).decode("ascii")
    if kind in ("Date", "Time"):
        return lambda value: value.isoformat()
    if kind == "Currency":
        return lambda value: format(value, "f")
    return None


def time_span_to_text(span):
    micros = span // datetime.timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, micros = divmod(micros, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return sign + (f"{days}." if days else "") + text + (f".{micros:06}" if micros else "")


def write_csv(path, columns, _kind):
    import pandas

    written = []
    for _, kind, values in columns:
        convert = value_to_text(kind)
        written.append(plain_values(values) if convert is None else
                       [None if value is None else convert(value) for value in values])
    if written and None not in written:
        # What pandas does in the end, without its way there, which costs more than a small table.
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([name for name, _, _ in columns])
            writer.writerows(zip(*written))
        return
    prepared = [pandas.Series(values, dtype=object) if value_to_text(kind) else series.reset_index(drop=True)
                for (_, kind, series), values in zip(columns, written)]
    frame = pandas.concat(prepared, axis=1) if prepared else pandas.DataFrame()
    frame.columns = [name for name, _, _ in columns]
    frame.to_csv(path, index=False, na_rep="", lineterminator="\n", encoding="utf-8")


def plain_values(series):
    """A column as the writer of CSV takes it: numbers that it writes as pandas does, text, and None for what is
    missing. Nothing where only pandas knows how."""
    import pandas

    values, name = series.tolist(), series.dtype.name
    if name == "float64":
        return [None if value != value else value for value in values]
    if name.lower().lstrip("u") in ("int8", "int16", "int32", "int64"):
        return [None if value is pandas.NA else value for value in values]
    if name == "object" and all(value is None or type(value) in (str, int, float) for value in values):
        return [None if value != value else value for value in values]
    return None


def write_json(path, columns, kind):
    written = []
    for name, type_, values in columns:
        convert = value_to_text(type_)
        if type_ in ("Real", "SingleReal"):
            plain_values = [json_number(value) for value in values.astype(object)]
        elif convert is None:
            missing = values.isna()
            plain_values = [None if absent else value.item() if hasattr(value, "item") else value
                            for value, absent in zip(values, missing)]
        elif type_ == "Boolean":
            plain_values = [None if value is None else bool(value) for value in values]
        else:
            plain_values = [None if value is None else convert(value) for value in values]
        written.append({"name": name, "type": type_, "values": plain_values})
    if kind == "value":
        document = {"type": written[0]["type"], "value": written[0]["values"][0]}
    else:
        document = written[0] if kind == "column" else {"columns": written}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_number(value):
    """JSON has no infinities: they are written as text, as the reference says."""
    import pandas

    if value is None or value is pandas.NA or value != value:
        return None
    value = float(str(value))
    return value if value not in (float("inf"), float("-inf")) else "Infinity" if value > 0 else "-Infinity"
