# Writes the table that the tour works on to standard output as CSV: the daily air quality in New York from May to
# September 1973, 153 days, gaps included, as R's own package "datasets" has it (help("airquality") names the sources).
write.csv(datasets::airquality, stdout(), row.names = FALSE, na = "")
