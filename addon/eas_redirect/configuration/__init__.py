"""eas-redirect.toml and the environment in, `Config` out: all problems at once."""
