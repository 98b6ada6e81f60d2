"""What people run by hand on a study's results. No rule runs these: as targets they would first run every cell."""
