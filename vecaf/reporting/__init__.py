"""From metrics to what people read: the paper's numbers, statistics and tables."""
