# Runs data functions in R: preloads packages, and in a forked child of the jail runs one script.
#
# Order, which is the security: packages are loaded, the process forks (muster_fork_run), the child draws new
# random numbers, locks itself (muster_lock), reads the run below /scratch, and only then evaluates the script.
# The child leaves by muster_leave, so that nothing of the parent is cleaned up twice.
#
# The table of functions at the end of this file makes good messages; the kernel is the wall.
# The description of runs and the text formats are the same as in runner.py: README.md beside this file.

local({

scratch <- "/scratch"
script_name <- "<data_function>"
types <- c("Boolean", "Integer", "LongInteger", "SingleReal", "Real", "DateTime", "Date", "Time", "TimeSpan",
           "String", "Binary", "Currency")

# What text looks like when nobody said its type; the first that fits all values of a column wins.
# Numbers with leading zeros stay text: they are codes. runner.py has the same list.
inferred <- c(
  Boolean = "^(true|false|TRUE|FALSE|True|False)$",
  Integer = "^-?(0|[1-9][0-9]{0,18})$",
  Real = "^(-?((0|[1-9][0-9]*)([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?|NaN|-?[Ii]nf(inity)?)$",
  Date = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
  DateTime = paste0("^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?",
                    "(Z|[+-][0-9]{2}:[0-9]{2})?$"),
  Time = "^[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?$")
int32 <- 2147483647
int64 <- 9223372036854775807

# An input or output that does not fit its description; the message is for people.
refuse <- function(...) {
  stop(structure(class = c("muster_data_error", "error", "condition"), list(message = paste0(...), call = NULL)))
}

# ---- Inputs ---------------------------------------------------------------------------------------------

read_input <- function(description) {
  if (is.null(description$file)) return(NULL)
  path <- file.path(scratch, description$file)
  tryCatch(
    switch(description$format, csv = read_csv(path, description), json = read_json(path, description)),
    error = function(e) {
      known <- inherits(e, "muster_data_error")
      refuse("Input ", description$name, if (!known) paste(" is not valid", toupper(description$format)), ": ",
             conditionMessage(e))
    })
}

wanted_type <- function(description, column) {
  wanted <- description$types[[column]]
  if (is.null(wanted) && description$kind != "table") wanted <- description$types[[description$name]]
  if (!is.null(wanted)) check_type(wanted)
  wanted
}

check_type <- function(type) {
  if (!type %in% types) refuse(type, " is not a type; there are ", paste(types, collapse = ", "))
}

check_names <- function(names) {
  twice <- names[duplicated(names)]
  if (length(twice)) refuse("column ", twice[[1]], " appears twice; names of columns must differ")
}

read_csv <- function(path, description) {
  con <- file(path, "r", encoding = "UTF-8-BOM")
  on.exit(close(con))
  fields <- function(what, ...) {
    scan(con, what, sep = ",", quote = "\"", quiet = TRUE, na.strings = "", comment.char = "",
         strip.white = FALSE, encoding = "UTF-8", ...)
  }
  header <- fields("", nlines = 1L, blank.lines.skip = FALSE)
  if (!length(header)) refuse("the CSV file is empty; it needs at least a line with the names of the columns")
  header[is.na(header)] <- ""
  check_names(header)
  columns <- fields(rep(list(""), length(header)), multi.line = FALSE, blank.lines.skip = FALSE)
  columns <- lapply(seq_along(header), function(index) {
    text <- columns[[index]]
    type <- wanted_type(description, header[[index]])
    if (is.null(type)) type <- infer_text(text)
    from_text(text, type, header[[index]])
  })
  shape(description, header, columns)
}

read_json <- function(path, description) {
  con <- file(path, "rb")
  text <- tryCatch(rawToChar(readBin(con, "raw", file.size(path))), finally = close(con))
  Encoding(text) <- "UTF-8"
  text <- sub("^\uFEFF", "", text)
  document <- jsonlite::parse_json(text, simplifyVector = FALSE)
  given_as_object <- is.list(document) && !is.null(names(document))
  columns <- switch(description$kind,
    value = if (given_as_object) {
      list(list(name = description$name, type = document$type, values = list(document$value)))
    } else {
      list(list(name = description$name, values = list(document)))
    },
    column = list(if (given_as_object) document else list(values = document)),
    table = {
      if (!given_as_object || !is.list(document$columns)) {
        refuse("a table is written {\"columns\": [{\"name\": \u2026, \"type\": \u2026, \"values\": [\u2026]}]}")
      }
      document$columns
    })
  header <- vapply(columns, function(column) {
    if (is.null(column$name)) description$name else as.character(column$name)
  }, "")
  check_names(header)
  lengths <- unique(lengths(lapply(columns, `[[`, "values")))
  if (length(lengths) > 1L) refuse("its columns differ in length: ", paste(sort(lengths), collapse = ", "))
  columns <- lapply(seq_along(columns), function(index) {
    values <- columns[[index]]$values
    if (!is.list(values)) refuse("the values of column ", header[[index]], " are not a list")
    type <- wanted_type(description, header[[index]])
    if (is.null(type)) type <- columns[[index]]$type
    if (is.null(type)) type <- infer_json(values)
    check_type(type)
    from_json(values, type, header[[index]])
  })
  shape(description, header, columns)
}

# A vector of length 1, a vector or a data.frame.
shape <- function(description, header, columns) {
  if (description$kind == "table") {
    rows <- if (length(columns)) length(columns[[1]]) else 0L
    names(columns) <- header
    return(structure(columns, class = "data.frame", row.names = .set_row_names(rows)))
  }
  if (length(columns) != 1L) refuse("a ", description$kind, " has one column, but this has ", length(columns))
  column <- columns[[1]]
  if (description$kind == "value" && length(column) != 1L) {
    refuse("a value has one row, but this has ", length(column))
  }
  if (description$kind == "value" && is.list(column)) column[[1]] else column
}

infer_text <- function(text) {
  present <- text[!is.na(text)]
  if (!length(present)) return("String")
  for (type in names(inferred)) {
    pattern <- inferred[[type]]
    if (grepl(pattern, present[[1]]) && all(grepl(pattern, present))) {
      return(if (type == "Integer") size_of(suppressWarnings(as.numeric(present))) else type)
    }
  }
  "String"
}

size_of <- function(numbers) {
  largest <- max(abs(numbers))
  if (largest <= int32) "Integer" else if (largest < int64) "LongInteger" else "Real"
}

infer_json <- function(values) {
  present <- values[!vapply(values, is.null, NA)]
  classes <- unique(vapply(present, function(value) class(value)[[1]], ""))
  if (!length(classes) || identical(classes, "character")) return("String")
  if (identical(classes, "logical")) return("Boolean")
  if (identical(classes, "integer")) return("Integer")
  if (all(classes %in% c("integer", "numeric"))) {
    numbers <- unlist(present)
    whole <- all(numbers == floor(numbers)) && max(abs(numbers)) > int32
    return(if (whole) size_of(numbers) else "Real")
  }
  refuse("a column mixes values of different types; say its type")
}

cannot <- function(name, type, text) refuse("column ", name, " cannot be read as ", type, ": ", dQuote(text, FALSE))

from_text <- function(text, type, name) {
  present <- !is.na(text)
  checked <- function(values) {
    bad <- which(present & is.na(values))
    if (length(bad)) cannot(name, type, text[[bad[[1]]]])
    values
  }
  number <- function() {
    values <- suppressWarnings(as.numeric(text))
    not_a_number <- present & text %in% "NaN"
    values[not_a_number] <- 0
    values <- checked(values)
    values[not_a_number] <- NaN
    values
  }
  whole <- function(limit) {
    values <- number()
    bad <- which(present & (values != floor(values) | abs(values) > limit))
    if (length(bad)) cannot(name, type, text[[bad[[1]]]])
    values
  }
  switch(type,
    Boolean = checked(c(true = TRUE, false = FALSE)[tolower(text)]) |> unname(),
    Integer = as.integer(whole(int32)),
    LongInteger = whole(int64),
    SingleReal = , Real = , Currency = number(),
    DateTime = checked(parse_datetime(text)),
    Date = checked(as.POSIXct(strptime(text, "%Y-%m-%d", tz = "UTC"), tz = "UTC")),
    Time = checked(as.POSIXct(strptime(paste0("1970-01-01 ", text), "%Y-%m-%d %H:%M:%OS", tz = "UTC"), tz = "UTC")),
    TimeSpan = as.difftime(checked(parse_time_span(text)), units = "secs"),
    String = text,
    Binary = lapply(text, function(one) {
      if (is.na(one)) return(NULL)
      tryCatch(jsonlite::base64_dec(one), error = function(e) cannot(name, type, one))
    }))
}

parse_datetime <- function(text) {
  offset <- rep(0, length(text))
  zone <- regexpr("[+-][0-9]{2}:[0-9]{2}$", text)
  has_zone <- !is.na(text) & zone > 11L
  if (any(has_zone)) {
    part <- substring(text[has_zone], zone[has_zone])
    offset[has_zone] <- ifelse(startsWith(part, "-"), -1, 1) *
      (as.numeric(substr(part, 2, 3)) * 3600 + as.numeric(substr(part, 5, 6)) * 60)
    text[has_zone] <- substr(text[has_zone], 1L, zone[has_zone] - 1L)
  }
  text <- sub("Z$", "", sub("T", " ", text, fixed = TRUE))
  value <- as.POSIXct(strptime(text, "%Y-%m-%d %H:%M:%OS", tz = "UTC"), tz = "UTC")
  for (pattern in c("%Y-%m-%d %H:%M", "%Y-%m-%d")) {
    left <- is.na(value) & !is.na(text)
    if (any(left)) value[left] <- as.POSIXct(strptime(text[left], pattern, tz = "UTC"), tz = "UTC")
  }
  value - offset
}

parse_time_span <- function(text) {
  pattern <- "^(-?)(([0-9]+)[.])?([0-9]{1,2}):([0-9]{2}):([0-9]{2}([.][0-9]+)?)$"
  seconds <- suppressWarnings(as.numeric(text))
  spans <- !is.na(text) & grepl(pattern, text)
  if (any(spans)) {
    part <- function(group) {
      found <- sub(pattern, paste0("\\", group), text[spans])
      as.numeric(ifelse(found == "", "0", found))
    }
    sign <- ifelse(startsWith(text[spans], "-"), -1, 1)
    seconds[spans] <- sign * (part(3) * 86400 + part(4) * 3600 + part(5) * 60 + part(6))
  }
  seconds
}

from_json <- function(values, type, name) {
  missing <- vapply(values, is.null, NA)
  present <- values[!missing]
  numeric_type <- type %in% c("Integer", "LongInteger", "SingleReal", "Real", "Currency")
  classes <- unique(vapply(present, function(value) class(value)[[1]], ""))
  if (type == "Boolean") {
    if (length(setdiff(classes, "logical"))) refuse("column ", name, " cannot be read as Boolean")
    result <- rep(NA, length(values))
    result[!missing] <- as.logical(unlist(present))
    return(result)
  }
  if (numeric_type && length(classes) && all(classes %in% c("integer", "numeric"))) {
    result <- rep(NA_real_, length(values))
    result[!missing] <- unlist(present)
    limit <- switch(type, Integer = int32, LongInteger = int64, Inf)
    bad <- which(!missing & (abs(result) > limit | (is.finite(limit) & result != floor(result))))
    if (length(bad)) cannot(name, type, format(result[[bad[[1]]]], digits = 15))
    return(if (type == "Integer") as.integer(result) else result)
  }
  if (length(setdiff(classes, c("character", if (numeric_type) c("integer", "numeric"))))) {
    refuse("column ", name, " cannot be read as ", type, ": a value is no ", if (numeric_type) "number" else "text")
  }
  text <- rep(NA_character_, length(values))
  text[!missing] <- vapply(present, function(value) if (is.numeric(value)) number_text(value) else value, "")
  from_text(text, type, name)
}

# ---- Outputs --------------------------------------------------------------------------------------------

# Writes one output and returns what it was: rows, and names and types of the columns.
write_output <- function(description) {
  name <- description$name
  if (!exists(name, envir = globalenv(), inherits = FALSE)) {
    refuse("Output variable ", name, " was not set by the script.")
  }
  tryCatch({
    columns <- output_columns(get(name, envir = globalenv(), inherits = FALSE), description)
    check_names(names(columns))
    columns <- lapply(columns, typed)
    rows <- unique(vapply(columns, function(column) length(column$values), 0L))
    if (length(rows) > 1L) refuse("its columns differ in length")
    if (!length(rows)) rows <- 0L
    if (description$kind != "table" && length(columns) != 1L) {
      refuse("a ", description$kind, " has one column, but this has ", length(columns))
    }
    if (description$kind == "value" && rows != 1L) refuse("a value has one element, but this has ", rows)
    text <- switch(description$format, csv = to_csv(columns), json = to_json(columns, description$kind))
    write_text(file.path(scratch, description$file), text)
    list(name = name, kind = description$kind, format = description$format, rows = rows,
         columns = unname(Map(function(column, name) list(name = name, type = column$type), columns, names(columns))))
  },
  muster_data_error = function(e) refuse("Output ", name, ": ", conditionMessage(e)))
}

output_columns <- function(value, description) {
  if (is.null(value)) return(stats::setNames(list(NA_character_), description$name))
  if (is.table(value)) value <- as.data.frame(value, stringsAsFactors = FALSE)
  if (is.matrix(value)) value <- as.data.frame(value, stringsAsFactors = FALSE)
  if (is.data.frame(value)) {
    columns <- as.list(value)
    return(columns)
  }
  if (is.array(value) && length(dim(value)) > 2L) refuse("an array with ", length(dim(value)), " dimensions is no table")
  if (inherits(value, "POSIXlt")) value <- as.POSIXct(value)
  if (is.list(value) && !is.null(names(value)) && !is_binary(value)) return(value)
  if (is.raw(value)) value <- list(value)
  if (is.function(value) || is.environment(value) || is.language(value)) {
    refuse("a ", typeof(value), " is no ", description$kind)
  }
  stats::setNames(list(value), description$name)
}

is_binary <- function(value) {
  is.list(value) && length(value) > 0L && all(vapply(value, function(one) is.null(one) || is.raw(one), NA))
}

typed <- function(values) {
  if (inherits(values, "POSIXlt")) values <- as.POSIXct(values)
  type <- if (is.factor(values) || is.character(values)) "String"
    else if (inherits(values, "POSIXct")) "DateTime"
    else if (inherits(values, "Date")) "Date"
    else if (inherits(values, "difftime")) "TimeSpan"
    else if (is.logical(values)) "Boolean"
    else if (is.integer(values)) "Integer"
    else if (is.double(values)) "Real"
    else if (is_binary(values)) "Binary"
    else if (is.list(values) && all(lengths(values) == 1L)) return(typed(unlist(values)))
    else refuse("values of type ", class(values)[[1]], " are not supported")
  values <- switch(type,
    String = as.character(values),
    DateTime = datetime_text(as.numeric(values)),
    Date = format(values, "%Y-%m-%d"),
    TimeSpan = { units(values) <- "secs"; time_span_text(as.numeric(values)) },
    Boolean = ifelse(as.vector(values), "true", "false"),
    Integer = , Real = as.vector(unclass(values)),
    Binary = vapply(values, function(one) if (is.null(one)) NA_character_ else jsonlite::base64_enc(one), ""))
  list(type = type, values = values)
}

datetime_text <- function(seconds) {
  micros <- round((seconds - floor(seconds)) * 1e6)
  whole <- floor(seconds) + (micros == 1e6)
  micros[micros %in% 1e6] <- 0
  text <- format(.POSIXct(whole, "UTC"), "%Y-%m-%dT%H:%M:%S")
  ifelse(micros %in% c(0, NA), text, paste0(text, sprintf(".%06.0f", micros)))
}

time_span_text <- function(seconds) {
  micros <- round(abs(seconds) * 1e6)
  days <- floor(micros / 86400e6)
  rest <- micros - days * 86400e6
  text <- sprintf("%02.0f:%02.0f:%02.0f", floor(rest / 3600e6), floor(rest / 60e6) %% 60, floor(rest / 1e6) %% 60)
  fraction <- rest %% 1e6
  text <- paste0(ifelse(seconds < 0, "-", ""), ifelse(days > 0, sprintf("%.0f.", days), ""), text,
                 ifelse(fraction > 0, sprintf(".%06.0f", fraction), ""))
  text[is.na(seconds)] <- NA
  text
}

# The shortest of 15 and 17 digits that gives the same number again.
number_text <- function(values) {
  if (is.integer(values)) return(as.character(values))
  text <- sprintf("%.15g", values)
  finite <- which(is.finite(values))
  differs <- finite[as.numeric(text[finite]) != values[finite]]
  text[differs] <- sprintf("%.17g", values[differs])
  text[is.na(values)] <- NA
  text
}

to_csv <- function(columns) {
  quoted <- function(text) {
    needs <- grepl("[,\"\r\n]", text)
    text[needs] <- paste0("\"", gsub("\"", "\"\"", text[needs], fixed = TRUE), "\"")
    text
  }
  parts <- lapply(columns, function(column) {
    text <- if (is.numeric(column$values)) number_text(column$values) else enc2utf8(column$values)
    if (column$type == "String") text <- quoted(text)
    text[is.na(text)] <- ""
    text
  })
  header <- paste(quoted(enc2utf8(names(columns))), collapse = ",")
  c(header, if (length(parts)) do.call(paste, c(unname(parts), sep = ",")))
}

to_json <- function(columns, kind) {
  # One value a line of `text`, so that even long columns are made by vector operations.
  json_values <- function(column) {
    values <- column$values
    text <- if (is.numeric(values)) {
      ifelse(is.infinite(values), ifelse(values > 0, "\"Infinity\"", "\"-Infinity\""), number_text(values))
    } else if (column$type == "Boolean") {
      values
    } else {
      json_strings(values)
    }
    text[is.na(values)] <- "null"
    text
  }
  one <- function(column, name) {
    paste0("{\"name\":", json_strings(name), ",\"type\":\"", column$type, "\",\"values\":[",
           paste(json_values(column), collapse = ","), "]}")
  }
  switch(kind,
    value = paste0("{\"type\":\"", columns[[1]]$type, "\",\"value\":", json_values(columns[[1]]), "}"),
    column = one(columns[[1]], names(columns)[[1]]),
    table = paste0("{\"columns\":[", paste(mapply(one, columns, names(columns)), collapse = ","), "]}"))
}

json_strings <- function(text) {
  if (!length(text)) return(character())
  text <- enc2utf8(text)
  text <- gsub("\\", "\\\\", text, fixed = TRUE)
  text <- gsub("\"", "\\\"", text, fixed = TRUE)
  if (any(grepl("[[:cntrl:]]", text))) {
    for (code in c(1:31, 127)) {
      text <- gsub(intToUtf8(code), sprintf("\\u%04x", code), text, fixed = TRUE)
    }
  }
  paste0("\"", text, "\"")
}

write_text <- function(path, text) {
  con <- file(path, "wb")
  tryCatch(writeLines(text, con, sep = "\n", useBytes = TRUE), finally = close(con))
}

# ---- The script -----------------------------------------------------------------------------------------

# Kept here because a restricted script finds stubs in their place.
file <- base::file
dot_c <- base::.C
terminal <- getConnection(1L)
leave_symbol <- NULL

leave <- function(ending, message, code = 1L) {
  flush(terminal)
  dot_c(leave_symbol, ending, enc2utf8(message), as.integer(code))
}

parse_script <- function(script) {
  script_lines <- strsplit(script, "\r?\n")[[1]]
  parse(text = script_lines, keep.source = TRUE, srcfile = srcfilecopy(script_name, script_lines))
}

# Evaluates like R's own top level: one expression after the other, visible values printed.
run_script <- function(muster_expressions) {
  withCallingHandlers(
    for (muster_index in seq_along(muster_expressions)) {
      value <- withVisible(eval(muster_expressions[[muster_index]], globalenv()))
      if (value$visible) {
        if (isS4(value$value)) methods::show(value$value) else print(value$value)
      }
    },
    warning = function(condition) {
      if (is_ours(conditionCall(condition)) && getOption("warn") %in% 0:1) {
        cat("Warning: ", conditionMessage(condition), "\n", sep = "", file = stderr())
        invokeRestart("muffleWarning")
      }
    })
}

# A call of this file says nothing to the script's author.
is_ours <- function(call) is.null(call) || any(all.names(call) %in% c("muster_expressions", "script_lines"))

explain <- function(condition) {
  call <- conditionCall(condition)
  message <- conditionMessage(condition)
  if (is_ours(call)) return(paste0("Error: ", message))
  text <- paste(deparse(call, nlines = 1L)[[1]], ": ", sep = "")
  separator <- if (nchar(text) + nchar(message) > 70L || grepl("\n", message, fixed = TRUE)) "\n  " else ""
  paste0("Error in ", text, separator, message)
}

main <- function(mode, packages) {
  for (package in c("jsonlite", packages)) loadNamespace(package)
  # Restricted scripts may attach these; they are loaded now because nothing can be loaded then.
  for (package in c("compiler", "grid", "splines", "stats4", "tools")) loadNamespace(package)
  bundled <- loadedNamespaces()
  library <- dyn.load("/muster/libmuster_lock.so")
  leave_symbol <<- getNativeSymbolInfo("muster_leave", library)
  # Without a folder here, each child's tempdir() makes its own.
  unlink(tempdir(), recursive = TRUE)
  options(warn = 1L, stringsAsFactors = FALSE, keep.source = FALSE)
  gc(FALSE)

  status <- .C("muster_fork_run", status = 2L)$status
  if (status != 0L) quit("no", status, FALSE)

  reseed()
  Sys.setenv(HOME = scratch, TMPDIR = file.path(scratch, "tmp"))
  locked <- .C("muster_lock", mode, status = 1L, message = strrep(" ", 1023L))
  if (locked$status != 0L) leave("script_error", locked$message)
  setwd(scratch)
  dir.create("tmp", showWarnings = FALSE)
  dir.create("outputs", showWarnings = FALSE)
  tempdir(check = TRUE)

  tryCatch({
    run <- jsonlite::read_json(file.path(scratch, "run.json"), simplifyVector = FALSE)
    for (description in run$inputs) assign(description$name, read_input(description), envir = globalenv())
    expressions <- parse_script(run$script)
    if (mode == "restricted") restrict(leave, bundled)
    run_script(expressions)
    schema <- lapply(run$outputs, write_output)
    write_text(file.path(scratch, "outputs/schema.json"), jsonlite::toJSON(schema, auto_unbox = TRUE))
  },
  muster_data_error = function(e) leave("script_error", conditionMessage(e)),
  error = function(e) leave("script_error", explain(e)),
  interrupt = function(e) leave("script_error", "Error: interrupted"))
  leave("succeeded", "", 0L)
}

# A whole new state of the Mersenne Twister for this child: its siblings were copied from the same parent.
reseed <- function() {
  con <- file("/dev/urandom", "rb", raw = TRUE)
  words <- tryCatch(readBin(con, "integer", 624L), finally = close(con))
  assign(".Random.seed", c(10403L, 624L, words), envir = globalenv())
}

# ---- The table of restricted scripts ----------------------------------------------------------------------

# Functions that end a restricted run wherever they are called from: files, network, programs, packages.
refused <- list(
  base = c(
    "file", "url", "gzfile", "bzfile", "xzfile", "unz", "pipe", "fifo", "socketConnection", "serverSocket",
    "socketAccept", "socketSelect", "file.create", "file.remove", "file.rename", "file.append", "file.copy",
    "file.symlink", "file.link", "file.show", "unlink", "dir.create", "Sys.chmod", "Sys.umask", "Sys.setFileTime",
    "Sys.readlink", "list.files", "dir", "list.dirs", "Sys.glob", "tempfile", "tempdir", "setwd", "system",
    "system2", "dyn.load", "dyn.unload", "library.dynam", "library.dynam.unload", "readRenviron", "curlGetHeaders",
    "save.image", "sys.save.image", "sys.load.image", "lazyLoad"),
  utils = c(
    "download.file", "install.packages", "url.show", "browseURL", "unzip", "zip", "tar", "untar", "file.edit",
    "Rprof", "Rprofmem", "nsl", "loadhistory", "savehistory", "make.socket", "remove.packages"),
  grDevices = c("bitmap", "dev2bitmap"),
  tools = c("pskill", "psnice", "Rcmd", "Rdiff"))

# Functions that packages need for their own work; they end the run when the script itself calls them.
refused_directly <- list(base = c(
  "file.exists", "file.info", "file.access", "file.size", "file.mtime", "file.mode", "dir.exists", "normalizePath",
  "getwd", "Sys.setenv", "Sys.unsetenv", "environment<-", "unlockBinding", "getNativeSymbolInfo", "getLoadedDLLs", "attachNamespace", "lazyLoadDBexec"))

# Primitives that reach compiled code. Packages live by them, so their stubs stand in the search path, where only
# the script's own calls look; R's compiler does not inline what is masked there.
refused_primitives <- c(
  ".C", ".Fortran", ".Call", ".External", ".External2", ".Call.graphics", ".External.graphics", ".Internal",
  ".Primitive")

restrict <- function(leave, bundled) {
  base <- baseenv()
  over <- function(name) leave("restricted_call", paste0("Native[", name, "]"))
  put <- function(name, stub, spaces) {
    for (space in spaces) {
      if (exists(name, envir = space, inherits = FALSE)) {
        if (bindingIsLocked(name, space)) unlockBinding(name, space)
        assign(name, stub, envir = space)
        lockBinding(name, space)
      }
    }
  }
  spaces_of <- function(package) {
    attached <- paste0("package:", package)
    c(if (package == "base") base else asNamespace(package),
      if (package != "base" && attached %in% search()) as.environment(attached))
  }
  always <- function(name) { force(name); function(...) over(name) }
  directly <- function(name, original) {
    force(name)
    force(original)
    stub <- function(...) {
      if (identical(topenv(parent.frame()), globalenv())) over(name)
      original(...)
    }
    if (name == "environment<-") {
      stub <- function(fun, value) {
        if (is.function(fun) && identical(topenv(parent.frame()), globalenv())) over(name)
        original(fun, value)
      }
    }
    stub
  }

  load_namespace <- base$loadNamespace
  attach_namespace <- base$attachNamespace
  attached <- function(package, character.only = FALSE, ...) {
    if (!package %in% bundled) over("loadNamespace")
    if (!paste0("package:", package) %in% search()) attach_namespace(package)
    invisible(TRUE)
  }
  put("loadNamespace", function(package, ...) {
    if (!is.environment(package) && !as.character(package)[[1]] %in% bundled) over("loadNamespace")
    load_namespace(package, ...)
  }, list(base))
  put("library", function(package, help, pos = 2, lib.loc = NULL, character.only = FALSE, ...) {
    if (missing(package)) over("library")
    if (!character.only) package <- as.character(substitute(package))
    attached(package)
    invisible(.packages())
  }, list(base))
  put("require", function(package, lib.loc = NULL, quietly = FALSE, warn.conflicts, character.only = FALSE, ...) {
    if (!character.only) package <- as.character(substitute(package))
    attached(package)
  }, list(base))

  for (package in names(refused)) {
    for (name in refused[[package]]) put(name, always(name), spaces_of(package))
  }
  for (name in refused_directly$base) put(name, directly(name, get(name, envir = base)), list(base))
  put("data", function(..., list = character()) {
    names <- c(as.character(substitute(list(...))[-1L]), list)
    known <- as.environment("package:datasets")
    if (!length(names) || !all(names %in% ls(known))) over("data")
    for (name in names) assign(name, get(name, envir = known), envir = globalenv())
    invisible(names)
  }, spaces_of("utils"))
  stubs <- lapply(stats::setNames(nm = refused_primitives), always)
  attach(stubs, name = "muster:restricted", warn.conflicts = FALSE)
  lockEnvironment(as.environment("muster:restricted"), bindings = TRUE)
}

arguments <- commandArgs(trailingOnly = TRUE)
main(arguments[[1]], arguments[-1])

}, envir = new.env(parent = baseenv()))
