//! Errors as the operator meets them.

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line, the configuration or an input file is not acceptable; the text says what to do.
    #[error("{0}")]
    Input(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// 2 for input, 1 for failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Input(_) => 2,
            CliError::Failed(_) => 1,
        }
    }

    /// A failure that says what was being done.
    pub fn failed(what: &str, error: &dyn std::fmt::Display) -> Self {
        CliError::Failed(format!("{what}: {error}"))
    }
}

impl From<store::StoreError> for CliError {
    fn from(error: store::StoreError) -> Self {
        CliError::Failed(error.to_string())
    }
}

impl From<directory::DirectoryError> for CliError {
    fn from(error: directory::DirectoryError) -> Self {
        match error {
            directory::DirectoryError::Invalid { .. } => CliError::Input(error.to_string()),
            other => CliError::Failed(other.to_string()),
        }
    }
}
