//! The five acts. Each step looks at what is there first, so that a story that was cut off continues.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Session;
use super::report::{Act, Report};
use super::simulate::Audience;
use super::stage::{LIST, Progress, Stage};
use crate::error::CliError;

const FIRST: &str = "Town hall";
const SECOND: &str = "Open enrolment";
const TOWN_HALL: &str = include_str!("mail/town-hall.mjml");
const ENROLMENT: &str = include_str!("mail/enrolment.mjml");
const FEED: &str = "partner-phishing-hosts";
const POLL_MS: u64 = 100;
/// The most that a step of the server's is waited for.
const STEP_S: u64 = 300;
/// Hits settle after a few seconds of silence.
const SETTLED_S: u64 = 30;

/// How the story ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All five acts.
    BroughtBack,
    /// The change was stopped: the good ending.
    Stopped,
    /// Only the first acts were asked for.
    Cut,
}

/// Plays from where the story is to its end.
pub async fn play(stage: &Stage, report: &mut Report) -> Result<Ending, CliError> {
    let mut progress = stage.progress().await?;
    let mut late_scan = None;
    if progress.acts_done > 0 && progress.acts_done < 5 {
        println!("\nThe story continues after act {}.", progress.acts_done);
    } else if progress.acts_done >= 5 {
        println!("\nThe story was told to its end on this data. To play it again, name a new folder with --data.");
    }
    if stage.acts == 0 {
        return Ok(Ending::Cut);
    }
    if stage.until_sent {
        send(stage, FIRST, TOWN_HALL).await?;
        return Ok(Ending::Cut);
    }
    if progress.acts_done < 1 {
        late_scan = landed(stage, report, &mut progress).await?;
        done(stage, &mut progress, 1).await?;
    }
    if stage.acts == 1 {
        return Ok(Ending::Cut);
    }
    if progress.acts_done < 2 {
        if !the_change(stage, report, &mut progress).await? {
            return Ok(Ending::Stopped);
        }
        done(stage, &mut progress, 2).await?;
    }
    if stage.acts == 2 {
        return Ok(Ending::Cut);
    }
    if progress.acts_done < 3 {
        accepted_not_landed(stage, report).await?;
        done(stage, &mut progress, 3).await?;
    }
    if stage.acts == 3 {
        return Ok(Ending::Cut);
    }
    if progress.acts_done < 4 {
        found(stage, report).await?;
        done(stage, &mut progress, 4).await?;
    }
    if stage.acts == 4 {
        return Ok(Ending::Cut);
    }
    if progress.acts_done < 5 {
        brought_back(stage, report, &progress).await?;
        done(stage, &mut progress, 5).await?;
    }
    if let Some((late, audience)) = late_scan {
        late_machines(stage, report, late, &audience).await?;
    }
    Ok(Ending::BroughtBack)
}

async fn done(stage: &Stage, progress: &mut Progress, act: u8) -> Result<(), CliError> {
    progress.acts_done = act;
    stage.keep(progress).await
}

fn title(number: u8, name: &str, text: &str) {
    println!("\n{number}. {name}\n   {text}");
}

type LateScan = (tokio::task::JoinHandle<Result<(), CliError>>, Audience);

/// Act 1: a campaign goes out, is judged, and lands; people read and machines scan.
async fn landed(stage: &Stage, report: &mut Report, progress: &mut Progress) -> Result<Option<LateScan>, CliError> {
    title(1, "Landed", "A campaign goes through our own queue, SMTP and gateway into everybody's inbox.");
    send(stage, FIRST, TOWN_HALL).await?;
    let mut late = None;
    if progress.reading_begun {
        println!("   The story was cut off while people were reading: what they did then is not known any more.");
    } else {
        progress.reading_begun = true;
        stage.keep(progress).await?;
        let audience = Audience::gather(stage).await?;
        report.expect("people who found the campaign in their inbox", audience.len() as i64, i64::from(stage.people));
        let scan = audience.scan_late();
        audience.scan_at_once().await?;
        audience.read().await?;
        compare(stage, report, &audience, "act 1").await?;
        late = Some((scan, audience));
    }
    let act = act(stage, "Landed").await?;
    let act = report.push(act).clone();
    report.expect("act 1: in mailboxes", act.in_mailboxes(), i64::from(stage.people));
    report.expect("act 1: accepted", act.after("accepted"), i64::from(stage.people));
    Ok(late)
}

