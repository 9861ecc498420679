# Runs data functions in R: preloads packages, and in a forked child of the jail runs one script.
#
# Order, which is the security: packages are loaded, the process forks (muster_fork_run), the child draws new
# random numbers, locks itself (muster_lock), reads the run below /scratch, and only then evaluates the script.
# The child leaves by muster_leave, so that nothing of the parent is cleaned up twice.
#
# The runner is one file for the engine, joined from inputs.R, outputs.R, restricted.R, terr_utils.R and this file, in
# this order, inside local(), so that scripts do not find it. What runs and data look like is in ../README.md.

# Kept here because a restricted script finds stubs in their place.
file <- base::file
dot_c <- base::.C
environment_of <- base::environment
parent_of <- base::parent.env
unlock_binding <- base::unlockBinding
remove_file <- base::file.remove
make_folder <- base::dir.create
go_to <- base::setwd
folder_of_session <- base::tempdir
terminal <- getConnection(1L)
leave_symbol <- overstep_symbol <- succeeded_symbol <- NULL

leave <- function(ending, message, code = 1L) {
  flush(terminal)
  dot_c(leave_symbol, ending, enc2utf8(message), as.integer(code))
}

# Ends a run that has succeeded; returns with the next one of the session staged, or never.
succeeded <- function() {
  flush(terminal)
  waited <- dot_c(succeeded_symbol, status = 1L, message = strrep(" ", 1023L))
  if (waited$status != 0L) leave("script_error", waited$message)
}

# What scripts call to say how far they are; told too often, it does nothing. Its environment holds this call only:
# scripts can look into it.
make_progress <- function(symbol) {
  own <- list2env(list(call = dot_c, symbol = symbol), envir = new.env(parent = baseenv()))
  progress <- function(fraction = NA_real_, text = "") {
    fraction <- if (is.null(fraction)) NA_real_ else as.double(fraction)[1L]
    call(symbol, fraction, enc2utf8(paste(as.character(text), collapse = " ")), NAOK = TRUE)
    invisible()
  }
  environment(progress) <- own
  progress
}

# What scripts leave by: R's own way out would do what the parent has registered for its end, in each child anew. Its
# environment holds this call only.
make_quit <- function(symbol) {
  own <- list2env(list(call = dot_c, symbol = symbol, out = terminal), envir = new.env(parent = baseenv()))
  leaves <- function(save = "default", status = 0, runLast = TRUE) {
    flush(out)
    call(symbol, "exited", format(as.integer(status)[1L]), 1L)
  }
  environment(leaves) <- own
  leaves
}

# What is done about an overstep: "leave" (a restricted run), "trace" (one that is audited), "error" and "report"
# (inside evalREX of a run that is not restricted), "off".
rex <- new.env(parent = emptyenv())
rex$how <- "off"
rex$line <- NA
rex$told <- character()

overstep <- function(what) {
  switch(rex$how,
    leave = leave("restricted_call", what),
    trace = {
      where <- if (is.na(rex$line)) what else paste0(what, ", line ", rex$line)
      # An agent keeps no more, and reads no more.
      if (!where %in% rex$told && length(rex$told) < 1000L) {
        rex$told <- c(rex$told, where)
        dot_c(overstep_symbol, enc2utf8(where))
      }
    },
    error = stop("restricted call to ", what, call. = FALSE),
    report = cat("restricted call to ", what, "\n", sep = "", file = stderr()))
  invisible()
}

parse_script <- function(script) {
  script_lines <- strsplit(script, "\r?\n")[[1]]
  parse(text = script_lines, keep.source = TRUE, srcfile = srcfilecopy(script_name, script_lines))
}

