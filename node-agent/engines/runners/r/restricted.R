# The table of restricted scripts: it makes good messages, the kernel is the wall. Part of the runner, see runner.R.

# Functions that end a restricted run wherever they are called from: files, network, programs, and what would undo
# this table. They are the ones that reach the system themselves; what is built on them is named after them.
refused <- list(
  base = c(
    "file", "url", "gzfile", "bzfile", "xzfile", "unz", "pipe", "fifo", "socketConnection", "serverSocket",
    "socketAccept", "socketSelect", "file.create", "file.remove", "file.rename", "file.append", "file.copy",
    "file.symlink", "file.link", "file.show", "file.choose", "unlink", "dir.create", "Sys.chmod", "Sys.umask",
    "Sys.setFileTime", "Sys.readlink", "list.dirs", "Sys.glob", "tempfile", "tempdir", "setwd",
    "system", "system2", "dyn.load", "dyn.unload", "library.dynam", "library.dynam.unload", "readRenviron",
    "curlGetHeaders", "save.image", "sys.save.image", "sys.load.image", "lazyLoad", "trace", "untrace",
    "sys.source", "unloadNamespace"),
  utils = c(
    "download.file", "install.packages", "url.show", "browseURL", "unzip", "zip", "tar", "untar", "file.edit",
    "Rprof", "Rprofmem", "nsl", "loadhistory", "savehistory", "make.socket", "read.socket", "write.socket",
    "close.socket", "remove.packages", "dataentry", "View", "assignInNamespace", "assignInMyNamespace",
    "fixInNamespace", "file_test"),
  grDevices = c("bitmap", "dev2bitmap", "embedFonts", "X11", "x11", "savePlot"),
  tools = c("pskill", "psnice", "Rcmd", "Rdiff", "md5sum", "file_path_as_absolute", "startDynamicHelp"),
  compiler = c("cmpfile", "loadcmp"),
  methods = c("evalSource", "insertSource"))

# Functions that packages need for their own work; they end the run when it is the script that calls them.
refused_directly <- list(
  base = c(
    "file.exists", "file.info", "file.access", "file.size", "file.mtime", "file.mode", "dir.exists", "normalizePath",
    "getwd", "list.files", "dir", "system.file", "find.package", "bindtextdomain", "Sys.setenv", "Sys.unsetenv", "parent.env<-",
    "unlockBinding", "asNamespace", ".getNamespace", "importIntoEnv", "attachNamespace",
    "lazyLoadDBexec", "is.loaded", "getNativeSymbolInfo", "getLoadedDLLs",
    "getDLLRegisteredRoutines"))

# Primitives that reach compiled code. Packages live by them, so their stubs stand in the search path, where only
# the script's own calls look; R's compiler does not inline what is masked there.
refused_primitives <- c(
  ".C", ".Fortran", ".Call", ".External", ".External2", ".Call.graphics", ".External.graphics", ".Internal",
  ".Primitive")

# Graphics devices draw into the run's own folder.
devices <- c("pdf", "postscript", "xfig", "pictex", "png", "jpeg", "tiff", "bmp", "svg", "cairo_pdf", "cairo_ps")

# Packages that no restricted script may use, even where another package has loaded them.
never <- c("parallel", "tcltk", "rJava", "terrJava")

masks_name <- "muster:restricted"

# Whether the script itself calls the function `name` from the frame `n`, and not a package for work of its own: that
# is, whether a function of the script comes before any function of a package that names it.
by_script <- function(name, n) {
  if (rex$how == "off") return(FALSE)
  name <- sub("<-$", "", name)
  while (n > 0L) {
    caller <- sys.function(n)
    if (typeof(caller) != "closure" || identical(topenv(environment_of(caller)), globalenv())) return(TRUE)
    if (name %in% c(all.names(body(caller)), unlist(lapply(formals(caller), all.names)))) return(FALSE)
    n <- sys.parents()[[n]]
  }
  TRUE
}

# Whether the frame `n` is one of a package that is not base.
is_of_package <- function(n) {
  if (n < 1L) return(FALSE)
  caller <- sys.function(n)
  if (typeof(caller) != "closure") return(FALSE)
  home <- topenv(environment_of(caller))
  isNamespace(home) && !identical(home, .BaseNamespaceEnv)
}

# Whether an environment belongs to a namespace or to the runner.
is_foreign <- function(space) {
  if (isNamespace(space) || identical(space, baseenv()) || startsWith(environmentName(space), "imports:")) return(TRUE)
  while (!identical(space, emptyenv())) {
    if (identical(space, runner)) return(TRUE)
    if (identical(space, globalenv()) || isNamespace(space)) return(FALSE)
    space <- parent_of(space)
  }
  FALSE
}

# Whether a device may write there: below the run's own folder, which is the working directory.
is_own <- function(path) {
  if (grepl("(^|/)[.][.](/|$)", path)) return(FALSE)
  !grepl("^[~/]", path) || startsWith(path, "/scratch/") || path == "/dev/null"
}

# The call of the stub that asks, made once more with what it stands for.
again <- function(original) {
  call <- sys.call(-1L)
  call[[1L]] <- original
  caller <- parent.frame(2L)
  beneath(eval(call, caller))
}

# What an overstep that goes on does itself is not told of again.
beneath <- function(value) {
  before <- rex$how
  on.exit(rex$how <- before)
  rex$how <- "off"
  value
}

# library() and require() of packages that are loaded already; `attached` says whether it could attach.
attaching <- function(original, attached, native) {
  force(original)
  function(package, help, pos = 2, lib.loc = NULL, character.only = FALSE, ...) {
    if (missing(package)) {
      native("library")
      return(again(original))
    }
    if (!character.only) package <- as.character(substitute(package))
    if (attached(package)) invisible(TRUE) else again(original)
  }
}

