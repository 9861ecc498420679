answer <- round(unname(coef(lm(dist ~ speed, cars))[2]), 3)
