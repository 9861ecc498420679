"""Runs data functions in Python: preloads packages, and in a forked child of the jail runs one script.

Order, which is the security: packages are imported, the process forks (`muster_fork_run`), the child draws new
random numbers, locks itself (`muster_lock`), reads the run below /scratch, and only then executes the script.
Whatever ends the run leaves by `muster_leave` or `os._exit`, so that nothing of the parent is cleaned up twice.

The check of restricted scripts at the end of this file makes good messages; the kernel is the wall.
The description of runs and the text formats are the same as in runner.R: README.md beside this file.
"""

import base64
import ctypes
import datetime
import decimal
import gc
import importlib
import json
import linecache
import os
import random
import re
import sys
import tempfile
import traceback
import types

SCRATCH = "/scratch"
SCRIPT_NAME = "<data_function>"

TYPES = (
    "Boolean", "Integer", "LongInteger", "SingleReal", "Real", "DateTime", "Date", "Time", "TimeSpan", "String",
    "Binary", "Currency",
)

# What text looks like when nobody said its type; the first that fits all values of a column wins.
# Numbers with leading zeros stay text: they are codes. runner.R has the same list.
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
INT32 = (-(2 ** 31), 2 ** 31 - 1)
INT64 = (-(2 ** 63), 2 ** 63 - 1)


class DataError(Exception):
    """An input or output that does not fit its description; the message is for people."""


# ---- Inputs -----------------------------------------------------------------------------------------------

def read_input(description):
    """The value, Series or DataFrame of one input; None when it was not given."""
    name = description["name"]
    if description.get("file") is None:
        return None
    path = os.path.join(SCRATCH, description["file"])
    try:
        columns = (read_csv if description["format"] == "csv" else read_json)(path, description)
    except DataError as error:
        raise DataError(f"Input {name}: {error}") from None
    except (ValueError, ArithmeticError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"Input {name} is not valid {description['format'].upper()}: {error}") from None
    return columns


def wanted_type(description, column):
    types_ = description.get("types") or {}
    wanted = types_.get(column)
    if wanted is None and description["kind"] != "table":
        wanted = types_.get(description["name"])
    if wanted is not None and wanted not in TYPES:
        raise DataError(f"{wanted} is not a type; there are {', '.join(TYPES)}")
    return wanted


def read_csv(path, description):
    import csv

    import pandas

    with open(path, encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, strict=True), None)
    if not header:
        raise DataError("the CSV file is empty; it needs at least a line with the names of the columns")
    check_names(header)
    frame = pandas.read_csv(
        path, dtype=str, keep_default_na=False, na_values=[""], index_col=False, skip_blank_lines=False,
        encoding="utf-8-sig", low_memory=False, names=header, header=0)
    texts = {name: frame[name].to_numpy(dtype=object) for name in header}
    missing = {name: frame[name].isna().to_numpy() for name in header}

    def column(name):
        kind = wanted_type(description, name) or infer_text(texts[name], missing[name])
        return from_texts(texts[name], missing[name], kind, name)

    return shape(description, header, column, len(frame))


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


# ---- Outputs ----------------------------------------------------------------------------------------------

def write_output(description, namespace):
    """Writes one output and returns what it was: rows, and names and types of the columns."""
    name = description["name"]
    if name not in namespace:
        raise DataError(f"Output variable {name} was not set by the script.")
    path = os.path.join(SCRATCH, description["file"])
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

    prepared = []
    for _, kind, values in columns:
        convert = value_to_text(kind)
        if convert is not None:
            values = pandas.Series([None if value is None else convert(value) for value in values], dtype=object)
        prepared.append(values.reset_index(drop=True))
    frame = pandas.concat(prepared, axis=1) if prepared else pandas.DataFrame()
    frame.columns = [name for name, _, _ in columns]
    frame.to_csv(path, index=False, na_rep="", lineterminator="\n", encoding="utf-8")


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


# ---- The script -------------------------------------------------------------------------------------------

def run_script(script, inputs, outputs, before):
    """Executes the script and returns its namespace."""
    code = compile(script, SCRIPT_NAME, "exec", dont_inherit=True)
    namespace = {"__builtins__": __builtins__, "__spotfire_inputs__": inputs[1], "__spotfire_outputs__": outputs}
    namespace.update(inputs[0])
    before()
    exec(code, namespace)
    return namespace


