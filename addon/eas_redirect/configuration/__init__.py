"""eas-redirect.toml and the environment in, `Config` out: all problems at once, in plain words.

Begin with `config.py`: the keys, and the settings that other rooms get of them. `sources.py` says
where a value came from, `problems.py` what is wrong with it.
"""