/// Act 2: a feed update flags the tracking host. Gives whether it was let happen.
async fn the_change(stage: &Stage, report: &mut Report, progress: &mut Progress) -> Result<bool, CliError> {
    title(2, "The change", "A feed update flags the host that our own tracking links point to.");
    let admin = stage.login("administrator").await?;
    let id = match &progress.change_id {
        Some(id) => id.clone(),
        None => propose(stage, &admin).await?,
    };
    progress.change_id = Some(id.clone());
    stage.keep(progress).await?;
    let change = backtested(&admin, &id).await?;
    println!("   The backtest says: {}", change["change"]["backtest"]["warning"].as_str().unwrap_or("(nothing)"));
    for hit in change["report"]["by_campaign"].as_array().into_iter().flatten() {
        println!("     {} copies of {}", hit["moved_count"], hit["name"].as_str().unwrap_or("mail without a campaign"));
    }
    let predicted = change["change"]["backtest"]["moved_count"].as_i64().unwrap_or(0);
    report.expect("act 2: copies that the backtest predicts", predicted, i64::from(stage.people));
    let happens = match change["change"]["state"].as_str() {
        // Decided when the story was here before.
        Some("active") => true,
        Some("stopped" | "undone") => false,
        _ if stage.exit || stage.skip_choice => {
            let reason = json!({ "override_reason": "The feed's publisher is trusted; marked urgent" });
            admin.post(&format!("/changes/{id}/activate"), reason).await?;
            println!("   Activated against the warning by the administrator; who and why is recorded.");
            true
        }
        _ => choice(stage, &admin, &id).await?,
    };
    if !happens {
        let act = act(stage, "The change").await?;
        report.push(act);
        return Ok(false);
    }
    jobs_done(&admin, &id).await?;
    let act = act(stage, "The change").await?;
    let act = report.push(act).clone();
    report.expect("act 2: in quarantine", act.at("quarantine"), i64::from(stage.people));
    report.expect("act 2: pulled back", act.after("purged"), i64::from(stage.people));
    Ok(true)
}

async fn propose(stage: &Stage, admin: &Session) -> Result<String, CliError> {
    let proposal = json!({
        "proposal": {
            "kind": "feed",
            "feed": FEED,
            "feed_kind": "url_host",
            "class": "phish",
            "add": format!("{}\n", stage.tracking_host),
        },
        "reason": "today's update of the partner feed",
    });
    let change = admin.post("/changes", proposal).await?;
    change["id"].as_str().map(str::to_owned).ok_or_else(|| CliError::Failed("the change has no id".into()))
}

async fn backtested(admin: &Session, id: &str) -> Result<Value, CliError> {
    let path = format!("/changes/{id}");
    let change = admin.get(&path).await?;
    if change["change"]["state"] == "proposed" {
        admin.post(&format!("{path}/backtest"), json!({})).await?;
    }
    until("the backtest", || async {
        let change = admin.get(&path).await?;
        let running = matches!(change["change"]["state"].as_str(), Some("proposed" | "backtesting"));
        Ok((!running).then_some(change))
    })
    .await
}