def explain(error):
    """The message of a failed script: what happened first, then where, without the runner's own frames."""
    lines = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    part = lines
    seen = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        frames = [frame for frame in part.stack if frame.filename != __file__]
        for frame in frames:
            frame.filename = os.path.basename(frame.filename)
        part.stack = traceback.StackSummary.from_list(frames)
        part = part.__cause__ or part.__context__
    only = "".join(traceback.format_exception_only(type(error), error)).strip()
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}, line {error.lineno}\n\n{only}"
    first = only
    return f"{first}\n\n{''.join(lines.format()).strip()}"


def main(argv):
    mode, packages = argv[1], argv[2:]
    for package in packages:
        importlib.import_module(package)
    bundled = bundled_names() if mode == "restricted" else frozenset()
    library = ctypes.PyDLL("/muster/libmuster_lock.so")
    leave = make_leave(library, sys.stdout, sys.stderr)
    # The hook's own way out, made of objects that no frame holds once the script runs.
    sealed = [make_leave(ctypes.PyDLL("/muster/libmuster_lock.so"), sys.stdout, sys.stderr)]
    sys.stdout.reconfigure(line_buffering=True)
    gc.collect()
    gc.freeze()

    status = ctypes.c_int(2)
    ctypes.pythonapi.PyOS_BeforeFork()
    library.muster_fork_run(ctypes.byref(status))
    if status.value != 0:
        os._exit(status.value)
    ctypes.pythonapi.PyOS_AfterFork_Child()

    reseed()
    os.environ.update({"HOME": SCRATCH, "TMPDIR": f"{SCRATCH}/tmp"})
    tempfile.tempdir = None
    lock(library, mode, leave)

    os.chdir(SCRATCH)
    os.makedirs("tmp", exist_ok=True)
    os.makedirs("outputs", exist_ok=True)
    # The script must not find the runner where it looks for its own module.
    myself = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [SCRIPT_NAME]
    ending, message, code = one_run(mode, sealed, bundled)
    sys.modules["__main__"] = myself
    if ending is None:
        flush(sys.stdout, sys.stderr)
        os._exit(code)
    leave(ending, message, code)


def one_run(mode, sealed, bundled):
    exit_ = SystemExit
    try:
        with open("run.json", encoding="utf-8") as file:
            run = json.load(file)
        values = {item["name"]: read_input(item) for item in run["inputs"]}
        described = tuple((item["name"], item["kind"], item.get("file")) for item in run["inputs"])
        script = run["script"]
        # The mtime None tells linecache to keep the text although there is no such file.
        linecache.cache[SCRIPT_NAME] = (len(script), None, script.splitlines(True), SCRIPT_NAME)
        outputs = tuple((item["name"], item["kind"]) for item in run["outputs"])

        def before():
            if mode == "restricted":
                watch(sealed.pop(), bundled)

        namespace = run_script(script, (values, described), outputs, before)
        schema = [write_output(item, namespace) for item in run["outputs"]]
        with open("outputs/schema.json", "w", encoding="utf-8") as file:
            json.dump(schema, file, ensure_ascii=False)
        return "succeeded", "", 0
    except exit_ as error:
        # The script asked to end: told as an exit, whatever the outputs are.
        if error.code is None or isinstance(error.code, int):
            return None, "", (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return None, "", 1
    except DataError as error:
        return "script_error", str(error), 1
    except BaseException as error:
        try:
            return "script_error", explain(error), 1
        except BaseException:
            return "script_error", type(error).__name__, 1


def reseed():
    """New random numbers for this child: its siblings were copied from the same parent."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def lock(library, mode, leave):
    strings = ctypes.c_char_p * 1
    status = ctypes.c_int(1)
    buffer = ctypes.create_string_buffer(1024)
    message = strings(ctypes.cast(buffer, ctypes.c_char_p))
    library.muster_lock(strings(mode.encode()), ctypes.byref(status), message)
    if status.value != 0:
        leave("script_error", buffer.value.decode("utf-8", "replace"), 1)


def flush(*streams):
    for stream in streams:
        try:
            stream.flush()
        except BaseException:
            pass


def make_leave(library, stdout, stderr):
    """The way out: reports, and ends the process without any clean-up that a script could hook into."""
    strings, number = ctypes.c_char_p * 1, ctypes.c_int
    muster_leave, byref, flush_, exit_ = library.muster_leave, ctypes.byref, flush, os._exit
    utf8, system = str.encode, sys

    def leave(ending, message, code):
        try:
            flush_(stdout, stderr, system.stdout, system.stderr)
        finally:
            text = utf8(message, "utf-8", "replace").replace(b"\0", b"?")
            muster_leave(strings(utf8(ending)), strings(text), byref(number(code)))
            exit_(1)

    return leave


# ---- The check of restricted scripts ------------------------------------------------------------------------

def bundled_names():
    """The packages that a restricted script may import: the standard library and the environment's own."""
    names = set(sys.stdlib_module_names)
    for folder in sys.path:
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        names.update(entry.split(".")[0] for entry in entries if not entry.endswith((".dist-info", ".pth")))
    return frozenset(names)


# Events that end a restricted run whatever their arguments; a final dot means all that begin so.
REFUSED = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "os.kill", "os.killpg",
    "os.chroot", "os.setxattr", "os.removexattr", "os.lockf", "pty.spawn", "subprocess.Popen", "signal.pthread_kill",
    "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys.addaudithook",
    "resource.setrlimit", "resource.prlimit", "syslog.", "socket.", "ctypes.", "urllib.", "http.", "ftplib.", "smtplib.",
    "imaplib.", "poplib.", "nntplib.", "telnetlib.", "webbrowser.", "sqlite3.enable_load_extension",
    "sqlite3.load_extension",
)
# Events whose first arguments are paths; the number says how many. They may touch the run's own folder only.
PATHS = {
    "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2,
    "os.symlink": 2, "os.chmod": 1, "os.chown": 1, "os.truncate": 1, "os.utime": 1, "os.chdir": 1, "os.chflags": 1,
    "os.getxattr": 1, "os.listxattr": 1, "sqlite3.connect": 1, "shutil.rmtree": 1, "os.walk": 1, "os.fwalk": 1,
}
READABLE = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")