# Evaluates like R's own top level: one expression after the other, visible values printed.
run_script <- function(muster_expressions) {
  lines <- vapply(attr(muster_expressions, "srcref"), `[[`, 0L, 1L)
  withCallingHandlers(
    for (muster_index in seq_along(muster_expressions)) {
      rex$line <- lines[[muster_index]]
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

main <- function(mode, language, words) {
  packages <- words[!startsWith(words, "--")]
  hook <- sub("--hook=", "", words[startsWith(words, "--hook=")], fixed = TRUE)
  set <- sub("--set=", "", words[startsWith(words, "--set=")], fixed = TRUE)
  # A restricted run can load nothing, so that what belongs to the engine here is loaded now.
  if (length(set) && mode == "restricted") packages <- c(packages, list.files(set))
  for (package in c("jsonlite", packages)) loadNamespace(package)
  # Restricted scripts may attach these; they are loaded now because nothing can be loaded then.
  for (package in c("compiler", "grid", "splines", "stats4", "tools")) loadNamespace(package)
  # Reference classes look for this one, which is not installed everywhere.
  requireNamespace("codetools", quietly = TRUE)
  if (language == "terr") terr_utils()
  bundled <- loadedNamespaces()
  library <- dyn.load("/muster/libmuster_lock.so")
  leave_symbol <<- getNativeSymbolInfo("muster_leave", library)
  progress <- make_progress(getNativeSymbolInfo("muster_progress", library))
  attach(list(muster_progress = progress), name = "muster", warn.conflicts = FALSE)
  overstep_symbol <<- getNativeSymbolInfo("muster_overstep", library)
  succeeded_symbol <<- getNativeSymbolInfo("muster_succeeded", library)
  # In place before the fork, so that no run waits for it; it does nothing before the script.
  if (mode == "restricted") restrict(restrictions(overstep, bundled))
  options(warn = 1L, stringsAsFactors = FALSE, keep.source = FALSE)
  rehearse(tempdir())
  # Without a folder here, each child's tempdir() makes its own.
  unlink(tempdir(), recursive = TRUE)
  # Twice: what is old enough is not looked at again when a child collects its garbage.
  gc(FALSE)
  gc(FALSE)

  status <- .C("muster_fork_run", status = 2L)$status
  if (status != 0L) quit("no", status, FALSE)

  reseed()
  Sys.setenv(HOME = scratch, TMPDIR = file.path(scratch, "tmp"))
  if (length(hook)) start_up(hook)
  if (.C("muster_is_idle", idle = 0L)$idle == 1L) {
    rehearse(file.path(scratch, "tmp"))
    # The memory that it used, and that is this process's own by now, is what the run gets.
    if ("full" %in% names(formals(gc))) gc(FALSE, full = FALSE)
  }
  leaves <- make_quit(leave_symbol)
  for (name in c("quit", "q")) {
    unlock_binding(name, baseenv())
    assign(name, leaves, envir = baseenv())
    lockBinding(name, baseenv())
  }
  locked <- .C("muster_lock", mode, status = 1L, message = strrep(" ", 1023L))
  if (locked$status != 0L) leave("script_error", locked$message)
  # More than once in a session: what a script leaves stays for the next.
  repeat {
    one_run(mode)
    succeeded()
  }
}

# Evaluates the script below /scratch. Whatever goes wrong ends the process.
one_run <- function(mode) {
  # Never of a restricted script again, once the first has begun: what an earlier run of a session has left (methods,
  # finalizers, bindings) may be called while the next one is set up. The runner itself calls what is kept above.
  if (mode != "restricted") rex$how <- "off"
  go_to(scratch)
  make_folder("tmp", showWarnings = FALSE)
  make_folder("outputs", showWarnings = FALSE)
  folder_of_session(check = TRUE)

  perform(file.path(scratch, "run.json"), "outputs/schema.json", function(run) {
    if (mode == "restricted") rex$how <- if (isTRUE(run$trace)) "trace" else "leave"
  })
}

# A run from its description to its outputs; one that fails leaves. `before` is called right before the script.
perform <- function(file, schema_file, before) {
  tryCatch({
    run <- parse_document(file)
    for (description in run$inputs) put_input(description$name, read_input(description))
    expressions <- parse_script(run$script)
    before(run)
    run_script(expressions)
    schema <- lapply(run$outputs, write_output)
    write_text(file.path(scratch, schema_file), schema_text(schema))
  },
  muster_data_error = function(e) leave("script_error", conditionMessage(e)),
  error = function(e) leave("script_error", explain(e)),
  interrupt = function(e) leave("script_error", "Error: interrupted"))
}

# In place of whatever has the name: an earlier run may have left one that is locked, or that is a function of its own.
put_input <- function(name, value) {
  force(value)
  if (exists(name, envir = globalenv(), inherits = FALSE)) rm(list = name, envir = globalenv())
  assign(name, value, envir = globalenv())
}

# What every run does, so that the parent has it in memory (R reads functions from disk at their first use), and then
# each child, while it waits and before it is locked: what a process changes of its parent's memory is copied page by
# page. `folder` is one of ours; nothing is left in it.
rehearse <- function(folder) {
  path <- file.path(folder, "rehearsal")
  types <- list(a = "Integer", b = "Real", c = "DateTime", d = "TimeSpan", e = "Boolean", f = "Date", g = "Time")
  write_text(path, c("a,b,c,d,e,f,g,h",
                     "1,0.1,2020-01-02 03:04:05.5+01:00,1.02:03:04,true,2020-01-02,03:04:05,\"x,\"\"y\"", ",,,,,,,"))
  for (said in list(types, NULL)) {
    table <- read_csv(path, list(name = "x", kind = "table", format = "csv", types = said))
    columns <- lapply(output_columns(table, list(name = "x", kind = "table")), typed)
  }
  to_csv(columns)
  write_text(path, to_json(columns, "table"))
  read_json(path, list(name = "x", kind = "table", format = "json"))
  explain(simpleError("x", quote(f(x))))
  # The real thing needs the folder of a run.
  if (startsWith(folder, scratch)) {
    files <- paste0("tmp/rehearsal", 0:3)
    description <- function(name, kind, format, file) {
      sprintf("{\"name\":\"%s\",\"kind\":\"%s\",\"format\":\"%s\",\"types\":{},\"file\":\"%s\"}", name, kind, format, file)
    }
    script <- "muster_b <- muster_a + 1; muster_d <- aggregate(b ~ a, muster_c, mean); invisible(summary(lm(b ~ a, muster_c)))"
    write_text(file.path(scratch, files[[1]]), "1")
    write_text(file.path(scratch, files[[2]]), c("a,b", "1,1.5", "2,2.5", "2,4.5"))
    write_text(file.path(scratch, files[[3]]), paste0(
      "{\"script\":", json_strings(script), ",\"inputs\":[", description("muster_a", "value", "json", files[[1]]), ",",
      description("muster_c", "table", "csv", files[[2]]), "],\"outputs\":[",
      description("muster_b", "value", "json", files[[1]]), ",", description("muster_d", "table", "csv", files[[2]]), "]}"))
    perform(file.path(scratch, files[[3]]), files[[4]], function(run) NULL)
    rm(list = c("muster_a", "muster_b", "muster_c", "muster_d"), envir = globalenv())
    remove_file(file.path(scratch, files))
  }
  remove_file(path)
}

# A whole new state of the Mersenne Twister for this child: its siblings were copied from the same parent.
reseed <- function() {
  con <- file("/dev/urandom", "rb", raw = TRUE)
  words <- tryCatch(readBin(con, "integer", 624L), finally = close(con))
  assign(".Random.seed", c(10403L, 624L, words), envir = globalenv())
}

# Runs the administrator's script, which programs can do only before the lock, and keeps what it exports.
start_up <- function(hook) {
  path <- file.path(scratch, "tmp/start-up")
  command <- sprintf(". %s >&2 && env -0 > %s", shQuote(hook), path)
  status <- system2("/usr/bin/bash", c("-c", shQuote(command)))
  if (status != 0L) leave("script_error", sprintf("the start-up hook ended with code %d", status))
  bytes <- readBin(path, "raw", file.size(path))
  unlink(path)
  bytes[bytes == as.raw(0L)] <- as.raw(1L)
  for (entry in strsplit(rawToChar(bytes), "\001", fixed = TRUE)[[1]]) {
    end <- regexpr("=", entry, fixed = TRUE)
    name <- substr(entry, 1L, end - 1L)
    value <- substring(entry, end + 1L)
    if (!name %in% c("_", "PWD", "OLDPWD", "SHLVL")) do.call(Sys.setenv, stats::setNames(list(value), name))
  }
}

# Compiled now, or each child would compile them for itself.
runner <- environment()
for (name in ls(runner)) {
  if (typeof(runner[[name]]) == "closure" && identical(environment(runner[[name]]), runner)) {
    assign(name, compiler::cmpfun(runner[[name]]), envir = runner)
  }
}

arguments <- commandArgs(trailingOnly = TRUE)
main(arguments[[1]], arguments[[2]], arguments[-(1:2)])
