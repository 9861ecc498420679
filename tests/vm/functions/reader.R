# Six attempts: TRUE where one worked.
tried <- function(what) isTRUE(tryCatch({ what; TRUE }, error = function(e) FALSE, warning = function(w) FALSE))
answer <- paste(
  tried(readLines("/srv/data/in")),
  tried(writeLines("run", "/srv/data/new")),
  tried(writeLines("run", "/srv/out/new")),
  tried(readLines("/srv/else/in")),
  tried(close(socketConnection("127.0.0.1", 9080, timeout = 10))),
  tried(stopifnot(system2("/usr/bin/uname", stdout = FALSE, stderr = FALSE) == 0)))