/// Waits for somebody to decide in the console. Gives whether it was let happen.
async fn choice(stage: &Stage, admin: &Session, id: &str) -> Result<bool, CliError> {
    println!("\n   Your choice, as administrator in the console:");
    println!("     {}/changes/{id}", stage.server.url());
    println!("     «Stop it here» (nothing is lost) or «Let it happen».");
    println!("   Meanwhile the server goes on; the story continues when you have decided.");
    loop {
        let change = admin.get(&format!("/changes/{id}")).await?;
        match change["change"]["state"].as_str() {
            Some("active") => return Ok(true),
            Some("stopped" | "undone") => return Ok(false),
            _ => tokio::time::sleep(Duration::from_millis(POLL_MS * 5)).await,
        }
    }
}

/// Act 3: another campaign, accepted to the last copy, in nobody's inbox.
async fn accepted_not_landed(stage: &Stage, report: &mut Report) -> Result<(), CliError> {
    title(3, "Accepted, not landed", "The next campaign gets 250 for every copy, and every copy is held.");
    let id = send(stage, SECOND, ENROLMENT).await?;
    let staff = stage.login("communicator").await?;
    let whereabouts = staff.get(&format!("/campaigns/{id}/whereabouts")).await?;
    println!("   The campaign's page says: {}", whereabouts["headline"].as_str().unwrap_or("(nothing)"));
    let act = act(stage, "Accepted, not landed").await?;
    let act = report.push(act).clone();
    report.expect("act 3: in quarantine", act.at("quarantine"), 2 * i64::from(stage.people));
    report.expect("act 3: held on arrival", act.after("held"), i64::from(stage.people));
    Ok(())
}

/// Act 4: one incident has both campaigns in its scope.
async fn found(stage: &Stage, report: &mut Report) -> Result<(), CliError> {
    title(4, "Found", "An incident opened by itself; it has taken the second campaign into its scope.");
    let staff = stage.login("communicator").await?;
    let both = 2 * i64::from(stage.people);
    let incident = until("the incident", || async {
        let all = staff.get("/incidents?limit=10").await?;
        let hit =
            all["items"].as_array().into_iter().flatten().find(|i| i["impact_count"].as_i64() >= Some(both)).cloned();
        Ok(hit)
    })
    .await?;
    let all = staff.get("/incidents?limit=10").await?;
    report.expect("act 4: incidents", all["items"].as_array().map_or(0, Vec::len) as i64, 1);
    println!(
        "   {} ({})",
        incident["title"].as_str().unwrap_or_default(),
        incident["status"].as_str().unwrap_or_default()
    );
    println!("   Cause: {}", incident["cause"].as_str().unwrap_or_default());
    let act = act(stage, "Found").await?;
    report.push(act);
    Ok(())
}

/// Act 5: an allow entry, the release of what was held, the undo of the change; and each of them once more.
async fn brought_back(stage: &Stage, report: &mut Report, progress: &Progress) -> Result<(), CliError> {
    title(5, "Brought back", "The administrator allows, releases and undoes; doing it twice changes nothing.");
    let admin = stage.login("administrator").await?;
    let change = progress.change_id.clone().ok_or_else(|| CliError::Failed("the story has no change".into()))?;
    if !stage.exit && !ready(stage, &change).await? {
        println!("   You brought it back yourself.");
    }
    let campaign = find(&admin, SECOND).await?.ok_or_else(|| CliError::Failed("the second campaign is gone".into()))?;
    let first = bring_back(stage, &admin, &campaign, &change, 1).await?;
    if stage.exit {
        report.expect("act 5: steps that changed something", first, 3);
    }
    let again = bring_back(stage, &admin, &campaign, &change, 2).await?;
    report.expect("act 5: repeating a step changes nothing", again, 0);
    until("the incident's end", || async {
        let all = admin.get("/incidents?limit=10").await?;
        let open = all["items"].as_array().into_iter().flatten().any(|i| i["status"] != "resolved");
        Ok((!open).then_some(()))
    })
    .await?;
    let act = act(stage, "Brought back").await?;
    let act = report.push(act).clone();
    report.expect("act 5: in mailboxes", act.in_mailboxes(), 2 * i64::from(stage.people));
    report.expect("act 5: restored", act.after("restored"), i64::from(stage.people));
    report.expect("act 5: released", act.after("released"), i64::from(stage.people));
    let filed = report.acts.iter().find(|a| a.name == "Landed").map(|a| a.at("other_folder"));
    if let Some(filed) = filed {
        report.expect("act 5: mail in the folders that people had moved it to", act.at("other_folder"), filed);
    }
    Ok(())
}

