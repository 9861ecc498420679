# The functions of the original's package terrUtils by which scripts ask about restricted mode and enter it. Part of
# the runner, see runner.R; README.md says what they promise.

evalREX <- function(expr, envir = NULL, restoreEnv = FALSE, restoreOptions = FALSE, doNotReturn = FALSE,
                    trace = FALSE) {
  force(expr)
  if (is.null(envir)) envir <- parent.frame()
  if (rex$how != "off") {
    # A restricted run ends here. One that is traced, and evalREX within evalREX where it reports, go on.
    overstep("Native[evalREX]")
    return(eval(expr, envir))
  }
  if (is.null(rex$table)) {
    rex$table <- restrictions(overstep, loadedNamespaces())
    restrict(rex$table)
  }
  if (restoreOptions) {
    before <- options()
    on.exit(options(before), add = TRUE)
  }
  if (is.environment(restoreEnv) || isTRUE(restoreEnv)) {
    held <- as.list(envir, all.names = TRUE)
    on.exit({
      if (is.environment(restoreEnv)) list2env(as.list(envir, all.names = TRUE), restoreEnv)
      rm(list = ls(envir, all.names = TRUE), envir = envir)
      list2env(held, envir)
    }, add = TRUE)
  }
  on.exit(rex$how <- "off", add = TRUE, after = FALSE)
  rex$how <- if (trace) "report" else "error"
  value <- eval(expr, envir)
  if (doNotReturn) invisible() else value
}

getREX <- function() {
  c(restricted = rex$how != "off", trace = rex$how %in% c("trace", "report"))
}

stopIfREX <- function(msg) {
  if (rex$how %in% c("leave", "error")) stop(msg, call. = FALSE)
}

# As the original has it: attached from the start, and there under its name.
terr_utils <- function() {
  surface <- list(evalREX = evalREX, getREX = getREX, stopIfREX = stopIfREX)
  space <- list2env(surface, parent = baseenv())
  info <- new.env(parent = baseenv())
  info$spec <- c(name = "terrUtils", version = "0")
  info$exports <- list2env(as.list(stats::setNames(nm = names(surface))), parent = baseenv())
  info$imports <- list(base = TRUE)
  info$S3methods <- matrix(NA_character_, 0L, 4L)
  assign(".__NAMESPACE__.", info, envir = space)
  .Internal(registerNamespace("terrUtils", space))
  attach(surface, name = "package:terrUtils", warn.conflicts = FALSE)
}
