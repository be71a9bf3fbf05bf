"""Programs that use the package: contexts, throw-away authorities, examples."""
