"""The trained nets: losses, levels, partition, and what trains them. The one room of `identify` with torch."""
