//! The rule set and the policies in force, compiled once and shared.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use store::{Notice, Topic, values};
use tokio::sync::broadcast::error::RecvError;
use verdict::{Policies, Policy, RuleSet, RuleSetSource};

use crate::{Directory, DirectoryError};

/// How long a rule set of another process can go unnoticed.
const LOOK_MS: u64 = 15_000;

/// What mail is judged by now.
#[derive(Debug, Clone)]
pub struct Protection {
    /// The active rule set version.
    pub rule_set: Arc<RuleSet>,
    /// The policies, in their order.
    pub policies: Arc<Policies>,
}

/// Keeps the newest [`Protection`] at hand and reloads it when [`Topic::RuleSet`] is announced. Cheap to clone.
#[derive(Clone)]
pub struct ProtectionCache {
    current: Arc<RwLock<Protection>>,
    directory: Directory,
}

impl ProtectionCache {
    /// Loads what is in force and follows it until the store closes.
    pub async fn start(directory: &Directory) -> Result<ProtectionCache, DirectoryError> {
        let mut notices = directory.store().bus().subscribe();
        let first = directory.protection().await?;
        let cache = ProtectionCache { current: Arc::new(RwLock::new(first)), directory: directory.clone() };
        let follower = cache.clone();
        tokio::spawn(async move {
            loop {
                // The bus may lose everything, and another process may have written: the rows are looked at anyway.
                let news = tokio::time::timeout(Duration::from_millis(LOOK_MS), notices.recv()).await;
                match news.unwrap_or(Err(RecvError::Lagged(0))) {
                    Ok(Notice { topic: Topic::RuleSet, .. }) | Err(RecvError::Lagged(_)) => {
                        if let Err(error) = follower.refresh().await {
                            tracing::error!(%error, "the rule set in force could not be reloaded; the one before stays");
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Ok(cache)
    }

    /// What mail is judged by now.
    pub fn current(&self) -> Protection {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Reads the rows again now: for whoever has just written them and goes on at once.
    pub async fn refresh(&self) -> Result<(), DirectoryError> {
        let next = self.directory.protection().await?;
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = next;
        Ok(())
    }
}

impl Directory {
    /// Reads and compiles the active rule set and the policies. Without rows: an empty rule set and the Default preset.
    pub async fn protection(&self) -> Result<Protection, DirectoryError> {
        let source = match self.store.query_one("rule_set.active", &values![self.id()]).await? {
            Some(row) => row.json("source")?,
            None => RuleSetSource::default(),
        };
        let rule_set = RuleSet::compile(source).map_err(|e| DirectoryError::Protection(e.to_string()))?;
        let rows = self.store.query("policy.all", &values![self.id()]).await?;
        let mut policies = rows.iter().map(|row| row.json::<Policy>("body")).collect::<Result<Vec<_>, _>>()?;
        if policies.is_empty() {
            policies.push(Policy::default_preset());
        }
        Ok(Protection { rule_set: Arc::new(rule_set), policies: Arc::new(Policies { policies }) })
    }
}
