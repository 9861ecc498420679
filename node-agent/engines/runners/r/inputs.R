# Inputs: files of the scratch folder become vectors and data frames. Part of the runner, see runner.R.

scratch <- "/scratch"
script_name <- "<data_function>"
types <- c("Boolean", "Integer", "LongInteger", "SingleReal", "Real", "DateTime", "Date", "Time", "TimeSpan",
           "String", "Binary", "Currency")

# What text looks like when nobody said its type; the first that fits all values of a column wins.
# Numbers with leading zeros stay text: they are codes. inputs.py has the same list.
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

read_input <- function(description) {
  if (is.null(description$file)) return(NULL)
  path <- file.path(scratch, description$file)
  if (description$format == "file") return(path)
  tryCatch(
    switch(description$format,
      csv = {
        check_csv(path)
        read_csv(path, description)
      },
      json = read_json(path, description)),
    error = function(e) {
      known <- inherits(e, "muster_data_error")
      refuse("Input ", description$name, if (!known) paste(" is not valid", toupper(description$format)), ": ",
             conditionMessage(e))
    })
}

# Refuses what scan() would read as other rows than were written. inputs.py does the same.
check_csv <- function(path) {
  con <- file(path, "rb")
  bytes <- tryCatch(readBin(con, "raw", file.size(path)), finally = close(con))
  mark <- identical(bytes[1:3], as.raw(c(0xEF, 0xBB, 0xBF)))
  text <- rawToChar(if (mark) bytes[-(1:3)] else bytes)
  if (!validUTF8(text)) refuse("the CSV file is not in UTF-8; convert it")
  if (grepl("\"", text, fixed = TRUE, useBytes = TRUE)) {
    # A whole field in quotes, with what is before it (RFC 4180, section 2).
    quoted <- "(^|[,\n])\"[^\"]*+(?:\"\"[^\"]*+)*+\"(?=,|\\r?\\n|\\r?\\z)"
    text <- gsub(quoted, "\\1", text, perl = TRUE, useBytes = TRUE)
    found <- regexpr("\"", text, fixed = TRUE, useBytes = TRUE)
    if (found > 0L) {
      before <- gsub("[^\n]", "", rawToChar(charToRaw(text)[seq_len(found)]), useBytes = TRUE)
      refuse("record ", nchar(before, "bytes") + 1L, " of the CSV file has a quote within a field, or one that does ",
             "not end; put the field in quotes and double those in it")
    }
  }
  text <- gsub("\r\n", "\n", text, fixed = TRUE, useBytes = TRUE)
  if (grepl("\r", text, fixed = TRUE, useBytes = TRUE)) {
    refuse("a line of the CSV file ends with a return alone; end lines with LF or CRLF")
  }
  lines <- strsplit(text, "\n", fixed = TRUE, useBytes = TRUE)[[1L]]
  commas <- nchar(lines, "bytes") - nchar(gsub(",", "", lines, fixed = TRUE, useBytes = TRUE), "bytes")
  differs <- which(commas != commas[1L])
  if (length(differs)) {
    refuse("record ", differs[[1L]], " of the CSV file has another number of fields (",
           commas[[differs[[1L]]]] + 1L, ") than the header (", commas[[1L]] + 1L, ")")
  }
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

parse_document <- function(path) {
  con <- file(path, "rb")
  text <- tryCatch(rawToChar(readBin(con, "raw", file.size(path))), finally = close(con))
  Encoding(text) <- "UTF-8"
  jsonlite::parse_json(sub("^\uFEFF", "", text), simplifyVector = FALSE)
}

read_json <- function(path, description) {
  document <- parse_document(path)
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
