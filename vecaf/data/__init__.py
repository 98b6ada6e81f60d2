"""Images and labels: where they come from, how a pool is indexed, read and transformed."""
