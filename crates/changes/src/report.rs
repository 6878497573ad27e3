//! What a backtest found, summed up as it streams by.

use std::collections::BTreeMap;

use model::{CampaignId, CopyId, MessageId, Place, Timestamp, VerdictClass};
use serde::{Deserialize, Serialize};

use crate::MovedCopy;

/// Examples kept.
const EXAMPLES_MAX: usize = 10;
/// Campaigns told apart in the report; the rest is in the totals.
const CAMPAIGNS_MAX: usize = 100;
/// Campaigns named in the warning.
const CAMPAIGNS_NAMED_MAX: usize = 3;

/// The result of a backtest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BacktestReport {
    /// Mail received from this instant on was in question.
    pub since_at: Timestamp,
    /// Messages received in the window.
    pub total_count: i64,
    /// Messages judged: all of them, or the newest ones when there are more than the bound.
    pub judged_count: i64,
    /// Whether `judged_count` is a sample (the newest).
    pub sampled: bool,
    /// Messages whose stored facts this binary could not read; they were left out.
    pub unreadable_count: i64,
    /// Copies of the judged messages.
    pub copy_count: i64,
    /// Copies that would be treated otherwise.
    pub moved_count: i64,
    /// Copies of them that have less of it afterwards.
    pub taken_count: i64,
    /// Landed copies that activating pulls back (into quarantine or Junk).
    pub purge_count: i64,
    /// Copies taken away that their owner has read.
    pub read_count: i64,
    /// Copies of our own campaigns taken away.
    pub own_count: i64,
    /// Copies in quarantine that the proposed rules would put in the inbox: worth a redelivery.
    pub redelivery_count: i64,
    /// Our own campaigns that are hit, most copies first.
    pub by_campaign: Vec<CampaignHit>,
    /// By class before and after.
    pub by_class: Vec<ClassMove>,
    /// By where copies are now and what would have been done with them.
    pub by_move: Vec<PlaceMove>,
    /// The first moved copies, one per message.
    pub examples: Vec<Example>,
}

/// How a campaign is hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignHit {
    /// Which.
    pub campaign_id: CampaignId,
    /// Its name.
    pub name: String,
    /// Copies that would be treated otherwise.
    pub moved_count: i64,
    /// Copies of them that have less of it afterwards.
    pub taken_count: i64,
    /// Landed copies that activating pulls back.
    pub purge_count: i64,
    /// Copies taken away that were read.
    pub read_count: i64,
}

/// Copies whose class changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassMove {
    /// By the active rules.
    pub class_before: VerdictClass,
    /// By the proposed ones.
    pub class_after: VerdictClass,
    /// How many copies.
    pub count: i64,
}

/// Copies from one place to one disposition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceMove {
    /// Where they are now.
    pub from_place: Place,
    /// What the proposed rules do on arrival.
    pub to_disposition: String,
    /// How many copies.
    pub count: i64,
    /// How many of them activating pulls back.
    pub purge_count: i64,
}

/// One moved copy, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The copy.
    pub copy_id: CopyId,
    /// Its message.
    pub message_id: MessageId,
    /// Its subject.
    pub subject: String,
    /// The campaign's name, or empty.
    pub campaign: String,
    /// Where it is now.
    pub from_place: Place,
    /// What the proposed rules do on arrival.
    pub to_disposition: String,
    /// Why.
    pub sentence: String,
}

/// Sums up while copies stream by.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    report: BacktestReport,
    campaigns: BTreeMap<CampaignId, CampaignHit>,
    classes: BTreeMap<(VerdictClass, VerdictClass), i64>,
    moves: BTreeMap<(Place, &'static str), (i64, i64)>,
    last_example: Option<MessageId>,
}

impl Tally {
    pub(crate) fn new(since_at: Timestamp, total_count: i64) -> Tally {
        Tally { report: BacktestReport { since_at, total_count, ..BacktestReport::default() }, ..Tally::default() }
    }

    pub(crate) fn counts(&mut self, judged: i64, unreadable: i64, copies: i64) {
        self.report.judged_count += judged;
        self.report.unreadable_count += unreadable;
        self.report.copy_count += copies;
    }

    pub(crate) fn judged_count(&self) -> i64 {
        self.report.judged_count
    }