/// The three steps in their order; gives how many changed something.
async fn bring_back(stage: &Stage, admin: &Session, campaign: &str, change: &str, round: u8) -> Result<i64, CliError> {
    let host = stage.tracking_host.split(':').next().unwrap_or_default();
    let expires_at = crate::server::now().plus_ms(30 * 24 * 60 * 60 * 1000).to_rfc3339();
    let allow = json!({ "kind": "url", "value": format!("{host}/*"), "expires_at": expires_at, "reason": "our own tracking host" });
    let allowed = admin.post("/allow", allow).await?;
    let released = admin.post("/quarantine/release", json!({ "campaign_id": campaign })).await?;
    jobs_done(admin, campaign).await?;
    let undone = admin.post(&format!("/changes/{change}/undo"), json!({ "reason": "the host is our own" })).await?;
    jobs_done(admin, change).await?;
    let mut changed = 0;
    for (step, answer) in [("allow", &allowed), ("release", &released), ("undo", &undone)] {
        println!("   {round}. {step:<8} {}", answer["sentence"].as_str().unwrap_or_default());
        let did = answer["changed"].as_bool().unwrap_or(false)
            || answer["done_count"].as_i64().unwrap_or(0) > 0
            || (step == "release" && answer["job_id"].is_string());
        changed += i64::from(did);
    }
    Ok(changed)
}

/// Interactive: waits until somebody has brought it back in the console, or presses Enter. Gives whether the story
/// plays the act.
async fn ready(stage: &Stage, change: &str) -> Result<bool, CliError> {
    println!("\n   Your turn, as administrator in the console: {}/incidents", stage.server.url());
    println!(
        "     1. allow the tracking host, with an expiry  2. release «{SECOND}»  3. undo the change: {}/changes/{change}",
        stage.server.url()
    );
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        println!("   Or press Enter, and the story does it.");
    }
    let enter = async {
        match terminal.then(enter_pressed) {
            Some(pressed) => {
                let _ = pressed.await;
            }
            None => std::future::pending().await,
        }
    };
    let by_hand = async {
        loop {
            let totals = stage.totals().await?;
            if totals.places.get(&model::Place::Quarantine).copied().unwrap_or(0) == 0 {
                return Ok::<(), CliError>(());
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS * 5)).await;
        }
    };
    tokio::select! {
        () = enter => Ok(true),
        done = by_hand => done.map(|()| false),
    }
}

/// Hears of a line on standard input. The thread that waits for it is its own: the runtime would wait for one of its threads when
/// it ends, and a Ctrl-C would then have no effect before somebody presses Enter.
fn enter_pressed() -> tokio::sync::oneshot::Receiver<()> {
    let (pressed, heard) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if std::io::stdin().read_line(&mut String::new()).is_ok() {
            let _ = pressed.send(());
        }
    });
    heard
}

/// After the story: the late scanner's fetches are machines too, and nobody else changed.
async fn late_machines(
    stage: &Stage,
    report: &mut Report,
    late: tokio::task::JoinHandle<Result<(), CliError>>,
    audience: &Audience,
) -> Result<(), CliError> {
    late.await.map_err(|e| CliError::failed("the late scanner", &e))??;
    println!(
        "\n   Meanwhile a second scanner fetched every link of a tenth of the copies, half a minute after they came."
    );
    compare(stage, report, audience, "after the late scan").await
}

