//! What became of a campaign among its people: people and machines apart.

use model::{CampaignId, LinkId};
use store::values;

use crate::draft::{Campaign, Tracking};
use crate::tracker::Tracker;
use crate::{CampaignError, Campaigns};

/// Copies opened and followed by one kind of visitor. Each copy counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Copies whose pixel was fetched (for people also those whose links were followed: that proves it).
    pub opened: i64,
    /// Copies with a followed link.
    pub clicked: i64,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStats {
    /// Its id.
    pub id: LinkId,
    /// Its position in the message.
    pub position: i64,
    /// Where it leads.
    pub url: String,
    /// Copies in which a person followed it.
    pub people: i64,
    /// Copies in which a machine fetched it.
    pub machines: i64,
}

/// A group of people; never fewer than the floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStats {
    /// The department.
    pub department: String,
    /// Its copies.
    pub copies: i64,
    /// What its people did.
    pub people: Reach,
}

/// The numbers of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The counts of people may not be shown, nor how many hits wait: anonymous, and fewer people than the floor.
    pub is_hidden: bool,
    /// People.
    pub people: Reach,
    /// Machines.
    pub machines: Reach,
    /// Fetches not yet known to be the one or the other: they are for some seconds after each fetch.
    pub unsettled_count: i64,
    /// Links in the order of the message.
    pub links: Vec<LinkStats>,
    /// Departments: in individual mode only, of at least the organisation's floor (10 or more).
    pub groups: Vec<GroupStats>,
}

impl Tracker {
    /// The numbers of a campaign, after scoring what can be scored now.
    ///
    /// # Errors
    /// [`CampaignError::NotFound`], or the store's.
    pub async fn stats(&self, campaign_id: CampaignId) -> Result<Stats, CampaignError> {
        let campaign = Campaigns::new(self.directory().clone()).get(campaign_id).await?;
        self.settle(Some(campaign_id)).await?;
        let is_hidden = self.is_hidden(&campaign).await?;
        let people = self.reach("hit.people", campaign_id).await?;
        let machines = self.reach("hit.machines", campaign_id).await?;
        let unsettled = self.store().query_one("hit.unsettled_count", &values![campaign_id]).await?;
        let unsettled_count = unsettled.map_or(Ok(0), |row| row.int("n"))?;
        let mut links = Vec::new();
        for row in self.store().query("hit.by_link", &values![campaign_id]).await? {
            links.push(LinkStats {
                id: row.id("id")?,
                position: row.int("position")?,
                url: row.text("url")?.to_owned(),
                people: row.int("people")?,
                machines: row.int("machines")?,
            });
        }
        let mut groups = Vec::new();
        if campaign.draft.tracking == Tracking::Individual {
            let floor = self.directory().settings().await?.tracking.group_floor_count;
            for row in self.store().query("hit.by_department", &values![campaign_id, floor]).await? {
                let people = Reach { opened: row.int("opened")?, clicked: row.int("clicked")? };
                groups.push(GroupStats {
                    department: row.text("department")?.to_owned(),
                    copies: row.int("copies")?,
                    people,
                });
            }
        }
        Ok(Stats { is_hidden, people, machines, unsettled_count, links, groups })
    }

    /// Whether nothing that people did with this campaign may be told: it is anonymous and went to fewer than the floor.
    pub(crate) async fn is_hidden(&self, campaign: &Campaign) -> Result<bool, CampaignError> {
        let floor = self.directory().settings().await?.tracking.group_floor_count;
        Ok(campaign.draft.tracking == Tracking::Anonymous && campaign.audience_count < floor)
    }

    async fn reach(&self, statement: &'static str, campaign_id: CampaignId) -> Result<Reach, CampaignError> {
        let row = self.store().query_one(statement, &values![campaign_id]).await?;
        let row = row.ok_or_else(|| CampaignError::Internal(format!("{statement} gave no row")))?;
        Ok(Reach { opened: row.int("opened")?, clicked: row.int("clicked")? })
    }
}
