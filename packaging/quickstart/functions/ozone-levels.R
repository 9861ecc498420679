levels <- read.csv(path)
digits <- 1

measured <- air[!is.na(air$Ozone), ]
level <- factor(levels$level[findInterval(measured$Ozone, levels$from)], levels$level)
days <- data.frame(
  level = levels$level,
  days = as.integer(table(level)),
  temperature = round(as.vector(tapply(measured$Temp, level, mean)), digits))
