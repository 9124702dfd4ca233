"""What lives as long as a configuration: the service, its reloading, what it shows."""
