"""Search spaces: TOML files, checked before anything heavy is imported, and asked for values by a sampler."""
