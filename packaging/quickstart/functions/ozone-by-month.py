months = (
    air.groupby("Month")
    .agg(days=("Day", "count"), measured=("Ozone", "count"), mean_ozone=("Ozone", "mean"), hottest=("Temp", "max"))
    .round(1)
    .reset_index()
)
