//! What an organisation changes, as typed settings. Each group is one row of `setting`, JSON, unknown keys refused.

use data_encoding::HEXLOWER;
use model::{AccountId, Domain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Row, Tx, values};

use crate::{Directory, DirectoryError, NewAudit};

/// Domains in the list of trusted sealers.
const TRUSTED_SEALERS_MAX: usize = 100;
/// Digits of a version: nobody has to guess them, they only have to differ.
const VERSION_DIGITS: usize = 16;

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

impl Settings {
    /// The name of exactly these settings: others have another one, and the same have it again, whoever saved them.
    pub fn version(&self) -> String {
        let json = serde_json::to_vec(self).expect("settings are plain data");
        let mut digits = HEXLOWER.encode(&Sha256::digest(json));
        digits.truncate(VERSION_DIGITS);
        digits
    }
}

impl Directory {
    /// The settings in force.
    pub async fn settings(&self) -> Result<Settings, DirectoryError> {
        of_rows(&self.store.query("setting.all", &values![self.id()]).await?)
    }

    /// Saves all settings, in one transaction.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the field that is out of bounds.
    pub async fn save_settings(&self, settings: &Settings) -> Result<(), DirectoryError> {
        check(settings)?;
        let mut tx = self.store.begin().await?;
        self.lock_settings(&mut tx).await?;
        self.put_settings(&mut tx, settings).await?;
        Ok(tx.commit().await?)
    }

    /// Saves what `change` makes of the settings in force, and the record of who did it, in one transaction: nobody else's
    /// settings come between what `change` has seen and what it replaces.
    ///
    /// # Errors
    /// Those of `change`, and [`DirectoryError::Invalid`] for a field that is out of bounds; then nothing is changed.
    pub async fn change_settings<E: From<DirectoryError>>(
        &self,
        account_id: AccountId,
        change: impl FnOnce(&Settings) -> Result<Settings, E>,
    ) -> Result<Settings, E> {
        let mut tx = self.store.begin().await.map_err(DirectoryError::from)?;
        let before = self.lock_settings(&mut tx).await?;
        let after = change(&before)?;
        check(&after)?;
        self.put_settings(&mut tx, &after).await?;
        let audit = NewAudit {
            account_id: Some(account_id),
            action: "settings.save",
            target: String::new(),
            reason: "",
            detail: serde_json::json!({ "before": before, "after": after }),
        };
        self.audit_in(&mut tx, audit).await?;
        tx.commit().await.map_err(DirectoryError::from)?;
        Ok(after)
    }

    /// Whom authentication trusts: one row, for whoever needs only this.
    pub async fn authentication_settings(&self) -> Result<AuthenticationSettings, DirectoryError> {
        let row = self.store.query_one("setting.get", &values![self.id(), "authentication"]).await?;
        Ok(row.map_or_else(|| Ok(AuthenticationSettings::default()), |row| row.json("value"))?)
    }

    /// The settings as they are until this transaction ends.
    async fn lock_settings(&self, tx: &mut Tx) -> Result<Settings, DirectoryError> {
        tx.query("setting.lock", &values![self.id()]).await?;
        of_rows(&tx.query("setting.all", &values![self.id()]).await?)
    }

    async fn put_settings(&self, tx: &mut Tx, settings: &Settings) -> Result<(), DirectoryError> {
        let groups = [
            ("tracking", serde_json::json!(settings.tracking)),
            ("incident", serde_json::json!(settings.incident)),
            ("limits", serde_json::json!(settings.limits)),
            ("failure_mode", serde_json::json!(settings.failure_mode)),
            ("authentication", serde_json::json!(settings.authentication)),
        ];
        let now = self.store.now();
        for (name, value) in groups {
            tx.execute("setting.put", &values![self.id(), name, &value, now]).await?;
        }
        Ok(())
    }
}

/// A group without a row is as it is by default.
fn of_rows(rows: &[Row]) -> Result<Settings, DirectoryError> {
    Ok(Settings {
        tracking: group(rows, "tracking")?,
        incident: group(rows, "incident")?,
        limits: group(rows, "limits")?,
        failure_mode: group(rows, "failure_mode")?,
        authentication: group(rows, "authentication")?,
    })
}

fn group<T: DeserializeOwned + Default>(rows: &[Row], name: &str) -> Result<T, DirectoryError> {
    for row in rows {
        if row.text("name")? == name {
            return Ok(row.json("value")?);
        }
    }
    Ok(T::default())
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
