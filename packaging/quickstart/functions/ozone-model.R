model <- summary(lm(Ozone ~ Solar.R + Wind + Temp, data = air))
found <- as.data.frame(model$coefficients)
terms <- data.frame(
  term = rownames(found),
  estimate = round(found$Estimate, 3),
  error = round(found[["Std. Error"]], 3),
  p = signif(found[["Pr(>|t|)"]], 2))
r_squared <- round(model$r.squared, 3)
