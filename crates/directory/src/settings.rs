//! What an organisation changes, as typed settings. Each group is one row of `setting`, JSON, unknown keys refused.

use model::Domain;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::values;

use crate::{Directory, DirectoryError};

/// Domains in the list of trusted sealers.
const TRUSTED_SEALERS_MAX: usize = 100;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tracking hosts and modes.
    pub tracking: TrackingSettings,
    /// When an incident opens.
    pub incident: IncidentSettings,
    /// Bounds for mass actions.
    pub limits: LimitSettings,
    /// What happens when judging itself fails.
    pub failure_mode: FailureMode,
    /// Whom authentication trusts.
    #[serde(default)]
    pub authentication: AuthenticationSettings,
}

/// Authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationSettings {
    /// Domains, lower case, whose ARC sets are believed: an ARC pass of theirs that says that DMARC passed before overrides a
    /// DMARC failure. Names under them are meant as well.
    pub trusted_sealers: Vec<String>,
}

/// Tracking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackingSettings {
    /// Where links and pixels point: `https://t.example.org` or `http://t.contoso.localhost:8080`; no trailing slash.
    pub base_url: String,
    /// Individual tracking, when the owner switched it on.
    pub individual: Option<IndividualTracking>,
    /// Statistics of groups smaller than this are not shown.
    pub group_floor_count: i64,
}

/// The owner's record of why single people's reading is tracked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndividualTracking {
    /// The purpose.
    pub purpose: String,
    /// The legal basis.
    pub legal_basis: String,
    /// Who switched it on (login).
    pub by: String,
}

/// Incidents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentSettings {
    /// So many copies not in a mailbox open an incident.
    pub threshold_count: i64,
    /// After they have been away for so long, in milliseconds.
    pub delay_ms: i64,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Mass actions on more copies than this need a second person.
    pub mass_action_max: i64,
}

/// What happens when judging itself fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// 451: the sender tries again.
    #[default]
    Defer,
    /// Deliver, stamped *unjudged*.
    DeliverUnjudged,
}

impl Default for TrackingSettings {
    fn default() -> Self {
        TrackingSettings { base_url: String::new(), individual: None, group_floor_count: 10 }
    }
}
impl Default for IncidentSettings {
    fn default() -> Self {
        IncidentSettings { threshold_count: 10, delay_ms: 15 * 60 * 1000 }
    }
}
impl Default for LimitSettings {
    fn default() -> Self {
        LimitSettings { mass_action_max: 5_000 }
    }
}

impl Directory {
    /// The settings in force.
    pub async fn settings(&self) -> Result<Settings, DirectoryError> {
        Ok(Settings {
            tracking: self.setting("tracking").await?,
            incident: self.setting("incident").await?,
            limits: self.setting("limits").await?,
            failure_mode: self.setting("failure_mode").await?,
            authentication: self.authentication_settings().await?,
        })
    }

    /// Saves all settings, in one transaction.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the field that is out of bounds.
    pub async fn save_settings(&self, settings: &Settings) -> Result<(), DirectoryError> {
        check(settings)?;
        let groups = [
            ("tracking", serde_json::json!(settings.tracking)),
            ("incident", serde_json::json!(settings.incident)),
            ("limits", serde_json::json!(settings.limits)),
            ("failure_mode", serde_json::json!(settings.failure_mode)),
            ("authentication", serde_json::json!(settings.authentication)),
        ];
        let now = self.store.now();
        let mut tx = self.store.begin().await?;
        for (name, value) in groups {
            tx.execute("setting.put", &values![self.id(), name, &value, now]).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whom authentication trusts: one row, for whoever needs only this.
    pub async fn authentication_settings(&self) -> Result<AuthenticationSettings, DirectoryError> {
        self.setting("authentication").await
    }

    async fn setting<T: DeserializeOwned + Default>(&self, name: &'static str) -> Result<T, DirectoryError> {
        let row = self.store.query_one("setting.get", &values![self.id(), name]).await?;
        Ok(row.map_or_else(|| Ok(T::default()), |row| row.json("value"))?)
    }
}

fn check(settings: &Settings) -> Result<(), DirectoryError> {
    let base = &settings.tracking.base_url;
    let is_web = base.starts_with("https://") || base.starts_with("http://");
    let is_plain = base.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\`{}".contains(&b));
    if base.ends_with('/') || !is_plain || !(base.is_empty() || is_web) {
        return Err(DirectoryError::invalid(
            "tracking.base_url",
            "an address such as https://t.example.org, without a slash at the end",
        ));
    }
    if settings.tracking.group_floor_count < 10 {
        return Err(DirectoryError::invalid(
            "tracking.group_floor_count",
            "groups of fewer than 10 people are never shown",
        ));
    }
    if let Some(individual) = &settings.tracking.individual
        && (individual.purpose.trim().is_empty() || individual.legal_basis.trim().is_empty())
    {
        return Err(DirectoryError::invalid("tracking.individual", "record the purpose and the legal basis"));
    }
    if !(1..=1_000_000).contains(&settings.incident.threshold_count) {
        return Err(DirectoryError::invalid("incident.threshold_count", "a number from 1 to 1,000,000"));
    }
    if !(0..=86_400_000).contains(&settings.incident.delay_ms) {
        return Err(DirectoryError::invalid("incident.delay_ms", "from 0 to 86,400,000 (a day)"));
    }
    let sealers = &settings.authentication.trusted_sealers;
    let is_name = |name: &String| Domain::parse(name).is_ok_and(|domain| domain.as_str() == name) && name.contains('.');
    if sealers.len() > TRUSTED_SEALERS_MAX || !sealers.iter().all(is_name) {
        return Err(DirectoryError::invalid(
            "authentication.trusted_sealers",
            "at most 100 domains in lower case, such as lists.example.org",
        ));
    }
    if settings.limits.mass_action_max < 1 {
        return Err(DirectoryError::invalid("limits.mass_action_max", "at least 1"));
    }
    Ok(())
}
