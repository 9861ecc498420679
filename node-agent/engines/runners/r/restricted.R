# The table of restricted scripts: it makes good messages, the kernel is the wall. Part of the runner, see runner.R.

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

# The table, made before the fork: a list of places and the stubs that go there.
restrictions <- function(leave, bundled) {
  base <- baseenv()
  places <- list()
  over <- function(name) leave("restricted_call", paste0("Native[", name, "]"))
  put <- function(name, stub, spaces) {
    for (space in spaces) {
      if (exists(name, envir = space, inherits = FALSE)) {
        places[[length(places) + 1L]] <<- list(name = name, stub = stub, space = space)
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
  list(places = places, masks = lapply(stats::setNames(nm = refused_primitives), always))
}

# Puts the table in its place, for good. Nothing of the runner is looked up afterwards but what it keeps itself.
restrict <- function(restrictions) {
  for (place in restrictions$places) {
    if (bindingIsLocked(place$name, place$space)) unlockBinding(place$name, place$space)
    assign(place$name, place$stub, envir = place$space)
    lockBinding(place$name, place$space)
  }
  attach(restrictions$masks, name = "muster:restricted", warn.conflicts = FALSE)
  lockEnvironment(as.environment("muster:restricted"), bindings = TRUE)
}