    pub(crate) fn moved_count(&self) -> i64 {
        self.report.moved_count
    }

    pub(crate) fn add(&mut self, moved: &MovedCopy, subject: &str) {
        let (taken, purged) = (i64::from(moved.takes_away()), i64::from(moved.purge.is_some()));
        let read = i64::from(moved.copy.landed.read) * taken;
        let from_place = moved.copy.landed.place;
        let report = &mut self.report;
        report.moved_count += 1;
        report.taken_count += taken;
        report.purge_count += purged;
        report.read_count += read;
        report.redelivery_count +=
            i64::from(from_place == Place::Quarantine && moved.after == model::Disposition::Deliver);
        if let Some(campaign_id) = moved.copy.campaign_id {
            report.own_count += taken;
            let hit = self.campaigns.entry(campaign_id).or_insert_with(|| CampaignHit {
                campaign_id,
                name: moved.copy.campaign_name.clone(),
                moved_count: 0,
                taken_count: 0,
                purge_count: 0,
                read_count: 0,
            });
            hit.moved_count += 1;
            hit.taken_count += taken;
            hit.purge_count += purged;
            hit.read_count += read;
        }
        *self.classes.entry((moved.class_before, moved.class_after)).or_default() += 1;
        let way = self.moves.entry((from_place, moved.after.as_str())).or_default();
        *way = (way.0 + 1, way.1 + purged);
        if self.report.examples.len() < EXAMPLES_MAX && self.last_example != Some(moved.message_id) {
            self.last_example = Some(moved.message_id);
            self.report.examples.push(example(moved, subject));
        }
    }

    /// The report and its warning; an empty warning is none.
    pub(crate) fn finish(mut self) -> (BacktestReport, String) {
        let report = &mut self.report;
        report.sampled = report.judged_count + report.unreadable_count < report.total_count;
        report.by_campaign = self.campaigns.into_values().collect();
        report.by_campaign.sort_by_key(|hit| std::cmp::Reverse(hit.moved_count));
        let warning = warning(report);
        report.by_campaign.truncate(CAMPAIGNS_MAX);
        let class = |((class_before, class_after), count)| ClassMove { class_before, class_after, count };
        report.by_class = self.classes.into_iter().map(class).collect();
        let way = |((from_place, to), (count, purge_count)): ((Place, &str), (i64, i64))| PlaceMove {
            from_place,
            to_disposition: to.to_owned(),
            count,
            purge_count,
        };
        report.by_move = self.moves.into_iter().map(way).collect();
        (self.report, warning)
    }
}

fn example(moved: &MovedCopy, subject: &str) -> Example {
    Example {
        copy_id: moved.copy.copy_id,
        message_id: moved.message_id,
        subject: subject.to_owned(),
        campaign: moved.copy.campaign_name.clone(),
        from_place: moved.copy.landed.place,
        to_disposition: moved.after.as_str().to_owned(),
        sentence: moved.sentence.clone(),
    }
}

/// Warns when own campaigns, or mail that people have read, would be taken away.
fn warning(report: &BacktestReport) -> String {
    let mut sentences = Vec::new();
    let hit: Vec<&CampaignHit> = report.by_campaign.iter().filter(|hit| hit.taken_count > 0).collect();
    if !hit.is_empty() {
        let named: Vec<String> = hit
            .iter()
            .take(CAMPAIGNS_NAMED_MAX)
            .map(|hit| format!("\u{201c}{}\u{201d} ({})", hit.name, copies(hit.taken_count)))
            .collect();
        let more = hit.len().saturating_sub(CAMPAIGNS_NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let noun = if hit.len() == 1 {
            "one of your own campaigns".into()
        } else {
            format!("{} of your own campaigns", hit.len())
        };
        sentences.push(format!("This would take away {noun}: {}{more}.", named.join(", ")));
    }
    if report.read_count > 0 {
        sentences.push(format!("{} of mail that its owner has read would be taken away.", copies(report.read_count)));
    }
    if report.purge_count > 0 && !sentences.is_empty() {
        sentences.push(format!("Activating it pulls {} back at once.", copies(report.purge_count)));
    }
    sentences.join(" ")
}

fn copies(count: i64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}
