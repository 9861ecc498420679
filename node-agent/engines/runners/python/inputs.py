"""Inputs: files of the scratch folder become values, Series and DataFrames. Part of the runner, see runner.py."""

import base64
import codecs
import datetime
import decimal
import io
import json
import os
import re

SCRATCH = "/scratch"
SCRIPT_NAME = "<data_function>"

TYPES = (
    "Boolean", "Integer", "LongInteger", "SingleReal", "Real", "DateTime", "Date", "Time", "TimeSpan", "String",
    "Binary", "Currency",
)

# What text looks like when nobody said its type; the first that fits all values of a column wins.
# Numbers with leading zeros stay text: they are codes. inputs.R has the same list.
INFERRED = (
    ("Boolean", re.compile(r"true|false|TRUE|FALSE|True|False")),
    ("Integer", re.compile(r"-?(0|[1-9][0-9]{0,18})")),
    ("Real", re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|NaN|-?[Ii]nf(inity)?")),
    ("Date", re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")),
    ("DateTime", re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})?")),
    ("Time", re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?")),
)
TIME_SPAN = re.compile(r"(-?)(?:([0-9]+)\.)?([0-9]{1,2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?")
# A whole field in quotes, with what is before it (RFC 4180, section 2).
QUOTED_FIELD = re.compile(rb'(^|[,\n])"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n|\r?\Z)')
NEW_LINE = b"\n"
# A file of this size is read faster line by line than by pandas, whose way there costs the same for each file.
SIMPLE_BYTES = 1 << 18
INT32 = (-(2 ** 31), 2 ** 31 - 1)
INT64 = (-(2 ** 63), 2 ** 63 - 1)


class DataError(Exception):
    """An input or output that does not fit its description; the message is for people."""


def read_input(description):
    """The value, Series or DataFrame of one input; None when it was not given."""
    name = description["name"]
    if description.get("file") is None:
        return None
    path = os.path.join(SCRATCH, description["file"])
    if description["format"] == "file":
        return path
    try:
        if description["format"] == "csv":
            check_csv(path)
        columns = (read_csv if description["format"] == "csv" else read_json)(path, description)
    except DataError as error:
        raise DataError(f"Input {name}: {error}") from None
    except (ValueError, ArithmeticError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"Input {name} is not valid {description['format'].upper()}: {error}") from None
    return columns


def check_csv(path):
    """Refuses what a lenient reader would read as other rows than were written. inputs.R does the same."""
    with open(path, "rb") as file:
        text = file.read().removeprefix(codecs.BOM_UTF8)
    if b'"' in text:
        text = QUOTED_FIELD.sub(rb"\1", text)
        before, quote, _ = text.partition(b'"')
        if quote:
            raise DataError(f"record {before.count(NEW_LINE) + 1} of the CSV file has a quote within a field, or one "
                            f"that does not end; put the field in quotes and double those in it")
    if b"\r" in text.replace(b"\r\n", b""):
        raise DataError("a line of the CSV file ends with a return alone; end lines with LF or CRLF")
    fields = None
    for record, line in enumerate(io.BytesIO(text), 1):
        commas = line.count(b",")
        fields = commas if fields is None else fields
        if commas != fields:
            raise DataError(f"record {record} of the CSV file has another number of fields ({commas + 1}) than the "
                            f"header ({fields + 1})")


def wanted_type(description, column):
    types_ = description.get("types") or {}
    wanted = types_.get(column)
    if wanted is None and description["kind"] != "table":
        wanted = types_.get(description["name"])
    if wanted is not None and wanted not in TYPES:
        raise DataError(f"{wanted} is not a type; there are {', '.join(TYPES)}")
    return wanted


def read_csv(path, description):
    header, texts, missing, rows = read_simple_csv(path) or read_any_csv(path)

    def column(name):
        kind = wanted_type(description, name) or infer_text(texts[name], missing[name])
        return from_texts(texts[name], missing[name], kind, name)

    return shape(description, header, column, rows)


def read_any_csv(path):
    """Header, texts, masks of what is missing and number of rows."""
    import csv

    import pandas

    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            header = next(csv.reader(file, strict=True), None)
        except csv.Error as error:
            # Unlike pandas' errors this is no ValueError.
            raise ValueError(f"line 1: {error}") from None
    if not header:
        raise DataError("the CSV file is empty; it needs at least a line with the names of the columns")
    check_names(header)
    frame = pandas.read_csv(
        path, dtype=str, keep_default_na=False, na_values=[""], index_col=False, skip_blank_lines=False,
        encoding="utf-8-sig", low_memory=False, names=header, header=0)
    texts = {name: frame[name].to_numpy(dtype=object) for name in header}
    missing = {name: frame[name].isna().to_numpy() for name in header}
    return header, texts, missing, len(frame)


def read_simple_csv(path):
    """As `read_any_csv`, of a small file whose lines say all: no quotes, no returns, each line with as many fields as
    the first. Nothing for another."""
    import numpy

    if os.stat(path).st_size > SIMPLE_BYTES:
        return None
    with open(path, encoding="utf-8-sig", newline="") as file:
        text = file.read()
    if '"' in text or "\r" in text or "\0" in text:
        return None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [line.split(",") for line in lines]
    if len(rows) < 2 or "" in lines or {len(row) for row in rows} != {len(rows[0])}:
        return None
    header = rows.pop(0)
    check_names(header)
    texts, missing = {}, {}
    for name, fields in zip(header, zip(*rows)):
        texts[name] = array = numpy.empty(len(fields), dtype=object)
        array[:] = fields
        missing[name] = array == ""
    return header, texts, missing, len(rows)


def read_json(path, description):
    with open(path, encoding="utf-8-sig") as file:
        document = json.load(file)
    kind = description["kind"]
    if kind == "value":
        given = document if isinstance(document, dict) else {"value": document}
        columns = [{"name": description["name"], "type": given.get("type"), "values": [given["value"]]}]
    elif kind == "column":
        given = document if isinstance(document, dict) else {"values": document}
        columns = [{"name": given.get("name", description["name"]), **given}]
    else:
        if not isinstance(document, dict) or not isinstance(document.get("columns"), list):
            raise DataError('a table is written {"columns": [{"name": …, "type": …, "values": […]}]}')
        columns = document["columns"]
    names = [column["name"] for column in columns]
    check_names(names)
    lengths = {len(column["values"]) for column in columns}
    if len(lengths) > 1:
        raise DataError(f"its columns differ in length: {', '.join(str(length) for length in sorted(lengths))}")
    by_name = {column["name"]: column for column in columns}

    def column(name):
        values = by_name[name]["values"]
        if not isinstance(values, list):
            raise DataError(f"the values of column {name} are not a list")
        wanted = wanted_type(description, name) or by_name[name].get("type") or infer_json(values)
        return from_json(values, wanted, name)

    return shape(description, names, column, lengths.pop() if lengths else 0)


def check_names(names):
    seen = set()
    for name in names:
        if not isinstance(name, str) or name in seen:
            raise DataError(f"column {name} appears twice; names of columns must differ")
        seen.add(name)


def shape(description, names, column, rows):
    """A value, a Series or a DataFrame of the columns that `column(name)` makes."""
    import pandas

    kind = description["kind"]
    if kind == "table":
        return pandas.DataFrame({name: column(name) for name in names}, index=pandas.RangeIndex(rows), copy=False)
    if len(names) != 1:
        raise DataError(f"a {kind} has one column, but this has {len(names)}")
    series = column(names[0])
    if kind == "column":
        return series.rename(names[0])
    if rows != 1:
        raise DataError(f"a value has one row, but this has {rows}")
    value = series.iloc[0]
    if value is None or value is pandas.NA or (isinstance(value, float) and value != value):
        return None
    return value.item() if hasattr(value, "item") else value


def infer_text(texts, missing):
    present = texts[~missing]
    if len(present) == 0:
        return "String"
    first = present[0]
    for kind, pattern in INFERRED:
        match = pattern.fullmatch
        if match(first) and all(map(match, present)):
            if kind != "Integer":
                return kind
            numbers = list(map(int, present))
            if INT32[0] <= min(numbers) and max(numbers) <= INT32[1]:
                return "Integer"
            return "LongInteger" if INT64[0] <= min(numbers) and max(numbers) <= INT64[1] else "Real"
        if kind == "Integer" and match(first):
            continue
    return "String"


def infer_json(values):
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "Boolean"
    if kinds == {int}:
        present = [value for value in values if value is not None]
        if INT32[0] <= min(present) and max(present) <= INT32[1]:
            return "Integer"
        return "LongInteger" if INT64[0] <= min(present) and max(present) <= INT64[1] else "Real"
    if kinds in ({float}, {int, float}):
        return "Real"
    if kinds <= {str}:
        return "String"
    raise DataError("a column mixes values of different types; say its type")


def from_texts(texts, missing, kind, name):
    """A Series of `kind`, as section "Types" of the reference says, from text; `missing` is a mask."""
    import numpy
    import pandas

    present = texts[~missing]
    try:
        if kind in ("Integer", "LongInteger"):
            low, high = INT32 if kind == "Integer" else INT64
            numbers = numpy.zeros(len(texts), dtype="int64")
            converted = [int(text) for text in present]
            if converted and (min(converted) < low or max(converted) > high):
                raise DataError(f"column {name} has a number that is too large for {kind}")
            numbers[~missing] = converted
            dtype = "int32" if kind == "Integer" else "int64"
            return pandas.Series(pandas.arrays.IntegerArray(numbers.astype(dtype), missing.copy()))
        if kind in ("Real", "SingleReal"):
            dtype = "float64" if kind == "Real" else "float32"
            numbers = numpy.full(len(texts), numpy.nan, dtype=dtype)
            numbers[~missing] = present.astype(dtype)
            return pandas.Series(numbers)
        result = numpy.full(len(texts), None, dtype=object)
        convert = FROM_TEXT[kind]
        converted = numpy.empty(len(present), dtype=object)
        for index, text in enumerate(present):
            converted[index] = convert(text)
        result[~missing] = converted
        return pandas.Series(result, dtype=object)
    except (ValueError, ArithmeticError, KeyError) as error:
        raise DataError(f"column {name} cannot be read as {kind}: {error}") from None


def from_json(values, kind, name):
    import numpy
    import pandas

    if kind not in TYPES:
        raise DataError(f"{kind} is not a type; there are {', '.join(TYPES)}")
    missing = numpy.fromiter((value is None for value in values), dtype=bool, count=len(values))
    if kind in ("Integer", "LongInteger", "Real", "SingleReal", "Currency"):
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float, str, type(None))):
                raise DataError(f"column {name} cannot be read as {kind}: {value!r} is no number")
        if kind in ("Integer", "LongInteger"):
            texts = [None if v is None else str(int(v)) if isinstance(v, float) and v.is_integer() else str(v)
                     for v in values]
        else:
            texts = [None if v is None else v if isinstance(v, str) else repr(v) for v in values]
    elif kind == "Boolean":
        if any(value not in (True, False, None) or isinstance(value, (int, float)) and not isinstance(value, bool)
               for value in values):
            raise DataError(f"column {name} cannot be read as Boolean")
        return pandas.Series(numpy.array(values + [None], dtype=object)[:-1], dtype=object)
    else:
        if any(value is not None and not isinstance(value, str) for value in values):
            raise DataError(f"column {name} cannot be read as {kind}: a value is no text")
        texts = values
    array = numpy.empty(len(texts), dtype=object)
    array[:] = texts
    return from_texts(array, missing, kind, name)


def text_to_boolean(text):
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return lowered == "true"


def text_to_datetime(text):
    value = datetime.datetime.fromisoformat(text)
    return value if value.tzinfo is None else value.astimezone(datetime.timezone.utc).replace(tzinfo=None)


def text_to_time_span(text):
    match = TIME_SPAN.fullmatch(text)
    if match is None:
        return datetime.timedelta(seconds=float(text))
    sign, days, hours, minutes, seconds, fraction = match.groups()
    span = datetime.timedelta(
        days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=int(seconds),
        microseconds=round(float(fraction or 0) * 1e6))
    return -span if sign else span


FROM_TEXT = {
    "Boolean": text_to_boolean,
    "DateTime": text_to_datetime,
    "Date": datetime.date.fromisoformat,
    "Time": datetime.time.fromisoformat,
    "TimeSpan": text_to_time_span,
    "String": str,
    "Binary": lambda text: base64.b64decode(text, validate=True),
    "Currency": decimal.Decimal,
}
