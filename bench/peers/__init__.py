"""The peers, each started with its own configuration and data directory, and told to be as fast as it can be without
giving up what Landfall does not give up."""