# Compiled in a namespace and with builtins of its own: what a script does to the real builtins changes nothing here.
WATCH = '''
def hook(event, arguments):
    try:
        if event == "open":
            path, _, flags = arguments
            if type(path) is not int and not allowed(path, not flags & writing):
                leave("restricted_call", "open", 1)
        elif event == "import":
            module, filename = arguments[0], arguments[1]
            if filename is None:
                if module.split(".")[0] not in bundled and frame(1).f_code.co_filename == script_name:
                    leave("restricted_call", "import " + module, 1)
            elif not allowed(filename, True) or below(absolute(filename), scratch):
                leave("restricted_call", "import " + module, 1)
        elif event == "object.__setattr__":
            if arguments[1] == "__code__":
                leave("restricted_call", "function.__code__", 1)
        elif event in paths:
            for path in arguments[:paths[event]]:
                if path is not None and path != ":memory:" and type(path) is not int \\
                        and not allowed(path, event in readable):
                    leave("restricted_call", event, 1)
        elif event in refused or event[:event.find(".") + 1] in refused:
            leave("restricted_call", names.get(event, event), 1)
    except BaseException:
        leave("restricted_call", event, 1)

def absolute(path):
    if isinstance(path, bytes):
        path = bytes_decode(path, "utf-8", "surrogateescape")
    path = to_text(path)
    if path[:1] != "/":
        path = getcwd() + "/" + path
    parts = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)

def below(path, folder):
    return path == folder or path[:len(folder) + 1] == folder + "/"

def allowed(path, reading):
    path = absolute(path)
    if below(path, scratch) or path == "/dev/null":
        return True
    if reading:
        for folder in libraries:
            if below(path, folder):
                return True
    return False
'''


def watch(leave, bundled):
    """Ends the run at the first thing that a restricted script may not do. It cannot be removed or caught."""
    import builtins

    own = {name: getattr(builtins, name) for name in ("BaseException", "bytes", "isinstance", "len", "type", "int")}
    libraries = tuple({os.path.realpath(folder) for folder in sys.path if folder.startswith("/")} | {
        folder for folder in sys.path if folder.startswith("/")} | {"/muster", "/usr/share/zoneinfo", "/dev/urandom"})
    space = {
        "__builtins__": own, "leave": leave, "bundled": bundled, "paths": dict(PATHS), "readable": READABLE,
        "refused": frozenset(REFUSED), "names": {"socket.__new__": "socket.socket"}, "scratch": SCRATCH,
        "libraries": libraries, "writing": os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND,
        "getcwd": os.getcwd, "frame": sys._getframe, "script_name": SCRIPT_NAME, "to_text": str.__str__,
        "bytes_decode": bytes.decode,
    }
    exec(compile(WATCH, "<watch>", "exec"), space)
    sys.addaudithook(space["hook"])


if __name__ == "__main__":
    main(sys.argv)
