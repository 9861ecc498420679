hottest = air.nlargest(5, "Temp")[["Month", "Day", "Temp"]]
