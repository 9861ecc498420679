# Outputs: whatever a script leaves in a variable becomes a file with types. Part of the runner, see runner.R.

# Writes one output and returns what it was: rows, and names and types of the columns.
write_output <- function(description) {
  name <- description$name
  if (!exists(name, envir = globalenv(), inherits = FALSE)) {
    refuse("Output variable ", name, " was not set by the script.")
  }
  if (description$format == "file") {
    file.rename(get(name, envir = globalenv(), inherits = FALSE), file.path(scratch, description$file))
    return(list(name = name, kind = description$kind, format = "file", rows = 0L, columns = list()))
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

# The shortest of 15, 16 and 17 digits that gives the same number again.
number_text <- function(values) {
  if (is.integer(values)) return(as.character(values))
  text <- sprintf("%.15g", values)
  open <- which(is.finite(values))
  for (digits in c("%.16g", "%.17g")) {
    open <- open[as.numeric(text[open]) != values[open]]
    text[open] <- sprintf(digits, values[open])
  }
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

# What the outputs were: rows, and names and types of the columns.
schema_text <- function(schema) {
  column <- function(column) paste0("{\"name\":", json_strings(column$name), ",\"type\":\"", column$type, "\"}")
  output <- function(output) {
    paste0("{\"name\":", json_strings(output$name), ",\"kind\":\"", output$kind, "\",\"format\":\"", output$format,
           "\",\"rows\":", sprintf("%.0f", output$rows), ",\"columns\":[",
           paste(vapply(output$columns, column, ""), collapse = ","), "]}")
  }
  paste0("[", paste(vapply(schema, output, ""), collapse = ","), "]")
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