/// What the simulator did against what the server counted, once its hits have settled.
async fn compare(stage: &Stage, report: &mut Report, audience: &Audience, when: &str) -> Result<(), CliError> {
    let truth = audience.truth().reach();
    let deadline = Instant::now() + Duration::from_secs(SETTLED_S);
    let mut counted = stage.reach().await?;
    while counted != truth && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(POLL_MS * 3)).await;
        counted = stage.reach().await?;
    }
    for (who, counted, truth) in [("people", counted.0, truth.0), ("machines", counted.1, truth.1)] {
        report.expect(&format!("{when}: {who} who opened"), counted.opened, truth.opened);
        report.expect(&format!("{when}: {who} who clicked"), counted.clicked, truth.clicked);
    }
    if counted == truth {
        println!("   What people and machines did is what the server counted; no machine counts as a person.");
    }
    Ok(())
}

async fn act(stage: &Stage, name: &'static str) -> Result<Act, CliError> {
    let (people, machines) = stage.reach().await?;
    Ok(Act::new(name, &stage.totals().await?, people, machines))
}

/// Writes and sends a campaign to everybody, unless it is sent already; waits until its last copy has an outcome.
async fn send(stage: &Stage, name: &str, content: &str) -> Result<String, CliError> {
    let staff = stage.login("communicator").await?;
    let id = match find(&staff, name).await? {
        Some(id) => id,
        None => write(&staff, name, content).await?,
    };
    let path = format!("/campaigns/{id}");
    if staff.get(&path).await?["state"] == "draft" {
        staff.post(&format!("{path}/send"), json!({})).await?;
    }
    let started = Instant::now();
    let campaign = until("the campaign", || async {
        let campaign = staff.get(&path).await?;
        Ok((campaign["state"] == "sent").then_some(campaign))
    })
    .await?;
    println!("   «{name}» went to {} people in {:.1} s.", campaign["audience_count"], started.elapsed().as_secs_f32());
    Ok(id)
}

async fn write(staff: &Session, name: &str, content: &str) -> Result<String, CliError> {
    let lists = staff.get("/lists").await?;
    let items = lists.as_array().or_else(|| lists["items"].as_array());
    let list = items.into_iter().flatten().find(|l| l["name"] == LIST).and_then(|l| l["id"].as_str());
    let draft = json!({
        "name": name,
        "subject": format!("{name}: what you need to know, {{{{ first_name | default(\"all\") }}}}"),
        "from_name": "Contoso News",
        "from_address": "news@contoso.example",
        "content_type": "mjml",
        "content": content,
        "list_id": list,
        "tracking": "anonymous",
        "click_tracking": true,
    });
    let campaign = staff.post("/campaigns", draft).await?;
    campaign["id"].as_str().map(str::to_owned).ok_or_else(|| CliError::Failed("the campaign has no id".into()))
}

async fn find(staff: &Session, name: &str) -> Result<Option<String>, CliError> {
    let all = staff.get("/campaigns?limit=200").await?;
    let hit = all["items"].as_array().into_iter().flatten().find(|c| c["name"] == name);
    Ok(hit.and_then(|c| c["id"].as_str()).map(str::to_owned))
}

/// Waits until every job with this cause is over.
async fn jobs_done(admin: &Session, cause: &str) -> Result<(), CliError> {
    until("the job", || async {
        let jobs = admin.get("/jobs?limit=200").await?;
        let mut ours = jobs["items"].as_array().into_iter().flatten().filter(|j| j["cause_id"] == cause);
        if let Some(failed) = ours.clone().find(|j| j["state"] == "failed") {
            return Err(CliError::Failed(format!("a job failed: {failed}")));
        }
        Ok(ours.all(|j| j["state"] == "done").then_some(()))
    })
    .await
}

/// Asks again until there is an answer, within a bound.
async fn until<T, F>(what: &str, ask: impl Fn() -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<Option<T>, CliError>>,
{
    let deadline = Instant::now() + Duration::from_secs(STEP_S);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(CliError::Failed(format!("{what} did not come to an end within {STEP_S} s")));
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
}
