# Installs packages of R into a folder and leaves it in the archive. Executed as a script by packages/build.rs: `names` are
# the names of the files `file_0`, `file_1` …. Packages of Debian are built already; others are built here, one after what
# it needs.

say <- function(...) {
  message("ERROR: ", ...)
  quit("no", 1L, FALSE)
}
run <- function(program, arguments, environment = character()) {
  said <- "/scratch/said"
  status <- system2(program, shQuote(arguments), stdout = said, stderr = said, env = environment)
  if (status != 0L) {
    lines <- readLines(said, warn = FALSE)
    errors <- grep("ERROR|^Error", lines)
    from <- if (length(errors)) errors[[1L]] else max(1L, length(lines) - 4L)
    say(paste(sub("^ERROR: ", "", lines[seq(from, length(lines))]), collapse = "\n"))
  }
}
field <- function(folder, name) {
  value <- read.dcf(file.path(folder, "DESCRIPTION"), fields = name)[1L, 1L]
  if (is.na(value)) "" else value
}
set <- "/scratch/set"
for (folder in c(set, "files", "debian", "source")) dir.create(folder)
for (index in seq_along(names)) {
  file.rename(get(paste0("file_", index - 1L)), file.path("files", names[[index]]))
}

is_debian <- endsWith(names, ".deb")
for (name in names[is_debian]) {
  run("/usr/bin/dpkg-deb", c("--extract", file.path("files", name), "debian"))
}
for (library in file.path("debian/usr/lib/R", c("site-library", "library"))) {
  for (package in list.files(library, full.names = TRUE)) {
    if (!file.rename(package, file.path(set, basename(package)))) say(basename(package), " is brought twice")
  }
}
# Compiled for another R it would be refused when it is loaded.
here <- paste(R.version$major, sub("[.].*", "", R.version$minor), sep = ".")
for (package in list.files(set)) {
  built <- sub("^R ([0-9]+[.][0-9]+).*", "\\1", field(file.path(set, package), "Built"))
  if (built != here) say("package '", package, "' was built for R ", built, ", but this is R ", here)
}

packages <- character()
for (name in names[!is_debian]) {
  package <- sub("_.*", "", name)
  run("/usr/bin/tar", c("-xzf", file.path("files", name), "-C", "source", "--no-same-owner"))
  folder <- file.path("/scratch/source", package)
  said <- if (file.exists(file.path(folder, "DESCRIPTION"))) paste0(field(folder, "Package"), "_", field(folder, "Version"))
  if (!identical(paste0(said, ".tar.gz"), name)) say(name, " does not hold what its name says")
  packages <- c(packages, package)
}
needs <- lapply(stats::setNames(nm = packages), function(package) {
  said <- vapply(c("Depends", "Imports", "LinkingTo"), function(name) {
    field(file.path("/scratch/source", package), name)
  }, "")
  intersect(trimws(sub("[(].*", "", unlist(strsplit(said, ",")))), packages)
})
while (length(packages)) {
  free <- Filter(function(package) !length(intersect(needs[[package]], packages)), packages)
  if (!length(free)) say("the packages ", paste(packages, collapse = ", "), " need each other")
  for (package in free) {
    # From a folder and with one time, so that the same source comes to the same bytes.
    run(file.path(R.home("bin"), "R"),
        c("CMD", "INSTALL", "--no-docs", "--no-html", "--no-demo", "--no-multiarch", "--strip", "--clean",
          "--built-timestamp=1970-01-01 00:00:00 UTC", paste0("--library=", set),
          file.path("/scratch/source", package)),
        c(paste0("R_LIBS=", set), "SOURCE_DATE_EPOCH=0", "TZ=UTC"))
  }
  packages <- setdiff(packages, free)
}
# Where the help came from: folders of this build.
unlink(Sys.glob(file.path(set, "*", "help", "paths.rds")))

run("/usr/bin/tar", c("-cf", "set.tar", "--format=gnu", "--sort=name", "--dereference", "--hard-dereference",
                      "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-C", set, "."))
archive <- "/scratch/set.tar"
