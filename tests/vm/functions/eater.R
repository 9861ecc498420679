answer <- sum(rep(1, 2e8))