# The table: a list of places and the stubs that go there. `over` is told of every overstep; it
# comes back only where the overstep is allowed to go on, into the kernel's wall.
restrictions <- function(over, bundled) {
  base <- baseenv()
  places <- list()
  native <- function(name) over(paste0("Native[", name, "]"))
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
  always <- function(name, original) {
    force(name)
    force(original)
    function(...) { native(name); beneath(original(...)) }
  }
  directly <- function(name, original) {
    force(name)
    force(original)
    function(...) {
      if (by_script(name, sys.parent())) native(name)
      original(...)
    }
  }
  device <- function(name, original) {
    force(name)
    force(original)
    target <- function(filename = file, file = NULL, ...) filename
    function(...) {
      path <- target(...)
      if (is.character(path) && length(path) == 1L && !is.na(path)) {
        if (startsWith(path, "|")) native("pipe") else if (!is_own(path)) native(name)
      }
      original(...)
    }
  }
  real <- function(name, package = "base") get(name, envir = if (package == "base") base else asNamespace(package))

  for (package in names(refused)) {
    known <- intersect(refused[[package]], ls(asNamespace(package), all.names = TRUE))
    for (name in known) put(name, always(name, real(name, package)), spaces_of(package))
  }
  for (name in refused_directly$base) put(name, directly(name, real(name)), list(base))
  for (name in devices) put(name, device(name, real(name, "grDevices")), spaces_of("grDevices"))
  masks <- lapply(stats::setNames(nm = refused_primitives), function(name) {
    original <- real(name)
    function(...) { native(name); again(original) }
  })

  # Environments of functions: a script may have those of its own functions, but not change them.
  set_environment <- real("environment<-")
  put("environment<-", function(fun, value) {
    if (is.function(fun) && by_script("environment", sys.parent())) native("environment<-")
    set_environment(fun, value)
  }, list(base))
  put("environment", function(fun = NULL) {
    found <- .Internal(environment(fun))
    if (is.function(fun) && is.environment(found) && is_foreign(found) && by_script("environment", sys.parent())) {
      native("environment")
    }
    found
  }, list(base))
  put("parent.env", function(env) {
    found <- .Internal(parent.env(env))
    if (is_foreign(found) && !identical(found, base) && by_script("parent.env", sys.parent())) native("parent.env")
    found
  }, list(base))

  # R's own compiled code asks, too: for what a package needs, and by name and version when it reads from disk.
  get_namespace <- real("getNamespace")
  put("getNamespace", function(name) {
    by_r <- is.character(name) && length(name) == 2L || is_of_package(sys.nframe() - 1L)
    if (!by_r && by_script("getNamespace", sys.parent())) native("getNamespace")
    get_namespace(name)
  }, list(base))

  # Frames: a script may have those of its own functions.
  put("sys.frame", function(which = 0) {
    found <- .Internal(sys.frame(which))
    if (!identical(topenv(found), globalenv()) && by_script("sys.frame", sys.parent())) native("sys.frame")
    found
  }, list(base))
  put("sys.frames", function() {
    if (by_script("sys.frames", sys.parent())) native("sys.frames")
    .Internal(sys.frames())
  }, list(base))

  # Packages: those of the engine, by whatever way they are asked for.
  usable <- function(package) package %in% bundled && !package %in% never
  load_namespace <- real("loadNamespace")
  attach_namespace <- real("attachNamespace")
  put("loadNamespace", function(package, ...) {
    if (is.environment(package) || usable(as.character(package)[[1]])) return(load_namespace(package, ...))
    native("loadNamespace")
    beneath(load_namespace(package, ...))
  }, list(base))
  for (name in c("library", "require")) {
    put(name, attaching(real(name), function(package) {
      if (!usable(package)) {
        native("loadNamespace")
        return(FALSE)
      }
      if (!paste0("package:", package) %in% search()) attach_namespace(package)
      TRUE
    }, native), list(base))
  }
  member <- function(original) {
    force(original)
    function(pkg, name) {
      pkg <- as.character(substitute(pkg))
      name <- as.character(substitute(name))
      if (pkg == "base" && name %in% refused_primitives) return(masks[[name]])
      if (pkg %in% never) native("loadNamespace")
      eval(as.call(list(original, as.name(pkg), as.name(name))), base)
    }
  }
  for (name in c("::", ":::")) put(name, member(real(name)), list(base))
  all_data <- real("data", "utils")
  put("data", function(..., list = character()) {
    names <- c(as.character(substitute(list(...))[-1L]), list)
    known <- as.environment("package:datasets")
    if (!length(names) || !all(names %in% ls(known))) {
      native("data")
      return(again(all_data))
    }
    for (name in names) assign(name, get(name, envir = known), envir = globalenv())
    invisible(names)
  }, spaces_of("utils"))
  take_off <- real("detach")
  put("detach", function(...) {
    value <- take_off(...)
    if (!masks_name %in% search()) {
      native("detach")
      attach(masks, name = masks_name, warn.conflicts = FALSE)
    }
    invisible(value)
  }, list(base))
  list(places = places, masks = masks)
}

# Puts the table in its place, for good. What it does about an overstep is `rex$how`'s to say.
restrict <- function(restrictions) {
  for (place in restrictions$places) {
    if (bindingIsLocked(place$name, place$space)) unlock_binding(place$name, place$space)
    assign(place$name, place$stub, envir = place$space)
    lockBinding(place$name, place$space)
  }
  attach(restrictions$masks, name = masks_name, warn.conflicts = FALSE)
  lockEnvironment(as.environment(masks_name), bindings = TRUE)
}
