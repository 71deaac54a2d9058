"""This machine: processes, locks, the cache folder, durable writes, hardware."""
